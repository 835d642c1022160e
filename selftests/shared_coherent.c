// SPDX-License-Identifier: GPL-2.0
/*
 * What one process has written to a page all others see from then on, by whatever way they
 * read it, while the page is merged and given back all the time, and holes come and go.
 */
#define _GNU_SOURCE
#include <pthread.h>

#include "shared_fixture.h"
#include "shared_storm.h"

#define TURNS	4000

static off_t offset_of(int i)
{
	return i * pagesize + 2048;
}

/* Says what it has written when it has, and not before. */
static int counts(struct storm *s)
{
	char *map = storm_map(s, MAP_SHARED);
	unsigned int seed = 1;
	long value;

	CHECK(map);
	for (value = 1; storm_goes_on(s, value, TURNS); value++) {
		int i = rand_r(&seed) % STORM_PAGES;

		if (rand_r(&seed) % 2)
			*storm_word(map, i) = value;
		else
			CHECK(pwrite(s->fd[0], &value, sizeof(value), offset_of(i)) == sizeof(value));
		s->told[i] = value;
		if (rand_r(&seed) % 4 == 0)
			usleep(rand_r(&seed) % 300);
		else
			sched_yield();
	}
	return 0;
}

/* The same by calls: it maps nothing. */
static int counts_by_pwrite(struct storm *s)
{
	unsigned int seed = 9;
	long value;

	for (value = 1; storm_goes_on(s, value, TURNS); value++) {
		int i = rand_r(&seed) % STORM_PAGES;

		CHECK(pwrite(s->fd[0], &value, sizeof(value), offset_of(i)) == sizeof(value));
		s->told[i] = value;
		if (rand_r(&seed) % 2)
			usleep(rand_r(&seed) % 300);
		else
			sched_yield();
	}
	return 0;
}

/* It may be more than what was said by then, and it is never less. */
static void look(struct storm *s, int i, long told, long have)
{
	s->looks++;
	if (have >= told)
		return;
	if (!s->wrong++)
		dprintf(2, "# page %d: %ld, after %ld was written\n", i, have, told);
}

static int follows_map(struct storm *s, int flags)
{
	char *map = storm_map(s, flags);
	unsigned int k = 0;

	CHECK(map);
	/* What is there first is no count. */
	while (!s->stop) {
		int i = k++ % STORM_PAGES;
		long told = s->told[i];

		if (told)
			look(s, i, told, *storm_word(map, i));
		if (k % 64 == 0)
			sched_yield();
	}
	return 0;
}

static int follows_shared(struct storm *s)
{
	return follows_map(s, MAP_SHARED);
}

static int follows_private(struct storm *s)
{
	return follows_map(s, MAP_PRIVATE);
}

/* Mapped anew each time, so that there is a fault in each look. */
static int follows_by_faults(struct storm *s)
{
	char *map = storm_map(s, MAP_SHARED);
	unsigned int k = 0;

	CHECK(map);
	while (!s->stop) {
		int i = k++ % STORM_PAGES;
		long told = s->told[i];

		if (told)
			look(s, i, told, *storm_word(map, i));
		CHECK(!madvise(map + i * pagesize, pagesize, MADV_DONTNEED));
		if (k % 4 == 0)
			sched_yield();
	}
	return 0;
}

static int follows_by_pread(struct storm *s)
{
	unsigned int k = 0;

	while (!s->stop) {
		int i = k++ % STORM_PAGES;
		long told = s->told[i], have;

		CHECK(pread(s->fd[0], &have, sizeof(have), offset_of(i)) == sizeof(have));
		if (told)
			look(s, i, told, have);
		if (k % 8 == 0)
			sched_yield();
	}
	return 0;
}

/* A mapping, for a second thread. */
struct mapped {
	struct storm *s;
	char *map;
};

/* It grows and shrinks by what comes behind it in the file. */
static void *grow(void *arg)
{
	struct mapped *m = arg;
	size_t len = STORM_PAGES * pagesize;
	char *end = m->map + len;

	while (!m->s->stop) {
		if (mmap(end, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, m->s->fd[0],
			 len) != end || munmap(end, len))
			m->s->wrong++;
		sched_yield();
	}
	return NULL;
}

static int follows_while_it_grows(struct storm *s)
{
	size_t len = STORM_PAGES * pagesize;
	char *map = mmap(NULL, 2 * len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct mapped m = { s, map };
	pthread_t thread;
	unsigned int k = 0;

	CHECK(map != MAP_FAILED && !munmap(map + len, len));
	CHECK(mmap(map, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, s->fd[0], 0) == map);
	CHECK(!pthread_create(&thread, NULL, grow, &m));
	while (!s->stop) {
		int i = k++ % STORM_PAGES;
		long told = s->told[i];

		if (told)
			look(s, i, told, *storm_word(map, i));
		if (k % 64 == 0)
			sched_yield();
	}
	pthread_join(thread, NULL);
	return 0;
}

/* He is the only one who maps it: no other mapping has it found. */
SHARED_TEST(counter_where_a_mapping_grows)
{
	struct storm *s = storm_make(self->dir);

	ASSERT_NE(NULL, s);
	ASSERT_TRUE(storm_add(s, counts_by_pwrite));
	ASSERT_TRUE(storm_add(s, storm_merges));
	ASSERT_TRUE(storm_add(s, follows_while_it_grows));
	EXPECT_TRUE(storm_end(s));
	EXPECT_TRUE(shared_becomes(0, 0));
}

SHARED_TEST(counter)
{
	struct storm *s = storm_make(self->dir);

	ASSERT_NE(NULL, s);
	ASSERT_TRUE(storm_add(s, counts));
	ASSERT_TRUE(storm_add(s, storm_merges));
	ASSERT_TRUE(storm_add(s, follows_shared));
	ASSERT_TRUE(storm_add(s, follows_private));
	ASSERT_TRUE(storm_add(s, follows_by_faults));
	ASSERT_TRUE(storm_add(s, follows_by_pread));
	EXPECT_TRUE(storm_end(s));
	EXPECT_TRUE(shared_becomes(0, 0));
}

/* A hole at any time: a count begins anew with what is written next. */
static int punches(struct storm *s)
{
	unsigned int seed = 3;

	while (!s->stop) {
		int i = rand_r(&seed) % STORM_PAGES;

		CHECK(!fallocate(s->fd[0], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				 i * pagesize, pagesize));
		if (rand_r(&seed) % 2)
			usleep(rand_r(&seed) % 300);
		else
			sched_yield();
	}
	return 0;
}

/* Zero, where a hole has come meanwhile, or what was written; but nothing older. */
static int follows_or_zero(struct storm *s)
{
	char *map = storm_map(s, MAP_SHARED);
	unsigned int k = 0;

	CHECK(map);
	while (!s->stop) {
		int i = k++ % STORM_PAGES;
		long told = s->told[i], have = *storm_word(map, i);

		if (told && have)
			look(s, i, told, have);
		if (k % 64 == 0)
			sched_yield();
	}
	return 0;
}

static void *touch(void *arg)
{
	struct mapped *m = arg;

	while (!m->s->stop) {
		look_at(m->map, STORM_PAGES);
		sched_yield();
	}
	return NULL;
}

/* After a call has found a hole, the mapping shows nothing from before it. */
static int follows_hole_by_both(struct storm *s)
{
	struct mapped m = { s, storm_map(s, MAP_SHARED) };
	pthread_t thread;
	unsigned int k = 0;

	CHECK(m.map);
	CHECK(!pthread_create(&thread, NULL, touch, &m));
	while (!s->stop) {
		int i = k++ % STORM_PAGES;
		long told = s->told[i], have;

		CHECK(pread(s->fd[0], &have, sizeof(have), offset_of(i)) == sizeof(have));
		if (told && !have) {
			have = *storm_word(m.map, i);
			if (have)
				look(s, i, told + 1, have);
		}
		if (k % 8 == 0)
			sched_yield();
	}
	pthread_join(thread, NULL);
	return 0;
}

/* Here and there see one page: who has filled the hole is not alone with it. */
SHARED_TEST(counter_and_holes)
{
	struct storm *s = storm_make(self->dir);

	ASSERT_NE(NULL, s);
	ASSERT_TRUE(storm_add(s, counts));
	ASSERT_TRUE(storm_add(s, storm_merges));
	ASSERT_TRUE(storm_add(s, punches));
	ASSERT_TRUE(storm_add(s, follows_or_zero));
	ASSERT_TRUE(storm_add(s, follows_hole_by_both));
	EXPECT_TRUE(storm_end(s));
	EXPECT_TRUE(shared_becomes(0, 0));
}

/* The same where he who writes punches, and knows what is there. */
SHARED_TEST(hole_and_counter)
{
	struct storm *s = storm_make(self->dir);

	ASSERT_NE(NULL, s);
	ASSERT_TRUE(storm_add(s, storm_counts));
	ASSERT_TRUE(storm_add(s, storm_merges));
	ASSERT_TRUE(storm_add(s, storm_sees));
	ASSERT_TRUE(storm_add(s, storm_sees));
	EXPECT_TRUE(storm_end(s));
	EXPECT_TRUE(shared_becomes(0, 0));
}

/* Two that wait for each other's next count, by the page alone: the first one ends it. */
static int passes_on(struct storm *s, bool first)
{
	char *map = storm_map(s, MAP_SHARED);
	long value, have;

	CHECK(map);
	for (value = first ? 1 : 2; !first || storm_goes_on(s, value, TURNS); value += 2) {
		while ((have = *storm_word(map, 0)) != value - 1) {
			if (s->stop)
				return 0;
			/* The other one has not been here. */
			if (have != value - 2) {
				s->wrong++;
				dprintf(2, "# %ld, and not %ld\n", have, value - 1);
				return 1;
			}
			CHECK(!s->wrong);
			sched_yield();
		}
		s->looks++;
		*storm_word(map, 0) = value;
	}
	return 0;
}

static int passes_odd(struct storm *s)
{
	return passes_on(s, true);
}

static int passes_even(struct storm *s)
{
	return passes_on(s, false);
}

SHARED_TEST(passed_to_and_fro)
{
	struct storm *s = storm_make(self->dir);
	long first = 0;

	ASSERT_NE(NULL, s);
	/* There is no other that changes. */
	s->pages = 1;
	ASSERT_EQ(sizeof(first), pwrite(s->fd[0], &first, sizeof(first), offset_of(0)));
	ASSERT_TRUE(storm_add(s, passes_odd));
	ASSERT_TRUE(storm_add(s, passes_even));
	ASSERT_TRUE(storm_add(s, storm_merges));
	EXPECT_TRUE(storm_end(s));
	EXPECT_TRUE(shared_becomes(0, 0));
}

TEST_HARNESS_MAIN

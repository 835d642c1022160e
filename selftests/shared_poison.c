// SPDX-License-Identifier: GPL-2.0
/* Memory of a page breaks that files have in common: all who have it are told, and no others. */
#define _GNU_SOURCE
#include <linux/falloc.h>

#include "bus_errors.h"
#include "ksm_harness.h"
#include "shared_storm.h"

#define UNPOISON	"/sys/kernel/debug/hwpoison/unpoison-pfn"
#define N	4

static int peer_breaks(struct peer *peer, void *arg)
{
	struct pair *p = arg;
	char *map = map_file(p->fd[0], N, MAP_SHARED);

	CHECK(map && handle_bus_errors(on_bus_error) && be_told_early());
	look_at(map, N);
	CHECK(peer_swap(peer, pfn_of(0, map + pagesize)) >= 0);
	CHECK(peer_meet(peer));
	CHECK(!madvise(map + pagesize, pagesize, MADV_HWPOISON));
	CHECK(bus_errors > 0);
	CHECK(peer_meet(peer));
	return 0;
}

/* By the other file. */
static int peer_is_told(struct peer *peer, void *arg)
{
	struct pair *p = arg;
	struct timespec long_time = { .tv_sec = 100 };
	char *map = map_file(p->fd[1], N, MAP_SHARED);
	siginfo_t info;
	sigset_t bus;

	CHECK(map);
	sigemptyset(&bus);
	sigaddset(&bus, SIGBUS);
	CHECK(!sigprocmask(SIG_BLOCK, &bus, NULL) && be_told_early());
	look_at(map, N);
	CHECK(peer_meet(peer));
	CHECK(sigtimedwait(&bus, &info, &long_time) == SIGBUS);
	CHECK(info.si_code == BUS_MCEERR_AO);
	CHECK(info.si_addr == map + pagesize);
	CHECK(pfn_of(0, map + pagesize) == 0);
	CHECK(same_bytes("before it", map, p->model[1], pagesize));
	CHECK(same_bytes("behind it", map + 2 * pagesize, p->model[1] + 2 * pagesize, (N - 2) * pagesize));
	CHECK(peer_meet(peer));
	return 0;
}

/* It did not ask to be told: it lives until it touches the page. */
static int peer_touches(struct peer *peer, void *arg)
{
	struct pair *p = arg;
	char *map = map_file(p->fd[0], N, MAP_SHARED);
	char *private = map_file(p->fd[1], N, MAP_PRIVATE);

	CHECK(map && private && handle_bus_errors(leave_on_bus_error));
	look_at(map, N);
	look_at(private, N);
	CHECK(peer_meet(peer));
	CHECK(peer_meet(peer));
	CHECK(bus_errors == 0);
	CHECK(is_broken(map + pagesize) && is_broken(private + pagesize));
	CHECK(same_bytes("before it", map, p->model[0], pagesize));
	CHECK(same_bytes("before it", private, p->model[1], pagesize));
	CHECK(peer_meet(peer));
	return 0;
}

FIXTURE(broken) {
	struct pair p, other;
	long pfn;
};

FIXTURE_SETUP(broken)
{
	struct peer breaks, told, touches;

	if (access(SHARED_DEBUGFS, F_OK))
		SKIP(return, "this kernel merges no pages of files");
	if (access(UNPOISON, F_OK))
		SKIP(return, "no hwpoison in debugfs");
	ASSERT_TRUE(shared_becomes(0, 0));
	ASSERT_TRUE(pair_make(&self->p, NULL, N, 1));
	ASSERT_TRUE(pair_merge(&self->p));
	/* Of the same content, but in other memory. */
	ASSERT_TRUE(pair_make(&self->other, NULL, N, 1));
	ASSERT_TRUE(pair_merge(&self->other));
	ASSERT_TRUE(shared_becomes(2 * N, 4 * N));

	ASSERT_TRUE(peer_start(&breaks, peer_breaks, &self->p));
	ASSERT_TRUE(peer_start(&told, peer_is_told, &self->p));
	ASSERT_TRUE(peer_start(&touches, peer_touches, &self->p));
	self->pfn = peer_swap(&breaks, 0);
	ASSERT_LT(0, self->pfn);
	ASSERT_TRUE(peer_meet(&told) && peer_meet(&touches));
	ASSERT_TRUE(peer_meet(&breaks));
	/* It is done when he is here again. */
	EXPECT_TRUE(peer_meet(&breaks));
	EXPECT_EQ(0, peer_end(&breaks));
	EXPECT_TRUE(peer_meet(&told));
	EXPECT_EQ(0, peer_end(&told));
	EXPECT_TRUE(peer_meet(&touches) && peer_meet(&touches));
	EXPECT_EQ(0, peer_end(&touches));
}

FIXTURE_TEARDOWN(broken)
{
	char text[32];

	pair_free(&self->p);
	snprintf(text, sizeof(text), "%ld", self->pfn);
	EXPECT_TRUE(shared_becomes(N, 2 * N));
	file_write(UNPOISON, text);
	EXPECT_TRUE(pair_holds(&self->other));
	pair_free(&self->other);
	EXPECT_TRUE(shared_becomes(0, 0));
}

#define BROKEN_TEST(name)	TEST_F_TIMEOUT(broken, name, TEST_SECONDS)

/* By no way does anybody get other bytes than there were. */
BROKEN_TEST(cannot_be_read)
{
	char *buf = malloc(N * pagesize), *map;
	int k, pipes[2];
	loff_t at;

	ASSERT_EQ(0, pipe2(pipes, O_CLOEXEC));
	for (k = 0; k < 2; k++) {
		EXPECT_EQ(-1, pread(self->p.fd[k], buf, 1, pagesize + 5));
		EXPECT_EQ(EIO, errno);
		/* As far as it goes. */
		EXPECT_EQ(pagesize, pread(self->p.fd[k], buf, N * pagesize, 0));
		EXPECT_TRUE(same_bytes("before it", buf, self->p.model[k], pagesize));
		EXPECT_EQ(pagesize, pread(self->p.fd[k], buf, pagesize, 2 * pagesize));
		EXPECT_TRUE(same_bytes("behind it", buf, self->p.model[k] + 2 * pagesize, pagesize));
		at = pagesize;
		EXPECT_GE(0, splice(self->p.fd[k], &at, pipes[1], NULL, pagesize, 0));
		map = map_file(self->p.fd[k], N, MAP_SHARED);
		ASSERT_NE(NULL, map);
		EXPECT_TRUE(is_broken(map + pagesize));
		/* Nor can a part of it be written. */
		EXPECT_EQ(-1, pwrite(self->p.fd[k], "x", 1, pagesize + 100));
		EXPECT_EQ(EIO, errno);
		munmap(map, N * pagesize);
	}
	EXPECT_TRUE(pair_holds(&self->other));
}

/* A hole takes it away, from the one file, and what is put there then is well. */
BROKEN_TEST(gives_way_to_a_hole)
{
	char byte = 0x5a, *map = map_file(self->p.fd[0], N, MAP_SHARED);

	ASSERT_NE(NULL, map);
	ASSERT_EQ(0, fallocate(self->p.fd[0], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       pagesize, pagesize));
	memset(self->p.model[0] + pagesize, 0, pagesize);
	ASSERT_EQ(1, pwrite(self->p.fd[0], &byte, 1, pagesize + 9));
	self->p.model[0][pagesize + 9] = byte;
	EXPECT_TRUE(file_holds(self->p.fd[0], self->p.model[0], N * pagesize));
	EXPECT_TRUE(same_bytes("map", map, self->p.model[0], N * pagesize));
	EXPECT_EQ(-1, pread(self->p.fd[1], &byte, 1, pagesize));
	/* Cut off, and begun anew. */
	ASSERT_EQ(0, ftruncate(self->p.fd[1], pagesize));
	ASSERT_EQ(0, ftruncate(self->p.fd[1], N * pagesize));
	memset(self->p.model[1] + pagesize, 0, (N - 1) * pagesize);
	EXPECT_TRUE(file_holds(self->p.fd[1], self->p.model[1], N * pagesize));
	munmap(map, N * pagesize);
}

/* What is well is merged with others, and that is not. */
BROKEN_TEST(is_not_merged)
{
	EXPECT_EQ(-EIO, dedupe(self->other.fd[0], pagesize, self->p.fd[0], pagesize, pagesize));
	EXPECT_EQ(-EIO, dedupe(self->p.fd[0], pagesize, self->other.fd[0], pagesize, pagesize));
	EXPECT_EQ(0, dedupe(self->other.fd[0], 0, self->p.fd[0], 0, pagesize));
	EXPECT_TRUE(pair_holds(&self->other));
}

/* Pages that break while they are used and merged: what can be read is right, to the end. */
#define BREAKS	40

FIXTURE(used) {
	long pfn[BREAKS];
	atomic_int broken, mended;
};

static FIXTURE_DATA(used) *under_load;

static int breaks(struct storm *s)
{
	unsigned int seed = 3;
	long turn;

	/* Until somebody has met one. */
	for (turn = 1; storm_goes_on(s, turn, BREAKS) || (turn < 100 * BREAKS && !under_load->mended); turn++) {
		char *map, *page;
		int nr = under_load->broken;

		usleep(2000);
		if (nr == BREAKS)
			continue;
		map = map_file(s->fd[rand_r(&seed) % 2], STORM_PAGES, MAP_SHARED);
		page = map + rand_r(&seed) % STORM_PAGES * pagesize;
		CHECK(map && handle_bus_errors(leave_on_bus_error));
		if (!sigsetjmp(after_bus_error, 1)) {
			look_at(page, 1);
			CHECK(handle_bus_errors(on_bus_error));
			under_load->pfn[nr] = pfn_of(0, page);
			/* It is broken also where this says that not all has been done for it. */
			if (under_load->pfn[nr] && (!madvise(page, pagesize, MADV_HWPOISON) || errno == EBUSY))
				under_load->broken++;
		}
		CHECK(!munmap(map, STORM_PAGES * pagesize));
	}
	return 0;
}

/* Takes away what is broken, and puts there what must be there. */
static int mend(struct storm *s, int k, const char *model, size_t at)
{
	int tries = 0;

	do {
		CHECK(!fallocate(s->fd[k], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, pagesize));
		CHECK(tries++ < 1000);
	} while (pwrite(s->fd[k], model + at, pagesize, at) != pagesize);
	under_load->mended++;
	return 0;
}

static int owns(struct storm *s, int k)
{
	size_t len = STORM_PAGES * pagesize;
	char *volatile map = map_file(s->fd[k], STORM_PAGES, MAP_SHARED), *model = malloc(len);
	unsigned int seed = 7 + k;
	int i;

	CHECK(map && model);
	for (i = 0; i < STORM_PAGES; i++)
		fill(model + i * pagesize, 1 + i);
	CHECK(handle_bus_errors(leave_on_bus_error));
	while (!s->stop) {
		size_t at = rand_r(&seed) % STORM_PAGES * pagesize;
		int how = rand_r(&seed) % 6;

		s->looks++;
		if (how < 2)
			fill(model + at, rand_r(&seed) % 3);
		if (sigsetjmp(after_bus_error, 1)) {
			CHECK(mend(s, k, model, at) == 0);
			/* A hole does not take away what page tables say of a broken page. */
			CHECK(!munmap(map, len));
			map = map_file(s->fd[k], STORM_PAGES, MAP_SHARED);
			CHECK(map);
			continue;
		}
		if (how == 0)
			memcpy(map + at, model + at, pagesize);
		else if (how == 1 && pwrite(s->fd[k], model + at, pagesize, at) != pagesize)
			CHECK(errno == EIO && mend(s, k, model, at) == 0);
		else
			CHECK(same_bytes("map", map + at, model + at, pagesize));
		sched_yield();
	}
	return 0;
}

static int owns_0(struct storm *s)
{
	return owns(s, 0);
}

static int owns_1(struct storm *s)
{
	return owns(s, 1);
}

static int merges_any(struct storm *s)
{
	return storm_merges_any(s, s->fd, 2, STORM_PAGES);
}

FIXTURE_SETUP(used)
{
	if (access(SHARED_DEBUGFS, F_OK))
		SKIP(return, "this kernel merges no pages of files");
	if (access(UNPOISON, F_OK))
		SKIP(return, "no hwpoison in debugfs");
	ASSERT_TRUE(shared_becomes(0, 0));
	under_load = self;
}

FIXTURE_TEARDOWN_PARENT(used)
{
	char text[32];
	int i;

	for (i = 0; i < self->broken; i++) {
		snprintf(text, sizeof(text), "%ld", self->pfn[i]);
		file_write(UNPOISON, text);
	}
}

TEST_F_TIMEOUT(used, while_it_breaks, TEST_SECONDS)
{
	struct storm *s = storm_make(NULL);

	ASSERT_NE(NULL, s);
	ASSERT_TRUE(storm_add(s, breaks));
	ASSERT_TRUE(storm_add(s, owns_0));
	ASSERT_TRUE(storm_add(s, owns_1));
	ASSERT_TRUE(storm_add(s, merges_any));
	EXPECT_TRUE(storm_end(s));
	EXPECT_TRUE(shared_becomes(0, 0));
	EXPECT_TRUE(shared_adds_up());
	TH_LOG("%d broken, %d mended", self->broken, self->mended);
	EXPECT_LT(0, (int)self->broken);
	EXPECT_LT(0, (int)self->mended);
}

TEST_HARNESS_MAIN

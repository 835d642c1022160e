// SPDX-License-Identifier: GPL-2.0
/*
 * Common pages come and go, and go to swap and back, while files have them mapped, are
 * written, get holes, and end.
 */
#define _GNU_SOURCE
#include "ksm_harness.h"
#include "shared_storm.h"
#include "swap_lib.h"

#define FILES	3
#define N	8
#define KINDS	3

FIXTURE(churn) {
};

FIXTURE_SETUP(churn)
{
	NEED_MERGING();
	swap_off();	/* from a test that was killed */
	reset_zram();
	ASSERT_TRUE(enter_swap_group());
	ASSERT_EQ(0, mlockall(MCL_CURRENT));
	ASSERT_TRUE(swap_on_zram());
}

FIXTURE_TEARDOWN_PARENT(churn)
{
	swap_off();
	EXPECT_EQ(0, reset_zram());
	cgroups_remove();
}

#define CHURN_TEST(name)	TEST_F_TIMEOUT(churn, name, TEST_SECONDS)

/* All of the group's memory that is not locked, again and again. */
static int reclaims(struct storm *s)
{
	while (!s->stop) {
		reclaim("256K swappiness=max");
		usleep(100);
	}
	return 0;
}

CHURN_TEST(counter_in_swap)
{
	long out = vm_event("pswpout");
	struct storm *s = storm_make(NULL);

	ASSERT_NE(NULL, s);
	ASSERT_TRUE(storm_add(s, storm_counts));
	ASSERT_TRUE(storm_add(s, storm_merges));
	ASSERT_TRUE(storm_add(s, reclaims));
	ASSERT_TRUE(storm_add(s, storm_sees));
	ASSERT_TRUE(storm_add(s, storm_sees));
	EXPECT_TRUE(storm_end(s));
	EXPECT_LT(out, vm_event("pswpout"));
	EXPECT_TRUE(shared_becomes(0, 0));
}

/* Files that have an owner each, who knows every byte; pages of few kinds. */
static int files[FILES];

static int owns(struct storm *s, int k)
{
	char *map = map_file(files[k], N, MAP_SHARED), *model = malloc(N * pagesize);
	int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	unsigned int seed = 11 + k;
	long turn;

	CHECK(map && model);
	CHECK(pread(files[k], model, N * pagesize, 0) == N * pagesize);
	/* The first of them is the storm's first one, which ends it. */
	for (turn = 1; k ? !s->stop : storm_goes_on(s, turn, 6000); turn++) {
		size_t at = rand_r(&seed) % N * pagesize;
		int byte = rand_r(&seed) % 256;

		switch (rand_r(&seed) % 8) {
		case 0:
			fill(model + at, rand_r(&seed) % KINDS);
			CHECK(pwrite(files[k], model + at, pagesize, at) == pagesize);
			break;
		case 1:
			fill(model + at, rand_r(&seed) % KINDS);
			memcpy(map + at, model + at, pagesize);
			break;
		case 2:
			memset(model + at, 0, pagesize);
			CHECK(!fallocate(files[k], mode, at, pagesize));
			break;
		case 3:
			memset(model + at + 999, 0, 77);
			CHECK(!fallocate(files[k], mode, at + 999, 77));
			break;
		case 4:
			model[at + byte] ^= 1;
			*(volatile char *)(map + at + byte) ^= 1;
			break;
		case 5:
			CHECK(!madvise(map + at, pagesize, MADV_DONTNEED));
			/* fall through */
		default:
			CHECK(same_bytes("map", map + at, model + at, pagesize));
		}
		s->looks++;
		if (turn % 8 == 0)
			sched_yield();
	}
	CHECK(same_bytes("map", map, model, N * pagesize));
	CHECK(file_holds(files[k], model, N * pagesize));
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

static int owns_2(struct storm *s)
{
	return owns(s, 2);
}

static int merges_any(struct storm *s)
{
	return storm_merges_any(s, files, FILES, N);
}

static void churn(struct __test_metadata *_metadata, bool out)
{
	struct storm *s = storm_make(NULL);
	int k;

	ASSERT_NE(NULL, s);
	for (k = 0; k < FILES; k++) {
		files[k] = shared_file(NULL);
		ASSERT_LE(0, files[k]);
		ASSERT_TRUE(shared_fill(files[k], N, 0));
	}
	ASSERT_TRUE(storm_add(s, owns_0));
	ASSERT_TRUE(storm_add(s, owns_1));
	ASSERT_TRUE(storm_add(s, owns_2));
	ASSERT_TRUE(storm_add(s, merges_any));
	ASSERT_TRUE(storm_add(s, merges_any));
	if (out)
		ASSERT_TRUE(storm_add(s, reclaims));
	EXPECT_TRUE(storm_end(s));
	EXPECT_TRUE(shared_adds_up());
	for (k = 0; k < FILES; k++)
		close(files[k]);
	EXPECT_TRUE(shared_becomes(0, 0));
}

CHURN_TEST(pages_come_and_go)
{
	churn(_metadata, false);
}

CHURN_TEST(pages_come_and_go_in_swap)
{
	churn(_metadata, true);
}

/* A file of the same content that lives for a moment: it ends with its process, mapped or not. */
static int guests_come(struct storm *s)
{
	unsigned int seed = 3;
	long turn;

	for (turn = 1; !s->stop && storm_goes_on(s, turn, 300); turn++) {
		unsigned int how = rand_r(&seed);
		pid_t pid = fork_child();

		if (pid == 0) {
			int fd = shared_file(NULL);
			char *map = map_file(fd, STORM_PAGES, MAP_SHARED), page[pagesize];

			CHECK(map && shared_fill(fd, STORM_PAGES, 1));
			if (dedupe_pages(s->fd[how % 2], fd, STORM_PAGES) == 0)
				s->merged++;
			look_at(map, STORM_PAGES);
			fill(page, 1 + how % STORM_PAGES);
			CHECK(same_bytes("guest", map + how % STORM_PAGES * pagesize, page, pagesize));
			if (how % 3 == 0)
				map[how % pagesize]++;
			if (how % 5 == 0)
				close(fd);
			if (how % 7 == 0)
				munmap(map, STORM_PAGES * pagesize);
			_exit(0);
		}
		CHECK(wait_child(pid) == 0);
	}
	return 0;
}

/* What stays there has its content, and is mapped now and then. */
static int hosts_stay(struct storm *s)
{
	char page[pagesize];
	int i;

	while (!s->stop) {
		char *map = storm_map(s, MAP_SHARED);

		CHECK(map);
		for (i = 0; i < STORM_PAGES; i++) {
			fill(page, 1 + i);
			CHECK(same_bytes("host", map + i * pagesize, page, pagesize));
			s->looks++;
			sched_yield();
		}
		CHECK(!munmap(map, STORM_PAGES * pagesize));
	}
	return 0;
}

CHURN_TEST(files_come_and_go)
{
	struct storm *s = storm_make(NULL);

	ASSERT_NE(NULL, s);
	ASSERT_TRUE(storm_add(s, guests_come));
	ASSERT_TRUE(storm_add(s, guests_come));
	ASSERT_TRUE(storm_add(s, hosts_stay));
	ASSERT_TRUE(storm_add(s, hosts_stay));
	ASSERT_TRUE(storm_add(s, reclaims));
	EXPECT_TRUE(storm_end(s));
	EXPECT_TRUE(shared_becomes(0, 0));
}

/* Files that are sealed while they are merged: what is in them stays, and stays merged. */
static int seals(struct storm *s)
{
	size_t len = STORM_PAGES * pagesize;
	char *model = malloc(len);
	long turn;

	CHECK(model && pread(s->fd[0], model, len, 0) == len);
	for (turn = 1; storm_goes_on(s, turn, 200); turn++) {
		int fd = shared_file(NULL), tries = 0, k;
		pid_t pid;

		CHECK(shared_fill(fd, STORM_PAGES, 1));
		pid = fork_child();
		if (pid == 0) {
			for (k = 0; k < 20; k++) {
				int err = dedupe_pages(s->fd[k % 2], fd, STORM_PAGES);

				CHECK(err == 0 || err == -EBUSY);
				s->merged += err == 0;
			}
			_exit(0);
		}
		while (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW))
			CHECK(errno == EBUSY && tries++ < 10000);
		CHECK(wait_child(pid) == 0);
		CHECK(pwrite(fd, "x", 1, 0) == -1 && errno == EPERM);
		CHECK(!map_file(fd, STORM_PAGES, MAP_SHARED) && errno == EPERM);
		CHECK(file_holds(fd, model, len));
		close(fd);
	}
	return 0;
}

CHURN_TEST(sealed_while_merged)
{
	struct storm *s = storm_make(NULL);

	ASSERT_NE(NULL, s);
	ASSERT_TRUE(storm_add(s, seals));
	ASSERT_TRUE(storm_add(s, hosts_stay));
	ASSERT_TRUE(storm_add(s, reclaims));
	EXPECT_TRUE(storm_end(s));
	EXPECT_TRUE(shared_becomes(0, 0));
}

TEST_HARNESS_MAIN

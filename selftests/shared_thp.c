// SPDX-License-Identifier: GPL-2.0
/* Merging files that have huge pages, and making huge pages of files that are merged. */
#define _GNU_SOURCE
#include "ksm_harness.h"
#include "shared_huge.h"

/* Two huge pages in each file. */
#define N	(2 * HUGE)

FIXTURE(huge) {
	char mount[32];
	struct pair p;
};

FIXTURE_SETUP(huge)
{
	NEED_MERGING();
	ASSERT_TRUE(mount_huge(self->mount));
}

FIXTURE_TEARDOWN(huge)
{
	shared_unmount(self->mount);
}

#define HUGE_TEST(name)	TEST_F_TIMEOUT(huge, name, TEST_SECONDS)

static bool files_are_huge(struct pair *p)
{
	int k;

	for (k = 0; k < 2; k++) {
		char *map = map_huge(p->fd[k], N);
		volatile char *at = map;
		bool ok;

		if (!map)
			return false;
		(void)at[0];
		(void)at[HUGE * pagesize];
		ok = huge_kb(map) == N * pagesize / 1024;
		munmap(map, N * pagesize);
		if (!ok)
			return false;
	}
	return true;
}

/* A part of each is merged: the huge page that it is in is split, the other one is not. */
HUGE_TEST(a_part_is_merged)
{
	struct pair *p = &self->p;
	struct stat st;
	char *map;

	ASSERT_TRUE(pair_make(p, self->mount, N, 1));
	ASSERT_TRUE(files_are_huge(p));
	ASSERT_EQ(0, dedupe(p->fd[0], 8 * pagesize, p->fd[1], 8 * pagesize, 16 * pagesize));
	EXPECT_TRUE(shared_becomes(16, 32));
	ASSERT_EQ(0, fstat(p->fd[0], &st));
	EXPECT_EQ(N * pagesize / 512, st.st_blocks);
	map = map_huge(p->fd[0], N);
	ASSERT_NE(NULL, map);
	EXPECT_EQ(p->model[0][HUGE * pagesize], map[HUGE * pagesize]);
	EXPECT_EQ(HUGE * pagesize / 1024, huge_kb(map));
	map[10 * pagesize]++;
	p->model[0][10 * pagesize]++;
	EXPECT_TRUE(pair_holds(p));
	pair_free(p);
}

/* Of one huge page, which is split although both are in it. */
HUGE_TEST(within_one_page)
{
	struct pair *p = &self->p;

	ASSERT_TRUE(pair_make(p, self->mount, N, 1));
	memcpy(p->model[0] + 5 * pagesize, p->model[0] + 3 * pagesize, pagesize);
	ASSERT_EQ(pagesize, pwrite(p->fd[0], p->model[0] + 5 * pagesize, pagesize, 5 * pagesize));
	ASSERT_TRUE(files_are_huge(p));
	EXPECT_EQ(0, dedupe(p->fd[0], 3 * pagesize, p->fd[0], 5 * pagesize, pagesize));
	EXPECT_TRUE(shared_becomes(1, 2));
	EXPECT_TRUE(pair_holds(p));
	pair_free(p);
}

/* A part is locked in memory: to split it would let it go. */
HUGE_TEST(locked)
{
	struct pair *p = &self->p;
	char *map;
	int tries;

	ASSERT_TRUE(pair_make(p, self->mount, N, 1));
	ASSERT_TRUE(files_are_huge(p));
	map = map_huge(p->fd[1], N);
	ASSERT_NE(NULL, map);
	ASSERT_EQ(0, mlock(map + 8 * pagesize, 2 * pagesize));
	for (tries = 0; tries < 3; tries++)
		EXPECT_EQ(-EBUSY, dedupe(p->fd[0], 8 * pagesize, p->fd[1], 8 * pagesize, pagesize));
	EXPECT_TRUE(shared_becomes(0, 0));
	ASSERT_EQ(0, munlock(map + 8 * pagesize, 2 * pagesize));
	EXPECT_EQ(0, dedupe(p->fd[0], 8 * pagesize, p->fd[1], 8 * pagesize, pagesize));
	EXPECT_TRUE(shared_becomes(1, 2));
	EXPECT_TRUE(pair_holds(p));
	pair_free(p);
}

HUGE_TEST(all_is_merged)
{
	struct pair *p = &self->p;

	ASSERT_TRUE(pair_make(p, self->mount, N, 1));
	ASSERT_TRUE(files_are_huge(p));
	ASSERT_TRUE(pair_merge(p));
	EXPECT_TRUE(shared_becomes(N, 2 * N));
	EXPECT_TRUE(pair_holds(p));
	EXPECT_TRUE(shared_becomes(N, 2 * N));
	pair_free(p);
}

/* Who differs keeps his huge pages. */
HUGE_TEST(what_differs_is_left)
{
	struct pair *p = &self->p;
	size_t i;

	ASSERT_TRUE(pair_make(p, self->mount, N, 1));
	for (i = 0; i < N; i++) {
		p->model[1][i * pagesize]++;
		ASSERT_EQ(1, pwrite(p->fd[1], &p->model[1][i * pagesize], 1, i * pagesize));
	}
	for (i = 0; i < N; i++)
		ASSERT_EQ(1, dedupe(p->fd[0], i * pagesize, p->fd[1], i * pagesize, pagesize));
	EXPECT_TRUE(files_are_huge(p));
	EXPECT_TRUE(pair_holds(p));
	pair_free(p);
}

/* A request for a huge page gives the file pages of its own. */
HUGE_TEST(made_huge_again)
{
	struct pair *p = &self->p;
	char *map;

	ASSERT_TRUE(pair_make(p, self->mount, N, 1));
	ASSERT_TRUE(pair_merge(p));
	map = map_huge(p->fd[0], N);
	ASSERT_NE(NULL, map);
	ASSERT_TRUE(collapse(map));
	EXPECT_TRUE(shared_becomes(N, 2 * N - HUGE));
	EXPECT_TRUE(same_bytes("map", map, p->model[0], N * pagesize));
	EXPECT_TRUE(pair_holds(p));
	pair_free(p);
}

/* The common pages are mapped, by all, when one file has them no more. */
HUGE_TEST(made_huge_while_mapped)
{
	struct pair *p = &self->p;
	char *map[2], *again;
	int k;

	ASSERT_TRUE(pair_make(p, self->mount, N, 1));
	ASSERT_TRUE(pair_merge(p));
	for (k = 0; k < 2; k++) {
		map[k] = map_huge(p->fd[k], N);
		ASSERT_NE(NULL, map[k]);
		EXPECT_TRUE(same_bytes("map", map[k], p->model[k], N * pagesize));
	}
	again = map_file(p->fd[0], N, MAP_SHARED);
	ASSERT_NE(NULL, again);
	EXPECT_TRUE(same_bytes("again", again, p->model[0], N * pagesize));
	EXPECT_TRUE(shared_becomes(N, 2 * N));
	ASSERT_TRUE(collapse(map[0]));
	EXPECT_TRUE(shared_becomes(N, 2 * N - HUGE));
	map[0][5 * pagesize]++;
	again[6 * pagesize]++;
	p->model[0][5 * pagesize]++;
	p->model[0][6 * pagesize]++;
	for (k = 0; k < 2; k++)
		EXPECT_TRUE(same_bytes("map", map[k], p->model[k], N * pagesize));
	EXPECT_TRUE(same_bytes("again", again, p->model[0], N * pagesize));
	EXPECT_TRUE(pair_holds(p));
	pair_free(p);
}

TEST_HARNESS_MAIN

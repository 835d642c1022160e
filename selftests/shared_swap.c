// SPDX-License-Identifier: GPL-2.0
/* Pages that files have in common, in swap. */
#define _GNU_SOURCE
#include <linux/falloc.h>

#include "ksm_harness.h"
#include "pin_lib.h"
#include "shared_maps.h"
#include "swap_lib.h"

#define N	16

FIXTURE(out) {
	struct pair p;
};

FIXTURE_SETUP(out)
{
	NEED_MERGING();
	swap_off();	/* from a test that was killed */
	reset_zram();
	ASSERT_TRUE(enter_swap_group());
	ASSERT_EQ(0, mlockall(MCL_CURRENT));
	ASSERT_TRUE(swap_on_zram());
	ASSERT_TRUE(pair_make(&self->p, NULL, N, 1));
	ASSERT_TRUE(pair_merge(&self->p));
}

FIXTURE_TEARDOWN_PARENT(out)
{
	swap_off();
	EXPECT_EQ(0, reset_zram());
	cgroups_remove();
}

/* By mincore(), which must not tell where a page is that others have, too. */
static int in_core(int fd, size_t n)
{
	unsigned char core[n];
	char *map = map_file(fd, n, MAP_SHARED);
	int found = 0;

	if (!map || mincore(map, n * pagesize, core))
		return -1;
	munmap(map, n * pagesize);
	while (n--)
		found += core[n] & 1;
	return found;
}

static bool push_common_out(void)
{
	struct shared_counts now = shared_now();
	int tries;

	for (tries = 0; tries < 10000 && now.swapped != now.pages; tries++) {
		reclaim("128K swappiness=max");
		now = shared_now();
	}
	return now.swapped == now.pages;
}

/* What the files have of their own and in memory: of the rest mincore() says that it is there. */
static long own_in_core(struct pair *p)
{
	return in_core(p->fd[0], N) + in_core(p->fd[1], N) - shared_now().slots;
}

static bool push_all_out(struct pair *p)
{
	int tries;

	for (tries = 0; tries < 10000 && own_in_core(p) > 0; tries++)
		reclaim("128K swappiness=max");
	return push_common_out() && own_in_core(p) == 0;
}

TEST_F_TIMEOUT(out, out_and_in, TEST_SECONDS)
{
	char byte;

	ASSERT_TRUE(push_common_out());
	EXPECT_TRUE(shared_becomes(N, 2 * N));
	EXPECT_EQ(N, shared_now().swapped);
	EXPECT_EQ(N, in_core(self->p.fd[1], N));
	/* One of them brings a page in: the other one's owner is not told. */
	ASSERT_EQ(1, pread(self->p.fd[0], &byte, 1, 3 * pagesize));
	EXPECT_EQ(N - 1, shared_now().swapped);
	EXPECT_EQ(N, in_core(self->p.fd[1], N));
	EXPECT_TRUE(pair_holds(&self->p));
	EXPECT_EQ(0, shared_now().swapped);
	EXPECT_TRUE(shared_becomes(N, 2 * N));
}

/* By whatever way it is mapped: what is mapped where nobody looks stays in memory. */
TEST_F_TIMEOUT(out, out_while_mapped, TEST_SECONDS)
{
	char *maps[4];
	int i;

	for (i = 0; i < 4; i++) {
		maps[i] = map_file(self->p.fd[i % 2], N, i < 2 ? MAP_SHARED : MAP_PRIVATE);
		ASSERT_NE(NULL, maps[i]);
		look_at(maps[i], N);
	}
	EXPECT_TRUE(shared_becomes(N, 2 * N));
	EXPECT_TRUE(push_common_out());
	for (i = 0; i < 4; i++) {
		EXPECT_TRUE(same_bytes("map", maps[i], self->p.model[i % 2], N * pagesize));
		munmap(maps[i], N * pagesize);
	}
	EXPECT_TRUE(shared_becomes(N, 2 * N));
}

/* Again and again, with changes in between. */
TEST_F_TIMEOUT(out, changed_in_between, TEST_SECONDS)
{
	int round;

	for (round = 0; round < 5; round++) {
		size_t at = round * pagesize + 17;
		char value = 0x40 + round;

		ASSERT_TRUE(push_all_out(&self->p));
		ASSERT_EQ(1, pwrite(self->p.fd[round % 2], &value, 1, at));
		self->p.model[round % 2][at] = value;
		ASSERT_TRUE(push_all_out(&self->p));
		EXPECT_TRUE(pair_holds(&self->p));
		EXPECT_EQ(1, dedupe_pages(self->p.fd[0], self->p.fd[1], N));
		ASSERT_EQ(1, pwrite(self->p.fd[!(round % 2)], &value, 1, at));
		self->p.model[!(round % 2)][at] = value;
		ASSERT_TRUE(push_all_out(&self->p));
		ASSERT_TRUE(pair_merge(&self->p));
	}
	EXPECT_TRUE(pair_holds(&self->p));
}

TEST_F_TIMEOUT(out, cut_while_out, TEST_SECONDS)
{
	struct pair *p = &self->p;

	ASSERT_TRUE(push_common_out());
	ASSERT_EQ(0, fallocate(p->fd[0], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       pagesize, 2 * pagesize + 50));
	memset(p->model[0] + pagesize, 0, 2 * pagesize + 50);
	ASSERT_EQ(0, ftruncate(p->fd[1], 5 * pagesize + 5));
	ASSERT_EQ(0, ftruncate(p->fd[1], N * pagesize));
	memset(p->model[1] + 5 * pagesize + 5, 0, (N - 5) * pagesize - 5);
	EXPECT_TRUE(pair_holds(p));
	pair_free(p);
	EXPECT_TRUE(shared_becomes(0, 0));
}

/* It ends, and everything is there: what files have in common, and their own. */
TEST_F_TIMEOUT(out, swapoff, TEST_SECONDS)
{
	ASSERT_TRUE(take_back(self->p.fd[0], 0, 3));
	ASSERT_TRUE(push_all_out(&self->p));
	ASSERT_EQ(0, swapoff("/dev/zram0"));
	EXPECT_EQ(0, shared_now().swapped);
	EXPECT_TRUE(shared_becomes(N, 2 * N - 3));
	EXPECT_TRUE(pair_holds(&self->p));
}

/* Merged by a third file while they are out. */
TEST_F_TIMEOUT(out, merged_while_out, TEST_SECONDS)
{
	struct pair q;

	ASSERT_TRUE(pair_make(&q, NULL, N, 1));
	ASSERT_TRUE(push_common_out());
	ASSERT_EQ(0, dedupe_pages(self->p.fd[0], q.fd[0], N));
	ASSERT_TRUE(push_common_out());
	ASSERT_EQ(0, dedupe_pages(q.fd[1], self->p.fd[1], N));
	EXPECT_TRUE(shared_becomes(N, 4 * N));
	ASSERT_TRUE(push_common_out());
	EXPECT_TRUE(pair_holds(&q));
	EXPECT_TRUE(pair_holds(&self->p));
}

/* A device that only reads has a file's own pages, which nobody has written when they go out. */
TEST_F_TIMEOUT(out, given_back_and_out, TEST_SECONDS)
{
	int device = OPEN_GUP_TEST(), k;
	char *map;

	for (k = 0; k < 2; k++) {
		map = map_file(self->p.fd[k], N, MAP_SHARED);
		ASSERT_NE(NULL, map);
		ASSERT_EQ(0, pin(device, map, N, 0));
		ASSERT_EQ(0, ioctl(device, PIN_STOP));
		munmap(map, N * pagesize);
	}
	EXPECT_TRUE(shared_becomes(0, 0));
	ASSERT_TRUE(push_all_out(&self->p));
	EXPECT_TRUE(pair_holds(&self->p));
	close(device);
}

TEST_HARNESS_MAIN

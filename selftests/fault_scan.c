// SPDX-License-Identifier: GPL-2.0
/* Out of memory in the scanner: what it cannot do it leaves, and goes on. */
#include <signal.h>

#include "fault_fixture.h"

/* A scene with something of everything: 4 alike, 4 alike, 2 zero, 2 unique. */
#define N	12

static void build(char *map)
{
	int i;

	fill_all(map, 4, 1);
	fill_all(page_of(map, 4), 4, 2);
	memset(page_of(map, 8), 0, 2 * pagesize);
	for (i = 10; i < N; i++)
		fill(page_of(map, i), i);
}

static bool intact(char *map)
{
	return all_hold(map, 4, 1) && all_hold(page_of(map, 4), 4, 2) &&
	       is_zero(page_of(map, 8)) && is_zero(page_of(map, 9)) &&
	       holds(page_of(map, 10), 10) && holds(page_of(map, 11), 11);
}

/* Each allocation of the passes in which the scene is merged. */
FAULT_TEST(every_allocation)
{
	int fd = open_fail_nth(scanner()), n, pass;
	char *map = map_pages(N);
	struct counters c;

	ASSERT_LE(0, fd);
	ASSERT_NE(NULL, map);
	build(map);
	ASSERT_EQ(0, knob_set("use_zero_pages", 1));
	ASSERT_EQ(0, madvise(map, N * pagesize, MADV_MERGEABLE));
	for (n = 1;; n++) {
		bool fault;

		set_nth(fd, n);
		for (pass = 0; pass < 4; pass++) {
			ASSERT_TRUE(ksm_step());
			ASSERT_TRUE(intact(map));
		}
		fault = nth_failed(fd);
		/* Passes without a fault make up for it. */
		for (pass = 0; pass < 3; pass++) {
			ASSERT_TRUE(ksm_step());
		}
		c = counters_at_rest();
		ASSERT_EQ(2, c.shared);
		ASSERT_EQ(6, c.sharing);
		ASSERT_EQ(2, c.zero);
		ASSERT_EQ(2, c.unshared);
		ASSERT_TRUE(intact(map));
		ASSERT_EQ(0, knob_set("run", 2));
		ASSERT_EQ(0, knob("pages_shared"));
		ASSERT_EQ(0, ksm_stat(0, "ksm_rmap_items"));
		ASSERT_TRUE(no_two_share(map, N));
		ASSERT_TRUE(intact(map));
		if (!fault)
			break;
	}
	/* One for each merged content at the least. */
	EXPECT_LT(2, n);
	close(fd);
}

/* One in five fails, among writes, forks and unmerging. */
FAULT_TEST(many_allocations)
{
	char *map = map_pages(N);
	int i;

	ASSERT_NE(NULL, map);
	build(map);
	ASSERT_EQ(0, knob_set("use_zero_pages", 1));
	ASSERT_EQ(0, madvise(map, N * pagesize, MADV_MERGEABLE));
	make_fail(scanner(), true);
	ASSERT_TRUE(fail_percent(20));
	ASSERT_EQ(0, knob_set("run", 1));
	for (i = 0; i < 40; i++) {
		pid_t pid = fork_child();

		if (pid == 0) {
			fill(page_of(map, i % N), 3);
			_exit(!holds(page_of(map, i % N), 3));
		}
		ASSERT_TRUE(ksm_passes(1));
		ASSERT_TRUE(intact(map));
		build(map);
		ASSERT_EQ(0, wait_child(pid));
		ASSERT_TRUE(i % 8 || (knob_set("run", 2) == 0 &&
				      no_two_share(map, N) &&
				      knob_set("run", 1) == 0));
	}
	ASSERT_TRUE(fail_percent(0));
	make_fail(scanner(), false);
	ASSERT_TRUE(ksm_settles(2, 6));
	ASSERT_TRUE(counter_reaches("ksm_zero_pages", 2));
	EXPECT_TRUE(intact(map));
}

/* Everything fails for a while: nothing is merged or lost, passes go by. */
FAULT_TEST(no_memory_at_all)
{
	char *map = map_pages(N);

	ASSERT_NE(NULL, map);
	build(map);
	ASSERT_EQ(0, madvise(map, N * pagesize, MADV_MERGEABLE));
	make_fail(scanner(), true);
	ASSERT_TRUE(fail_percent(100));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_passes(5));
	EXPECT_EQ(0, knob("pages_shared"));
	EXPECT_TRUE(intact(map));
	ASSERT_TRUE(fail_percent(0));
	make_fail(scanner(), false);
	ASSERT_TRUE(ksm_settles(3, 7));
	EXPECT_TRUE(intact(map));
}

TEST_HARNESS_MAIN

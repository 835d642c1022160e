// SPDX-License-Identifier: GPL-2.0
/* Memory of processes that never asked for merging, and share some with one that did. */
#include <signal.h>

#include "ksm_fixture.h"

static int peer_asks(struct peer *p, void *arg)
{
	char *map = arg;

	CHECK(!madvise(map, 8 * pagesize, MADV_MERGEABLE));
	CHECK(peer_meet(p));
	CHECK(peer_meet(p));	/* merged and unmerged */
	CHECK(all_hold(map, 8, 1));
	return 0;
}

/*
 * A fork leaves pages that both map. If the child's asking made them merged
 * ones in the parent too, nobody would find them there to unmerge them.
 */
KSM_TEST(parent_of_a_mergeable_child)
{
	char *map = map_pages(8);
	struct peer p;
	int i;

	ASSERT_NE(NULL, map);
	fill_all(map, 8, 1);
	ASSERT_TRUE(peer_start(&p, peer_asks, map));
	ASSERT_TRUE(peer_meet(&p));
	ASSERT_EQ(0, knob_set("run", 1));
	EXPECT_TRUE(ksm_settles(1, 7));
	for (i = 0; i < 8; i++)
		EXPECT_FALSE(is_ksm(page_of(map, i)));
	EXPECT_TRUE(all_hold(map, 8, 1));
	EXPECT_EQ(0, knob_set("run", 2));
	EXPECT_EQ(0, knob("pages_shared"));
	EXPECT_TRUE(no_two_share(map, 8));
	EXPECT_TRUE(peer_meet(&p));
	EXPECT_EQ(0, peer_end(&p));
	EXPECT_TRUE(all_hold(map, 8, 1));
}

/* The same, where it is the parent that asks and the child that does not. */
KSM_TEST(child_of_before)
{
	char *map = map_pages(8);
	pid_t pid;

	ASSERT_NE(NULL, map);
	fill_all(map, 8, 2);
	pid = fork_child();
	if (pid == 0) {
		for (;;)
			pause();
	}
	ASSERT_EQ(0, madvise(map, 8 * pagesize, MADV_MERGEABLE));
	ASSERT_EQ(0, knob_set("run", 1));
	EXPECT_TRUE(ksm_settles(1, 7));
	EXPECT_EQ(0, kflags_of(pid, map) & (1ULL << 21));
	EXPECT_EQ(0, knob_set("run", 2));
	EXPECT_EQ(0, knob("pages_shared"));
	EXPECT_TRUE(all_hold(map, 8, 2));
	kill(pid, SIGKILL);
	EXPECT_EQ(128 + SIGKILL, wait_child(pid));
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/* Pages of different NUMA nodes, which merge_across_nodes keeps apart. */
#include "numa_fixture.h"

#define N		24

KSM_TEST(nodes_apart)
{
	char *map = map_pages(2 * N);
	int i;

	NEED_TWO_NODES();
	ASSERT_NE(NULL, map);
	ASSERT_TRUE(on_node(map, N, 0));
	ASSERT_TRUE(on_node(page_of(map, N), N, 1));
	fill_all(map, 2 * N, 1);
	ASSERT_EQ(0, madvise(map, 2 * N * pagesize, MADV_MERGEABLE));
	ASSERT_EQ(0, knob_set("merge_across_nodes", 0));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(2, 2 * N - 2));
	for (i = 0; i < 2 * N; i++) {
		EXPECT_EQ(i / N, node_of(page_of(map, i)));
	}
	EXPECT_EQ(1, distinct_pfns(map, N));
	EXPECT_EQ(1, distinct_pfns(page_of(map, N), N));
	EXPECT_EQ(-EBUSY, knob_set("merge_across_nodes", 1));
	EXPECT_EQ(0, knob("merge_across_nodes"));
	ASSERT_EQ(0, knob_set("run", 2));
	ASSERT_EQ(0, knob_set("merge_across_nodes", 1));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, 2 * N - 1));
	EXPECT_TRUE(all_hold(map, 2 * N, 1));
}

/* A merged page that moves to another node is found by pages there. */
KSM_TEST(moved_page_is_found)
{
	char *map = map_pages(N), *more = map_pages(4);

	NEED_TWO_NODES();
	ASSERT_TRUE(map && more);
	ASSERT_TRUE(on_node(map, N, 0));
	ASSERT_TRUE(on_node(more, 4, 1));
	fill_all(map, N, 1);
	ASSERT_EQ(0, madvise(map, N * pagesize, MADV_MERGEABLE));
	ASSERT_EQ(0, knob_set("merge_across_nodes", 0));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, N - 1));
	/* The scanner's own reference would be in the way. */
	ASSERT_TRUE(scanner_stop());
	ASSERT_TRUE(move_page(0, map, 1));
	ASSERT_EQ(1, node_of(map));
	ASSERT_EQ(0, knob_set("run", 1));
	fill_all(more, 4, 1);
	ASSERT_EQ(0, madvise(more, 4 * pagesize, MADV_MERGEABLE));
	ASSERT_TRUE(ksm_settles(1, N + 3));
	EXPECT_EQ(pfn_of(0, map), pfn_of(0, more));
	/* And found no more by those of the node that it left. */
	more = map_pages(4);
	ASSERT_TRUE(more && on_node(more, 4, 0));
	fill_all(more, 4, 1);
	ASSERT_EQ(0, madvise(more, 4 * pagesize, MADV_MERGEABLE));
	ASSERT_TRUE(ksm_settles(2, N + 6));
	EXPECT_EQ(0, node_of(more));
	EXPECT_TRUE(all_hold(map, N, 1) && all_hold(more, 4, 1));
}

TEST_HARNESS_MAIN

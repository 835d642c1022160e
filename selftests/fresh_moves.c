// SPDX-License-Identifier: GPL-2.0
/* Frames that are drawn, on several NUMA nodes and for huge pages; and merged pages that their owner moves. */
#include "fresh_lib.h"
#include "numa_pages.h"

#define N	32

/* On either node, and both in one pass. */
FRESH_TEST(on_the_node_of_the_page)
{
	char *map[2];
	uint64_t *before[2];
	int node, i;

	NEED_TWO_NODES();
	ASSERT_EQ(0, knob_set("merge_across_nodes", 0));
	for (node = 0; node < 2; node++) {
		map[node] = map_pages(2 * N);
		ASSERT_NE(NULL, map[node]);
		ASSERT_TRUE(on_node(map[node], 2 * N, node));
		for (i = 0; i < 2 * N; i++)
			fill(page_of(map[node], i), i % N);
		before[node] = frames_of(map[node], 2 * N);
		ASSERT_EQ(0, madvise(map[node], 2 * N * pagesize, MADV_MERGEABLE));
	}
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(2 * N, 2 * N));
	for (node = 0; node < 2; node++) {
		for (i = 0; i < 2 * N; i++) {
			EXPECT_EQ(node, node_of(page_of(map[node], i)));
			EXPECT_TRUE(holds(page_of(map[node], i), i % N));
		}
		EXPECT_EQ(0, supplied(map[node], N, before[node]));
	}
}

static int peer_joins(struct peer *p, void *arg)
{
	char *map = equal_pages(N, 1);

	CHECK(map);
	CHECK(peer_swap(p, (long)map) == 0);
	CHECK(peer_meet(p));	/* the other one has moved */
	CHECK(!madvise(map, N * pagesize, MADV_MERGEABLE));
	CHECK(peer_meet(p));
	CHECK(peer_meet(p));	/* merged */
	CHECK(all_hold(map, N, 1));
	return 0;
}

/*
 * Whoever alone maps a merged page may move it, to a frame that he has prepared: by what any process may do.
 * Is it what another one gets who has the same content?
 */
static bool gets_the_moved_one(struct __test_metadata *_metadata, bool drawn)
{
	char *map = map_pages(2), *other;
	void *page = map;
	int node, status = -1;
	uint64_t moved, got;
	struct peer p;

	ASSERT_NE(NULL, map);
	fill_all(map, 2, 1);
	ASSERT_EQ(0, knob_set("fresh_frames", drawn));
	ASSERT_TRUE(peer_start(&p, peer_joins, NULL));
	other = (char *)peer_swap(&p, 0);
	ASSERT_EQ(0, madvise(map, 2 * pagesize, MADV_MERGEABLE));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, 1));
	ASSERT_TRUE(scanner_stop());
	ASSERT_EQ(0, munmap(page_of(map, 1), pagesize));
	node = !node_of(map);
	moved = pfn_of(0, map);
	ASSERT_EQ(0, syscall(SYS_move_pages, 0, 1, &page, &node, &status, MPOL_MF_MOVE));
	ASSERT_EQ(node, status);
	ASSERT_NE(moved, pfn_of(0, map));
	moved = pfn_of(0, map);
	ASSERT_TRUE(is_ksm(map));

	ASSERT_TRUE(peer_meet(&p));
	ASSERT_TRUE(peer_meet(&p));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(drawn ? ksm_settles(2, N - 1) : ksm_settles(1, N));
	ASSERT_TRUE(scanner_stop());
	got = pfn_of(p.pid, other);
	/* Its owner keeps it. */
	EXPECT_EQ(moved, pfn_of(0, map));
	EXPECT_TRUE(holds(map, 1));
	EXPECT_TRUE(kflags_of(p.pid, other) & KPF_KSM_BIT);
	ASSERT_TRUE(peer_meet(&p));
	EXPECT_EQ(0, peer_end(&p));
	return got == moved;
}

FRESH_TEST(moved_page_is_joined_by_nobody)
{
	NEED_TWO_NODES();
	EXPECT_FALSE(gets_the_moved_one(_metadata, true));
}

/* What is to be prevented is possible. */
FRESH_TEST(off_a_moved_page_is_joined)
{
	NEED_TWO_NODES();
	EXPECT_TRUE(gets_the_moved_one(_metadata, false));
}

/* A twin that was moved is passed over, and the one beside it is found. */
FRESH_TEST(moved_twin)
{
	char *map = equal_pages(N, 1), *more = equal_pages(4, 1);
	uint64_t moved, drawn;
	int i;

	NEED_TWO_NODES();
	ASSERT_TRUE(map && more);
	ASSERT_EQ(0, madvise(map, N * pagesize, MADV_MERGEABLE));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, N - 1));
	ASSERT_TRUE(scanner_stop());
	ASSERT_TRUE(move_page(0, map, !node_of(map)));
	moved = pfn_of(0, map);
	ASSERT_EQ(0, madvise(more, 4 * pagesize, MADV_MERGEABLE));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(2, N + 2));
	drawn = pfn_of(0, more);
	EXPECT_NE(moved, drawn);
	EXPECT_EQ(4, in_frames(more, 4, &drawn, 1));
	/* Again and again. */
	for (i = 0; i < 4; i++) {
		char *last = equal_pages(4, 1);

		ASSERT_NE(NULL, last);
		ASSERT_EQ(0, madvise(last, 4 * pagesize, MADV_MERGEABLE));
		ASSERT_TRUE(ksm_settles(2, N + 6 + 4 * i));
		EXPECT_EQ(4, in_frames(last, 4, &drawn, 1));
	}
	/* The other one as well: a third is drawn. */
	ASSERT_TRUE(scanner_stop());
	ASSERT_TRUE(move_page(0, more, !node_of(more)));
	drawn = pfn_of(0, more);
	more = equal_pages(4, 1);
	ASSERT_NE(NULL, more);
	ASSERT_EQ(0, madvise(more, 4 * pagesize, MADV_MERGEABLE));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(3, N + 21));
	EXPECT_NE(moved, pfn_of(0, more));
	EXPECT_NE(drawn, pfn_of(0, more));
	EXPECT_EQ(1, distinct_pfns(more, 4));
	EXPECT_TRUE(all_hold(map, N, 1) && all_hold(more, 4, 1));
}

TEST_HARNESS_MAIN

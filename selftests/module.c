// SPDX-License-Identifier: GPL-2.0
/* The module comes and goes: take-over, hand-back, refusal to go. */
#include "module_fixture.h"
#include "trace_lib.h"

static int peer_follows(struct peer *p, void *arg)
{
	char *map = map_pages(8);

	CHECK(map);
	fill_all(map, 8, 1);
	CHECK(!madvise(map, 8 * pagesize, MADV_MERGEABLE));
	CHECK(peer_meet(p));
	for (;;) {
		long want = peer_swap(p, 0);	/* 1: merged, 0: not, -1: end */

		if (want < 0)
			break;
		CHECK(all_hold(map, 8, 1));
		CHECK(distinct_pfns(map, 8) == (want ? 1 : 8));
		CHECK(all_ksm(map, 8) == want);
		CHECK(peer_meet(p));
	}
	return 0;
}

static bool peer_has_merged(struct peer *p, bool merged)
{
	return peer_swap(p, merged) == 0 && peer_meet(p);
}

/*
 * In-tree KSM merges two processes; the module takes over, gives every page
 * back, and merges them itself though neither calls madvise() again; it
 * cannot be unloaded then; after run=2 it can; in-tree KSM goes on as before.
 */
MODULE_TEST(take_over_and_hand_back)
{
	struct peer p;
	char *map;

	ASSERT_TRUE(peer_start(&p, peer_follows, NULL));
	map = MERGEABLE_PAGES(8, 1);
	ASSERT_TRUE(peer_meet(&p));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, 15));

	ASSERT_EQ(0, load_stopped());
	EXPECT_TRUE(no_two_share(map, 8));
	EXPECT_TRUE(all_hold(map, 8, 1));
	ASSERT_TRUE(peer_has_merged(&p, false));
	EXPECT_EQ(0, knob("run"));
	EXPECT_EQ(0, knob("pages_shared"));

	ASSERT_TRUE(knobs_for_test());
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, 15));
	EXPECT_EQ(1, distinct_pfns(map, 8));
	ASSERT_TRUE(peer_has_merged(&p, true));
	EXPECT_EQ(-EWOULDBLOCK, unload());
	ASSERT_TRUE(loaded());
	EXPECT_EQ(1, distinct_pfns(map, 8));
	EXPECT_TRUE(all_hold(map, 8, 1));
	EXPECT_EQ(8, merging_pages(0));

	ASSERT_EQ(0, knob_set("run", 2));
	EXPECT_TRUE(no_two_share(map, 8));
	ASSERT_EQ(0, unload());
	EXPECT_TRUE(all_hold(map, 8, 1));

	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, 15));
	EXPECT_EQ(1, distinct_pfns(map, 8));
	EXPECT_TRUE(all_hold(map, 8, 1));
	ASSERT_TRUE(peer_has_merged(&p, true));
	ASSERT_EQ(0, peer_swap(&p, -1));
	EXPECT_EQ(0, peer_end(&p));
}

/* Advice given to one provider counts for the other, prctl() as well. */
MODULE_TEST(advice_outlives_provider)
{
	char *before = MERGEABLE_PAGES(4, 2), *during, *after;
	char *later = map_pages(4);

	ASSERT_NE(NULL, later);
	LOAD();
	during = MERGEABLE_PAGES(4, 2);
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, 7));
	EXPECT_EQ(pfn_of(0, before), pfn_of(0, during));
	ASSERT_EQ(0, madvise(before, 4 * pagesize, MADV_UNMERGEABLE));
	ASSERT_TRUE(ksm_settles(1, 3));
	ASSERT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0));
	ASSERT_EQ(0, knob_set("run", 2));
	ASSERT_EQ(0, unload());
	EXPECT_EQ(1, prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0));
	after = map_pages(4);
	ASSERT_NE(NULL, after);
	fill_all(after, 4, 2);
	fill_all(later, 4, 2);
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_passes(6));
	EXPECT_EQ(pfn_of(0, during), pfn_of(0, after));
	EXPECT_EQ(pfn_of(0, during), pfn_of(0, later));
	EXPECT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0));
	EXPECT_TRUE(all_hold(before, 4, 2) && all_hold(after, 4, 2));
}

/* One page with one mapping is enough to keep the module. */
MODULE_TEST(refuses_for_one_page)
{
	char *map;

	LOAD();
	map = MERGED_PAGES(2, 3);
	fill(map, 4);
	ASSERT_TRUE(ksm_settles(1, 0));
	ASSERT_EQ(0, knob_set("run", 0));
	EXPECT_EQ(-EWOULDBLOCK, unload());
	EXPECT_TRUE(is_ksm(page_of(map, 1)));
	EXPECT_TRUE(holds(page_of(map, 1), 3));
	ASSERT_EQ(0, knob_set("run", 2));
	EXPECT_EQ(0, unload());
	EXPECT_TRUE(holds(map, 4));
	EXPECT_TRUE(holds(page_of(map, 1), 3));
}

/* Nothing merged: it goes in the midst of scanning. */
MODULE_TEST(unloads_while_scanning)
{
	char *map;
	int i;

	for (i = 0; i < 5; i++) {
		int j;

		LOAD();
		map = MERGEABLE_PAGES(64, 5);
		for (j = 0; j < 64; j++)
			fill(page_of(map, j), 1000 + j);
		ASSERT_EQ(0, knob_set("run", 1));
		ASSERT_TRUE(ksm_passes(i));
		ASSERT_EQ(0, unload());
		for (j = 0; j < 64; j++) {
			ASSERT_TRUE(holds(page_of(map, j), 1000 + j));
		}
		ASSERT_EQ(0, munmap(map, 64 * pagesize));
	}
}

/* Zero pages of either provider when the other one comes. */
MODULE_TEST(zero_pages_change_hands)
{
	char *map = MERGEABLE_PAGES(8, 6);
	int i;

	memset(map, 0, 8 * pagesize);
	ASSERT_EQ(0, knob_set("use_zero_pages", 1));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(counter_reaches("ksm_zero_pages", 8));
	LOAD();
	EXPECT_EQ(0, knob("ksm_zero_pages"));
	EXPECT_EQ(0, ksm_stat(0, "ksm_zero_pages"));
	EXPECT_TRUE(no_two_share(map, 8));
	ASSERT_EQ(0, knob_set("use_zero_pages", 1));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(counter_reaches("ksm_zero_pages", 8));
	ASSERT_EQ(0, knob_set("run", 2));
	EXPECT_EQ(0, knob("ksm_zero_pages"));
	ASSERT_EQ(0, unload());
	for (i = 0; i < 8; i++) {
		EXPECT_TRUE(is_zero(page_of(map, i)));
	}
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(counter_reaches("ksm_zero_pages", 8));
}

/* Who never asked for merging is not left with in-tree KSM, which would enrol its children. */
MODULE_TEST(unasked_is_forgotten)
{
	char *map = map_pages(1);
	int asks;

	ASSERT_NE(NULL, map);
	LOAD();
	ASSERT_EQ(0, knob_write("scope", "all"));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_passes(3));
	EXPECT_LT(0, ksm_stat(0, "ksm_rmap_items"));
	ASSERT_EQ(0, knob_set("run", 2));
	ASSERT_EQ(0, unload());
	ASSERT_TRUE(trace_on("ksm/ksm_enter"));
	/* The second child asks: so it would be seen if the first one was enrolled. */
	for (asks = 0; asks < 2; asks++) {
		pid_t pid = fork_child();

		if (pid == 0)
			_exit(asks && madvise(map, pagesize, MADV_MERGEABLE));
		EXPECT_EQ(0, wait_child(pid));
		EXPECT_EQ(asks, trace_count("ksm_enter", NULL));
	}
	trace_off();
}

#define SPARSE	(64UL << 40)
#define LOCKS	"mmap_lock/mmap_lock_acquire_returned"

/* Taking over goes by page tables, not by addresses; counted by the locks that it takes. */
MODULE_TEST(sparse_mapping_changes_hands)
{
	char *map = mmap(NULL, SPARSE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0), go = 1;
	int to[2];
	pid_t pid;

	if (map == MAP_FAILED)
		SKIP(return, "no 64 TiB of address space");
	if (access(EVENTS LOCKS, F_OK))
		SKIP(return, "no events of mmap locks");
	map[SPARSE / 2] = 1;
	ASSERT_EQ(0, madvise(map, SPARSE, MADV_MERGEABLE));
	ASSERT_EQ(0, pipe(to));
	/* This one has it as well. */
	pid = fork_child();
	if (pid == 0)
		_exit(read(to[0], &go, 1) != 1 || load());
	ASSERT_TRUE(trace_only(pid) && trace_on(LOCKS));
	ASSERT_EQ(1, write(to[1], &go, 1));
	EXPECT_EQ(0, wait_child(pid));
	EXPECT_GT(200, trace_total());
	trace_off();
	EXPECT_EQ(0, unload());
}

MODULE_TEST(second_load)
{
	LOAD();
	EXPECT_EQ(-EEXIST, load());
	EXPECT_EQ(0, unload());
	EXPECT_EQ(-ENOENT, unload());
}

/* When slabs and page tables that are done with have gone, and what others have read. */
static long free_at_rest(void)
{
	usleep(100000);
	file_write("/proc/sys/vm/drop_caches", "3");
	return free_pages();
}

/* Pools of frames to draw from, of 1024 each: none is left behind. */
MODULE_TEST(pools_go_with_it)
{
	enum { TIMES = 16, PAIRS = 64, POOL = 1024 };
	char *map = map_pages(2 * PAIRS);
	long before = 0;
	int i, k;

	ASSERT_NE(NULL, map);
	ASSERT_EQ(0, madvise(map, 2 * PAIRS * pagesize, MADV_MERGEABLE));
	for (k = 0; k < 2 * PAIRS; k++)
		fill(page_of(map, k), k % PAIRS);
	for (i = 0; i <= TIMES; i++) {
		LOAD();
		ASSERT_EQ(0, knob_set("fresh_frames", 1));
		ASSERT_EQ(0, knob_set("run", 1));
		ASSERT_TRUE(ksm_settles(PAIRS, PAIRS));
		ASSERT_EQ(0, knob_set("run", 2));
		ASSERT_EQ(0, unload());
		/* The first time there are caches to be filled, and later ones on a kernel that looks for faults. */
		if (i == 0)
			before = free_at_rest();
	}
	EXPECT_GT(TIMES * POOL / 2, before - free_at_rest());
}

TEST_HARNESS_MAIN

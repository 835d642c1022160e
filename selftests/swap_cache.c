// SPDX-License-Identifier: GPL-2.0
/* Pages that are in memory and in the swap cache when they are merged. */
#include "swap_fixture.h"

#define N		16
#define KPF_SWAPCACHE_BIT	(1ULL << 13)

static size_t in_swap_cache(char *map, size_t n)
{
	size_t found = 0;

	while (n--)
		if (kflags_of(0, page_of(map, n)) & KPF_SWAPCACHE_BIT)
			found++;
	return found;
}

/*
 * A page that was read in from swap and then written differs from its copy in
 * swap, and only its page table entry knows. Merging takes that entry away; a
 * page that reclaim believes to be clean afterwards comes back as it was.
 */
SWAP_TEST(newer_than_swap)
{
	char *map = map_pages(N);
	int i, round;

	ASSERT_TRUE(swap_on_loop());
	ASSERT_NE(NULL, map);
	ASSERT_EQ(0, madvise(map, N * pagesize, MADV_MERGEABLE));
	for (round = 0; round < 3; round++) {
		for (i = 0; i < N; i++)
			fill(page_of(map, i), 100 + i);
		ASSERT_TRUE(push_out(map, N));
		for (i = 0; i < N; i++) {
			ASSERT_TRUE(holds(page_of(map, i), 100 + i));
		}
		ASSERT_LT(0, in_swap_cache(map, N));
		fill_all(map, N, round);
		ASSERT_EQ(0, knob_set("run", 1));
		ASSERT_TRUE(ksm_settles(1, N - 1));
		ASSERT_TRUE(scanner_stop());
		ASSERT_TRUE(push_out(map, N));
		EXPECT_TRUE(all_hold(map, N, round));
		ASSERT_EQ(0, knob_set("run", 2));
	}
}

/* The zero page instead of such a page: the copy in swap must not return. */
SWAP_TEST(zero_in_swap_cache)
{
	char *map = map_pages(N);
	int i;

	ASSERT_TRUE(swap_on_loop());
	ASSERT_NE(NULL, map);
	ASSERT_EQ(0, madvise(map, N * pagesize, MADV_MERGEABLE));
	fill_all(map, N, 1);
	ASSERT_TRUE(push_out(map, N));
	ASSERT_TRUE(all_hold(map, N, 1));
	ASSERT_LT(0, in_swap_cache(map, N));
	memset(map, 0, N * pagesize);
	ASSERT_EQ(0, knob_set("use_zero_pages", 1));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(counter_reaches("ksm_zero_pages", N));
	ASSERT_EQ(0, knob_set("run", 2));
	ASSERT_TRUE(push_out(map, N));
	for (i = 0; i < N; i++) {
		EXPECT_TRUE(is_zero(page_of(map, i)));
	}
}

/* Merged pages read in and still in the swap cache: found, joined, given back. */
SWAP_TEST(merged_in_swap_cache)
{
	char *map = MERGED_PAGES(N, 2), *more;
	int round;

	ASSERT_TRUE(swap_on_loop());
	for (round = 0; round < 3; round++) {
		ASSERT_TRUE(scanner_stop());
		ASSERT_TRUE(push_out(map, N));
		ASSERT_TRUE(all_hold(map, N, 2));
		ASSERT_LT(0, in_swap_cache(map, N));
		more = MERGEABLE_PAGES(2, 2);
		ASSERT_EQ(0, knob_set("run", 1));
		ASSERT_TRUE(ksm_settles(1, N + 1));
		EXPECT_EQ(pfn_of(0, map), pfn_of(0, more));
		fill(map, 3);
		EXPECT_TRUE(holds(map, 3));
		EXPECT_TRUE(all_hold(page_of(map, 1), N - 1, 2));
		fill(map, 2);
		ASSERT_EQ(0, munmap(more, 2 * pagesize));
		ASSERT_TRUE(ksm_settles(1, N - 1));
	}
	ASSERT_EQ(0, knob_set("run", 2));
	EXPECT_TRUE(no_two_share(map, N));
	EXPECT_TRUE(all_hold(map, N, 2));
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/* The tracepoints of the group rksm. */
#include "beside_fixture.h"

#define N	8

BESIDE_TEST(a_merge)
{
	char *map, want[64];
	uint64_t pfn;
	int i;

	ASSERT_TRUE(trace_on("rksm"));
	map = MERGED_PAGES(N, 1);
	pfn = pfn_of(0, map);
	ASSERT_EQ(0, knob_set("run", 0));
	EXPECT_EQ(1, trace_count("rksm_enter", ": mm "));
	EXPECT_LE(3, trace_count("rksm_start_scan", ": pass "));
	EXPECT_LE(3, trace_count("rksm_stop_scan", ": pass "));
	EXPECT_EQ(1, trace_count("rksm_merge_one_page", " error 0 "));
	EXPECT_EQ(N - 1, trace_count("rksm_merge_with_ksm_page", " error 0 "));
	snprintf(want, sizeof(want), "ksm pfn %lu error 0 ", pfn);
	EXPECT_EQ(N - 1, trace_count("rksm_merge_with_ksm_page", want));
	for (i = 0; i < N; i++) {
		snprintf(want, sizeof(want), "address 0x%lx pfn ", (long)page_of(map, i));
		EXPECT_LE(1, trace_count("rksm_merge_one_page", want) +
			     trace_count("rksm_merge_with_ksm_page", want));
	}

	trace_forget();
	ASSERT_EQ(0, knob_set("run", 2));
	snprintf(want, sizeof(want), " pfn %lu ", pfn);
	EXPECT_LE(N, trace_count("rksm_remove_rmap_item", want));
	EXPECT_EQ(1, trace_count("rksm_remove_ksm_page", want));
}

BESIDE_TEST(an_exit)
{
	pid_t pid;

	ASSERT_TRUE(trace_on("rksm"));
	pid = fork_child();
	if (pid == 0) {
		char *map = map_pages(1);

		_exit(!map || madvise(map, pagesize, MADV_MERGEABLE));
	}
	EXPECT_EQ(0, wait_child(pid));
	EXPECT_EQ(1, trace_count("rksm_enter", ": mm "));
	EXPECT_EQ(1, trace_count("rksm_exit", ": mm "));
}

BESIDE_TEST(the_advisor)
{
	char *map = MERGEABLE_PAGES(N, 2);

	ASSERT_NE(NULL, map);
	ASSERT_EQ(0, knob_write("advisor_mode", "scan-time"));
	ASSERT_TRUE(trace_on("rksm"));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_passes(2));
	EXPECT_LE(1, trace_count("rksm_advisor", ": scan time "));
	EXPECT_LE(1, trace_count("rksm_advisor", " ms pages_to_scan 500 cpu percent "));
}

TEST_HARNESS_MAIN

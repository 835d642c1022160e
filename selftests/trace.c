// SPDX-License-Identifier: GPL-2.0
/* The tracepoints of the group rksm. */
#include <pthread.h>
#include <stdatomic.h>

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
	ASSERT_TRUE(scanner_stop());
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

	/* Those of in-tree KSM are silent. */
	ASSERT_TRUE(trace_on("ksm") && trace_on("rksm"));
	pid = fork_child();
	if (pid == 0) {
		char *map = map_pages(1);

		_exit(!map || madvise(map, pagesize, MADV_MERGEABLE));
	}
	EXPECT_EQ(0, wait_child(pid));
	EXPECT_EQ(1, trace_count("rksm_enter", ": mm "));
	EXPECT_EQ(1, trace_count("rksm_exit", ": mm "));
	EXPECT_EQ(0, trace_count("ksm_enter", NULL));
	EXPECT_EQ(0, trace_count("ksm_exit", NULL));
}

static atomic_bool done;

/* The page holds now one, now the other of what two merged pages do. */
static void *changes(void *page)
{
	while (!atomic_load(&done))
		*(volatile uint64_t *)page ^= 1;
	return NULL;
}

/* A page that is written to between the look-up and the merge. */
BESIDE_TEST(a_change)
{
	char *one, *other, *page = map_pages(1), want[32];
	pthread_t thread;
	int i;

	/* On one, the scanner is done with a page before it is written to. */
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "needs two CPUs");
	ASSERT_NE(NULL, page);
	one = MERGEABLE_PAGES(2, 1);
	other = MERGEABLE_PAGES(2, 1);
	for (i = 0; i < 2; i++)
		*(uint64_t *)page_of(other, i) ^= 1;
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(2, 2));
	ASSERT_TRUE(trace_on("rksm/rksm_merge_with_ksm_page"));
	fill(page, 1);
	ASSERT_EQ(0, pthread_create(&thread, NULL, changes, page));
	ASSERT_EQ(0, madvise(page, pagesize, MADV_MERGEABLE));
	snprintf(want, sizeof(want), " error %d ", -EAGAIN);
	for (i = 0; i < 1000 && !trace_count("rksm_merge_with_ksm_page", want); i++)
		ASSERT_TRUE(ksm_passes(10));
	EXPECT_LE(1, trace_count("rksm_merge_with_ksm_page", want));
	TH_LOG("after %d passes", 10 * i);
	atomic_store(&done, true);
	pthread_join(thread, NULL);
	/* Nobody else has what it wrote. */
	for (i = 0; i < 2; i++)
		*(uint64_t *)page_of(other, i) ^= 1;
	EXPECT_TRUE(all_hold(one, 2, 1) && all_hold(other, 2, 1));
}

static bool note_pages(const char *line, void *arg)
{
	*(long *)arg = trace_field(line, "pages_to_scan");
	return false;
}

BESIDE_TEST(the_advisor)
{
	enum { MANY = 2000, LEAST = 20, MOST = 1000000 };
	long pages = 0;

	ASSERT_NE(NULL, different_pages(MANY, 2));
	/* No bound is to decide: in a second there are less than fifty batches. */
	ASSERT_EQ(0, knob_set("sleep_millisecs", 20));
	ASSERT_EQ(0, knob_set("advisor_target_scan_time", 1));
	ASSERT_EQ(0, knob_set("advisor_min_pages_to_scan", LEAST));
	ASSERT_EQ(0, knob_set("advisor_max_pages_to_scan", MOST));
	ASSERT_EQ(0, knob_write("advisor_mode", "scan-time"));
	ASSERT_EQ(0, knob_set("advisor_min_pages_to_scan", 1));
	ASSERT_TRUE(trace_on("rksm"));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_passes(2));
	ASSERT_TRUE(scanner_stop());
	EXPECT_LE(2, trace_count("rksm_advisor", ": scan time "));
	/* What it was set to last is what it is. */
	trace_each("rksm_advisor", ": scan time ", note_pages, &pages);
	EXPECT_EQ(knob("pages_to_scan"), pages);
	EXPECT_NE(LEAST, pages);
	EXPECT_LT(1, pages);
	EXPECT_GT(MOST, pages);
}

TEST_HARNESS_MAIN

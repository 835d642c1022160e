// SPDX-License-Identifier: GPL-2.0
/* Who may share a page with whom, what is passed over, and how fast it goes. */
#include <fcntl.h>

#include "ksm_fixture.h"

#define N		24

/* How many of the pages lie in frames that so many of them share. */
static int sharing_by(char *map, int n, int by)
{
	int i, j, found = 0;

	for (i = 0; i < n; i++) {
		int same = 0;

		for (j = 0; j < n; j++)
			same += pfn_of(0, page_of(map, i)) == pfn_of(0, page_of(map, j));
		found += same == by;
	}
	return found;
}

KSM_TEST(few_may_share)
{
	char *map = MERGEABLE_PAGES(N, 1);
	int i;

	ASSERT_EQ(0, knob_set("max_page_sharing", 4));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(N / 4, N - N / 4));
	EXPECT_EQ(N, sharing_by(map, N, 4));
	EXPECT_EQ(1, knob("stable_node_chains"));
	EXPECT_EQ(N / 4, knob("stable_node_dups"));
	EXPECT_TRUE(all_hold(map, N, 1));
	/* The limit holds for those that are there. */
	EXPECT_EQ(-EBUSY, knob_set("max_page_sharing", 8));
	EXPECT_EQ(4, knob("max_page_sharing"));
	EXPECT_EQ(0, knob_set("max_page_sharing", 4));
	/* Others, equal to one another only, make a chain of their own. */
	fill_all(map, N / 2, 2);
	ASSERT_TRUE(ksm_settles(2 * (N / 8), N - 2 * (N / 8)));
	EXPECT_EQ(2, knob("stable_node_chains"));
	EXPECT_EQ(N / 4, knob("stable_node_dups"));
	/* The chain shrinks, and one page alone is none. */
	ASSERT_EQ(0, munmap(map, (N - 4) * pagesize));
	ASSERT_TRUE(ksm_settles(1, 3));
	EXPECT_TRUE(counter_reaches("stable_node_chains", 0));
	EXPECT_EQ(0, knob("stable_node_dups"));
	for (i = N - 4; i < N; i++) {
		EXPECT_TRUE(holds(page_of(map, i), 1));
	}
	ASSERT_EQ(0, knob_set("run", 2));
	EXPECT_EQ(0, knob_set("max_page_sharing", 8));
	EXPECT_EQ(0, knob("stable_node_chains"));
	EXPECT_EQ(0, knob("stable_node_dups"));
}

/* A dup that lost sharers takes new ones. */
KSM_TEST(room_is_used_again)
{
	char *map = MERGEABLE_PAGES(N, 1);
	int i;

	ASSERT_EQ(0, knob_set("max_page_sharing", 4));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(N / 4, N - N / 4));
	for (i = 0; i < 10; i++) {
		fill(page_of(map, (i * 7) % N), 100 + i);
		ASSERT_TRUE(ksm_settles(N / 4, N - N / 4 - 1));
		fill(page_of(map, (i * 7) % N), 1);
		ASSERT_TRUE(ksm_settles(N / 4, N - N / 4));
	}
	EXPECT_TRUE(all_hold(map, N, 1));
	EXPECT_EQ(1, knob("stable_node_chains"));
	EXPECT_EQ(N / 4, knob("stable_node_dups"));
}

/*
 * A page whose last mapping goes while a pipe holds it leaves its node behind,
 * which nobody shares: that is found out when it is time to look for such.
 */
/* Each merged page that rksm knows of keeps it loaded. */
static long merged_pages(void)
{
	FILE *file = fopen("/sys/module/rksm/refcnt", "r");
	long count = -1;

	if (file && fscanf(file, "%ld", &count) != 1)
		count = -1;
	if (file)
		fclose(file);
	return count;
}

KSM_TEST(pruned_in_time)
{
	char *map, *seen = map_pages(1);
	int fd[2];

	ASSERT_NE(NULL, seen);
	ASSERT_EQ(0, knob_set("max_page_sharing", 2));
	map = MERGEABLE_PAGES(4, 1);
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(2, 2));
	ASSERT_EQ(1, knob("stable_node_chains"));
	ASSERT_EQ(2, knob("stable_node_dups"));
	ASSERT_EQ(0, knob_set("stable_node_chains_prune_millisecs", 1000000));
	ASSERT_TRUE(put_in_pipe(map, fd));
	/* Others with another content, whatever shared that page. */
	for (int i = 3; i >= 0; i--)
		if (pfn_of(0, page_of(map, i)) == pfn_of(0, map))
			fill(page_of(map, i), 10 + i);
	ASSERT_TRUE(ksm_settles(1, 1));
	ASSERT_EQ(pagesize, read(fd[0], seen, pagesize));
	EXPECT_TRUE(holds(seen, 1));
	/* A page that nobody shares is no twin any more; its node stays until somebody looks. */
	ASSERT_TRUE(ksm_passes(10));
	EXPECT_EQ(0, knob("stable_node_chains"));
	EXPECT_EQ(0, knob("stable_node_dups"));
	EXPECT_EQ(2, merged_pages());
	ASSERT_EQ(0, knob_set("stable_node_chains_prune_millisecs", 1));
	ASSERT_TRUE(ksm_passes(10));
	EXPECT_EQ(1, merged_pages());
}

KSM_TEST(old_pages_are_skipped)
{
	char *map = map_pages(N), *late;
	long skipped, scanned;
	int i;

	ASSERT_NE(NULL, map);
	for (i = 0; i < N; i++)
		fill(page_of(map, i), 1000 + i);
	ASSERT_EQ(0, madvise(map, N * pagesize, MADV_MERGEABLE));
	/* Off: every pass looks at every page. */
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_passes(20));
	skipped = knob("pages_skipped");
	ASSERT_TRUE(ksm_passes(20));
	EXPECT_EQ(skipped, knob("pages_skipped"));
	/* On: in the end one pass in nine. */
	ASSERT_EQ(0, knob_set("smart_scan", 1));
	ASSERT_TRUE(ksm_passes(40));
	/* Passes go by between two readings, unless it stands still. */
	ASSERT_TRUE(scanner_stop());
	skipped = knob("pages_skipped");
	scanned = knob("pages_scanned");
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_passes(90));
	ASSERT_TRUE(scanner_stop());
	skipped = knob("pages_skipped") - skipped;
	scanned = knob("pages_scanned") - scanned;
	EXPECT_LE(7 * scanned, skipped) {
		TH_LOG("%ld skipped, %ld scanned", skipped, scanned);
	}
	ASSERT_EQ(0, knob_set("run", 1));
	/* One that comes late finds its equal all the same, and soon. */
	late = map_pages(1);
	ASSERT_NE(NULL, late);
	fill(late, 1000 + N / 2);
	ASSERT_EQ(0, madvise(late, pagesize, MADV_MERGEABLE));
	ASSERT_TRUE(ksm_passes(4));
	EXPECT_TRUE(is_ksm(late));
	EXPECT_EQ(pfn_of(0, late), pfn_of(0, page_of(map, N / 2)));
	for (i = 0; i < N; i++) {
		EXPECT_TRUE(holds(page_of(map, i), 1000 + i));
	}
}

/* Whatever a page was, what is written over a zero page is a new one. */
KSM_TEST(age_ends_with_zero_page)
{
	char *map = map_pages(2);

	ASSERT_NE(NULL, map);
	fill(map, 1);
	fill(page_of(map, 1), 2);
	ASSERT_EQ(0, madvise(map, 2 * pagesize, MADV_MERGEABLE));
	ASSERT_EQ(0, knob_set("use_zero_pages", 1));
	ASSERT_EQ(0, knob_set("smart_scan", 1));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_passes(50));
	memset(page_of(map, 1), 0, pagesize);
	ASSERT_TRUE(counter_reaches("ksm_zero_pages", 1));
	/* The pass that was under way is done with; each step is one from here on. */
	ASSERT_TRUE(ksm_step());
	fill(page_of(map, 1), 1);
	ASSERT_TRUE(ksm_step() && ksm_step());
	/* The other one, which is old, need not be looked at for that. */
	EXPECT_TRUE(is_ksm(page_of(map, 1)));
	EXPECT_TRUE(all_hold(map, 2, 1));
}

/* Of those there are, this one is in brackets. */
static bool advisor_is(const char *mode)
{
	char buf[64], want[32];

	snprintf(want, sizeof(want), "[%s]", mode);
	return knob_text("advisor_mode", buf, sizeof(buf)) > 0 && strstr(buf, want);
}

KSM_TEST(advisor_modes)
{
	EXPECT_TRUE(advisor_is("none"));
	EXPECT_EQ(-EINVAL, knob_write("advisor_mode", "scan"));
	EXPECT_EQ(-EINVAL, knob_write("advisor_mode", "1"));
	EXPECT_EQ(-EINVAL, knob_write("advisor_mode", "[scan-time]"));
	EXPECT_TRUE(advisor_is("none"));
	ASSERT_EQ(0, knob_set("pages_to_scan", 777));
	/* The same again leaves all as it is. */
	ASSERT_EQ(0, knob_write("advisor_mode", "none\n"));
	EXPECT_EQ(777, knob("pages_to_scan"));
	ASSERT_EQ(0, knob_set("advisor_min_pages_to_scan", 600));
	ASSERT_EQ(0, knob_write("advisor_mode", "scan-time\n"));
	EXPECT_TRUE(advisor_is("scan-time"));
	EXPECT_EQ(600, knob("pages_to_scan"));
	EXPECT_EQ(-EINVAL, knob_set("pages_to_scan", 100));
	EXPECT_EQ(600, knob("pages_to_scan"));
	ASSERT_EQ(0, knob_write("advisor_mode", "none"));
	EXPECT_EQ(100, knob("pages_to_scan"));
	EXPECT_EQ(0, knob_set("pages_to_scan", 101));
}

KSM_TEST(advisor_decides)
{
	enum { MANY = 4000 };
	char *map = map_pages(MANY);
	long pages;
	int i;

	ASSERT_NE(NULL, map);
	for (i = 0; i < MANY; i++)
		fill(page_of(map, i), 5000 + i);
	ASSERT_EQ(0, madvise(map, MANY * pagesize, MADV_MERGEABLE));
	/* A pass in 2 s, of batches with 20 ms between: 40 pages for each. */
	ASSERT_EQ(0, knob_set("sleep_millisecs", 20));
	ASSERT_EQ(0, knob_set("advisor_target_scan_time", 2));
	ASSERT_EQ(0, knob_set("advisor_min_pages_to_scan", 10));
	ASSERT_EQ(0, knob_set("advisor_max_pages_to_scan", 100000));
	ASSERT_EQ(0, knob_set("advisor_max_cpu", 99));
	ASSERT_EQ(0, knob_write("advisor_mode", "scan-time"));
	ASSERT_EQ(0, knob_set("advisor_min_pages_to_scan", 1));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_passes(2));
	pages = knob("pages_to_scan");
	TH_LOG("%ld pages to scan", pages);
	/* More where it takes time to scan them, or to wake up. */
	EXPECT_LE(40, pages);
	EXPECT_GE(MANY / 4, pages);
	/* What it may decide is bounded on both sides. */
	ASSERT_EQ(0, knob_set("advisor_max_pages_to_scan", 30));
	ASSERT_EQ(0, knob_set("sleep_millisecs", 0));
	ASSERT_TRUE(ksm_passes(1));
	EXPECT_GE(30, knob("pages_to_scan"));
	ASSERT_EQ(0, knob_set("advisor_max_pages_to_scan", 100000));
	ASSERT_EQ(0, knob_set("advisor_min_pages_to_scan", 7000));
	ASSERT_TRUE(ksm_passes(1));
	EXPECT_LE(7000, knob("pages_to_scan"));
}

TEST_HARNESS_MAIN

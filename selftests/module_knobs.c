// SPDX-License-Identifier: GPL-2.0
/* What in-tree KSM is set to, the module begins with; and the other way round. */
#include "module_fixture.h"

/* As an administrator sets them, and changes them while the module is there. */
static const struct {
	const char *name, *before, *later;
} values[] = {
	{ "pages_to_scan", "1234\n", "4321\n" },
	{ "sleep_millisecs", "17\n", "4294967295\n" },
	/* For NUMA only */
	{ "merge_across_nodes", "0\n", "1\n" },
	{ "max_page_sharing", "77\n", "2147483647\n" },
	{ "use_zero_pages", "1\n", "0\n" },
	{ "smart_scan", "1\n", "0\n" },
	{ "stable_node_chains_prune_millisecs", "0\n", "1999\n" },
	{ "advisor_max_cpu", "33\n", "44\n" },
	{ "advisor_min_pages_to_scan", "600\n", "18446744073709551615\n" },
	{ "advisor_max_pages_to_scan", "20000\n", "0\n" },
	{ "advisor_target_scan_time", "99\n", "18446744073709551615\n" },
};

static bool has(const char *dir, const char *name, const char *text)
{
	char path[256], now[64];
	int n;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	n = file_read(path, now, sizeof(now));
	if (n > 0 && !strcmp(now, text))
		return true;
	dprintf(2, "# %s: %d, \"%s\", not \"%s\"\n", path, n, n > 0 ? now : "", text);
	return false;
}

static bool is(const char *name, const char *text)
{
	return has(KSM_DIR, name, text) && (!loaded() || has(RKSM_DIR, name, text));
}

#define NUMA	(!access(KSM_DIR "/merge_across_nodes", F_OK))
#define HAS(i)	(NUMA || strcmp(values[i].name, "merge_across_nodes"))

MODULE_TEST(all_are_carried_over_and_back)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(values); i++) {
		ASSERT_EQ(0, HAS(i) ? knob_write(values[i].name, values[i].before) : 0);
	}
	ASSERT_EQ(0, load());
	for (i = 0; i < ARRAY_SIZE(values); i++) {
		EXPECT_TRUE(!HAS(i) || is(values[i].name, values[i].before));
	}
	/* Nothing was changed: nor is it now. */
	ASSERT_EQ(0, unload());
	for (i = 0; i < ARRAY_SIZE(values); i++) {
		EXPECT_TRUE(!HAS(i) || is(values[i].name, values[i].before));
	}

	ASSERT_EQ(0, load());
	for (i = 0; i < ARRAY_SIZE(values); i++) {
		ASSERT_EQ(0, HAS(i) ? knob_write(values[i].name, values[i].later) : 0);
	}
	ASSERT_EQ(0, unload());
	for (i = 0; i < ARRAY_SIZE(values); i++) {
		EXPECT_TRUE(!HAS(i) || is(values[i].name, values[i].later));
	}
	/* As the other tests want it. */
	EXPECT_TRUE(knobs_for_test());
}

/* It is in charge of pages_to_scan. */
MODULE_TEST(advisor_is_carried_over_and_back)
{
	ASSERT_EQ(0, knob_write("advisor_min_pages_to_scan", "600"));
	ASSERT_EQ(0, knob_write("advisor_mode", "scan-time"));
	ASSERT_EQ(0, load());
	EXPECT_TRUE(is("advisor_mode", "none [scan-time] pressure\n"));
	EXPECT_TRUE(is("pages_to_scan", "600\n"));
	EXPECT_EQ(-EINVAL, knob_set("pages_to_scan", 7));
	ASSERT_EQ(0, knob_write("advisor_min_pages_to_scan", "700"));
	ASSERT_EQ(0, unload());
	EXPECT_TRUE(is("advisor_mode", "none [scan-time]\n"));
	EXPECT_TRUE(is("advisor_min_pages_to_scan", "700\n"));
	EXPECT_TRUE(is("pages_to_scan", "700\n"));
	EXPECT_EQ(-EINVAL, knob_set("pages_to_scan", 7));

	ASSERT_EQ(0, load());
	ASSERT_EQ(0, knob_write("advisor_mode", "none"));
	ASSERT_EQ(0, knob_set("pages_to_scan", 7));
	ASSERT_EQ(0, unload());
	EXPECT_TRUE(is("advisor_mode", "[none] scan-time\n"));
	EXPECT_TRUE(is("pages_to_scan", "7\n"));
}

/* In-tree KSM has no such advisor: the next one begins without, and with no batch that this one has set. */
MODULE_TEST(pressure_is_not_carried_back)
{
	ASSERT_EQ(0, load());
	ASSERT_EQ(0, knob_set("advisor_free_high", 100));
	ASSERT_EQ(0, knob_set("advisor_free_low", 99));
	ASSERT_EQ(0, knob_set("advisor_max_cpu", 100));
	ASSERT_EQ(0, knob_write("advisor_mode", "pressure"));
	EXPECT_TRUE(is("advisor_mode", "none scan-time [pressure]\n"));
	EXPECT_TRUE(is("pages_to_scan", "4294967295\n"));
	ASSERT_EQ(0, unload());
	EXPECT_TRUE(is("advisor_mode", "[none] scan-time\n"));
	EXPECT_TRUE(is("pages_to_scan", "100\n"));
	EXPECT_EQ(0, knob_set("pages_to_scan", 7));
}

MODULE_TEST(run_is_carried_over_and_back)
{
	static const char * const runs[] = { "0\n", "1\n", "2\n" };
	int before, later;

	for (before = 0; before < 3; before++) {
		for (later = 0; later < 3; later++) {
			ASSERT_EQ(0, knob_write("run", runs[before]));
			ASSERT_EQ(0, load());
			EXPECT_TRUE(is("run", runs[before]));
			ASSERT_EQ(0, knob_write("run", runs[later]));
			ASSERT_EQ(0, unload());
			EXPECT_TRUE(is("run", runs[later]));
		}
	}
}

/* Nobody writes to "run", and pages are merged by whoever there is. */
MODULE_TEST(merging_goes_on)
{
	char *map = MERGED_PAGES(8, 1);
	int tries;

	ASSERT_EQ(0, load());
	EXPECT_TRUE(ksm_settles(1, 7));
	EXPECT_TRUE(all_ksm(map, 8));
	EXPECT_EQ(8, merging_pages(0));
	EXPECT_EQ(-EWOULDBLOCK, unload());

	/* The module can go without "run" if nothing is merged. */
	ASSERT_EQ(0, madvise(map, 8 * pagesize, MADV_UNMERGEABLE));
	for (tries = 0; tries < 1000 && unload(); tries++)
		usleep(10000);
	ASSERT_FALSE(loaded());
	ASSERT_EQ(0, madvise(map, 8 * pagesize, MADV_MERGEABLE));
	EXPECT_TRUE(ksm_settles(1, 7));
	EXPECT_TRUE(all_ksm(map, 8));
	EXPECT_TRUE(all_hold(map, 8, 1));
}

MODULE_TEST(parameter)
{
	char *map = MERGED_PAGES(8, 2);

	ASSERT_EQ(0, load_with("run=0"));
	EXPECT_TRUE(is("run", "0\n"));
	EXPECT_TRUE(none_ksm(map, 8));
	ASSERT_EQ(0, unload());
	EXPECT_TRUE(is("run", "0\n"));

	ASSERT_EQ(0, load_with("run=1"));
	EXPECT_TRUE(is("run", "1\n"));
	EXPECT_TRUE(ksm_settles(1, 7));
	ASSERT_EQ(0, knob_set("run", 2));
	ASSERT_EQ(0, unload());

	/* What it is without one, said aloud. */
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_EQ(0, load_with("run=-1"));
	EXPECT_TRUE(is("run", "1\n"));
	ASSERT_EQ(0, knob_set("run", 2));
	ASSERT_EQ(0, unload());
}

MODULE_TEST(bad_parameter)
{
	static const char * const bad[] = {
		"run=2", "run=-2", "run=3", "run=", "run", "run=x", "run=1x", "run=4294967297",
	};
	char *map = MERGED_PAGES(8, 3);
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-EINVAL, load_with(bad[i])) {
			TH_LOG("\"%s\"", bad[i]);
		}
		ASSERT_FALSE(loaded());
		EXPECT_TRUE(is("run", "1\n"));
		EXPECT_TRUE(all_ksm(map, 8));
	}
}

TEST_HARNESS_MAIN

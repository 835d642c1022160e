/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Every test starts with nothing merged, the scanner off and the knobs at
 * values that make a pass short, and ends with nothing merged and the knobs
 * as they were. The end runs in the parent, so it also happens when the test
 * was killed.
 */
#ifndef KSM_FIXTURE_H
#define KSM_FIXTURE_H

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "ksm_lib.h"

/* A test that takes longer hangs; generous, for kernels full of checks. */
#define TEST_SECONDS	600

static const struct {
	const char *name, *at_test;
} ksm_knobs[] = {
	{ "sleep_millisecs", "0" },
	{ "pages_to_scan", "10000" },
	{ "use_zero_pages", "0" },
	/* Not every provider has these. */
	{ "smart_scan", "0" },
	{ "max_page_sharing", "256" },
	{ "merge_across_nodes", "1" },
	/* Last: what it was may be to run. */
	{ "run", "2" },
};
#define KSM_NR_KNOBS	(sizeof(ksm_knobs) / sizeof(ksm_knobs[0]))

FIXTURE(ksm) {
	char before[KSM_NR_KNOBS][32];
};

FIXTURE_SETUP(ksm)
{
	size_t i;

	for (i = 0; i < KSM_NR_KNOBS; i++) {
		if (!knob_exists(ksm_knobs[i].name))
			continue;
		ASSERT_LT(0, knob_text(ksm_knobs[i].name, self->before[i],
				       sizeof(self->before[i])));
	}
	/* Some knobs can be set only while nothing is merged. */
	ASSERT_EQ(0, knob_set("run", 2));
	for (i = 0; i < KSM_NR_KNOBS; i++) {
		if (!self->before[i][0])
			continue;
		ASSERT_EQ(0, knob_write(ksm_knobs[i].name, ksm_knobs[i].at_test));
	}
	ASSERT_EQ(0, knob("pages_shared"));
	ASSERT_EQ(0, knob("pages_sharing"));
	ASSERT_EQ(0, knob("ksm_zero_pages"));
}

FIXTURE_TEARDOWN_PARENT(ksm)
{
	size_t i;

	EXPECT_EQ(0, knob_set("run", 2));
	EXPECT_EQ(0, knob("pages_shared"));
	EXPECT_EQ(0, knob("pages_sharing"));
	EXPECT_EQ(0, knob("ksm_zero_pages"));
	for (i = 0; i < KSM_NR_KNOBS; i++) {
		if (!self->before[i][0])
			continue;
		EXPECT_EQ(0, knob_write(ksm_knobs[i].name, self->before[i]));
	}
}

#define KSM_TEST(name)	TEST_F_TIMEOUT(ksm, name, TEST_SECONDS)

/* n pages with the same content, advised, and the scanner on. */
#define MERGEABLE_PAGES(n, seed) ({					\
	char *_map = map_pages(n);					\
									\
	ASSERT_NE(NULL, _map);						\
	fill_all(_map, n, seed);					\
	ASSERT_EQ(0, madvise(_map, (n) * pagesize, MADV_MERGEABLE));	\
	_map;								\
})

#define MERGED_PAGES(n, seed) ({					\
	char *_m = MERGEABLE_PAGES(n, seed);				\
									\
	ASSERT_EQ(0, knob_set("run", 1));				\
	ASSERT_TRUE(ksm_settles(1, (n) - 1));				\
	ASSERT_TRUE(all_ksm(_m, n));					\
	ASSERT_EQ(1, distinct_pfns(_m, n));				\
	_m;								\
})

#endif

// SPDX-License-Identifier: GPL-2.0
/* content=zero: pages full of zeroes, and no others. */
#include <errno.h>
#include <stdio.h>

#include "ksm_harness.h"
#include "trace_lib.h"

#define N	64

FIXTURE(content) {
	struct knob_values before;
};

FIXTURE_SETUP(content)
{
	NEEDS_KNOB("content", "this provider merges whatever is equal");
	ASSERT_TRUE(knobs_save(&self->before));
	ASSERT_TRUE(unmerge_everything());
	ASSERT_TRUE(knobs_for_test());
}

FIXTURE_TEARDOWN_PARENT(content)
{
	trace_off();
	EXPECT_TRUE(unmerge_everything());
	EXPECT_TRUE(knobs_restore(&self->before));
}

#define CONTENT_TEST(name)	TEST_F_TIMEOUT(content, name, TEST_SECONDS)

static bool content_is(const char *shown)
{
	char text[64];

	return knob_text("content", text, sizeof(text)) > 0 && !strcmp(text, shown);
}

/* Each a page of its own, which is full of zeroes. */
static char *zeroes(size_t n)
{
	char *map = map_pages(n);
	size_t i;

	for (i = 0; map && i < n; i++)
		*(volatile char *)page_of(map, i) = 0;
	return map;
}

static bool advise(char *map, size_t n)
{
	return map && !madvise(map, n * pagesize, MADV_MERGEABLE);
}

static long records(void)
{
	return ksm_stat(0, "ksm_rmap_items");
}

CONTENT_TEST(nothing_but_zeroes)
{
	char *zero = zeroes(N), *equal = equal_pages(N, 1), *other = map_pages(N);
	struct counters c;
	int i;

	ASSERT_NE(NULL, other);
	for (i = 0; i < N; i++)
		fill(page_of(other, i), 10 + i);
	ASSERT_EQ(0, knob_write("content", "zero"));
	ASSERT_TRUE(content_is("all [zero]\n"));
	ASSERT_TRUE(advise(zero, N) && advise(equal, N) && advise(other, N));
	ASSERT_EQ(0, knob_set("run", 1));
	/* Whatever use_zero_pages says. */
	ASSERT_EQ(0, knob("use_zero_pages"));
	ASSERT_TRUE(counter_reaches("ksm_zero_pages", N));
	ASSERT_TRUE(ksm_passes(4));
	c = counters_at_rest();
	EXPECT_EQ(N, c.zero);
	EXPECT_EQ(N, ksm_stat(0, "ksm_zero_pages"));
	EXPECT_EQ(N, on_zero_page(zero, N));
	EXPECT_EQ(0, c.shared);
	EXPECT_EQ(0, c.sharing);
	EXPECT_EQ(0, c.unshared);
	EXPECT_EQ(0, c.volatiles);
	/* Of no other page there is a record. */
	EXPECT_EQ(N, records());
	EXPECT_TRUE(no_two_share(equal, N));
	EXPECT_TRUE(all_hold(equal, N, 1));
	ASSERT_EQ(0, knob_set("run", 2));
	EXPECT_EQ(0, on_zero_page(zero, N));
	EXPECT_TRUE(no_two_share(zero, N));
	EXPECT_EQ(0, knob("ksm_zero_pages"));
	for (i = 0; i < N; i++) {
		EXPECT_TRUE(is_zero(page_of(zero, i)));
		EXPECT_TRUE(holds(page_of(other, i), 10 + i));
	}
}

/* Of each, one byte is another one. */
CONTENT_TEST(zeroes_but_for_a_byte)
{
	size_t at[] = { 0, 1, 7, 8, 63, 64, 127, 128, 1000, 2048, 4000, pagesize - 8, pagesize - 1 };
	char *map = zeroes(ARRAY_SIZE(at)), *zero = zeroes(1);
	size_t i;

	ASSERT_NE(NULL, map);
	for (i = 0; i < ARRAY_SIZE(at); i++)
		page_of(map, i)[at[i]] = 1;
	ASSERT_EQ(0, knob_write("content", "zero"));
	ASSERT_TRUE(advise(map, ARRAY_SIZE(at)) && advise(zero, 1));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(counter_reaches("ksm_zero_pages", 1));
	ASSERT_TRUE(ksm_passes(4));
	ASSERT_TRUE(scanner_stop());
	EXPECT_EQ(0, on_zero_page(map, ARRAY_SIZE(at)));
	EXPECT_EQ(1, on_zero_page(zero, 1));
	EXPECT_EQ(1, records());
	for (i = 0; i < ARRAY_SIZE(at); i++) {
		EXPECT_EQ(1, page_of(map, i)[at[i]]);
	}
}

CONTENT_TEST(values)
{
	static const char * const bad[] = {
		"", "\n", "Zero", "zero ", " zero", "zeroes", "none", "0", "1", "[all] zero", "all zero",
	};
	char *map;
	size_t i;

	EXPECT_TRUE(content_is("[all] zero\n"));
	ASSERT_EQ(0, knob_write("content", "zero\n"));
	for (i = 1; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-EINVAL, knob_write("content", bad[i])) {
			TH_LOG("\"%s\"", bad[i]);
		}
		EXPECT_TRUE(content_is("all [zero]\n"));
	}
	ASSERT_EQ(0, knob_write("content", "all"));
	EXPECT_TRUE(content_is("[all] zero\n"));

	/* Not while pages are merged, and the same again is no change. */
	map = MERGED_PAGES(4, 1);
	EXPECT_EQ(-EBUSY, knob_write("content", "zero"));
	EXPECT_EQ(0, knob_write("content", "all"));
	EXPECT_TRUE(content_is("[all] zero\n"));
	ASSERT_TRUE(ksm_passes(2));
	EXPECT_TRUE(all_ksm(map, 4));
	ASSERT_EQ(0, knob_set("run", 2));
	EXPECT_EQ(0, knob_write("content", "zero"));
}

/* Zero pages stay where they are; what was on record of others is forgotten. */
CONTENT_TEST(changes)
{
	char *zero = zeroes(N), *other = different_pages(N, 5);
	struct counters c;

	ASSERT_TRUE(zero && other);
	ASSERT_EQ(0, knob_set("use_zero_pages", 1));
	ASSERT_TRUE(advise(zero, N));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(counter_reaches("ksm_zero_pages", N));
	ASSERT_TRUE(counter_reaches("pages_unshared", N));
	ASSERT_EQ(2 * N, records());
	ASSERT_EQ(0, knob_write("content", "zero"));
	ASSERT_TRUE(ksm_passes(2));
	c = counters_at_rest();
	EXPECT_EQ(0, c.unshared);
	EXPECT_EQ(0, c.volatiles);
	EXPECT_EQ(N, c.zero);
	EXPECT_EQ(N, on_zero_page(zero, N));
	EXPECT_EQ(N, records());
	ASSERT_EQ(0, knob_write("content", "all"));
	ASSERT_TRUE(counter_reaches("pages_unshared", N));
	ASSERT_TRUE(ksm_passes(1));
	EXPECT_EQ(N, knob("ksm_zero_pages"));
	EXPECT_EQ(2 * N, records());
}

/* Memory that is zeroed, used, and zeroed again. */
CONTENT_TEST(comes_and_goes)
{
	char *map = zeroes(N);
	int i;

	ASSERT_EQ(0, knob_write("content", "zero"));
	ASSERT_TRUE(advise(map, N));
	/* Seen once, it is about to be used. */
	ASSERT_TRUE(ksm_step());
	EXPECT_EQ(0, knob("ksm_zero_pages"));
	EXPECT_EQ(N, records());
	fill_all(map, N / 2, 1);
	ASSERT_TRUE(ksm_step());
	EXPECT_EQ(N / 2, knob("ksm_zero_pages"));
	EXPECT_EQ(N / 2, on_zero_page(page_of(map, N / 2), N / 2));
	EXPECT_EQ(N / 2, records());
	fill_all(page_of(map, N / 2), N / 2, 2);
	EXPECT_EQ(0, knob("ksm_zero_pages"));
	ASSERT_TRUE(ksm_step());
	EXPECT_EQ(0, records());
	for (i = 0; i < N; i++)
		memset(page_of(map, i), 0, pagesize);
	ASSERT_TRUE(ksm_step() && ksm_step());
	/* Some of the copies were on their way to the LRU. */
	ASSERT_TRUE(ksm_step());
	EXPECT_EQ(N, knob("ksm_zero_pages"));
	EXPECT_EQ(N, on_zero_page(map, N));
}

/* More than a look comes by, which is 16 page tables or so. */
#define MANY	20000

static bool is_long(const char *line, void *arg)
{
	*(long *)arg += trace_field(line, "units");
	return trace_field(line, "units") > 18 * 512;
}

/* Pages that are left are charged for, and are what ends a batch. */
CONTENT_TEST(left_pages_are_charged)
{
	char *map = different_pages(MANY, 7);
	long scanned, units = 0;

	ASSERT_NE(NULL, map);
	ASSERT_EQ(0, knob_set("pages_to_scan", 1000000));
	ASSERT_EQ(0, knob_write("content", "zero"));
	ASSERT_TRUE(trace_on("rksm/rksm_step"));
	scanned = knob("pages_scanned");
	ASSERT_TRUE(ksm_step());
	EXPECT_EQ(MANY, knob("pages_scanned") - scanned);
	EXPECT_FALSE(trace_each("rksm_step", NULL, is_long, &units));
	EXPECT_LE(MANY, units);
	EXPECT_GE(MANY + MANY / 10, units);
	EXPECT_EQ(0, records());

	/* A batch has as many as it was told to have. */
	trace_off();
	ASSERT_EQ(0, knob_set("pages_to_scan", 100));
	ASSERT_EQ(0, knob_set("sleep_millisecs", 3600000));
	scanned = knob("pages_scanned");
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(scanner_rests(300, 100));
	scanned = knob("pages_scanned") - scanned;
	EXPECT_LT(0, scanned);
	EXPECT_GE(200, scanned);
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/* What is remembered of a page takes little memory, and profits say how much. */
#include "beside_fixture.h"
#include "slab_lib.h"

#define N		20000
#define RECORDS		"rksm_"

#define MOST_DENSE	40
#define MOST_LONE	72

/* So many pages, so far from each other, all different. */
static char *spread_pages(size_t n, size_t apart)
{
	char *map = mmap(NULL, n * apart * pagesize, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t i;

	if (map == MAP_FAILED)
		return NULL;
	madvise(map, n * apart * pagesize, MADV_NOHUGEPAGE);
	for (i = 0; i < n; i++)
		*(uint64_t *)page_of(map, i * apart) = i + 1;
	return madvise(map, n * apart * pagesize, MADV_MERGEABLE) ? NULL : map;
}

static bool about(long a, long b)
{
	return labs(a - b) <= labs(b) / 10 + 4096;
}

static void small_and_counted(struct __test_metadata *_metadata, size_t apart, long most)
{
	long before = slab_bytes(RECORDS), bytes, profit = knob("general_profit");

	if (before < 0)
		SKIP(return, "no /proc/slabinfo");
	ASSERT_NE(NULL, spread_pages(N, apart));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(counter_reaches("pages_unshared", N));
	ASSERT_TRUE(ksm_passes(2));
	ASSERT_EQ(0, knob_set("run", 0));
	bytes = slab_bytes(RECORDS) - before;
	TH_LOG("%ld bytes for %d pages, %.1f each; profits %ld, %ld", bytes, N,
	       (double)bytes / N, knob("general_profit"), ksm_stat(0, "ksm_process_profit"));
	ASSERT_EQ(N, ksm_stat(0, "ksm_rmap_items"));
	EXPECT_LE(8L * N, bytes) TH_LOG("no caches " RECORDS "* have what is allocated");
	EXPECT_GE(most * N, bytes);
	EXPECT_TRUE(about(knob("general_profit") - profit, -bytes));
	EXPECT_TRUE(about(ksm_stat(0, "ksm_process_profit"), -bytes));
}

BESIDE_TEST(dense_pages)
{
	small_and_counted(_metadata, 1, MOST_DENSE);
}

BESIDE_TEST(lone_pages)
{
	small_and_counted(_metadata, 32, MOST_LONE);
}

/* What was saved less what was allocated, nodes of merged pages too. */
BESIDE_TEST(merged_pages)
{
	long before = slab_bytes(RECORDS), profit = knob("general_profit"), bytes, saved;
	char *map = map_pages(N);
	size_t i;

	if (before < 0)
		SKIP(return, "no /proc/slabinfo");
	ASSERT_NE(NULL, map);
	for (i = 0; i < N; i++)
		*(uint64_t *)page_of(map, i) = i / 4 + 1;
	ASSERT_EQ(0, madvise(map, N * pagesize, MADV_MERGEABLE));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(N / 4, N - N / 4));
	ASSERT_EQ(0, knob_set("run", 0));
	/* Nodes come from the kernel's cache for what is of their size. */
	bytes = slab_bytes(RECORDS) - before + N / 4 * 64;
	saved = (N - N / 4) * pagesize;
	TH_LOG("%ld bytes, profit %ld less than what is saved", bytes,
	       saved - (knob("general_profit") - profit));
	EXPECT_LE(8L * N, bytes);
	EXPECT_TRUE(about(saved - (knob("general_profit") - profit), bytes));
}

/* All of it is given back. */
BESIDE_TEST(nothing_is_kept)
{
	long before = slab_bytes(RECORDS);

	if (before < 0)
		SKIP(return, "no /proc/slabinfo");
	ASSERT_NE(NULL, spread_pages(N, 2));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(counter_reaches("pages_unshared", N));
	ASSERT_LE(8L * N, slab_bytes(RECORDS) - before);
	ASSERT_EQ(0, knob_set("run", 2));
	EXPECT_GE(2L * N, slab_bytes(RECORDS) - before);
}

TEST_HARNESS_MAIN

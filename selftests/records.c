// SPDX-License-Identifier: GPL-2.0
/* What is remembered of a page takes little memory, and profits say how much. */
#include "beside_fixture.h"
#include "slab_lib.h"

#define N		20000
#define RECORDS		"rksm_"

#define MOST_DENSE	40
#define MOST_LONE	72
/* The scanner keeps six leaves ready. */
#define SPARES		(6 * 1260L)

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
	ASSERT_TRUE(scanner_stop());
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

/* Each in another 512 GiB, of which a place alone cannot tell two apart. */
BESIDE_TEST(pages_far_apart)
{
	size_t n = 116;
	long bytes;

	if (!spread_pages(n, (1UL << 27) + 1))
		SKIP(return, "so much address space is not to be had");
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(counter_reaches("pages_unshared", n));
	ASSERT_TRUE(ksm_passes(2));
	ASSERT_TRUE(scanner_stop());
	bytes = -ksm_stat(0, "ksm_process_profit");
	TH_LOG("%ld bytes for %ld pages, %.1f each", bytes, (long)n, (double)bytes / n);
	EXPECT_LE(8L * n, bytes);
	/* The last leaf may have few. */
	EXPECT_GE(MOST_LONE * (long)n + 1772, bytes);
}

/* 31 of 32 go. */
static void leave_few(char *map, size_t n)
{
	size_t i;

	for (i = 0; i < n; i += 32)
		madvise(page_of(map, i + 1), 31 * pagesize, MADV_DONTNEED);
}

static void few_are_left(struct __test_metadata *_metadata, long n, long before)
{
	long bytes = slab_bytes(RECORDS) - before;

	TH_LOG("%ld bytes for %ld pages, %.1f each", bytes, n, (double)bytes / n);
	ASSERT_EQ(n, ksm_stat(0, "ksm_rmap_items"));
	EXPECT_LE(8 * n, bytes);
	EXPECT_GE(MOST_LONE * n + SPARES, bytes);
}

BESIDE_TEST(pages_that_are_left)
{
	long before = slab_bytes(RECORDS), bytes;
	char *map = different_pages(N, 1);
	size_t i;

	if (before < 0)
		SKIP(return, "no /proc/slabinfo");
	ASSERT_NE(NULL, map);
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(counter_reaches("pages_unshared", N));
	leave_few(map, N);
	ASSERT_TRUE(counter_reaches("pages_unshared", N / 32));
	ASSERT_TRUE(ksm_passes(2));
	few_are_left(_metadata, N / 32, before);
	/* Those that come back between them take no more than at first. */
	for (i = 0; i < N; i++)
		*(uint64_t *)page_of(map, i) = i + 1;
	ASSERT_TRUE(counter_reaches("pages_unshared", N));
	ASSERT_TRUE(ksm_passes(2));
	bytes = slab_bytes(RECORDS) - before;
	TH_LOG("then %ld bytes for %d pages, %.1f each", bytes, N, (double)bytes / N);
	EXPECT_GE((long)MOST_DENSE * N + SPARES, bytes);
}

BESIDE_TEST(merged_pages_that_are_left)
{
	long before = slab_bytes(RECORDS), n = N / 128 * 128;
	char *map = map_pages(n);
	long i;

	if (before < 0)
		SKIP(return, "no /proc/slabinfo");
	ASSERT_NE(NULL, map);
	for (i = 0; i < n; i++)
		*(uint64_t *)page_of(map, i) = i / 128 + 1;
	ASSERT_EQ(0, madvise(map, n * pagesize, MADV_MERGEABLE));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(n / 128, n - n / 128));
	leave_few(map, n);
	ASSERT_TRUE(ksm_settles(n / 128, n / 32 - n / 128));
	few_are_left(_metadata, n / 32, before);
	for (i = 0; i < n; i += 32)
		ASSERT_EQ(i / 128 + 1, *(uint64_t *)page_of(map, i));
	/* Whoever wants them all finds them all. */
	ASSERT_EQ(0, knob_set("run", 2));
	EXPECT_EQ(0, merging_pages(0));
	EXPECT_EQ(n / 32, distinct_pfns(map, n));
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
	ASSERT_TRUE(scanner_stop());
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

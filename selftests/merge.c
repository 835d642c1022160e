// SPDX-License-Identifier: GPL-2.0
/* Which pages are merged, which are not, and what a merged page looks like. */
#include "ksm_fixture.h"

KSM_TEST(two_pages)
{
	char *map = MERGEABLE_PAGES(2, 1);

	ASSERT_NE(pfn_of(0, map), pfn_of(0, page_of(map, 1)));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, 1));

	EXPECT_EQ(pfn_of(0, map), pfn_of(0, page_of(map, 1)));
	EXPECT_EQ(KPF_KSM_BIT | KPF_ANON_BIT,
		  kflags_of(0, map) & (KPF_KSM_BIT | KPF_ANON_BIT));
	EXPECT_TRUE(all_hold(map, 2, 1));
}

KSM_TEST(three_pages)
{
	char *map = MERGEABLE_PAGES(3, 2);

	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, 2));
	EXPECT_EQ(1, distinct_pfns(map, 3));
	EXPECT_TRUE(all_ksm(map, 3));
	EXPECT_TRUE(all_hold(map, 3, 2));
}

/* The third page comes when the stable tree has the content already. */
KSM_TEST(page_joins_merged)
{
	char *map = MERGED_PAGES(2, 3);
	uint64_t pfn = pfn_of(0, map);
	char *third = MERGEABLE_PAGES(1, 3);

	ASSERT_TRUE(ksm_settles(1, 2));
	EXPECT_EQ(pfn, pfn_of(0, map));
	EXPECT_EQ(pfn, pfn_of(0, third));
	EXPECT_TRUE(holds(third, 3));
}

static int peer_with_pages(struct peer *p, void *arg)
{
	char *map = map_pages(4);

	CHECK(map);
	fill_all(map, 4, *(uint64_t *)arg);
	CHECK(!madvise(map, 4 * pagesize, MADV_MERGEABLE));
	CHECK(peer_meet(p));	/* ready */
	CHECK(peer_meet(p));	/* merged */
	CHECK(all_ksm(map, 4));
	CHECK(distinct_pfns(map, 4) == 1);
	CHECK(all_hold(map, 4, *(uint64_t *)arg));
	CHECK(peer_swap(p, pfn_of(0, map)) == 0);
	CHECK(peer_meet(p));	/* the other one was changed */
	CHECK(all_hold(map, 4, *(uint64_t *)arg));
	return 0;
}

KSM_TEST(across_processes)
{
	uint64_t seed = 4;
	struct peer p;
	char *map;

	ASSERT_TRUE(peer_start(&p, peer_with_pages, &seed));
	map = MERGEABLE_PAGES(4, seed);
	ASSERT_TRUE(peer_meet(&p));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, 7));
	EXPECT_EQ(4, merging_pages(0));
	EXPECT_EQ(4, merging_pages(p.pid));

	ASSERT_TRUE(peer_meet(&p));
	EXPECT_EQ(pfn_of(0, map), peer_swap(&p, 0));
	fill_all(map, 4, 5);
	ASSERT_TRUE(peer_meet(&p));
	EXPECT_TRUE(all_hold(map, 4, 5));
	EXPECT_EQ(0, peer_end(&p));
}

KSM_TEST(many_contents)
{
	enum { CONTENTS = 64, COPIES = 4 };
	char *map = map_pages(CONTENTS * COPIES);
	int i, j;

	ASSERT_NE(NULL, map);
	for (i = 0; i < CONTENTS * COPIES; i++)
		fill(page_of(map, i), 100 + i % CONTENTS);
	ASSERT_EQ(0, madvise(map, CONTENTS * COPIES * pagesize, MADV_MERGEABLE));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(CONTENTS, CONTENTS * (COPIES - 1)));
	EXPECT_EQ(CONTENTS, distinct_pfns(map, CONTENTS * COPIES));
	for (i = 0; i < CONTENTS; i++) {
		for (j = 0; j < COPIES; j++) {
			char *page = page_of(map, j * CONTENTS + i);

			ASSERT_TRUE(holds(page, 100 + i));
			ASSERT_EQ(pfn_of(0, page_of(map, i)), pfn_of(0, page));
		}
	}
}

/*
 * Not more than max_page_sharing mappings hang on one page, so that a walk over
 * them stays short; the next ones get another page of the same content.
 */
KSM_TEST(sharing_limit)
{
	enum { N = 600, LIMIT = 256 };
	char *map = MERGEABLE_PAGES(N, 13);
	uint64_t pfn[3] = {};
	int count[3] = {}, i, j;

	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(3, N - 3));
	EXPECT_TRUE(all_hold(map, N, 13));
	for (i = 0; i < N; i++) {
		uint64_t this = pfn_of(0, page_of(map, i));

		for (j = 0; j < 2 && pfn[j] && pfn[j] != this; j++)
			;
		pfn[j] = this;
		count[j]++;
	}
	EXPECT_EQ(3, distinct_pfns(map, N));
	EXPECT_TRUE(count[0] <= LIMIT && count[1] <= LIMIT && count[2] <= LIMIT);
	/* All mappings of one of them go, and come back. */
	for (i = 0; i < N; i++)
		if (pfn_of(0, page_of(map, i)) == pfn[0])
			fill(page_of(map, i), 13);
	ASSERT_TRUE(ksm_settles(3, N - 3));
	ASSERT_EQ(0, knob_set("run", 2));
	EXPECT_TRUE(no_two_share(map, N));
	EXPECT_TRUE(all_hold(map, N, 13));
}

/*
 * The page of the lower address comes to be like one that has been waiting
 * for an equal: the scanner has both in hand when it finds out.
 */
KSM_TEST(neighbour_becomes_equal)
{
	char *map = MERGEABLE_PAGES(2, 21);

	fill(map, 22);
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(counter_reaches("pages_unshared", 2));
	fill(map, 21);
	ASSERT_TRUE(ksm_settles(1, 1));
	EXPECT_TRUE(all_hold(map, 2, 21));
}

/* Pages that differ in one bit of one byte, at the ends and in the middle. */
KSM_TEST(different_not_merged)
{
	static const int at[] = { 0, 1, 7, 8, 2047, 2048, 4088, 4095 };
	enum { N = 9 };
	char *map = MERGEABLE_PAGES(N, 6);
	struct counters c;
	int i;

	for (i = 0; i < N - 1; i++)
		page_of(map, i)[at[i]] ^= 1;
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_passes(5));
	c = counters_at_rest();
	EXPECT_EQ(0, c.shared);
	EXPECT_EQ(0, c.sharing);
	EXPECT_EQ(N, c.unshared);
	EXPECT_TRUE(no_two_share(map, N));
}

KSM_TEST(not_advised_not_merged)
{
	char *map = MERGEABLE_PAGES(8, 7), *other = map_pages(4);
	char *shared = mmap(NULL, 4 * pagesize, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(NULL, other);
	ASSERT_NE(MAP_FAILED, shared);
	fill_all(other, 4, 7);
	fill_all(shared, 4, 7);
	/* The advice has no effect on shared memory, and is no error. */
	ASSERT_EQ(0, madvise(shared, 4 * pagesize, MADV_MERGEABLE));
	/* A part of a range. */
	ASSERT_EQ(0, madvise(page_of(map, 2), 2 * pagesize, MADV_UNMERGEABLE));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, 5));
	EXPECT_FALSE(is_ksm(page_of(map, 2)));
	EXPECT_FALSE(is_ksm(page_of(map, 3)));
	EXPECT_TRUE(no_two_share(other, 4));
	EXPECT_TRUE(no_two_share(shared, 4));
	EXPECT_TRUE(all_hold(map, 8, 7));
}

/*
 * A page that is written between any two looks at it is not merged, although
 * its content is there to merge with each time. Only when it is seen for the
 * first time nobody can know.
 */
KSM_TEST(volatile_not_merged)
{
	char *map = map_pages(6);
	struct counters c;
	int pass;

	ASSERT_NE(NULL, map);
	for (pass = 0; pass < 5; pass++)
		fill(page_of(map, pass), 20 + pass % 2);
	ASSERT_EQ(0, madvise(map, 6 * pagesize, MADV_MERGEABLE));
	for (pass = 0; pass < 12; pass++) {
		fill(page_of(map, 5), 20 + pass % 2);
		ASSERT_TRUE(ksm_step());
		ASSERT_TRUE(pass == 0 || !is_ksm(page_of(map, 5)));
	}
	c = counters_at_rest();
	EXPECT_EQ(2, c.shared);
	EXPECT_EQ(3, c.sharing);
	EXPECT_EQ(0, c.unshared);
	EXPECT_EQ(1, c.volatiles);

	/* Once it rests, it is merged. */
	ASSERT_TRUE(ksm_step());
	ASSERT_TRUE(ksm_step());
	c = counters_at_rest();
	EXPECT_EQ(2, c.shared);
	EXPECT_EQ(4, c.sharing);
	EXPECT_EQ(0, c.volatiles);
	EXPECT_TRUE(is_ksm(page_of(map, 5)));
	EXPECT_TRUE(holds(page_of(map, 5), 20 + 11 % 2));
}

/* Pages of a private file mapping that were written are anonymous as well. */
KSM_TEST(private_file_pages)
{
	int fd = memfd_create("ksm", 0);
	char *map;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, 4 * pagesize));
	map = mmap(NULL, 4 * pagesize, PROT_READ | PROT_WRITE, MAP_PRIVATE,
		   fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	fill(map, 9);
	fill(page_of(map, 1), 9);
	/* The other two stay in the page cache. */
	EXPECT_EQ(0, page_of(map, 2)[0] + page_of(map, 3)[0]);
	ASSERT_EQ(0, madvise(map, 4 * pagesize, MADV_MERGEABLE));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, 1));
	EXPECT_EQ(pfn_of(0, map), pfn_of(0, page_of(map, 1)));
	EXPECT_TRUE(all_hold(map, 2, 9));
}

/* run=0 stops the scanner: at once, unless a step under way is held up. */
KSM_TEST(stopped_scans_nothing)
{
	char *map = MERGED_PAGES(4, 10);
	long scanned;
	int i;

	ASSERT_TRUE(scanner_stop());
	scanned = knob("pages_scanned");
	fill(map, 11);
	for (i = 0; i < 50; i++) {
		pid_t pid = fork_child();

		if (pid == 0)
			_exit(0);
		ASSERT_EQ(0, wait_child(pid));
	}
	EXPECT_EQ(scanned, knob("pages_scanned"));
	/* What is merged stays merged. */
	EXPECT_EQ(1, distinct_pfns(page_of(map, 1), 3));
	EXPECT_TRUE(all_ksm(page_of(map, 1), 3));
}

/*
 * A pass walks page tables, not addresses: one over a terabyte with two pages
 * in it costs about what one over 64 MiB that are full does. Address by address
 * it would be a thousand times that.
 */
KSM_TEST(huge_sparse_range)
{
	/* As many passes as it takes for a clock of 10 ms to count them. */
	enum { DENSE = 16384, PASSES = 20 };
	size_t size = 1ULL << 41;
	char *map = map_pages(DENSE);
	long long dense, sparse;
	int i;

	ASSERT_NE(NULL, map);
	for (i = 0; i < DENSE; i++)
		fill(page_of(map, i), 100 + i);
	ASSERT_EQ(0, madvise(map, DENSE * pagesize, MADV_MERGEABLE));
	ASSERT_EQ(0, knob_set("pages_to_scan", 100000));
	ASSERT_TRUE(ksm_step() && ksm_step());
	dense = passes_cpu(PASSES);
	ASSERT_LT(0, dense);
	ASSERT_EQ(0, munmap(map, DENSE * pagesize));

	do {	/* the address space need not have a terabyte */
		size /= 2;
		map = mmap(NULL, size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	} while (map == MAP_FAILED && size > 1ULL << 36);
	ASSERT_NE(MAP_FAILED, map);
	madvise(map, size, MADV_NOHUGEPAGE);
	fill(map, 12);
	fill(map + size - pagesize, 12);
	ASSERT_EQ(0, madvise(map, size, MADV_MERGEABLE));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_EQ(0, knob_set("sleep_millisecs", 0));
	ASSERT_TRUE(ksm_settles(1, 1));
	EXPECT_EQ(pfn_of(0, map), pfn_of(0, map + size - pagesize));
	sparse = passes_cpu(PASSES);
	ASSERT_LE(0, sparse);
	EXPECT_LT(sparse, 10 * dense) {
		TH_LOG("a pass over a terabyte: %lld us, over 64 MiB: %lld us",
		       sparse / PASSES / 1000, dense / PASSES / 1000);
	}
}

TEST_HARNESS_MAIN

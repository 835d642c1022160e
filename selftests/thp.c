// SPDX-License-Identifier: GPL-2.0
/* Huge pages whose parts have equal content. */
#include <fcntl.h>
#include <sys/uio.h>

#include "ksm_fixture.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif

#define HUGE_SIZE	(2UL << 20)
#define NR		512

#ifndef MAP_HUGE_SHIFT
#define MAP_HUGE_SHIFT	26
#endif

/* n huge pages in a row, proved to be such. */
static char *map_huge(size_t n)
{
	char *map = mmap(NULL, (n + 1) * HUGE_SIZE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t i;

	if (map == MAP_FAILED)
		return NULL;
	map = (char *)(((uintptr_t)map + HUGE_SIZE - 1) & ~(HUGE_SIZE - 1));
	if (madvise(map, n * HUGE_SIZE, MADV_HUGEPAGE))
		return NULL;
	for (i = 0; i < n; i++) {
		map[i * HUGE_SIZE] = 1;
		if (!(kflags_of(0, map + i * HUGE_SIZE) & KPF_THP_BIT))
			return NULL;
	}
	return map;
}

#define MAP_HUGE_PAGES(n) ({						\
	char *_h;							\
									\
	if (access("/sys/kernel/mm/transparent_hugepage", F_OK))	\
		SKIP(return, "no huge pages in this kernel");		\
	_h = map_huge(n);						\
	ASSERT_NE(NULL, _h);						\
	_h;								\
})

static bool still_huge(char *map)
{
	return kflags_of(0, map) & KPF_THP_BIT;
}

KSM_TEST(duplicates_inside)
{
	char *map = MAP_HUGE_PAGES(1);
	int i;

	for (i = 0; i < NR; i++)
		fill(page_of(map, i), i % 64);
	ASSERT_TRUE(still_huge(map));
	ASSERT_EQ(0, madvise(map, HUGE_SIZE, MADV_MERGEABLE));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(64, NR - 64));
	EXPECT_EQ(64, distinct_pfns(map, NR));
	for (i = 0; i < NR; i++) {
		ASSERT_TRUE(holds(page_of(map, i), i % 64));
	}
	ASSERT_EQ(0, knob_set("run", 2));
	EXPECT_TRUE(no_two_share(map, NR));
	for (i = 0; i < NR; i++) {
		ASSERT_TRUE(holds(page_of(map, i), i % 64));
	}
}

/* Two pages alike among many that are not: both lie in one huge page. */
KSM_TEST(one_pair_inside)
{
	char *map = MAP_HUGE_PAGES(1);
	int i;

	for (i = 0; i < NR; i++)
		fill(page_of(map, i), i == 300 ? 17 : i);
	ASSERT_EQ(0, madvise(map, HUGE_SIZE, MADV_MERGEABLE));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, 1));
	EXPECT_EQ(pfn_of(0, page_of(map, 17)), pfn_of(0, page_of(map, 300)));
	for (i = 0; i < NR; i++) {
		ASSERT_TRUE(holds(page_of(map, i), i == 300 ? 17 : i));
	}
}

/* Somebody else refers to it, so that it cannot be split: it is left whole until then. */
KSM_TEST(split_fails)
{
	char *map = MAP_HUGE_PAGES(1), *seen = map_pages(1);
	struct iovec iov = { page_of(map, 5), pagesize };
	int fd[2], i;

	ASSERT_NE(NULL, seen);
	for (i = 0; i < NR; i++)
		fill(page_of(map, i), i % 64);
	ASSERT_EQ(0, pipe(fd));
	ASSERT_EQ(pagesize, vmsplice(fd[1], &iov, 1, 0));
	ASSERT_EQ(0, madvise(map, HUGE_SIZE, MADV_MERGEABLE));
	/* What is mapped in small parts is one huge page all the same. */
	ASSERT_EQ(0, mprotect(map, pagesize, PROT_READ));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_passes(6));
	EXPECT_EQ(0, knob("pages_shared"));
	EXPECT_TRUE(still_huge(map));
	EXPECT_TRUE(no_two_share(map, NR));
	ASSERT_EQ(pagesize, read(fd[0], seen, pagesize));
	EXPECT_TRUE(holds(seen, 5));
	ASSERT_EQ(0, mprotect(map, pagesize, PROT_READ | PROT_WRITE));
	ASSERT_TRUE(ksm_settles(64, NR - 64));
	for (i = 0; i < NR; i++) {
		ASSERT_TRUE(holds(page_of(map, i), i % 64));
	}
}

/* A huge page with nothing to merge in it stays one. */
KSM_TEST(nothing_to_merge)
{
	char *map = MAP_HUGE_PAGES(1);
	struct counters c;
	int i;

	for (i = 0; i < NR; i++)
		fill(page_of(map, i), i);
	ASSERT_EQ(0, madvise(map, HUGE_SIZE, MADV_MERGEABLE));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_passes(4));
	c = counters_at_rest();
	EXPECT_EQ(0, c.shared);
	EXPECT_EQ(NR, c.unshared);
	EXPECT_TRUE(still_huge(map));
}

/* Two huge pages of which one has a pair in it: only that one is split. */
KSM_TEST(only_what_merges_is_split)
{
	char *map = MAP_HUGE_PAGES(2), *twin = map_pages(1);
	int i;

	ASSERT_NE(NULL, twin);
	for (i = 0; i < 2 * NR; i++)
		fill(page_of(map, i), i);
	/* Zero pages are none to merge while use_zero_pages is off. */
	memset(page_of(map, 7), 0, pagesize);
	ASSERT_EQ(0, madvise(map, 2 * HUGE_SIZE, MADV_MERGEABLE));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_passes(4));
	ASSERT_TRUE(still_huge(map) && still_huge(map + HUGE_SIZE));
	/* An equal that changes all the time is none; all of it stays huge. */
	ASSERT_EQ(0, knob_set("run", 0));
	/* From here on a step is a pass, and comes by once. */
	ASSERT_TRUE(ksm_step());
	ASSERT_EQ(0, madvise(twin, pagesize, MADV_MERGEABLE));
	for (i = 0; i < 6; i++) {
		fill(twin, NR + 100 + i % 2);
		ASSERT_TRUE(ksm_step());
		ASSERT_TRUE(still_huge(map) && still_huge(map + HUGE_SIZE));
	}
	ASSERT_EQ(0, knob_set("sleep_millisecs", 0));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, 1));
	EXPECT_TRUE(still_huge(map));
	EXPECT_FALSE(still_huge(map + HUGE_SIZE));
	EXPECT_EQ(pfn_of(0, twin), pfn_of(0, page_of(map, NR + 101)));
	for (i = 0; i < 2 * NR; i++) {
		ASSERT_TRUE(i == 7 || holds(page_of(map, i), i));
	}
}

KSM_TEST(equal_huge_pages)
{
	char *map = MAP_HUGE_PAGES(2);
	int i;

	for (i = 0; i < 2 * NR; i++)
		fill(page_of(map, i), i % NR);
	ASSERT_EQ(0, madvise(map, 2 * HUGE_SIZE, MADV_MERGEABLE));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(NR, NR));
	EXPECT_EQ(NR, distinct_pfns(map, 2 * NR));
	for (i = 0; i < 2 * NR; i++) {
		ASSERT_TRUE(holds(page_of(map, i), i % NR));
	}
}

/* The same where page tables map them page by page. */
KSM_TEST(equal_huge_pages_in_small_entries)
{
	char *map = MAP_HUGE_PAGES(2);
	int i;

	for (i = 0; i < 2 * NR; i++)
		fill(page_of(map, i), i % NR);
	for (i = 0; i < 2; i++) {
		char *page = page_of(map, i * NR + 3);

		ASSERT_EQ(0, mprotect(page, pagesize, PROT_READ));
		ASSERT_EQ(0, mprotect(page, pagesize, PROT_READ | PROT_WRITE));
	}
	ASSERT_TRUE(still_huge(map) && still_huge(map + HUGE_SIZE));
	ASSERT_EQ(0, madvise(map, 2 * HUGE_SIZE, MADV_MERGEABLE));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(NR, NR));
	for (i = 0; i < 2 * NR; i++) {
		ASSERT_TRUE(holds(page_of(map, i), i % NR));
	}
}

static bool all_on_zero_page(void *arg)
{
	int i;

	for (i = 0; i < NR; i++)
		if (!(kflags_of(0, page_of(arg, i)) & KPF_ZERO_BIT))
			return false;
	return true;
}

/*
 * Splitting a huge page puts the zero pages in it on the kernel's zero page
 * already. What counts as placed by KSM is then up to the order of things; the
 * memory is saved in any case, and the counts agree.
 */
KSM_TEST(zero_huge_page)
{
	char *map = MAP_HUGE_PAGES(1);
	long anon;
	int i;

	memset(map, 0, HUGE_SIZE);
	anon = status_kb(0, "RssAnon");
	ASSERT_EQ(0, knob_set("use_zero_pages", 1));
	ASSERT_EQ(0, madvise(map, HUGE_SIZE, MADV_MERGEABLE));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_until(all_on_zero_page, map));
	EXPECT_GE(anon - (long)(HUGE_SIZE >> 10) + 64, status_kb(0, "RssAnon"));
	ASSERT_EQ(0, knob_set("run", 0));
	EXPECT_EQ(knob("ksm_zero_pages"), ksm_stat(0, "ksm_zero_pages"));
	for (i = 0; i < NR; i++) {
		ASSERT_TRUE(is_zero(page_of(map, i)));
	}
	fill_all(map, NR / 2, 1);
	EXPECT_EQ(knob("ksm_zero_pages"), ksm_stat(0, "ksm_zero_pages"));
	ASSERT_EQ(0, munmap(map, HUGE_SIZE));
	EXPECT_EQ(0, knob("ksm_zero_pages"));
}

/* fork() while the huge page is one, then merging on both sides. */
KSM_TEST(forked_huge_page)
{
	char *map = MAP_HUGE_PAGES(1);
	pid_t pid;
	int i;

	for (i = 0; i < NR; i++)
		fill(page_of(map, i), i % 8);
	ASSERT_EQ(0, madvise(map, HUGE_SIZE, MADV_MERGEABLE));
	pid = fork_child();
	if (pid == 0) {
		for (i = 0; i < NR; i++) {
			EXPECT_TRUE(holds(page_of(map, i), i % 8));
		}
		for (i = 0; i < NR; i += 100)
			fill(page_of(map, i), 9);
		EXPECT_TRUE(ksm_passes(4));
		for (i = 0; i < NR; i++) {
			EXPECT_TRUE(holds(page_of(map, i), i % 100 ? i % 8 : 9));
		}
		_exit(0);
	}
	ASSERT_EQ(0, knob_set("run", 1));
	EXPECT_EQ(0, wait_child(pid));
	ASSERT_TRUE(ksm_settles(8, NR - 8));
	for (i = 0; i < NR; i++) {
		ASSERT_TRUE(holds(page_of(map, i), i % 8));
	}
}

/* 32 zero pages among pages of so many contents, merged, then collapsed. */
static void merge_and_collapse(struct __test_metadata *_metadata, int contents)
{
	int others = NR - NR / 16, shared = contents < others ? contents : 0, i;
	char *map = MAP_HUGE_PAGES(1);

	ASSERT_EQ(0, madvise(map, HUGE_SIZE, MADV_DONTNEED));
	ASSERT_EQ(0, madvise(map, HUGE_SIZE, MADV_NOHUGEPAGE));
	for (i = 0; i < NR; i++) {
		if (i % 16)
			fill(page_of(map, i), i % contents);
		else
			memset(page_of(map, i), 0, pagesize);
	}
	ASSERT_EQ(0, knob_set("use_zero_pages", 1));
	ASSERT_EQ(0, madvise(map, HUGE_SIZE, MADV_MERGEABLE));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(counter_reaches("ksm_zero_pages", NR / 16));
	ASSERT_TRUE(ksm_settles(shared, shared ? others - shared : 0));
	ASSERT_EQ(0, knob_set("run", 0));
	ASSERT_EQ(0, madvise(map, HUGE_SIZE, MADV_HUGEPAGE));
	madvise(map, HUGE_SIZE, MADV_COLLAPSE);
	/* With merged pages in it, it need not become huge. */
	ASSERT_TRUE(shared || still_huge(map));
	EXPECT_EQ(still_huge(map) ? 0 : NR / 16, knob("ksm_zero_pages"));
	EXPECT_EQ(knob("ksm_zero_pages"), ksm_stat(0, "ksm_zero_pages"));
	for (i = 0; i < NR; i++) {
		EXPECT_TRUE(i % 16 ? holds(page_of(map, i), i % contents) :
			    is_zero(page_of(map, i)));
	}
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(shared, shared ? others - shared : 0));
}

KSM_TEST(collapse_zero_pages)
{
	merge_and_collapse(_metadata, 10000);
}

KSM_TEST(collapse_merged_pages)
{
	merge_and_collapse(_metadata, 15);
}

#define NR_HUGETLB	"/proc/sys/vm/nr_hugepages"

/* hugetlb pages are no pages to merge, however equal; prctl() passes over them too. */
KSM_TEST(hugetlb)
{
	long before = file_long(NR_HUGETLB);
	char text[32], *map;
	int i;

	if (before < 0)
		SKIP(return, "no hugetlb in this kernel");
	snprintf(text, sizeof(text), "%ld", before + 2);
	ASSERT_EQ(0, file_write(NR_HUGETLB, text));
	map = mmap(NULL, 2 * HUGE_SIZE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | (21 << MAP_HUGE_SHIFT), -1, 0);
	ASSERT_NE(MAP_FAILED, map);
	fill_all(map, 2 * NR, 1);
	ASSERT_EQ(0, madvise(map, 2 * HUGE_SIZE, MADV_MERGEABLE));
	ASSERT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_passes(4));
	for (i = 0; i < 2 * NR; i++) {
		ASSERT_FALSE(is_ksm(page_of(map, i)));
	}
	EXPECT_TRUE(all_hold(map, 2 * NR, 1));
	EXPECT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0));
	munmap(map, 2 * HUGE_SIZE);
	snprintf(text, sizeof(text), "%ld", before);
	EXPECT_EQ(0, file_write(NR_HUGETLB, text));
}

TEST_HARNESS_MAIN

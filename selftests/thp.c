// SPDX-License-Identifier: GPL-2.0
/* Huge pages whose parts have equal content. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "ksm_fixture.h"
#include "trace_lib.h"

#define SYSCTL	"/proc/sys/vm/nr_hugepages"
#include "sysctl_fixture.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif

#define HUGE_SIZE	(2UL << 20)
#define KPF_LRU_BIT	(1ULL << 5)
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
	/* khugepaged makes no huge page of what has been split. */
	return madvise(map, n * HUGE_SIZE, MADV_NOHUGEPAGE) ? NULL : map;
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

/* In frames that are drawn, if need be: none of those of the huge page is shared then. */
KSM_TEST(duplicates_inside_in_drawn_frames)
{
	char *map = MAP_HUGE_PAGES(1);
	uint64_t first = pfn_of(0, map);
	int i, inside = 0;

	NEEDS_KNOB("fresh_frames", "this provider draws no frames");
	ASSERT_EQ(0, knob_set("fresh_frames", 1));
	for (i = 0; i < NR; i++)
		fill(page_of(map, i), i % 64);
	ASSERT_TRUE(still_huge(map));
	ASSERT_EQ(0, madvise(map, HUGE_SIZE, MADV_MERGEABLE));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(64, NR - 64));
	for (i = 0; i < NR; i++) {
		inside += pfn_of(0, page_of(map, i)) - first < NR;
		ASSERT_TRUE(holds(page_of(map, i), i % 64));
	}
	/* What was freed comes into the pool, and may be drawn in the end. */
	EXPECT_GE(16, inside / (NR / 64));
	ASSERT_EQ(0, knob_set("run", 2));
	EXPECT_TRUE(no_two_share(map, NR));
}

/* Two pages alike, 17 and 300, among many that are not. */
static void fill_with_a_pair(char *map)
{
	int i;

	for (i = 0; i < NR; i++)
		fill(page_of(map, i), i == 300 ? 17 : i);
}

static bool a_pair_holds(char *map)
{
	int i;

	for (i = 0; i < NR; i++)
		if (!holds(page_of(map, i), i == 300 ? 17 : i))
			return false;
	return true;
}

/* Both lie in one huge page. */
KSM_TEST(one_pair_inside)
{
	char *map = MAP_HUGE_PAGES(1);

	fill_with_a_pair(map);
	ASSERT_EQ(0, madvise(map, HUGE_SIZE, MADV_MERGEABLE));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, 1));
	EXPECT_EQ(pfn_of(0, page_of(map, 17)), pfn_of(0, page_of(map, 300)));
	ASSERT_TRUE(a_pair_holds(map));
}

/* Somebody else refers to it, so that it cannot be split: it is left whole until then. */
KSM_TEST(split_fails)
{
	char *map = MAP_HUGE_PAGES(1), *seen = map_pages(1);
	int fd[2], i;

	ASSERT_NE(NULL, seen);
	for (i = 0; i < NR; i++)
		fill(page_of(map, i), i % 64);
	ASSERT_TRUE(put_in_pipe(page_of(map, 5), fd));
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
	ASSERT_TRUE(scanner_stop());
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

/*
 * In-tree KSM has the kernel split huge pages, which puts zero pages on the
 * kernel's zero page by itself, and counts them for nobody.
 */
#define NEEDS_RKSM_TO_SPLIT() do {					\
	if (access("/sys/module/rksm", F_OK))				\
		SKIP(return, "the kernel splits for this provider");	\
} while (0)

static bool units_of_steps(const char *line, void *arg)
{
	*(long *)arg += trace_field(line, "units");
	return false;
}

KSM_TEST(zero_huge_page)
{
	char *map = MAP_HUGE_PAGES(1);
	long anon, units = 0;
	int i;

	NEEDS_RKSM_TO_SPLIT();
	memset(map, 0, HUGE_SIZE);
	anon = status_kb(0, "RssAnon");
	ASSERT_EQ(0, knob_set("use_zero_pages", 1));
	ASSERT_EQ(0, madvise(map, HUGE_SIZE, MADV_MERGEABLE));
	/* Seen once, it is about to be used. */
	ASSERT_TRUE(ksm_step());
	EXPECT_TRUE(still_huge(map));
	ASSERT_TRUE(trace_on("rksm/rksm_step"));
	ASSERT_TRUE(ksm_step());
	trace_each("rksm_step", NULL, units_of_steps, &units);
	trace_off();
	EXPECT_LE(NR, units);
	/* Some may have been on their way to the LRU. */
	ASSERT_TRUE(ksm_step() && ksm_step());
	EXPECT_EQ(NR, on_zero_page(map, NR));
	EXPECT_EQ(NR, knob("ksm_zero_pages"));
	EXPECT_EQ(NR, ksm_stat(0, "ksm_zero_pages"));
	EXPECT_GE(anon - (long)(HUGE_SIZE >> 10) + 64, status_kb(0, "RssAnon"));
	for (i = 0; i < NR; i++) {
		ASSERT_TRUE(is_zero(page_of(map, i)));
	}
	fill_all(map, NR / 2, 1);
	EXPECT_EQ(NR / 2, knob("ksm_zero_pages"));
	EXPECT_EQ(NR / 2, ksm_stat(0, "ksm_zero_pages"));
	ASSERT_EQ(0, knob_set("run", 2));
	EXPECT_EQ(0, on_zero_page(map, NR));
	EXPECT_TRUE(no_two_share(map, NR));
	EXPECT_EQ(0, knob("ksm_zero_pages"));
	for (i = 0; i < NR; i++) {
		ASSERT_TRUE(i < NR / 2 ? holds(page_of(map, i), 1) : is_zero(page_of(map, i)));
	}
}

/* A huge page of zeroes but for one page, and that one's twin. */
#define ZEROES_BUT_FOR_ONE(map, twin) do {				\
	memset(map, 0, HUGE_SIZE);					\
	fill(page_of(map, 100), 9);					\
	/* It stays huge; khugepaged does not try to make it so again. */ \
	ASSERT_EQ(0, madvise(map, HUGE_SIZE, MADV_NOHUGEPAGE));		\
	twin = map_pages(1);						\
	ASSERT_NE(NULL, twin);						\
	fill(twin, 9);							\
	ASSERT_EQ(0, madvise(map, HUGE_SIZE, MADV_MERGEABLE));		\
	ASSERT_EQ(0, madvise(twin, pagesize, MADV_MERGEABLE));		\
} while (0)

static bool all_but_one_zero(char *map)
{
	int i;

	for (i = 0; i < NR; i++)
		if (i == 100 ? !holds(page_of(map, i), 9) : !is_zero(page_of(map, i)))
			return false;
	return true;
}

KSM_TEST(zeroes_beside_a_twin_stay)
{
	char *map = MAP_HUGE_PAGES(1), *twin;
	long anon, rss;

	NEEDS_RKSM_TO_SPLIT();
	ZEROES_BUT_FOR_ONE(map, twin);
	anon = status_kb(0, "RssAnon");
	ASSERT_EQ(0, knob_set("max_page_sharing", 1000));
	ASSERT_EQ(0, knob_set("run", 1));
	/* Zeroes are a content like another. */
	ASSERT_TRUE(ksm_settles(2, NR - 1));
	EXPECT_FALSE(still_huge(map));
	EXPECT_EQ(0, on_zero_page(map, NR));
	EXPECT_EQ(0, knob("ksm_zero_pages"));
	EXPECT_TRUE(all_ksm(map, NR));
	rss = status_kb(0, "RssAnon");
	EXPECT_GE(anon + 64, rss);
	EXPECT_LE(anon - 64, rss);
	EXPECT_TRUE(all_but_one_zero(map));
	ASSERT_EQ(0, knob_set("run", 2));
	EXPECT_EQ(0, on_zero_page(map, NR));
	EXPECT_TRUE(no_two_share(map, NR));
	EXPECT_TRUE(all_but_one_zero(map));
}

KSM_TEST(zeroes_beside_a_twin_go)
{
	char *map = MAP_HUGE_PAGES(1), *twin;

	NEEDS_RKSM_TO_SPLIT();
	ZEROES_BUT_FOR_ONE(map, twin);
	ASSERT_EQ(0, knob_set("use_zero_pages", 1));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, 1));
	ASSERT_TRUE(counter_reaches("ksm_zero_pages", NR - 1));
	ASSERT_TRUE(ksm_passes(1));
	EXPECT_EQ(NR - 1, ksm_stat(0, "ksm_zero_pages"));
	EXPECT_EQ(NR - 1, on_zero_page(map, NR));
	ASSERT_EQ(0, knob_set("run", 2));
	EXPECT_EQ(0, on_zero_page(map, NR));
	EXPECT_TRUE(no_two_share(map, NR));
	EXPECT_EQ(0, knob("ksm_zero_pages"));
	EXPECT_TRUE(all_but_one_zero(map));
}

static int peer_waits(struct peer *p, void *arg)
{
	CHECK(peer_meet(p));
	CHECK(peer_meet(p));
	return 0;
}

static int peer_zeroes(struct peer *p, void *arg)
{
	CHECK(peer_waits(p, arg) == 0);
	CHECK(on_zero_page(arg, NR) == 0);
	return 0;
}

/* Two pages of a huge page are alike, the others of zeroes; a child maps it too. */
KSM_TEST(zeroes_of_a_fork_stay)
{
	char *map = MAP_HUGE_PAGES(1);
	struct peer p;
	int i;

	NEEDS_RKSM_TO_SPLIT();
	memset(map, 0, HUGE_SIZE);
	fill(page_of(map, 3), 9);
	fill(page_of(map, 300), 9);
	ASSERT_EQ(0, madvise(map, HUGE_SIZE, MADV_MERGEABLE));
	ASSERT_EQ(0, knob_set("pages_to_scan", 10000));
	ASSERT_TRUE(peer_start(&p, peer_zeroes, map));
	ASSERT_TRUE(peer_meet(&p));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_passes(8));
	ASSERT_TRUE(scanner_stop());
	EXPECT_EQ(0, on_zero_page(map, NR));
	ASSERT_TRUE(peer_meet(&p));
	EXPECT_EQ(0, peer_end(&p));
	for (i = 0; i < NR; i++) {
		ASSERT_TRUE(i == 3 || i == 300 ? holds(page_of(map, i), 9) :
			    is_zero(page_of(map, i)));
	}
}

static long meminfo_kb(const char *key)
{
	char line[128];
	FILE *f = fopen("/proc/meminfo", "r");
	long kb = -1;

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, key, strlen(key)))
			kb = atol(line + strlen(key));
	if (f)
		fclose(f);
	return kb;
}

/* What the kernel keeps of a huge page, its parts have when it is split. */
KSM_TEST(parts_of_locked_memory)
{
	long locked = meminfo_kb("Mlocked:"), splits = vm_event("thp_split_page");
	char *map = MAP_HUGE_PAGES(1);

	fill_with_a_pair(map);
	ASSERT_EQ(0, mlock(map, HUGE_SIZE));
	ASSERT_TRUE(still_huge(map));
	ASSERT_LE(locked + 2000, meminfo_kb("Mlocked:"));
	ASSERT_EQ(0, madvise(map, HUGE_SIZE, MADV_MERGEABLE));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, 1));
	EXPECT_LE(splits + 1, vm_event("thp_split_page"));
	EXPECT_LE(locked + 1900, meminfo_kb("Mlocked:"));
	ASSERT_TRUE(a_pair_holds(map));
	ASSERT_EQ(0, munlock(map, HUGE_SIZE));
	EXPECT_GE(locked + 100, meminfo_kb("Mlocked:"));
	ASSERT_EQ(0, munmap(map, HUGE_SIZE));
}

static long on_lru(char *map)
{
	long found = 0;
	int i;

	for (i = 0; i < NR; i++)
		found += !!(kflags_of(0, page_of(map, i)) & KPF_LRU_BIT);
	return found;
}

/* All of them can be reclaimed afterwards. */
KSM_TEST(parts_are_on_the_lru)
{
	char *map = MAP_HUGE_PAGES(1);

	fill_with_a_pair(map);
	ASSERT_EQ(0, madvise(map, HUGE_SIZE, MADV_MERGEABLE));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, 1));
	ASSERT_FALSE(still_huge(map));
	EXPECT_EQ(NR, on_lru(map));
	/* A page table less, and each of its pages is somewhere. */
	EXPECT_EQ(NR - 1, distinct_pfns(map, NR));
}

/* So many pages of a huge page have an equal elsewhere, which lies in no huge page. */
static char *huge_with_twins(char *map, int twins, int first)
{
	char *small = map_pages(twins);
	int i;

	if (!small)
		return NULL;
	for (i = 0; i < NR; i++)
		fill(page_of(map, i), first + i);
	for (i = 0; i < twins; i++)
		fill(page_of(small, i), first + 7 + 31 * i % (NR - 7));
	if (madvise(map, HUGE_SIZE, MADV_MERGEABLE) ||
	    madvise(small, twins * pagesize, MADV_MERGEABLE))
		return NULL;
	return small;
}

#define NEEDS_HUGE_PAGES_KNOB()						\
	NEEDS_KNOB("huge_pages", "this provider splits for each page")

/* What is written is what it reads; nothing else is taken. */
KSM_TEST(huge_pages_values)
{
	static const char * const bad[] = { "-1", "x", "4294967296", "1 2", "[1]", "0x1", "1.5", " " };
	size_t i;

	NEEDS_HUGE_PAGES_KNOB();
	EXPECT_EQ(1, knob("huge_pages"));
	ASSERT_EQ(0, knob_write("huge_pages", "0\n"));
	EXPECT_EQ(0, knob("huge_pages"));
	ASSERT_EQ(0, knob_write("huge_pages", "4294967295"));
	EXPECT_EQ(4294967295, knob("huge_pages"));
	ASSERT_EQ(0, knob_set("huge_pages", 64));
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-EINVAL, knob_write("huge_pages", bad[i])) {
			TH_LOG("\"%s\"", bad[i]);
		}
		EXPECT_EQ(64, knob("huge_pages"));
	}
}

KSM_TEST(never_split)
{
	char *map = MAP_HUGE_PAGES(1), *twins, *small;

	NEEDS_HUGE_PAGES_KNOB();
	ASSERT_EQ(0, knob_set("huge_pages", 0));
	twins = huge_with_twins(map, 16, 0);
	ASSERT_NE(NULL, twins);
	small = MERGEABLE_PAGES(4, 3000);
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, 3));
	EXPECT_TRUE(all_ksm(small, 4));
	EXPECT_TRUE(still_huge(map));
	EXPECT_TRUE(none_ksm(twins, 16));
	/* Nothing is on record of it. */
	EXPECT_EQ(16 + 4, ksm_stat(0, "ksm_rmap_items"));
	ASSERT_EQ(0, knob_set("huge_pages", 1));
	ASSERT_TRUE(ksm_settles(17, 19));
	EXPECT_FALSE(still_huge(map));
	/* What is on record of it is forgotten. */
	ASSERT_EQ(0, knob_set("huge_pages", 0));
	ASSERT_TRUE(ksm_passes(2));
	EXPECT_EQ(NR + 16 + 4, ksm_stat(0, "ksm_rmap_items"));
}

/* As many as are wanted, and one less: that is counted in one pass, not over several. */
KSM_TEST(split_for_so_many)
{
	char *map = MAP_HUGE_PAGES(2), *few, *enough;
	int i;

	NEEDS_HUGE_PAGES_KNOB();
	ASSERT_EQ(0, knob_set("huge_pages", 8));
	/* With it pages that found no equal are passed over. */
	ASSERT_EQ(0, knob_set("smart_scan", 1));
	few = huge_with_twins(map, 7, 0);
	enough = huge_with_twins(map + HUGE_SIZE, 8, NR);
	ASSERT_TRUE(few && enough);
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_passes(40));
	EXPECT_TRUE(still_huge(map));
	EXPECT_TRUE(none_ksm(few, 7));
	EXPECT_FALSE(still_huge(map + HUGE_SIZE));
	EXPECT_TRUE(all_ksm(enough, 8));
	EXPECT_TRUE(ksm_settles(8, 8));
	for (i = 0; i < 2 * NR; i++) {
		ASSERT_TRUE(holds(page_of(map, i), i));
	}
	/* An equal more. */
	ASSERT_NE(NULL, enough = MERGEABLE_PAGES(1, 501));
	ASSERT_TRUE(ksm_settles(16, 16));
	EXPECT_FALSE(still_huge(map));
	EXPECT_TRUE(all_ksm(few, 7) && all_ksm(enough, 1));
}

/* Like merged pages, of which there is one each. */
KSM_TEST(split_for_merged_pages)
{
	char *map = MAP_HUGE_PAGES(2), *few, *enough, *again;

	NEEDS_HUGE_PAGES_KNOB();
	ASSERT_EQ(0, knob_set("huge_pages", 8));
	again = map_pages(15);
	ASSERT_NE(NULL, again);
	few = huge_with_twins(map, 7, 0);
	enough = huge_with_twins(map + HUGE_SIZE, 8, NR);
	ASSERT_TRUE(few && enough);
	memcpy(again, few, 7 * pagesize);
	memcpy(page_of(again, 7), enough, 8 * pagesize);
	ASSERT_EQ(0, madvise(again, 15 * pagesize, MADV_MERGEABLE));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(15, 15 + 8));
	EXPECT_TRUE(still_huge(map));
	EXPECT_FALSE(still_huge(map + HUGE_SIZE));
}

/* Each in the other, and in itself. */
static void pairs(struct __test_metadata *_metadata, int wanted, int across, int inside, bool split)
{
	char *map = MAP_HUGE_PAGES(2);
	int i;

	NEEDS_HUGE_PAGES_KNOB();
	ASSERT_EQ(0, knob_set("huge_pages", wanted));
	for (i = 0; i < 2 * NR; i++)
		fill(page_of(map, i), i);
	for (i = 0; i < across; i++)
		fill(page_of(map, NR + 11 * i + 1), 17 * i);
	for (i = 0; i < inside; i++) {
		fill(page_of(map, 400 + 2 * i), 400 + 2 * i + 1);
		fill(page_of(map, NR + 400 + 2 * i), NR + 400 + 2 * i + 1);
	}
	ASSERT_EQ(0, madvise(map, 2 * HUGE_SIZE, MADV_MERGEABLE));
	ASSERT_EQ(0, knob_set("run", 1));
	if (split) {
		ASSERT_TRUE(ksm_settles(across + 2 * inside, across + 2 * inside));
		EXPECT_FALSE(still_huge(map) || still_huge(map + HUGE_SIZE));
	} else {
		ASSERT_TRUE(ksm_passes(30));
		EXPECT_EQ(0, knob("pages_shared"));
		EXPECT_TRUE(still_huge(map) && still_huge(map + HUGE_SIZE));
	}
	ASSERT_TRUE(scanner_stop());
	for (i = 0; i < across; i++) {
		ASSERT_TRUE(holds(page_of(map, 17 * i), 17 * i));
		ASSERT_TRUE(holds(page_of(map, NR + 11 * i + 1), 17 * i));
	}
}

KSM_TEST(enough_pairs_of_two_huge_pages)
{
	pairs(_metadata, 20, 20, 0, true);
}

KSM_TEST(few_pairs_of_two_huge_pages)
{
	pairs(_metadata, 21, 20, 0, false);
}

KSM_TEST(enough_pairs_inside)
{
	pairs(_metadata, 20, 0, 10, true);
}

KSM_TEST(few_pairs_inside)
{
	pairs(_metadata, 21, 0, 10, false);
}

/* A child's mapping of the same huge page is not its equal. */
KSM_TEST(forked_pages_are_no_equals)
{
	char *map = MAP_HUGE_PAGES(1);
	struct peer p;
	int i;

	NEEDS_HUGE_PAGES_KNOB();
	ASSERT_EQ(0, knob_set("huge_pages", 8));
	for (i = 0; i < NR; i++)
		fill(page_of(map, i), i);
	ASSERT_EQ(0, madvise(map, HUGE_SIZE, MADV_MERGEABLE));
	ASSERT_TRUE(peer_start(&p, peer_waits, NULL));
	ASSERT_TRUE(peer_meet(&p));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_passes(20));
	EXPECT_TRUE(still_huge(map));
	EXPECT_EQ(0, knob("pages_shared"));
	ASSERT_TRUE(peer_meet(&p));
	EXPECT_EQ(0, peer_end(&p));
}

/* Zeroes count where they are merged. */
KSM_TEST(split_for_zeroes)
{
	char *map = MAP_HUGE_PAGES(2);
	int i;

	NEEDS_HUGE_PAGES_KNOB();
	ASSERT_EQ(0, knob_set("huge_pages", 8));
	ASSERT_EQ(0, knob_write("content", "zero"));
	for (i = 0; i < 2 * NR; i++)
		fill(page_of(map, i), i % 64);
	for (i = 0; i < 7; i++)
		memset(page_of(map, 60 * i), 0, pagesize);
	for (i = 0; i < 8; i++)
		memset(page_of(map, NR + 60 * i), 0, pagesize);
	ASSERT_EQ(0, madvise(map, 2 * HUGE_SIZE, MADV_MERGEABLE));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(counter_reaches("ksm_zero_pages", 8));
	ASSERT_TRUE(ksm_passes(20));
	EXPECT_EQ(8, knob("ksm_zero_pages"));
	EXPECT_TRUE(still_huge(map));
	EXPECT_FALSE(still_huge(map + HUGE_SIZE));
	EXPECT_EQ(0, knob("pages_shared"));
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
	int others = NR - NR / 16, shared = contents < others ? contents : 0, i, err;
	char *map = MAP_HUGE_PAGES(1);

	ASSERT_EQ(0, madvise(map, HUGE_SIZE, MADV_DONTNEED));
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
	ASSERT_TRUE(scanner_stop());
	/* The step under way may refer to some of them for longer than that waits. */
	ASSERT_TRUE(scanner_rests(300, 100));
	ASSERT_EQ(0, madvise(map, HUGE_SIZE, MADV_HUGEPAGE));
	err = madvise(map, HUGE_SIZE, MADV_COLLAPSE) ? errno : 0;
	/* With merged pages in it, it need not become huge. */
	ASSERT_TRUE(shared || still_huge(map)) {
		TH_LOG("it does not become huge: %s", strerror(err));
	}
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

/* hugetlb pages are no pages to merge, however equal; prctl() passes over them too. */
SYSCTL_TEST(hugetlb)
{
	char *map;
	int i;

	if (self->value < 0)
		SKIP(return, "no hugetlb in this kernel");
	ASSERT_EQ(0, sysctl_set(self->value + 2));
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
}

TEST_HARNESS_MAIN

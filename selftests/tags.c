// SPDX-License-Identifier: GPL-2.0
/* Memory with tags, which arm64 has (MTE): they belong to a page as its content does. */
#include <sys/auxv.h>

#include "ksm_fixture.h"
#include "trace_lib.h"

#ifndef PROT_MTE
#define PROT_MTE	0x20
#endif
#ifndef HWCAP2_MTE
#define HWCAP2_MTE	(1 << 18)
#endif

/* Bytes that have one tag. */
#define GRANULE		16

#define NEEDS_TAGS() do {						\
	if (!(getauxval(AT_HWCAP2) & HWCAP2_MTE))			\
		SKIP(return, "the CPU has no memory tags");		\
} while (0)

static void set_tag(char *granule, unsigned long tag)
{
	unsigned long tagged = (unsigned long)granule | tag << 56;

	asm volatile(".arch_extension memtag\n stg %0, [%0]" : : "r"(tagged) : "memory");
}

static unsigned long tag_of(const char *granule)
{
	unsigned long tagged = (unsigned long)granule;

	asm volatile(".arch_extension memtag\n ldg %0, [%0]" : "+r"(tagged) : : "memory");
	return tagged >> 56 & 15;
}

/* One for each page: QEMU 7.2 takes no account of where in a page a tag belongs. */
static unsigned long tag_for(size_t i)
{
	return i % 15 + 1;
}

static void set_tags(char *map, size_t n)
{
	size_t i, at;

	for (i = 0; i < n; i++)
		for (at = 0; at < pagesize; at += GRANULE)
			set_tag(page_of(map, i) + at, tag_for(i));
}

static bool has_its_tags(char *map, size_t n)
{
	size_t i, at;

	for (i = 0; i < n; i++) {
		for (at = 0; at < pagesize; at += GRANULE) {
			unsigned long tag = tag_of(page_of(map, i) + at);

			if (tag == tag_for(i))
				continue;
			dprintf(2, "# page %zu has tag %lu at %zu, not %lu\n", i, tag,
				at, tag_for(i));
			return false;
		}
	}
	return true;
}

static bool gets_tags(char *map, size_t n)
{
	return !mprotect(map, n * pagesize, PROT_READ | PROT_WRITE | PROT_MTE);
}

/* n pages with tags of their own and the same content, advised. */
#define TAGGED_PAGES(n, seed) ({					\
	char *_map = map_pages(n);					\
									\
	ASSERT_NE(NULL, _map);						\
	ASSERT_TRUE(gets_tags(_map, n));				\
	fill_all(_map, n, seed);					\
	set_tags(_map, n);						\
	ASSERT_EQ(0, madvise(_map, (n) * pagesize, MADV_MERGEABLE));	\
	_map;								\
})

KSM_TEST(left_alone)
{
	char *map;

	NEEDS_TAGS();
	map = TAGGED_PAGES(8, 1);
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_passes(4));
	EXPECT_EQ(0, knob("pages_shared"));
	EXPECT_TRUE(none_ksm(map, 8));
	EXPECT_TRUE(no_two_share(map, 8));
	EXPECT_TRUE(all_hold(map, 8, 1));
	EXPECT_TRUE(has_its_tags(map, 8));
}

/* What is tried with pages says so by an event. */
KSM_TEST(makes_no_work)
{
	NEEDS_TAGS();
	TAGGED_PAGES(8, 6);
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_passes(3));
	ASSERT_TRUE(trace_on("rksm/rksm_merge_one_page") &&
		    trace_on("rksm/rksm_merge_with_ksm_page"));
	EXPECT_TRUE(ksm_passes(4));
	EXPECT_EQ(0, trace_total());
	trace_off();
}

/* Others with the same content are merged, whether they come before those with tags or after. */
KSM_TEST(not_with_others)
{
	char *before, *map, *after;

	NEEDS_TAGS();
	before = MERGEABLE_PAGES(2, 2);
	map = TAGGED_PAGES(4, 2);
	after = MERGEABLE_PAGES(2, 2);
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, 3));
	EXPECT_TRUE(all_ksm(before, 2) && all_ksm(after, 2));
	EXPECT_TRUE(none_ksm(map, 4));
	EXPECT_TRUE(all_hold(map, 4, 2));
	EXPECT_TRUE(has_its_tags(map, 4));
	ASSERT_EQ(0, knob_set("run", 2));
	EXPECT_TRUE(all_hold(before, 2, 2) && all_hold(after, 2, 2));
	EXPECT_TRUE(has_its_tags(map, 4));
}

/* The zero page has no tags to give. */
KSM_TEST(zeroes_too)
{
	char *map, *plain;

	NEEDS_TAGS();
	plain = map_pages(4);
	ASSERT_NE(NULL, plain);
	memset(plain, 1, 4 * pagesize);
	memset(plain, 0, 4 * pagesize);
	ASSERT_EQ(0, madvise(plain, 4 * pagesize, MADV_MERGEABLE));
	map = TAGGED_PAGES(4, 3);
	memset(map, 0, 4 * pagesize);
	ASSERT_EQ(0, knob_set("use_zero_pages", 1));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(counter_reaches("ksm_zero_pages", 4));
	ASSERT_TRUE(ksm_passes(3));
	EXPECT_EQ(4, knob("ksm_zero_pages"));
	EXPECT_TRUE(no_two_share(map, 4));
	EXPECT_TRUE(is_zero(map) && is_zero(page_of(map, 3)));
	EXPECT_TRUE(has_its_tags(map, 4));
}

/* A page that is written to and tagged when the scanner has come by it already. */
KSM_TEST(tagged_while_it_waits)
{
	char *map, *equal;

	NEEDS_TAGS();
	map = MERGEABLE_PAGES(1, 4);
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(counter_reaches("pages_unshared", 1));
	ASSERT_TRUE(scanner_stop());
	ASSERT_TRUE(gets_tags(map, 1));
	set_tags(map, 1);
	equal = MERGEABLE_PAGES(1, 4);
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_passes(4));
	EXPECT_EQ(0, knob("pages_shared"));
	EXPECT_FALSE(is_ksm(map) || is_ksm(equal));
	EXPECT_TRUE(holds(map, 4));
	EXPECT_TRUE(has_its_tags(map, 1));
}

/*
 * Who shares a merged page may have it tagged: the tags are 0 until a write of one
 * brings a copy. Equal pages that come then are merged with each other.
 */
KSM_TEST(a_merged_page_gets_tags)
{
	char *map, *more;
	size_t i;

	NEEDS_TAGS();
	map = MERGED_PAGES(4, 5);
	ASSERT_TRUE(gets_tags(map, 2));
	EXPECT_TRUE(all_hold(map, 4, 5));
	for (i = 0; i < 2; i++)
		EXPECT_EQ(0, tag_of(page_of(map, i)));
	more = MERGEABLE_PAGES(3, 5);
	ASSERT_TRUE(ksm_settles(2, 3 + 2));
	EXPECT_TRUE(all_ksm(more, 3));
	EXPECT_EQ(1, distinct_pfns(more, 3));
	EXPECT_NE(pfn_of(0, map), pfn_of(0, more));

	set_tags(map, 1);
	EXPECT_FALSE(is_ksm(map));
	EXPECT_TRUE(has_its_tags(map, 1));
	EXPECT_EQ(0, tag_of(page_of(map, 1)));
	EXPECT_TRUE(all_ksm(page_of(map, 1), 3));
	EXPECT_TRUE(all_hold(map, 4, 5) && all_hold(more, 3, 5));
	ASSERT_EQ(0, knob_set("run", 2));
	EXPECT_TRUE(no_two_share(map, 4));
	EXPECT_TRUE(all_hold(map, 4, 5) && all_hold(more, 3, 5));
	EXPECT_TRUE(has_its_tags(map, 1));
}

TEST_HARNESS_MAIN

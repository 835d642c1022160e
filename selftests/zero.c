// SPDX-License-Identifier: GPL-2.0
/* Pages of zeroes, with use_zero_pages and without. */
#include <signal.h>

#include "ksm_fixture.h"

static char *zero_pages(size_t n)
{
	char *map = map_pages(n);
	size_t i;

	if (!map)
		return NULL;
	/* Written, so that they are pages and not the zero page from the start. */
	for (i = 0; i < n; i++)
		*(volatile char *)page_of(map, i) = 0;
	return madvise(map, n * pagesize, MADV_MERGEABLE) ? NULL : map;
}

static bool all_zero(char *map, size_t n)
{
	while (n--)
		if (!is_zero(page_of(map, n)))
			return false;
	return true;
}

/* n zero pages, put on the kernel's zero page. */
#define ZERO_MERGED(n) ({						\
	char *_map;							\
									\
	ASSERT_EQ(0, knob_set("use_zero_pages", 1));			\
	_map = zero_pages(n);						\
	ASSERT_NE(NULL, _map);						\
	ASSERT_EQ(0, knob_set("run", 1));				\
	ASSERT_TRUE(counter_reaches("ksm_zero_pages", n));		\
	ASSERT_TRUE(ksm_passes(2));					\
	ASSERT_EQ(n, knob("ksm_zero_pages"));				\
	_map;								\
})

KSM_TEST(zero_without_knob)
{
	char *map = zero_pages(8);

	ASSERT_NE(NULL, map);
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, 7));
	EXPECT_TRUE(all_ksm(map, 8));
	EXPECT_EQ(0, knob("ksm_zero_pages"));
	EXPECT_EQ(0, ksm_stat(0, "ksm_zero_pages"));
	EXPECT_TRUE(all_zero(map, 8));
}

KSM_TEST(zero_counts)
{
	long anon = status_kb(0, "RssAnon");
	char *map = ZERO_MERGED(64);
	struct counters c = counters_at_rest();

	EXPECT_EQ(64, c.zero);
	EXPECT_EQ(64, ksm_stat(0, "ksm_zero_pages"));
	EXPECT_EQ(0, c.shared);
	EXPECT_EQ(0, c.sharing);
	EXPECT_EQ(0, ksm_stat(0, "ksm_merging_pages"));
	EXPECT_EQ(1, distinct_pfns(map, 64));
	EXPECT_NE(0, kflags_of(0, map) & KPF_ZERO_BIT);
	EXPECT_EQ(0, kflags_of(0, map) & KPF_ANON_BIT);
	EXPECT_TRUE(all_zero(map, 64));
	/* The zero page is nobody's anonymous memory. */
	EXPECT_GT(anon + 64, status_kb(0, "RssAnon"));
}

KSM_TEST(zero_and_others)
{
	char *zero = ZERO_MERGED(8), *map = MERGEABLE_PAGES(4, 1);

	ASSERT_TRUE(ksm_settles(1, 3));
	EXPECT_EQ(8, knob("ksm_zero_pages"));
	EXPECT_TRUE(all_hold(map, 4, 1));
	EXPECT_TRUE(all_zero(zero, 8));
}

KSM_TEST(zero_write)
{
	char *map = ZERO_MERGED(8);
	long anon;
	int i;

	ASSERT_TRUE(scanner_stop());
	anon = status_kb(0, "RssAnon");
	for (i = 0; i < 8; i++) {
		EXPECT_EQ(0, page_of(map, i)[7]);
		fill(page_of(map, i), i);
		/* The count falls with the write, not with the next pass. */
		EXPECT_EQ(7 - i, knob("ksm_zero_pages"));
		EXPECT_EQ(7 - i, ksm_stat(0, "ksm_zero_pages"));
	}
	for (i = 0; i < 8; i++) {
		EXPECT_TRUE(holds(page_of(map, i), i));
	}
	EXPECT_TRUE(no_two_share(map, 8));
	EXPECT_LE(anon + 32, status_kb(0, "RssAnon"));
}

KSM_TEST(zero_unmap)
{
	char *map = ZERO_MERGED(12);

	ASSERT_TRUE(scanner_stop());
	ASSERT_EQ(0, munmap(page_of(map, 8), 4 * pagesize));
	EXPECT_EQ(8, knob("ksm_zero_pages"));
	ASSERT_EQ(0, madvise(page_of(map, 4), 4 * pagesize, MADV_DONTNEED));
	EXPECT_EQ(4, knob("ksm_zero_pages"));
	EXPECT_EQ(4, ksm_stat(0, "ksm_zero_pages"));
	/* The kernel's own zero page is not counted. */
	EXPECT_TRUE(all_zero(map, 8));
	EXPECT_EQ(4, knob("ksm_zero_pages"));
}

KSM_TEST(zero_unmerge)
{
	char *map = ZERO_MERGED(8);

	ASSERT_EQ(0, madvise(map, 4 * pagesize, MADV_UNMERGEABLE));
	EXPECT_TRUE(no_two_share(map, 4));
	EXPECT_EQ(4, knob("ksm_zero_pages"));
	EXPECT_EQ(4, ksm_stat(0, "ksm_zero_pages"));
	EXPECT_TRUE(all_zero(map, 8));
	ASSERT_EQ(0, knob_set("run", 2));
	EXPECT_TRUE(no_two_share(map, 8));
	EXPECT_EQ(0, knob("ksm_zero_pages"));
	EXPECT_EQ(0, ksm_stat(0, "ksm_zero_pages"));
	EXPECT_TRUE(all_zero(map, 8));
	EXPECT_EQ(KPF_ANON_BIT, kflags_of(0, map) & (KPF_ANON_BIT | KPF_KSM_BIT));
}

/* Turning the knob off changes nothing for what is there already. */
KSM_TEST(zero_knob_off)
{
	char *map = ZERO_MERGED(4), *more;

	ASSERT_EQ(0, knob_set("use_zero_pages", 0));
	more = zero_pages(4);
	ASSERT_NE(NULL, more);
	ASSERT_TRUE(ksm_settles(1, 3));
	EXPECT_EQ(4, knob("ksm_zero_pages"));
	EXPECT_TRUE(all_ksm(more, 4));
	EXPECT_TRUE(all_zero(map, 4) && all_zero(more, 4));
}

/* Pages merged as ordinary ones before the knob was set. */
KSM_TEST(zero_knob_later)
{
	char *map = zero_pages(4), *more;

	ASSERT_NE(NULL, map);
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, 3));
	ASSERT_EQ(0, knob_set("use_zero_pages", 1));
	more = zero_pages(4);
	ASSERT_NE(NULL, more);
	ASSERT_TRUE(counter_reaches("ksm_zero_pages", 4));
	EXPECT_TRUE(ksm_settles(1, 3));
	EXPECT_TRUE(all_zero(map, 4) && all_zero(more, 4));
}

static int peer_zero(struct peer *p, void *arg)
{
	char *map = arg;

	/* Unlike merged pages, these are counted for the child at once. */
	CHECK(ksm_stat(0, "ksm_zero_pages") == 8);
	CHECK(all_zero(map, 8));
	fill(map, 2);
	CHECK(ksm_stat(0, "ksm_zero_pages") == 7);
	CHECK(peer_meet(p));
	CHECK(peer_meet(p));
	return 0;
}

KSM_TEST(zero_fork)
{
	char *map = ZERO_MERGED(8);
	struct peer p;

	ASSERT_TRUE(scanner_stop());
	ASSERT_TRUE(peer_start(&p, peer_zero, map));
	ASSERT_TRUE(peer_meet(&p));
	EXPECT_EQ(15, knob("ksm_zero_pages"));
	EXPECT_EQ(8, ksm_stat(0, "ksm_zero_pages"));
	EXPECT_TRUE(all_zero(map, 8));
	ASSERT_TRUE(peer_meet(&p));
	EXPECT_EQ(0, peer_end(&p));
	EXPECT_EQ(8, knob("ksm_zero_pages"));
	/* A child that nobody waited for cleanly. */
	ASSERT_TRUE(peer_start(&p, peer_zero, map));
	ASSERT_TRUE(peer_meet(&p));
	EXPECT_EQ(15, knob("ksm_zero_pages"));
	kill(p.pid, SIGKILL);
	EXPECT_EQ(128 + SIGKILL, peer_end(&p));
	EXPECT_EQ(8, knob("ksm_zero_pages"));
}

static int peer_zero_part(struct peer *p, void *arg)
{
	char *map = arg;

	CHECK(ksm_stat(0, "ksm_zero_pages") == 4);
	CHECK(all_zero(map, 4));
	CHECK(all_zero(page_of(map, 8), 4));
	CHECK(peer_meet(p));
	CHECK(peer_meet(p));
	return 0;
}

/* What is not inherited is not counted for the child. */
KSM_TEST(zero_not_inherited)
{
	char *map = ZERO_MERGED(12);
	struct peer p;

	ASSERT_TRUE(scanner_stop());
	ASSERT_EQ(0, madvise(page_of(map, 4), 4 * pagesize, MADV_DONTFORK));
	ASSERT_EQ(0, madvise(page_of(map, 8), 4 * pagesize, MADV_WIPEONFORK));
	ASSERT_TRUE(peer_start(&p, peer_zero_part, map));
	ASSERT_TRUE(peer_meet(&p));
	EXPECT_EQ(16, knob("ksm_zero_pages"));
	ASSERT_TRUE(peer_meet(&p));
	EXPECT_EQ(0, peer_end(&p));
	EXPECT_EQ(12, knob("ksm_zero_pages"));
}

KSM_TEST(zero_exec)
{
	char *map = ZERO_MERGED(8);
	pid_t pid = fork_child();

	if (pid == 0) {
		char *args[] = { "true", NULL };

		execv("/bin/true", args);
		_exit(1);
	}
	EXPECT_EQ(0, wait_child(pid));
	EXPECT_EQ(8, knob("ksm_zero_pages"));
	EXPECT_TRUE(all_zero(map, 8));
}

/* Writes, unmaps and forks while the scanner puts zero pages back each pass. */
KSM_TEST(zero_under_scanner)
{
	char *map = ZERO_MERGED(32);
	int i, j;

	for (i = 0; i < 60; i++) {
		pid_t pid = fork_child();

		if (pid == 0) {
			for (j = i % 8; j < 32; j += 8)
				fill(page_of(map, j), i);
			_exit(!is_zero(page_of(map, (i + 1) % 8)));
		}
		for (j = i % 5; j < 32; j += 5)
			fill(page_of(map, j), i);
		EXPECT_LE(0, knob("ksm_zero_pages"));
		EXPECT_LE(0, ksm_stat(0, "ksm_zero_pages"));
		for (j = i % 5; j < 32; j += 5) {
			ASSERT_TRUE(holds(page_of(map, j), i));
			memset(page_of(map, j), 0, pagesize);
		}
		ASSERT_EQ(0, wait_child(pid));
	}
	ASSERT_TRUE(counter_reaches("ksm_zero_pages", 32));
	EXPECT_EQ(32, ksm_stat(0, "ksm_zero_pages"));
	EXPECT_TRUE(all_zero(map, 32));
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * What cannot be merged is found out by looking: nothing is tried with it, nor with its
 * equals, again and again. What is tried says so by an event.
 */
#include <linux/io_uring.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "beside_fixture.h"

#define N		64
#define LATER_PASSES	4

/* Registered as buffers, which pins them; -1: it cannot be. */
static int pin(char *map, size_t n)
{
	struct io_uring_params params = {};
	struct iovec iov = { map, n * pagesize };
	int ring = syscall(SYS_io_uring_setup, 4, &params);

	if (ring < 0)
		return -1;
	if (syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &iov, 1) < 0) {
		close(ring);
		return -1;
	}
	return ring;
}

#define PIN(map, n) ({							\
	int _ring = pin(map, n);					\
									\
	if (_ring < 0 && errno == ENOSYS)				\
		SKIP(return, "no io_uring");				\
	ASSERT_LE(0, _ring);						\
	_ring;								\
})

#define WATCH(map, size) ({						\
	int _fd = watch_writes(map, size);				\
									\
	if (_fd < 0)							\
		SKIP(return, "no userfaultfd that watches writes");	\
	_fd;								\
})

/* Merges that were tried in some passes after the first ones. */
static long tries_later(void)
{
	if (knob_set("run", 1) || !ksm_passes(3) ||
	    !trace_on("rksm/rksm_merge_one_page") || !trace_on("rksm/rksm_merge_with_ksm_page") ||
	    !ksm_passes(LATER_PASSES))
		return -1;
	return trace_total();
}

/* Equal to pages that are merged. */
BESIDE_TEST(pinned_beside_merged)
{
	char *a = different_pages(N, 1), *b = different_pages(N, 1), *c = different_pages(N, 1);
	int ring;

	ASSERT_TRUE(a && b && c);
	ring = PIN(c, N);
	EXPECT_EQ(0, tries_later());
	EXPECT_EQ(N, knob("pages_shared"));
	EXPECT_EQ(N, knob("pages_sharing"));
	EXPECT_FALSE(is_ksm(c));
	/* And merged, once they can be. */
	close(ring);
	EXPECT_TRUE(ksm_settles(N, 2 * N));
}

/* Equal to one that is in no other way to be merged. */
BESIDE_TEST(pinned_beside_one)
{
	char *a = different_pages(N, 2), *b = different_pages(N, 2);
	int ring;

	ASSERT_TRUE(a && b);
	ring = PIN(b, N);
	EXPECT_EQ(0, tries_later());
	EXPECT_EQ(0, knob("pages_shared"));
	close(ring);
	EXPECT_TRUE(ksm_settles(N, N));
}

/* From the first look on: one try may be too early to know, but not more. */
BESIDE_TEST(pinned_when_first_seen)
{
	char *a = different_pages(N, 3), *b = different_pages(N, 3), *c = different_pages(N, 3);
	int ring, i, more = 0;

	ASSERT_TRUE(a && b && c);
	ring = PIN(c, N);
	ASSERT_TRUE(trace_on("rksm/rksm_merge_one_page") &&
		    trace_on("rksm/rksm_merge_with_ksm_page"));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_passes(3));
	ASSERT_TRUE(scanner_stop());
	for (i = 0; i < N; i++) {
		char address[32];

		snprintf(address, sizeof(address), " address 0x%lx ", (long)page_of(c, i));
		more += trace_count(NULL, address) > 1;
	}
	EXPECT_EQ(0, more);
	close(ring);
}

BESIDE_TEST(watched_beside_one)
{
	char *a = different_pages(N, 4), *b = different_pages(N, 4);
	int fd;

	ASSERT_TRUE(a && b);
	fd = WATCH(b, N * pagesize);
	EXPECT_EQ(0, tries_later());
	EXPECT_EQ(0, knob("pages_shared"));
	close(fd);
	EXPECT_TRUE(ksm_settles(N, N));
}

/* Whoever has the equal page writes to it as if nothing were. */
BESIDE_TEST(the_equal_one_gets_no_faults)
{
	char *a = different_pages(N, 5), *b = different_pages(N, 5);
	struct rusage usage;
	long faults;
	int fd, i, k;

	ASSERT_TRUE(a && b);
	fd = WATCH(b, N * pagesize);
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_passes(3));
	ASSERT_EQ(0, getrusage(RUSAGE_SELF, &usage));
	faults = usage.ru_minflt;
	for (k = 0; k < LATER_PASSES; k++) {
		ASSERT_TRUE(ksm_passes(1));
		/* The same word, so that it stays an equal one. */
		for (i = 0; i < N; i++)
			*(volatile uint64_t *)page_of(a, i) = *(uint64_t *)page_of(a, i);
	}
	ASSERT_EQ(0, getrusage(RUSAGE_SELF, &usage));
	EXPECT_GT(LATER_PASSES * N / 2, usage.ru_minflt - faults);
	close(fd);
}

static long huge_kb(void)
{
	char text[4096];
	const char *at;

	if (file_read("/proc/self/smaps_rollup", text, sizeof(text)) <= 0)
		return -1;
	at = strstr(text, "AnonHugePages:");
	return at ? strtol(at + 14, NULL, 10) : -1;
}

#define HUGE_PAGE	(2UL << 20)

/* A huge page with content of its own in each of its pages. */
static char *huge_page(uint64_t seed)
{
	char *room = mmap(NULL, 2 * HUGE_PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *map;
	size_t i;

	if (room == MAP_FAILED)
		return NULL;
	map = (char *)(((uintptr_t)room + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1));
	if (madvise(map, HUGE_PAGE, MADV_HUGEPAGE))
		return NULL;
	for (i = 0; i < HUGE_PAGE / pagesize; i++)
		*(uint64_t *)page_of(map, i) = (seed << 32) + i + 1;
	return madvise(map, HUGE_PAGE, MADV_MERGEABLE) ? NULL : map;
}

#define A_HUGE_PAGE(seed) ({						\
	char *_map;							\
									\
	if (access("/sys/kernel/mm/transparent_hugepage", F_OK))	\
		SKIP(return, "no huge pages");				\
	_map = huge_page(seed);						\
	ASSERT_NE(NULL, _map);						\
	if (!(kflags_of(0, _map) & KPF_THP_BIT))			\
		SKIP(return, "no huge page is free");			\
	_map;								\
})

/* Not split for a page that has an equal one, and cannot be merged with it. */
BESIDE_TEST(a_huge_page_that_is_watched)
{
	char *huge = A_HUGE_PAGE(6), *twins = different_pages(8, 6);
	long kb = huge_kb();
	int fd;

	ASSERT_NE(NULL, twins);
	fd = WATCH(huge, HUGE_PAGE);
	EXPECT_EQ(0, tries_later());
	EXPECT_TRUE(kflags_of(0, huge) & KPF_THP_BIT);
	EXPECT_EQ(kb, huge_kb());
	close(fd);
	EXPECT_TRUE(ksm_settles(8, 8));
}

BESIDE_TEST(a_huge_page_that_is_pinned)
{
	char *huge = A_HUGE_PAGE(7), *twins = different_pages(8, 7);
	long kb = huge_kb();
	int ring;

	ASSERT_NE(NULL, twins);
	ring = PIN(page_of(huge, 4), 1);
	EXPECT_EQ(0, tries_later());
	EXPECT_TRUE(kflags_of(0, huge) & KPF_THP_BIT);
	EXPECT_EQ(kb, huge_kb());
	close(ring);
	EXPECT_TRUE(ksm_settles(8, 8));
}

TEST_HARNESS_MAIN

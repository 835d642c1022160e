// SPDX-License-Identifier: GPL-2.0
/* Merged pages that the kernel moves to other frames. */
#include <fcntl.h>
#include <signal.h>
#include <time.h>

#include "numa_fixture.h"

#define N		16

#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE	101
#endif

KSM_TEST(merged_page_moves)
{
	char *map = MERGED_PAGES(N, 1), *more;
	uint64_t pfn = pfn_of(0, map);
	pid_t pid;

	NEED_TWO_NODES();
	/*
	 * The scanner's own reference would be in the way; and no pass shall
	 * come to know the child's mappings, which must be found all the same.
	 */
	ASSERT_TRUE(scanner_stop());
	pid = fork_child();
	if (pid == 0) {
		for (;;)
			pause();
	}
	ASSERT_TRUE(move_page(0, map, !node_of(map)));
	EXPECT_NE(pfn, pfn_of(0, map));
	EXPECT_EQ(1, distinct_pfns(map, N));
	EXPECT_TRUE(all_ksm(map, N));
	EXPECT_EQ(pfn_of(0, map), pfn_of(pid, page_of(map, N - 1)));
	EXPECT_TRUE(all_hold(map, N, 1));
	/* It is still found, and joined. */
	more = MERGEABLE_PAGES(2, 1);
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, 2 * N + 1));
	EXPECT_EQ(pfn_of(0, map), pfn_of(0, more));
	/* And copied on write. */
	fill(map, 2);
	EXPECT_TRUE(holds(map, 2));
	EXPECT_TRUE(all_hold(page_of(map, 1), N - 1, 1));
	kill(pid, SIGKILL);
	wait_child(pid);
}

/* It stops between two moves, so that all pages are there. */
static bool stop(pid_t mover)
{
	int status;

	return !kill(mover, SIGSTOP) &&
	       waitpid(mover, &status, WUNTRACED) == mover && WIFSTOPPED(status);
}

/* To and fro, while pages are merged, written and unmerged. */
KSM_TEST(moves_under_scanner)
{
	char *map = MERGEABLE_PAGES(N, 3);
	pid_t mover, parent = getpid();
	int i;

	NEED_TWO_NODES();
	ASSERT_EQ(0, knob_set("run", 1));
	mover = fork_child();
	if (mover == 0) {
		for (i = 0;; i++) {
			move_page(parent, page_of(map, i % N), (i / N) % 2);
			/* Each move drains the LRU caches of all CPUs: leave some time. */
			usleep(500);
		}
	}
	for (i = 0; i < 40; i++) {
		pid_t pid = -1;

		fill(page_of(map, i % N), 3);
		if (i % 4 == 0) {
			pid = fork_child();
			if (pid == 0) {
				fill(page_of(map, (i + 1) % N), 4);
				_exit(!holds(page_of(map, i % N), 3));
			}
		}
		ASSERT_TRUE(all_hold(map, N, 3));
		ASSERT_TRUE(i % 3 || ksm_passes(1));
		ASSERT_TRUE(pid < 0 || wait_child(pid) == 0);
	}
	/* Unmerging finds pages that are on the move as well. */
	for (i = 0; i < 20; i++) {
		ASSERT_EQ(0, knob_set("run", 2));
		ASSERT_TRUE(stop(mover));
		ASSERT_TRUE(no_two_share(map, N));
		ASSERT_EQ(0, knob("pages_shared"));
		kill(mover, SIGCONT);
		ASSERT_EQ(0, knob_set("run", 1));
		ASSERT_TRUE(ksm_passes(2));
	}
	kill(mover, SIGKILL);
	wait_child(mover);
	ASSERT_TRUE(ksm_settles(1, N - 1));
	EXPECT_TRUE(all_hold(map, N, 3));
}

/* A scanner that never rests holds no reference to what is merged already. */
KSM_TEST(scanner_is_not_in_the_way)
{
	char *map = MERGED_PAGES(N, 4);
	int i, tries, at_once = 0;
	long passes, last;

	NEED_TWO_NODES();
	ASSERT_EQ(0, knob_set("sleep_millisecs", 0));
	ASSERT_EQ(0, knob_set("run", 1));
	passes = knob("full_scans");
	for (i = 0; i < 100; i++) {
		int node = !node_of(map);

		/* Somebody else may have it for a moment. */
		last = knob("full_scans") + 2;
		for (tries = 0; !move_page(0, map, node); tries++) {
			ASSERT_TRUE(tries < 50 || knob("full_scans") <= last);
			usleep(100);
		}
		at_once += !tries;
		ASSERT_TRUE(i % 10 || ksm_passes(1));
	}
	EXPECT_LE(50, at_once);
	EXPECT_LE(passes + 10, knob("full_scans"));
	EXPECT_TRUE(ksm_settles(1, N - 1));
	EXPECT_TRUE(all_ksm(map, N));
	EXPECT_EQ(1, distinct_pfns(map, N));
	EXPECT_TRUE(all_hold(map, N, 4));
}

/*
 * A whole range changes nodes. Not the whole process: its program text would
 * move as well, for which an emulated machine takes minutes.
 */
KSM_TEST(range_changes_nodes)
{
	char *map = MERGED_PAGES(N, 5);
	int i;

	NEED_TWO_NODES();
	ASSERT_TRUE(scanner_stop());
	for (i = 0; i < 10; i++) {
		unsigned long node = 1 << (i % 2);

		ASSERT_EQ(0, syscall(SYS_mbind, map, N * pagesize, MPOL_BIND,
				     &node, 64, MPOL_MF_MOVE_ALL));
		ASSERT_EQ(i % 2, node_of(map));
		ASSERT_EQ(1, distinct_pfns(map, N));
		ASSERT_TRUE(all_hold(map, N, 5));
	}
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, N - 1));
}

/*
 * Advice is withdrawn from a page that is on the move: none of its mappings is
 * missed. That there are many makes a move take long.
 */
KSM_TEST(unmerged_on_the_move)
{
	enum { MAPPINGS = 250 };
	char *map = MERGEABLE_PAGES(MAPPINGS, 8);
	pid_t mover, parent = getpid();
	int i, j;

	NEED_TWO_NODES();
	ASSERT_EQ(0, madvise(map, MAPPINGS * pagesize, MADV_DONTFORK));
	mover = fork_child();
	if (mover == 0) {
		for (i = 0;; i++)
			move_page(parent, map, i % 2);
	}
	for (i = 0; i < rounds(40); i++) {
		ASSERT_TRUE(stop(mover));
		ASSERT_EQ(0, knob_set("run", 1));
		ASSERT_TRUE(ksm_settles(1, MAPPINGS - 1));
		ASSERT_TRUE(scanner_stop());
		kill(mover, SIGCONT);
		usleep(rand() % 5000);
		ASSERT_EQ(0, madvise(map, MAPPINGS * pagesize, MADV_UNMERGEABLE));
		ASSERT_TRUE(stop(mover));
		for (j = 0; j < MAPPINGS; j++) {
			ASSERT_FALSE(is_ksm(page_of(map, j)));
		}
		ASSERT_TRUE(no_two_share(map, MAPPINGS));
		ASSERT_EQ(0, madvise(map, MAPPINGS * pagesize, MADV_MERGEABLE));
		kill(mover, SIGCONT);
	}
	EXPECT_TRUE(all_hold(map, MAPPINGS, 8));
	kill(mover, SIGKILL);
	wait_child(mover);
}

/* The same where the scope gets narrower: nobody looks whether a merged page is left. */
KSM_TEST(left_by_the_scope_on_the_move)
{
	enum { MAPPINGS = 250 };
	char *map = map_pages(MAPPINGS);
	pid_t mover, parent = getpid();
	int i;

	NEED_TWO_NODES();
	NEEDS_KNOB("scope", "this provider has no scope");
	ASSERT_NE(NULL, map);
	mover = fork_child();
	if (mover == 0) {
		for (i = 0;; i++)
			move_page(parent, map, i % 2);
	}
	fill_all(map, MAPPINGS, 9);
	for (i = 0; i < rounds(20); i++) {
		ASSERT_TRUE(stop(mover));
		ASSERT_EQ(0, knob_write("scope", "all"));
		ASSERT_EQ(0, knob_set("run", 1));
		ASSERT_TRUE(gets_merged(map, MAPPINGS));
		ASSERT_TRUE(scanner_stop());
		kill(mover, SIGCONT);
		usleep(rand() % 5000);
		ASSERT_EQ(0, knob_write("scope", "madvise"));
		ASSERT_TRUE(stop(mover));
		ASSERT_TRUE(none_ksm(map, MAPPINGS));
		ASSERT_TRUE(no_two_share(map, MAPPINGS));
		kill(mover, SIGCONT);
	}
	EXPECT_TRUE(all_hold(map, MAPPINGS, 9));
	kill(mover, SIGKILL);
	wait_child(mover);
}

static long long cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

/* So long that a clock which goes by ticks will do: that of an emulated machine may. */
#define MEASURED_NS	40000000

/*
 * What a move of a merged page costs, for which its mappings are walked twice: the least of
 * several times, as an emulated CPU that is preempted counts that, too.
 */
static long long move_cost(char *page)
{
	long long least = -1;
	int k;

	for (k = 0; k < 4; k++) {
		long long start = cpu_ns(), used;
		int moves = 0;

		do {
			if (!move_page(0, page, !node_of(page)))
				return -1;
			moves++;
			used = cpu_ns() - start;
		} while (used < MEASURED_NS);
		if (least < 0 || used / moves < least)
			least = used / moves;
	}
	return least;
}

/*
 * Many VMAs may hang on one anon_vma. A walk over the mappings of a page looks
 * at those that can map it, not at all of them for each mapping.
 */
KSM_TEST(walk_is_bounded)
{
	enum { MAPPINGS = 250, VMAS = 8192 };
	char *plain = MERGEABLE_PAGES(MAPPINGS, 9), *many = map_pages(VMAS + MAPPINGS);
	long long plain_cost, many_cost;
	int i;

	NEED_TWO_NODES();
	ASSERT_NE(NULL, many);
	/* Written while it is one VMA, then split. */
	fill_all(many, MAPPINGS, 10);
	for (i = 0; i < VMAS; i += 2) {
		ASSERT_EQ(0, mprotect(page_of(many, MAPPINGS + i), pagesize, PROT_READ));
	}
	ASSERT_EQ(0, madvise(many, MAPPINGS * pagesize, MADV_MERGEABLE));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(2, 2 * (MAPPINGS - 1)));
	ASSERT_TRUE(scanner_stop());
	plain_cost = move_cost(plain);
	many_cost = move_cost(many);
	ASSERT_LT(0, plain_cost);
	ASSERT_LT(0, many_cost);
	/* A walk that looks at all of them takes hundreds of times as long. */
	EXPECT_LT(many_cost, 50 * plain_cost) {
		TH_LOG("a move: %lld us, among many VMAs %lld us",
		       plain_cost / 1000, many_cost / 1000);
	}
	EXPECT_TRUE(all_hold(plain, MAPPINGS, 9) && all_hold(many, MAPPINGS, 10));
}

/* The kernel tidies up memory while its pages are merged, written, unmerged. */
KSM_TEST(compaction)
{
	char *map = MERGEABLE_PAGES(4 * N, 6);
	int i, j;

	for (i = 0; i < 4 * N; i += 2)
		fill(page_of(map, i), 100 + i / 8);
	ASSERT_EQ(0, knob_set("run", 1));
	for (i = 0; i < 12; i++) {
		pid_t pid = fork_child();

		if (pid == 0)
			_exit(!!file_write("/proc/sys/vm/compact_memory", "1"));
		fill(page_of(map, 4 * i + 1), 6);
		ASSERT_TRUE(i % 4 || knob_set("run", 2) == 0);
		ASSERT_EQ(0, knob_set("run", 1));
		for (j = 0; j < 4 * N; j++) {
			ASSERT_TRUE(holds(page_of(map, j),
					  j % 2 ? 6 : 100 + j / 8));
		}
		ASSERT_EQ(0, wait_child(pid));
	}
	/* 32 odd pages alike, and 8 fours. */
	ASSERT_TRUE(ksm_settles(9, 31 + 24));
	ASSERT_EQ(0, knob_set("run", 2));
	EXPECT_TRUE(no_two_share(map, 4 * N));
}

static bool soft_offlined(void *page)
{
	return madvise(page, pagesize, MADV_SOFT_OFFLINE) == 0;
}

/* A frame that is taken out of use: what it held moves, merged as it is. */
KSM_TEST(soft_offline)
{
	char *map = MERGED_PAGES(N, 7);
	uint64_t pfn = pfn_of(0, map);
	char text[32];

	if (access("/sys/kernel/debug/hwpoison/unpoison-pfn", F_OK))
		SKIP(return, "no hwpoison in debugfs");
	ASSERT_TRUE(ksm_until(soft_offlined, map));
	EXPECT_NE(pfn, pfn_of(0, map));
	EXPECT_TRUE(all_hold(map, N, 7));
	EXPECT_EQ(1, distinct_pfns(map, N));
	EXPECT_TRUE(all_ksm(map, N));
	ASSERT_TRUE(ksm_settles(1, N - 1));
	snprintf(text, sizeof(text), "%llu", (unsigned long long)pfn);
	EXPECT_EQ(0, file_write("/sys/kernel/debug/hwpoison/unpoison-pfn", text));
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/* /proc/PID/ksm_*, prctl(PR_SET_MEMORY_MERGE), and counters that agree. */
#include <signal.h>

#include "ksm_fixture.h"

KSM_TEST(proc_files)
{
	char *map = MERGED_PAGES(8, 1);

	EXPECT_EQ(8, merging_pages(0));
	EXPECT_EQ(8, ksm_stat(0, "ksm_merging_pages"));
	EXPECT_EQ(8, ksm_stat(0, "ksm_rmap_items"));
	EXPECT_EQ(0, ksm_stat(0, "ksm_zero_pages"));
	EXPECT_EQ(0, ksm_stat(0, "ksm_merge_any"));
	EXPECT_EQ(1, ksm_stat(0, "ksm_mergeable"));
	ASSERT_TRUE(scanner_stop());
	fill(map, 2);
	/* The first ends the pass that was under way, which may have been here before. */
	ASSERT_TRUE(ksm_step() && ksm_step());
	EXPECT_EQ(7, merging_pages(0));
	EXPECT_EQ(8, ksm_stat(0, "ksm_rmap_items"));
	ASSERT_EQ(0, knob_set("run", 2));
	EXPECT_EQ(0, merging_pages(0));
	EXPECT_EQ(0, ksm_stat(0, "ksm_rmap_items"));
	EXPECT_EQ(0, ksm_stat(0, "ksm_process_profit"));
}

/* Its lines, their order and their format. */
KSM_TEST(stat_lines)
{
	char expected[256], text[256];
	char *map = MERGED_PAGES(8, 1);

	ASSERT_TRUE(scanner_stop());
	snprintf(expected, sizeof(expected),
		 "ksm_rmap_items 8\nksm_zero_pages 0\nksm_merging_pages 8\n"
		 "ksm_process_profit %ld\nksm_merge_any: no\nksm_mergeable: yes\n",
		 ksm_stat(0, "ksm_process_profit"));
	ASSERT_LT(0, file_read("/proc/self/ksm_stat", text, sizeof(text)));
	EXPECT_STREQ(expected, text);
	ASSERT_LT(0, file_read("/proc/self/ksm_merging_pages", text, sizeof(text)));
	EXPECT_STREQ("8\n", text);
	/* A thread has the file too, with the same in it. */
	ASSERT_LT(0, file_read("/proc/thread-self/ksm_stat", text, sizeof(text)));
	EXPECT_STREQ(expected, text);
	/* No advice is left, and no profit: the records cost something. */
	ASSERT_EQ(0, munmap(map, 8 * pagesize));
	EXPECT_EQ(0, ksm_stat(0, "ksm_mergeable"));
}

/* Only for its owner. */
KSM_TEST(others_may_not_read)
{
	char stat[64], merging[64];
	pid_t parent = getpid(), pid = fork_child();

	snprintf(stat, sizeof(stat), "/proc/%d/ksm_stat", parent);
	snprintf(merging, sizeof(merging), "/proc/%d/ksm_merging_pages", parent);
	if (pid == 0) {
		char text[256];

		EXPECT_LT(0, file_read(stat, text, sizeof(text)));
		ASSERT_EQ(0, setuid(65534));
		EXPECT_EQ(-EACCES, file_read(stat, text, sizeof(text)));
		EXPECT_EQ(-EACCES, file_read(merging, text, sizeof(text)));
		_exit(0);
	}
	EXPECT_EQ(0, wait_child(pid));
}

/* What a provider says that its records cost, in bytes. */
#define LEAF	1260
#define NODE	64
#define RECORD	64

static int peer_counted(struct peer *p, void *arg)
{
	char *map = map_pages(24);
	int i;

	CHECK(map);
	/* 10 that merge, 14 that do not. */
	for (i = 0; i < 24; i++)
		fill(page_of(map, i), i < 10 ? 3 : 100 + i);
	CHECK(!madvise(map, 24 * pagesize, MADV_MERGEABLE));
	CHECK(peer_meet(p));
	CHECK(peer_meet(p));
	return 0;
}

/*
 * At rest every page that the scanner tracks is in one of the counters,
 * the processes' counters add up to the global ones, and profit is what was
 * saved less what tracking costs.
 */
KSM_TEST(counters_agree)
{
	long items, merging, spent, ours, theirs, zero, price, common;
	struct counters c;
	struct peer p;
	char *map;
	int i;

	ASSERT_EQ(0, knob_set("use_zero_pages", 1));
	ASSERT_TRUE(peer_start(&p, peer_counted, NULL));
	map = map_pages(20);
	ASSERT_NE(NULL, map);
	for (i = 0; i < 20; i++) {
		if (i < 6)
			memset(page_of(map, i), 0, pagesize);
		else
			fill(page_of(map, i), i < 14 ? 3 : 200 + i);
	}
	ASSERT_EQ(0, madvise(map, 20 * pagesize, MADV_MERGEABLE));
	ASSERT_TRUE(peer_meet(&p));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, 17));
	ASSERT_TRUE(counter_reaches("ksm_zero_pages", 6));
	ASSERT_TRUE(scanner_stop());
	for (i = 0; i < 2; i++) {
		fill(page_of(map, 19), 300);	/* one that is volatile */
		fill(page_of(map, 19), 301 + i);
		ASSERT_TRUE(ksm_step());
	}

	c = counters_at_rest();
	EXPECT_EQ(1, c.shared);
	EXPECT_EQ(17, c.sharing);
	EXPECT_EQ(14 + 5, c.unshared);
	EXPECT_EQ(6, c.zero);
	items = ksm_stat(0, "ksm_rmap_items") + ksm_stat(p.pid, "ksm_rmap_items");
	merging = merging_pages(0) + merging_pages(p.pid);
	zero = ksm_stat(0, "ksm_zero_pages") + ksm_stat(p.pid, "ksm_zero_pages");
	/* rksm tracks the zero pages that it has placed, in-tree KSM does not. */
	EXPECT_EQ(items, c.shared + c.sharing + c.unshared + c.volatiles +
		  (is_rksm() ? c.zero : 0));
	EXPECT_EQ(merging, c.shared + c.sharing);
	EXPECT_EQ(zero, c.zero);

	/* rksm has a leaf for each, in-tree KSM a record for each page: see records.c for what others cost. */
	price = is_rksm() ? LEAF : 0;
	spent = (c.sharing + c.zero) * (long)pagesize - c.profit;
	theirs = (10 + 0) * (long)pagesize - ksm_stat(p.pid, "ksm_process_profit");
	ours = (8 + 6) * (long)pagesize - ksm_stat(0, "ksm_process_profit");
	EXPECT_EQ(price ?: ksm_stat(p.pid, "ksm_rmap_items") * RECORD, theirs);
	EXPECT_EQ(price ?: ksm_stat(0, "ksm_rmap_items") * RECORD, ours);
	/* In all there is what finds merged pages, too, in whole pages of trees; in-tree KSM does not count that. */
	common = spent - ours - theirs;
	if (is_rksm()) {
		EXPECT_EQ(NODE * c.shared, common % pagesize);
		EXPECT_GT(4 * (long)pagesize, common);
	} else {
		EXPECT_EQ(0, common);
	}
	ASSERT_TRUE(peer_meet(&p));
	EXPECT_EQ(0, peer_end(&p));

	ASSERT_EQ(0, knob_set("run", 2));
	c = counters_now();
	EXPECT_EQ(0, c.shared + c.sharing + c.unshared + c.volatiles + c.zero);
	EXPECT_EQ(0, c.profit);
}

KSM_TEST(prctl_merges_all)
{
	char *map = map_pages(6), *later;

	ASSERT_NE(NULL, map);
	fill_all(map, 6, 4);
	ASSERT_EQ(0, prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0));
	ASSERT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0));
	EXPECT_EQ(1, prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0));
	EXPECT_EQ(1, ksm_stat(0, "ksm_merge_any"));
	ASSERT_EQ(0, knob_set("run", 1));
	/* The rest of the process, stack and all, may merge too. */
	later = map_pages(6);
	ASSERT_NE(NULL, later);
	fill_all(later, 6, 4);
	ASSERT_TRUE(ksm_passes(6));
	EXPECT_TRUE(all_ksm(map, 6));
	EXPECT_TRUE(all_ksm(later, 6));
	EXPECT_EQ(pfn_of(0, map), pfn_of(0, page_of(later, 5)));

	/* Off again: everything comes back. */
	ASSERT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0));
	EXPECT_EQ(0, prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0));
	EXPECT_EQ(0, ksm_stat(0, "ksm_merge_any"));
	EXPECT_TRUE(no_two_share(map, 6));
	EXPECT_TRUE(no_two_share(later, 6));
	EXPECT_TRUE(all_hold(map, 6, 4));
	EXPECT_TRUE(all_hold(later, 6, 4));
}

KSM_TEST(prctl_bad_arguments)
{
	EXPECT_EQ(-1, prctl(PR_SET_MEMORY_MERGE, 1, 1, 0, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, prctl(PR_GET_MEMORY_MERGE, 1, 0, 0, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(0, prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0));
}

/* After exec, in each case: this program again, with an argument. */
static int has_no_counts(void)
{
	CHECK(merging_pages(0) == 0);
	CHECK(ksm_stat(0, "ksm_rmap_items") == 0);
	CHECK(ksm_stat(0, "ksm_zero_pages") == 0);
	return 0;
}

/* exec() ends a child's share of the counts, and the new program has none. */
KSM_TEST(exec_ends_counts)
{
	char *map = MERGEABLE_PAGES(16, 6);
	struct counters c;
	pid_t pid;

	memset(page_of(map, 8), 0, 8 * pagesize);
	ASSERT_EQ(0, knob_set("use_zero_pages", 1));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, 7));
	ASSERT_TRUE(counter_reaches("ksm_zero_pages", 8));
	ASSERT_TRUE(scanner_stop());
	pid = fork_child();
	if (pid == 0) {
		char *args[] = { "process", "no-counts", NULL };

		/* Counted for the child, before it leaves them behind. */
		EXPECT_EQ(8, ksm_stat(0, "ksm_zero_pages"));
		/* The first may be the rest of a pass that began before the fork. */
		EXPECT_TRUE(ksm_step() && ksm_step());
		EXPECT_EQ(8, merging_pages(0));
		execv("/proc/self/exe", args);
		_exit(1);
	}
	EXPECT_EQ(0, wait_child(pid));
	ASSERT_TRUE(ksm_step());
	c = counters_at_rest();
	EXPECT_EQ(1, c.shared);
	EXPECT_EQ(7, c.sharing);
	EXPECT_EQ(8, c.zero);
	EXPECT_EQ(8, merging_pages(0));
	EXPECT_EQ(8, ksm_stat(0, "ksm_zero_pages"));
}

static int merges_by_itself(void)
{
	char *map;

	CHECK(prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0) == 1);
	map = map_pages(6);
	CHECK(map);
	fill_all(map, 6, 5);
	CHECK(ksm_passes(6));
	CHECK(all_ksm(map, 6));
	CHECK(merging_pages(0) >= 6);
	CHECK(all_hold(map, 6, 5));
	return 0;
}

KSM_TEST(prctl_inherited_by_fork)
{
	pid_t pid;

	ASSERT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0));
	ASSERT_EQ(0, knob_set("run", 1));
	pid = fork_child();
	if (pid == 0)
		_exit(merges_by_itself());
	EXPECT_EQ(0, wait_child(pid));
	/* A child may drop it for itself. */
	pid = fork_child();
	if (pid == 0) {
		EXPECT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0));
		EXPECT_EQ(0, prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0));
		_exit(0);
	}
	EXPECT_EQ(0, wait_child(pid));
	EXPECT_EQ(1, prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0));
	EXPECT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0));
}

KSM_TEST(prctl_inherited_by_exec)
{
	pid_t pid;

	ASSERT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0));
	ASSERT_EQ(0, knob_set("run", 1));
	pid = fork_child();
	if (pid == 0) {
		char *args[] = { "process", "after-exec", NULL };

		execv("/proc/self/exe", args);
		_exit(1);
	}
	EXPECT_EQ(0, wait_child(pid));
	EXPECT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0));
}

#define OVERCOMMIT	"/proc/sys/vm/overcommit_"

/*
 * exec() that fails half-way, in a process that hands down that all its memory is
 * merged: it waits for nobody, though the scanner may be at the new memory. Where no
 * memory may be promised, there is none for the stack.
 */
KSM_TEST(exec_fails)
{
	char mode[16], ratio[16];
	pid_t pid;

	ASSERT_LT(0, file_read(OVERCOMMIT "memory", mode, sizeof(mode)));
	ASSERT_LT(0, file_read(OVERCOMMIT "ratio", ratio, sizeof(ratio)));
	ASSERT_EQ(0, knob_set("run", 1));
	pid = fork_child();
	if (pid == 0) {
		char *args[] = { "true", NULL };
		int i;

		if (prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0) ||
		    file_write(OVERCOMMIT "ratio", "0") ||
		    file_write(OVERCOMMIT "memory", "2"))
			_exit(1);
		for (i = rounds(10000); i > 0; i--) {
			execv("/bin/true", args);
			if (errno != ENOMEM)
				_exit(1);
		}
		_exit(0);
	}
	EXPECT_EQ(0, wait_child(pid));
	EXPECT_EQ(0, file_write(OVERCOMMIT "memory", mode));
	EXPECT_EQ(0, file_write(OVERCOMMIT "ratio", ratio));
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "after-exec"))
		return merges_by_itself();
	if (argc == 2 && !strcmp(argv[1], "no-counts"))
		return has_no_counts();
	return test_harness_run(argc, argv);
}

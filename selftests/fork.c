// SPDX-License-Identifier: GPL-2.0
/* Merged memory in processes that fork, exec and exit, at rest and under the scanner. */
#include <signal.h>

#include "ksm_fixture.h"

/* The child sees the content; a write on either side is private. */
KSM_TEST(child_has_content)
{
	char *map = MERGED_PAGES(8, 1);
	pid_t pid;

	ASSERT_TRUE(scanner_stop());
	pid = fork_child();
	if (pid == 0) {
		EXPECT_TRUE(all_ksm(map, 8));
		EXPECT_TRUE(all_hold(map, 8, 1));
		fill_all(map, 4, 2);
		EXPECT_TRUE(all_hold(map, 4, 2));
		EXPECT_TRUE(all_hold(page_of(map, 4), 4, 1));
		EXPECT_TRUE(no_two_share(map, 4));
		_exit(0);
	}
	EXPECT_EQ(0, wait_child(pid));
	EXPECT_TRUE(all_hold(map, 8, 1));
	EXPECT_TRUE(all_ksm(map, 8));
}

static int peer_of_fork(struct peer *p, void *arg)
{
	char *map = arg;

	CHECK(merging_pages(0) == 0);
	CHECK(ksm_stat(0, "ksm_rmap_items") == 0);
	CHECK(peer_meet(p));	/* not counted yet */
	CHECK(peer_meet(p));	/* counted */
	CHECK(merging_pages(0) == 8);
	CHECK(all_hold(map, 8, 3));
	CHECK(peer_meet(p));	/* the parent has written */
	CHECK(all_hold(map, 8, 3));
	CHECK(all_ksm(map, 8));
	return 0;
}

/* A child's mappings count for nothing until a pass has been there. */
KSM_TEST(child_is_counted)
{
	char *map = MERGED_PAGES(8, 3);
	struct peer p;

	ASSERT_TRUE(scanner_stop());
	ASSERT_TRUE(peer_start(&p, peer_of_fork, map));
	ASSERT_TRUE(peer_meet(&p));
	EXPECT_EQ(8, merging_pages(0));
	EXPECT_EQ(7, knob("pages_sharing"));
	ASSERT_TRUE(ksm_step());
	ASSERT_TRUE(ksm_step());
	EXPECT_EQ(1, knob("pages_shared"));
	EXPECT_EQ(15, knob("pages_sharing"));
	EXPECT_TRUE(peer_meet(&p));
	fill_all(map, 8, 4);
	EXPECT_TRUE(peer_meet(&p));
	EXPECT_EQ(0, peer_end(&p));
	EXPECT_TRUE(all_hold(map, 8, 4));
}

/* Pages that parent and child share since the fork are not merged ones yet. */
KSM_TEST(merge_after_fork)
{
	char *map = MERGEABLE_PAGES(6, 5);
	pid_t pid = fork_child();

	if (pid == 0) {
		for (;;)
			pause();
	}
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, 11));
	EXPECT_EQ(pfn_of(0, map), pfn_of(pid, page_of(map, 5)));
	kill(pid, SIGKILL);
	EXPECT_EQ(128 + SIGKILL, wait_child(pid));
	EXPECT_TRUE(ksm_settles(1, 5));
	EXPECT_TRUE(all_hold(map, 6, 5));
}

/* Children of children, while the pages are being merged. */
KSM_TEST(generations)
{
	char *map = MERGEABLE_PAGES(16, 6);
	pid_t pid;

	ASSERT_EQ(0, knob_set("run", 1));
	pid = fork_child();
	if (pid == 0) {
		int depth;

		for (depth = 0; depth < 5; depth++) {
			pid_t child = fork_child();

			if (child) {
				EXPECT_EQ(0, wait_child(child));
				_exit(0);
			}
			EXPECT_TRUE(all_hold(map, 16 - depth, 6));
			fill(page_of(map, 15 - depth), depth);
			EXPECT_TRUE(ksm_passes(1));
		}
		_exit(0);
	}
	EXPECT_EQ(0, wait_child(pid));
	EXPECT_TRUE(all_hold(map, 16, 6));
	EXPECT_TRUE(ksm_settles(1, 15));
}

/* A small generator, so that a run can be told from its seed. */
static unsigned int next(unsigned int *state)
{
	*state = *state * 1664525 + 1013904223;
	return *state >> 8;
}

/* What a grandchild ends with, so that it is told from a child. */
#define GRANDCHILD	2

/* What a child does under the scanner: it writes, forks, unmaps, advises. */
static void child_life(char *map, int n, unsigned int seed)
{
	int i, turns = next(&seed) % 8;

	while (turns--) {
		i = next(&seed) % n;
		switch (next(&seed) % 5) {
		case 0:
			fill(page_of(map, i), 7);
			break;
		case 1:
			if (fork() == 0)
				_exit(all_hold(map, n, 7) ? GRANDCHILD : 1);
			break;
		case 2:
			madvise(page_of(map, i), pagesize, MADV_UNMERGEABLE);
			break;
		case 3:
			madvise(map, n * pagesize, MADV_MERGEABLE);
			break;
		case 4:
			if (i)
				munmap(page_of(map, i), pagesize);
			n = i ? i : n;
			break;
		}
		if (!all_hold(map, n, 7))
			_exit(1);
	}
	/* Some leave by a signal, most without unmapping anything. */
	if (next(&seed) % 4 == 0)
		raise(SIGKILL);
	_exit(0);
}

KSM_TEST(children_under_scanner)
{
	enum { CHILDREN = 120, AT_ONCE = 6, N = 24 };
	char *map = MERGEABLE_PAGES(N, 7);
	int started = 0, running = 0, status;	/* as wait() gives it */

	/* Who is left behind by its parent is to be gone, too, before we count. */
	ASSERT_EQ(0, prctl(PR_SET_CHILD_SUBREAPER, 1));
	ASSERT_EQ(0, knob_set("run", 1));
	for (;;) {
		if (started < CHILDREN && running < AT_ONCE) {
			pid_t pid = fork_child();

			if (pid == 0)
				child_life(map, N, started);
			ASSERT_LT(0, pid);
			started++;
			running++;
			continue;
		}
		if (wait(&status) < 0)
			break;
		if (WIFEXITED(status) && WEXITSTATUS(status) == GRANDCHILD)
			continue;
		ASSERT_TRUE(status == 0 || status == SIGKILL);
		running--;
	}
	ASSERT_EQ(ECHILD, errno);
	ASSERT_EQ(0, running);
	EXPECT_TRUE(all_hold(map, N, 7));
	EXPECT_TRUE(ksm_settles(1, N - 1));
	EXPECT_TRUE(all_hold(map, N, 7));
}

static int peer_in_scan(struct peer *p, void *arg)
{
	char *map = map_pages(256);
	int i;

	CHECK(map);
	for (i = 0; i < 256; i++)
		fill(page_of(map, i), i);
	CHECK(!madvise(map, 256 * pagesize, MADV_MERGEABLE));
	CHECK(peer_meet(p));
	CHECK(peer_meet(p));
	return 0;
}

/*
 * The cursor stands in the middle of a process when that one exits: with
 * batches smaller than its memory and run=0 in between it is there for sure.
 */
KSM_TEST(exit_at_the_cursor)
{
	int i;

	ASSERT_EQ(0, knob_set("pages_to_scan", 100));
	for (i = 0; i < 6; i++) {
		struct peer p;
		long scanned;

		ASSERT_TRUE(peer_start(&p, peer_in_scan, NULL));
		ASSERT_TRUE(peer_meet(&p));
		scanned = knob("pages_scanned");
		ASSERT_EQ(0, knob_set("run", 1));
		while (knob("pages_scanned") < scanned + 100 * (1 + i % 3))
			usleep(100);
		ASSERT_EQ(0, knob_set("run", i % 2 ? 0 : 1));
		ASSERT_TRUE(i < 3 ? !kill(p.pid, SIGKILL) : peer_meet(&p));
		ASSERT_EQ(i < 3 ? 128 + SIGKILL : 0, peer_end(&p));
		ASSERT_EQ(0, knob_set("run", 1));
	}
	/* The cursor finds its way to memory that comes after. */
	MERGEABLE_PAGES(4, 8);
	EXPECT_TRUE(ksm_settles(1, 3));
}

/* exec() leaves the merged memory behind, and its process stays well. */
KSM_TEST(exec_leaves_memory)
{
	char *map = MERGED_PAGES(8, 9);
	int i;

	for (i = 0; i < 8; i++) {
		pid_t pid = fork_child();

		if (pid == 0) {
			char *args[] = { "true", NULL };

			fill(page_of(map, i), 10);
			execv("/bin/true", args);
			_exit(1);
		}
		ASSERT_EQ(0, wait_child(pid));
	}
	EXPECT_TRUE(all_hold(map, 8, 9));
	EXPECT_TRUE(ksm_settles(1, 7));
}

/* Mapping and unmapping while passes go on as fast as they can. */
KSM_TEST(unmap_under_scanner)
{
	char *keep = MERGEABLE_PAGES(2, 11);
	int i;

	ASSERT_EQ(0, knob_set("run", 1));
	for (i = 0; i < 100; i++) {
		size_t n = 1 + i * 7 % 40;
		char *map = MERGEABLE_PAGES(n, 11);

		if (i % 4 == 0) {
			ASSERT_TRUE(ksm_passes(1));
		}
		ASSERT_TRUE(all_hold(map, n, 11));
		ASSERT_EQ(0, munmap(page_of(map, n / 2), (n - n / 2) * pagesize));
		ASSERT_TRUE(all_hold(map, n / 2, 11));
		if (n / 2) {
			ASSERT_EQ(0, munmap(map, n / 2 * pagesize));
		}
	}
	EXPECT_TRUE(ksm_settles(1, 1));
	EXPECT_TRUE(all_hold(keep, 2, 11));
}

TEST_HARNESS_MAIN

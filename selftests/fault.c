// SPDX-License-Identifier: GPL-2.0
/* Out of memory, at every single allocation: for the callers of the provider. */
#include "fault_fixture.h"

#define N	6

/* No content is lost; the call says so, and succeeds when tried again. */
FAULT_TEST(unmerge_by_madvise)
{
	char *map = MERGED_PAGES(N, 1);
	int fd = open_fail_nth(0), failed = 0, n, err;

	ASSERT_LE(0, fd);
	for (n = 1;; n++) {
		ASSERT_EQ(0, knob_set("run", 0));
		set_nth(fd, n);
		err = madvise(map, N * pagesize, MADV_UNMERGEABLE) ? errno : 0;
		if (!nth_failed(fd)) {
			ASSERT_EQ(0, err);
			break;
		}
		ASSERT_TRUE(all_hold(map, N, 1));
		if (err) {
			ASSERT_TRUE(err == EAGAIN || err == ENOMEM);
			failed++;
			ASSERT_EQ(0, madvise(map, N * pagesize, MADV_UNMERGEABLE));
		}
		ASSERT_TRUE(no_two_share(map, N));
		ASSERT_TRUE(all_hold(map, N, 1));
		ASSERT_EQ(0, madvise(map, N * pagesize, MADV_MERGEABLE));
		ASSERT_EQ(0, knob_set("run", 1));
		ASSERT_TRUE(ksm_settles(1, N - 1));
	}
	EXPECT_TRUE(no_two_share(map, N));
	/* At least the copies of all pages were made to fail. */
	EXPECT_LE(N, failed);
}

FAULT_TEST(unmerge_by_run_2)
{
	char *map = MERGED_PAGES(N, 2);
	int fd = open_fail_nth(0), run, failed = 0, n, err;

	ASSERT_LE(0, fd);
	run = open(knob_path("run"), O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, run);
	for (n = 1;; n++) {
		set_nth(fd, n);
		err = pwrite(run, "2", 1, 0) == 1 ? 0 : errno;
		if (!nth_failed(fd)) {
			ASSERT_EQ(0, err);
			break;
		}
		ASSERT_TRUE(all_hold(map, N, 2));
		if (err) {
			ASSERT_EQ(ENOMEM, err);
			failed++;
			/* It did not come to 2, and scans no more either. */
			ASSERT_NE(2, knob("run"));
			ASSERT_EQ(0, knob_set("run", 2));
		}
		ASSERT_EQ(2, knob("run"));
		ASSERT_EQ(0, knob("pages_shared"));
		ASSERT_EQ(0, knob("pages_sharing"));
		ASSERT_TRUE(no_two_share(map, N));
		ASSERT_TRUE(all_hold(map, N, 2));
		ASSERT_EQ(0, knob_set("run", 1));
		ASSERT_TRUE(ksm_settles(1, N - 1));
	}
	EXPECT_TRUE(no_two_share(map, N));
	EXPECT_LE(N, failed);
	close(run);
}

/* What was merged unasked is given back, or the scope stays as it is. */
FAULT_TEST(narrower_scope)
{
	char *map = map_pages(N), text[64];
	int fd = open_fail_nth(0), scope, failed = 0, n, err;

	ASSERT_LE(0, fd);
	ASSERT_NE(NULL, map);
	fill_all(map, N, 6);
	scope = open(knob_path("scope"), O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, scope);
	for (n = 1;; n++) {
		int pass;

		ASSERT_EQ(3, pwrite(scope, "all", 3, 0));
		ASSERT_EQ(0, knob_set("run", 1));
		for (pass = 0; pass < 20 && !all_ksm(map, N); pass++)
			ASSERT_TRUE(ksm_passes(1));
		ASSERT_TRUE(all_ksm(map, N));
		ASSERT_EQ(0, knob_set("run", 0));
		set_nth(fd, n);
		err = pwrite(scope, "madvise", 7, 0) == 7 ? 0 : errno;
		if (!nth_failed(fd)) {
			ASSERT_EQ(0, err);
			break;
		}
		ASSERT_TRUE(all_hold(map, N, 6));
		if (err) {
			ASSERT_EQ(ENOMEM, err);
			failed++;
			ASSERT_LT(0, knob_text("scope", text, sizeof(text)));
			ASSERT_STREQ("madvise [all]\n", text);
			ASSERT_EQ(7, pwrite(scope, "madvise", 7, 0));
		}
		ASSERT_TRUE(no_two_share(map, N));
		ASSERT_TRUE(all_hold(map, N, 6));
		ASSERT_EQ(0, ksm_stat(0, "ksm_rmap_items"));
	}
	EXPECT_TRUE(no_two_share(map, N));
	EXPECT_LE(N, failed);
	close(scope);
}

/* Zero pages are given back with memory as well. */
FAULT_TEST(unmerge_zero_pages)
{
	char *map = MERGEABLE_PAGES(N, 3);
	int fd = open_fail_nth(0), failed = 0, n, i, err;

	ASSERT_LE(0, fd);
	memset(map, 0, N * pagesize);
	ASSERT_EQ(0, knob_set("use_zero_pages", 1));
	for (n = 1;; n++) {
		ASSERT_EQ(0, knob_set("run", 1));
		ASSERT_TRUE(counter_reaches("ksm_zero_pages", N));
		ASSERT_EQ(0, knob_set("run", 0));
		set_nth(fd, n);
		err = madvise(map, N * pagesize, MADV_UNMERGEABLE) ? errno : 0;
		if (!nth_failed(fd))
			break;
		failed += !!err;
		ASSERT_EQ(ksm_stat(0, "ksm_zero_pages"), knob("ksm_zero_pages"));
		for (i = 0; i < N; i++) {
			ASSERT_TRUE(is_zero(page_of(map, i)));
		}
		ASSERT_EQ(0, madvise(map, N * pagesize, MADV_UNMERGEABLE));
		ASSERT_EQ(0, knob("ksm_zero_pages"));
		ASSERT_EQ(0, madvise(map, N * pagesize, MADV_MERGEABLE));
	}
	EXPECT_EQ(0, err);
	EXPECT_EQ(0, knob("ksm_zero_pages"));
	EXPECT_LE(N, failed);
}

/* A process that cannot be registered is told, and can ask again. */
FAULT_TEST(first_advice)
{
	enum { FAULT_CAME = 42, NO_FAULT };
	int n;

	for (n = 1; n < 1000; n++) {
		pid_t pid = fork_child();
		int ended;

		if (pid == 0) {
			char *map = map_pages(4);
			int fd = open_fail_nth(0), err;
			bool fault;

			ASSERT_TRUE(map && fd >= 0);
			fill_all(map, 4, 4);
			set_nth(fd, n);
			err = n % 2 ? madvise(map, 4 * pagesize, MADV_MERGEABLE) :
				      prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0);
			fault = nth_failed(fd);
			ASSERT_TRUE(fault || !err);
			ASSERT_EQ(0, madvise(map, 4 * pagesize, MADV_MERGEABLE));
			ASSERT_EQ(0, knob_set("run", 1));
			ASSERT_TRUE(ksm_passes(4));
			ASSERT_TRUE(all_ksm(map, 4));
			ASSERT_TRUE(all_hold(map, 4, 4));
			_exit(fault ? FAULT_CAME : NO_FAULT);
		}
		/* Whatever else it ends with is a check of its own that failed, or a crash. */
		ended = wait_child(pid);
		if (ended == NO_FAULT)
			break;
		ASSERT_EQ(FAULT_CAME, ended);
		ASSERT_EQ(0, knob_set("run", 2));
	}
	/* Both ways: at least the first allocation of each did fail. */
	EXPECT_LT(2, n);
	EXPECT_GT(1000, n);
}

/*
 * fork() that fails half-way leaves the parent and the counters as they were;
 * one that does not fail leaves no page behind that cannot be unmerged.
 */
FAULT_TEST(fork_fails)
{
	char *map = MERGEABLE_PAGES(2 * N, 5);
	int fd = open_fail_nth(0), n, i, children = 0, failed = 0;

	ASSERT_LE(0, fd);
	memset(map, 0, N * pagesize);
	ASSERT_EQ(0, knob_set("use_zero_pages", 1));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(counter_reaches("ksm_zero_pages", N));
	ASSERT_TRUE(ksm_settles(1, N - 1));
	/*
	 * Each allocation of the first part, in which the child is enrolled, then
	 * some of the hundreds.
	 */
	for (n = 1;; n += n < 128 ? 1 : n / 16) {
		int gate[2];
		bool fault;
		pid_t pid;
		char byte;

		ASSERT_EQ(0, knob_set("run", 0));
		ASSERT_EQ(0, pipe(gate));
		set_nth(fd, n);
		pid = fork();
		if (pid == 0) {
			close(gate[1]);
			/* Until the parent is done with it. */
			_exit(read(gate[0], &byte, 1) ||
			      !all_hold(page_of(map, N), N, 5));
		}
		fault = nth_failed(fd);
		if (pid > 0) {
			children++;
			if (fault) {
				ASSERT_EQ(0, knob_set("run", 2));
				ASSERT_EQ(0, knob_set("run", 1));
				ASSERT_TRUE(counter_reaches("ksm_zero_pages", 2 * N));
			}
		} else {
			failed++;
		}
		close(gate[1]);
		close(gate[0]);
		if (pid > 0)
			ASSERT_EQ(0, wait_child(pid));
		ASSERT_EQ(N, knob("ksm_zero_pages"));
		ASSERT_EQ(N, ksm_stat(0, "ksm_zero_pages"));
		ASSERT_TRUE(all_hold(page_of(map, N), N, 5));
		ASSERT_EQ(0, knob_set("run", 1));
		ASSERT_TRUE(ksm_settles(1, N - 1));
		if (!fault)
			break;
	}
	EXPECT_LE(10, failed);
	EXPECT_LE(1, children);
	for (i = 0; i < N; i++) {
		EXPECT_TRUE(is_zero(page_of(map, i)));
	}
}

TEST_HARNESS_MAIN

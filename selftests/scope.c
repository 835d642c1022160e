// SPDX-License-Identifier: GPL-2.0
/* Whose memory is merged: scope=all takes in those that have not asked for it. */
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>

#include "scope_fixture.h"

#define N	8

static bool scope_is(const char *shown)
{
	char text[64];

	return knob_text("scope", text, sizeof(text)) > 0 && !strcmp(text, shown);
}

SCOPE_TEST(knob)
{
	static const char * const bad[] = { "\n", "All", "none", "1", "madvise all", "alll" };
	int i;

	EXPECT_TRUE(scope_is("[madvise] all\n"));
	EXPECT_EQ(0, knob_write("scope", "all\n"));
	EXPECT_TRUE(scope_is("madvise [all]\n"));
	for (i = 0; i < 6; i++)
		EXPECT_EQ(-EINVAL, knob_write("scope", bad[i]));
	EXPECT_TRUE(scope_is("madvise [all]\n"));
	EXPECT_EQ(0, knob_write("scope", "all"));
	EXPECT_EQ(0, knob_write("scope", "madvise"));
	EXPECT_TRUE(scope_is("[madvise] all\n"));
}

static int peer_unasked(struct peer *p, void *arg)
{
	char *map = equal_pages(N, 1);

	CHECK(map);
	CHECK(peer_meet(p));
	CHECK(gets_merged(map, N));
	CHECK(ksm_passes(1));
	CHECK(merging_pages(0) >= N);
	CHECK(peer_meet(p));	/* both are merged */
	CHECK(peer_meet(p));	/* and back at the smaller scope */
	CHECK(none_ksm(map, N));
	CHECK(all_hold(map, N, 1));
	CHECK(merging_pages(0) == 0);
	CHECK(ksm_stat(0, "ksm_rmap_items") == 0);
	return 0;
}

/* Two processes that know nothing of merging; one goes on to ask for some. */
SCOPE_TEST(all_and_back)
{
	char *map = equal_pages(N, 1), *asked = equal_pages(N, 1);
	struct peer p;

	ASSERT_TRUE(map && asked);
	ASSERT_TRUE(peer_start(&p, peer_unasked, NULL));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_EQ(0, knob_write("scope", "all"));
	ASSERT_TRUE(peer_meet(&p));
	EXPECT_TRUE(gets_merged(map, N));
	EXPECT_TRUE(gets_merged(asked, N));
	ASSERT_TRUE(ksm_passes(1));
	EXPECT_EQ(pfn_of(0, map), pfn_of(p.pid, map));
	ASSERT_TRUE(peer_meet(&p));
	ASSERT_EQ(0, madvise(asked, N * pagesize, MADV_MERGEABLE));

	/* The scanner at rest: what is given back is given back now. */
	ASSERT_TRUE(scanner_stop());
	ASSERT_EQ(0, knob_write("scope", "madvise"));
	EXPECT_TRUE(none_ksm(map, N));
	EXPECT_TRUE(all_hold(map, N, 1));
	EXPECT_TRUE(all_ksm(asked, N));
	EXPECT_EQ(N, merging_pages(0));
	EXPECT_EQ(N, ksm_stat(0, "ksm_rmap_items"));
	EXPECT_EQ(1, knob("pages_shared"));
	EXPECT_EQ(N - 1, knob("pages_sharing"));
	EXPECT_EQ(0, knob("pages_unshared"));
	EXPECT_EQ(0, knob("pages_volatile"));
	ASSERT_TRUE(peer_meet(&p));
	EXPECT_EQ(0, peer_end(&p));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_passes(4));
	EXPECT_TRUE(none_ksm(map, N));
	EXPECT_TRUE(all_ksm(asked, N));
	EXPECT_TRUE(all_hold(asked, N, 1));
}

static int is_found(void)
{
	char *map = equal_pages(N, 2);

	CHECK(map && gets_merged(map, N) && all_hold(map, N, 2));
	return 0;
}

static int is_left_out(void)
{
	char *map = equal_pages(N, 3), *asked = equal_pages(N, 3);

	CHECK(map && asked);
	CHECK(!madvise(asked, N * pagesize, MADV_MERGEABLE));
	CHECK(gets_merged(asked, N));
	CHECK(ksm_passes(4));
	CHECK(none_ksm(map, N));
	CHECK(all_hold(map, N, 3));
	return 0;
}

/* In a process whose main thread has ended. */
static void *second_thread(void *arg)
{
	char path[64], stat[128];
	int i;

	snprintf(path, sizeof(path), "/proc/%d/stat", getpid());
	for (i = 0; i < 1000; i++) {
		usleep(1000);
		if (file_read(path, stat, sizeof(stat)) > 0 && strstr(stat, ") Z"))
			_exit(knob_set("run", 1) || is_found());
	}
	_exit(1);
}

static int without_main_thread(void)
{
	pthread_t thread;

	CHECK(!pthread_create(&thread, NULL, second_thread, NULL));
	pthread_exit(NULL);
}

static pid_t exec_self(const char *what)
{
	pid_t pid = fork_child();

	if (pid == 0) {
		execl("/proc/self/exe", "scope", what, NULL);
		_exit(1);
	}
	return pid;
}

/* Processes that start later are found as well. */
SCOPE_TEST(new_processes)
{
	pid_t pid;

	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_EQ(0, knob_write("scope", "all"));
	ASSERT_TRUE(ksm_passes(2));
	pid = fork_child();
	if (pid == 0)
		_exit(is_found());
	EXPECT_EQ(0, wait_child(pid));
	EXPECT_EQ(0, wait_child(exec_self("found")));
}

/* Also where only other threads than the first are left. */
SCOPE_TEST(without_main_thread)
{
	ASSERT_TRUE(scanner_stop());
	ASSERT_EQ(0, knob_write("scope", "all"));
	EXPECT_EQ(0, wait_child(exec_self("without-main-thread")));
}

/* Who says no is left out, and so is whatever it starts; what it asks for is merged. */
SCOPE_TEST(left_out)
{
	pid_t pid;

	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_EQ(0, knob_write("scope", "all"));
	ASSERT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0));
	pid = fork_child();
	if (pid == 0)
		_exit(is_left_out());
	EXPECT_EQ(0, wait_child(pid));
	EXPECT_EQ(0, wait_child(exec_self("left-out")));
	/* Until it asks for everything, and drops that again. */
	pid = fork_child();
	if (pid == 0) {
		char *map = equal_pages(N, 4);

		_exit(!(map && !prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0) &&
			gets_merged(map, N) &&
			!prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0) &&
			none_ksm(map, N) && ksm_passes(4) && none_ksm(map, N) &&
			all_hold(map, N, 4)));
	}
	EXPECT_EQ(0, wait_child(pid));
}

/* Saying no gives back what was merged, at once. */
SCOPE_TEST(leaves)
{
	char *map = equal_pages(N, 5);

	ASSERT_NE(NULL, map);
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_EQ(0, knob_write("scope", "all"));
	ASSERT_TRUE(gets_merged(map, N));
	ASSERT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0));
	EXPECT_TRUE(none_ksm(map, N));
	EXPECT_TRUE(all_hold(map, N, 5));
	ASSERT_TRUE(ksm_passes(4));
	EXPECT_TRUE(none_ksm(map, N));
	EXPECT_EQ(0, ksm_stat(0, "ksm_rmap_items"));
}

/* One that asked for everything but a part: that is not merged, and the rest no more when it leaves. */
SCOPE_TEST(leaves_with_a_part_unasked)
{
	char *map = equal_pages(N, 9), *asked = equal_pages(N, 9);

	ASSERT_TRUE(map && asked);
	ASSERT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0));
	ASSERT_EQ(0, madvise(map, N * pagesize, MADV_UNMERGEABLE));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_EQ(0, knob_write("scope", "all"));
	ASSERT_TRUE(gets_merged(asked, N));
	EXPECT_TRUE(none_ksm(map, N));
	ASSERT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0));
	EXPECT_TRUE(none_ksm(asked, N));
	ASSERT_TRUE(ksm_passes(4));
	EXPECT_TRUE(none_ksm(map, N));
	EXPECT_TRUE(none_ksm(asked, N));
	EXPECT_TRUE(all_hold(map, N, 9));
	EXPECT_EQ(0, knob_set("run", 2));
	EXPECT_EQ(0, knob("pages_shared"));
}

/* run=2 finds what was merged unasked, in children too. */
SCOPE_TEST(run_2)
{
	char *map = equal_pages(N, 6);
	pid_t pid;

	ASSERT_NE(NULL, map);
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_EQ(0, knob_write("scope", "all"));
	ASSERT_TRUE(gets_merged(map, N));
	pid = fork_child();
	if (pid == 0) {
		for (;;)
			pause();
	}
	ASSERT_EQ(0, knob_set("run", 2));
	EXPECT_EQ(0, knob("pages_shared"));
	EXPECT_TRUE(none_ksm(map, N));
	EXPECT_NE(pfn_of(0, map), pfn_of(0, page_of(map, 1)));
	EXPECT_EQ(0, kflags_of(pid, map) & KPF_KSM_BIT);
	EXPECT_TRUE(all_hold(map, N, 6));
	kill(pid, SIGKILL);
	wait_child(pid);
}

/* What moves is unmerged first, advised or not. */
SCOPE_TEST(mremap)
{
	char *map = equal_pages(N, 7), *to = map_pages(N);

	ASSERT_TRUE(map && to);
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_EQ(0, knob_write("scope", "all"));
	ASSERT_TRUE(gets_merged(map, N));
	ASSERT_TRUE(scanner_stop());
	ASSERT_EQ(to, mremap(map, N * pagesize, N * pagesize,
			     MREMAP_MAYMOVE | MREMAP_FIXED, to));
	EXPECT_TRUE(none_ksm(to, N));
	EXPECT_TRUE(all_hold(to, N, 7));
	ASSERT_EQ(0, knob_set("run", 1));
	EXPECT_TRUE(gets_merged(to, N));
}

static void nothing(int signal)
{
}

/* Who did not ask for merging gets no EINTR by it. */
SCOPE_TEST(mremap_is_not_interrupted)
{
	const struct itimerval often = { { 0, 200 }, { 0, 200 } }, never = {};
	const struct sigaction handler = { .sa_handler = nothing };
	char *map = equal_pages(N, 10), *to = map_pages(N), *swap;
	int i, failed = 0;

	ASSERT_TRUE(map && to);
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_EQ(0, knob_write("scope", "all"));
	ASSERT_TRUE(gets_merged(map, N));
	ASSERT_EQ(0, sigaction(SIGALRM, &handler, NULL));
	ASSERT_EQ(0, setitimer(ITIMER_REAL, &often, NULL));
	for (i = 0; i < 5000; i++) {
		failed += mremap(map, N * pagesize, N * pagesize,
				 MREMAP_MAYMOVE | MREMAP_FIXED, to) != to;
		swap = map;
		map = to;
		to = swap;
	}
	ASSERT_EQ(0, setitimer(ITIMER_REAL, &never, NULL));
	EXPECT_EQ(0, failed);
	EXPECT_TRUE(all_hold(map, N, 10));
}

/* Zero pages are given back too. */
SCOPE_TEST(zero_pages)
{
	char *map = equal_pages(N, 8);
	long mine;

	ASSERT_NE(NULL, map);
	memset(map, 0, N * pagesize);
	ASSERT_EQ(0, knob_set("use_zero_pages", 1));
	ASSERT_EQ(0, knob_write("scope", "all"));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_passes(6));
	mine = ksm_stat(0, "ksm_zero_pages");
	EXPECT_LE(N, mine);
	ASSERT_EQ(0, knob_write("scope", "madvise"));
	EXPECT_EQ(0, ksm_stat(0, "ksm_zero_pages"));
	EXPECT_EQ(0, knob("ksm_zero_pages"));
	EXPECT_TRUE(is_zero(map));
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "found"))
		return is_found();
	if (argc == 2 && !strcmp(argv[1], "left-out"))
		return is_left_out();
	if (argc == 2 && !strcmp(argv[1], "without-main-thread"))
		return without_main_thread();
	return test_harness_run(argc, argv);
}

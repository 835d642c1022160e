// SPDX-License-Identifier: GPL-2.0
/* A pass is what was registered when it began, and ends, however many come meanwhile. */
#include <time.h>

#include "beside_fixture.h"

#define N	20
#define FORKS	4000

/*
 * Each child has as many pages as the scanner looks at in the time that many more are
 * forked; they end before it comes to them.
 */
static void __attribute__((noreturn)) fork_all_the_time(_Atomic long *forks)
{
	pid_t pids[32] = {};
	int i;

	for (i = 0;; i = (i + 1) % 32) {
		if (pids[i]) {
			kill(pids[i], SIGKILL);
			wait_child(pids[i]);
		}
		pids[i] = fork_child();
		if (pids[i] == 0) {
			for (;;)
				pause();
		}
		++*forks;
		usleep(2000);
	}
}

BESIDE_TEST(processes_come_all_the_time)
{
	_Atomic long *forks = mmap(NULL, pagesize, PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	long scans, most = FORKS, first;
	pid_t pid;

	ASSERT_NE(MAP_FAILED, forks);
	ASSERT_NE(NULL, different_pages(N, 1));
	/* Twenty pages take longer than one more fork does, on any machine. */
	ASSERT_EQ(0, knob_set("pages_to_scan", 1));
	ASSERT_EQ(0, knob_set("sleep_millisecs", 20));
	pid = fork_child();
	if (pid == 0)
		fork_all_the_time(forks);
	while (*forks < 32)
		usleep(1000);
	ASSERT_EQ(0, knob_set("run", 1));
	scans = knob("full_scans");
	first = *forks;
	/* By the number of forks, not by time. */
	while (*forks < first + most && knob("full_scans") < scans + 3)
		usleep(1000);
	EXPECT_LE(scans + 3, knob("full_scans"))
		TH_LOG("%ld passes in %ld forks", knob("full_scans") - scans, *forks - first);
	kill(pid, SIGKILL);
	wait_child(pid);
}

/* The pauses are counted, and are no CPU time. */
BESIDE_TEST(how_long_it_takes)
{
	const long pauses = N / 2 - 1, pause_ms = 50;

	ASSERT_NE(NULL, different_pages(N, 1));
	EXPECT_EQ(0, knob("last_pass_millisecs"));
	EXPECT_EQ(0, knob("pass_millisecs"));
	ASSERT_EQ(0, knob_set("pages_to_scan", 2));
	ASSERT_EQ(0, knob_set("sleep_millisecs", pause_ms));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_passes(2));
	EXPECT_LE(pauses * pause_ms, knob("last_pass_millisecs"));
	EXPECT_GE(knob("last_pass_millisecs"), knob("last_pass_cpu_millisecs"));
	while (!knob("pass_millisecs"))
		usleep(1000);
	ASSERT_EQ(0, knob_set("run", 2));
	EXPECT_EQ(0, knob("pass_millisecs"));
	EXPECT_EQ(0, knob("last_pass_millisecs"));
}

/*
 * Whoever sees one end has time for a change and a look at full_scans before the next.
 * The most that there can be in the time that went by, however slow the machine is.
 */
BESIDE_TEST(they_are_apart)
{
	const long apart_ms = 4;
	struct timespec begin, end;
	long scans, ms;

	ASSERT_NE(NULL, different_pages(2, 1));
	ASSERT_EQ(0, knob_set("sleep_millisecs", 0));
	ASSERT_EQ(0, knob_set("run", 1));
	clock_gettime(CLOCK_MONOTONIC, &begin);
	scans = knob("full_scans");
	usleep(200000);
	scans = knob("full_scans") - scans;
	clock_gettime(CLOCK_MONOTONIC, &end);
	ms = (end.tv_sec - begin.tv_sec) * 1000 + (end.tv_nsec - begin.tv_nsec) / 1000000;
	EXPECT_GE(ms / apart_ms + 2, scans) TH_LOG("%ld passes in %ld ms", scans, ms);
	ASSERT_TRUE(ksm_passes(2));
}

/*
 * One that would come too early comes in time, and not after the rest that follows a
 * batch: that is an hour, which ends when it is changed. Unless it was changed before it
 * began, which may be now and then.
 */
BESIDE_TEST(the_next_one_is_not_forgotten)
{
	long sleep_ms = 3600000, scans;
	int i, polls, forgotten = 0;

	ASSERT_NE(NULL, different_pages(2, 1));
	ASSERT_EQ(0, knob_set("sleep_millisecs", sleep_ms));
	ASSERT_EQ(0, knob_set("run", 1));
	for (i = 0; i < 50; i++) {
		scans = knob("full_scans");
		usleep(1000);
		ASSERT_EQ(0, knob_set("sleep_millisecs", ++sleep_ms));
		while (knob("full_scans") == scans) {
			for (polls = 0; polls < 100 && knob("full_scans") == scans; polls++)
				usleep(1000);
			if (knob("full_scans") > scans)
				break;
			forgotten++;
			ASSERT_EQ(0, knob_set("sleep_millisecs", ++sleep_ms));
		}
	}
	EXPECT_GT(10, forgotten);
}

TEST_HARNESS_MAIN

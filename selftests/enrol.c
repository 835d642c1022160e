// SPDX-License-Identifier: GPL-2.0
/* A process is merged, or left alone, because somebody else says so. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ksm_fixture.h"
#include "stuck_lib.h"

#define N	8

static int peer_unasked(struct peer *p, void *arg)
{
	char *map = equal_pages(N, 1);
	pid_t pid;

	CHECK(map);
	CHECK(peer_meet(p));
	CHECK(peer_meet(p));	/* enrolled */
	CHECK(prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0) == 1);
	CHECK(gets_merged(map, N));
	pid = fork_child();
	if (pid == 0)
		_exit(!(prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0) == 1 &&
			gets_merged(equal_pages(N, 2), N)));
	CHECK(wait_child(pid) == 0);
	CHECK(peer_meet(p));
	CHECK(peer_meet(p));	/* released */
	CHECK(prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0) == 0);
	CHECK(none_ksm(map, N));
	/* Passes need somebody whose memory is scanned. */
	CHECK(different_pages(1, 1));
	CHECK(ksm_passes(3));
	CHECK(none_ksm(map, N));
	CHECK(all_hold(map, N, 1));
	return 0;
}

KSM_TEST(enrolled_and_released)
{
	struct peer p;

	NEEDS_ENROL();
	ASSERT_TRUE(peer_start(&p, peer_unasked, NULL));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(peer_meet(&p));
	EXPECT_EQ(0, knob_set("enrol", p.pid));
	EXPECT_EQ(0, knob_set("enrol", p.pid));
	ASSERT_TRUE(peer_meet(&p));
	ASSERT_TRUE(peer_meet(&p));
	EXPECT_EQ(0, knob_set("release", p.pid));
	EXPECT_EQ(0, knob_set("release", p.pid));
	ASSERT_TRUE(peer_meet(&p));
	EXPECT_EQ(0, peer_end(&p));
}

static int peer_with_advice(struct peer *p, void *arg)
{
	char *map = equal_pages(N, 3);

	CHECK(map);
	CHECK(!madvise(map, N * pagesize, MADV_MERGEABLE));
	CHECK(gets_merged(map, N));
	CHECK(peer_meet(p));
	CHECK(peer_meet(p));	/* released */
	CHECK(all_ksm(map, N));
	return 0;
}

/* What a process has advised itself is its own affair, as with prctl(). */
KSM_TEST(advice_holds)
{
	struct peer p;

	NEEDS_ENROL();
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(peer_start(&p, peer_with_advice, NULL));
	ASSERT_TRUE(peer_meet(&p));
	EXPECT_EQ(0, knob_set("release", p.pid));
	ASSERT_TRUE(peer_meet(&p));
	EXPECT_EQ(0, peer_end(&p));
}

static int peer_left_out(struct peer *p, void *arg)
{
	char *map = equal_pages(N, 4);

	CHECK(map);
	CHECK(peer_meet(p));
	CHECK(peer_meet(p));	/* released, and the scope is all */
	CHECK(ksm_passes(4));
	CHECK(none_ksm(map, N));
	return 0;
}

/* Whoever is released is left out of scope=all. */
KSM_TEST(released_from_all)
{
	struct peer p;

	NEEDS_ENROL();
	ASSERT_TRUE(peer_start(&p, peer_left_out, NULL));
	ASSERT_TRUE(peer_meet(&p));
	EXPECT_EQ(0, knob_set("release", p.pid));
	EXPECT_EQ(0, knob_set("run", 1));
	EXPECT_EQ(0, knob_write("scope", "all"));
	ASSERT_TRUE(peer_meet(&p));
	EXPECT_EQ(0, peer_end(&p));
	EXPECT_EQ(0, knob_set("run", 0));
	EXPECT_EQ(0, knob_write("scope", "madvise"));
}

KSM_TEST(refused)
{
	static const char * const files[] = { "enrol", "release" };
	static const char * const bad[] = { "", "\n", "0", "-1", "self", "1 2", "2147483648" };
	pid_t zombie;
	size_t i, j;

	NEEDS_ENROL();
	zombie = fork_child();
	if (zombie == 0)
		_exit(0);
	ASSERT_EQ(0, waitid(P_PID, zombie, &(siginfo_t){}, WEXITED | WNOWAIT));
	for (i = 0; i < 2; i++) {
		for (j = 0; j < sizeof(bad) / sizeof(*bad); j++)
			EXPECT_EQ(bad[j][0] ? -EINVAL : 0, knob_write(files[i], bad[j]))
				TH_LOG("'%s'", bad[j]);
		/* kthreadd, the dead, and a number that no process has. */
		EXPECT_EQ(-EINVAL, knob_set(files[i], 2));
		EXPECT_EQ(-ESRCH, knob_set(files[i], zombie));
		EXPECT_EQ(-ESRCH, knob_set(files[i], 2147483647));
		EXPECT_GT(0, knob(files[i]));
	}
	EXPECT_EQ(0, wait_child(zombie));
}

/* Nobody else writes there. */
KSM_TEST(needs_root)
{
	pid_t pid;

	NEEDS_ENROL();
	pid = fork_child();
	if (pid == 0)
		_exit(setuid(65534) || open("/sys/kernel/mm/rksm/enrol", O_WRONLY) >= 0 ? 1 : errno);
	EXPECT_EQ(EACCES, wait_child(pid));
}

static bool prepare_nothing(void *arg)
{
	return true;
}

/* A process that holds its mmap lock for ever keeps whoever enrols it for ten seconds, or until he is killed. */
KSM_TEST(stuck_one)
{
	struct stuck s;
	char text[16];
	pid_t pid;

	NEEDS_ENROL();
	NEEDS_STUCK();
	ASSERT_TRUE(stuck_start(&s, prepare_nothing, NULL));
	ASSERT_TRUE(stuck_hold(&s));
	snprintf(text, sizeof(text), "%d", s.victim.pid);
	pid = knob_writer("enrol", text);
	EXPECT_EQ(-ETIME, writer_result(pid, 300));
	/* Nobody else waits. */
	EXPECT_EQ(0, knob_write_within("run", "1", 2000));
	EXPECT_EQ(0, knob_write_within("run", "0", 2000));
	kill(pid, SIGKILL);
	EXPECT_EQ(-ECHILD, writer_result(pid, 2000));
	EXPECT_EQ(-EBUSY, knob_write_within("release", text, 20000));
	EXPECT_TRUE(stuck_end(&s));
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/* Loading the module beside a process that in-tree KSM has merged, and whose mmap lock is held. */
#include <signal.h>

#include "module_fixture.h"
#include "stuck_lib.h"

static bool prepare(void *arg)
{
	char *map = map_pages(8);

	if (!map)
		return false;
	fill_all(map, 8, 1);
	return !madvise(map, 8 * pagesize, MADV_MERGEABLE);
}

static pid_t loader(void)
{
	pid_t pid = fork_child();

	if (pid == 0)
		_exit(-load());
	return pid;
}

/* In-tree KSM is there with its knobs, and merges. */
static void in_tree_works(struct __test_metadata *_metadata, struct stuck *s)
{
	char *map;

	EXPECT_FALSE(loaded());
	EXPECT_LE(0, knob("pages_shared"));
	EXPECT_EQ(10000, knob("pages_to_scan"));
	ASSERT_TRUE(stuck_release(s));
	map = MERGEABLE_PAGES(8, 2);
	ASSERT_EQ(0, knob_set("run", 1));
	EXPECT_TRUE(ksm_settles(2, 14));
	EXPECT_TRUE(all_ksm(map, 8));
	EXPECT_TRUE(all_hold(map, 8, 2));
	EXPECT_TRUE(stuck_end(s));
}

#define STUCK(s) do {							\
	NEEDS_STUCK();							\
	ASSERT_TRUE(stuck_start(s, prepare, NULL));			\
	ASSERT_EQ(0, knob_set("run", 1));				\
	ASSERT_TRUE(ksm_settles(1, 7));					\
} while (0)

/* Ten seconds, with much room. */
#define IN_TIME_MS	60000

MODULE_TEST(gives_up)
{
	struct stuck s;
	pid_t pid;

	STUCK(&s);
	ASSERT_EQ(0, knob_set("run", 0));
	ASSERT_TRUE(stuck_hold(&s));
	pid = loader();
	EXPECT_EQ(-ETIME, writer_result(pid, 5000));
	EXPECT_EQ(-EBUSY, writer_result(pid, IN_TIME_MS));
	in_tree_works(_metadata, &s);
	ASSERT_EQ(0, load());
	EXPECT_EQ(0, unload());
}

MODULE_TEST(can_be_killed)
{
	struct stuck s;
	pid_t pid;

	STUCK(&s);
	ASSERT_EQ(0, knob_set("run", 0));
	ASSERT_TRUE(stuck_hold(&s));
	pid = loader();
	EXPECT_EQ(-ETIME, writer_result(pid, 2000));
	kill(pid, SIGKILL);
	EXPECT_EQ(-ECHILD, writer_result(pid, IN_TIME_MS));
	in_tree_works(_metadata, &s);
}

/* In-tree KSM's own thread waits for the same lock then, and holds others. */
MODULE_TEST(gives_up_while_ksmd_waits)
{
	struct stuck s;
	pid_t pid;

	STUCK(&s);
	ASSERT_TRUE(stuck_hold(&s));
	usleep(500000);
	pid = loader();
	EXPECT_EQ(-EBUSY, writer_result(pid, IN_TIME_MS));
	in_tree_works(_metadata, &s);
}

TEST_HARNESS_MAIN

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

/* Unlike the defaults, and what other tests set. */
static bool set_some(void)
{
	return !knob_set("max_page_sharing", 17) && !knob_set("use_zero_pages", 1) &&
	       !knob_write("advisor_mode", "scan-time");
}

static pid_t loader(void)
{
	pid_t pid = fork_child();

	if (pid == 0)
		_exit(-load());
	return pid;
}

/* In-tree KSM is there with its knobs as they were, and merges. */
static void in_tree_works(struct __test_metadata *_metadata, struct stuck *s, long run)
{
	char *map, mode[64];

	EXPECT_FALSE(loaded());
	EXPECT_LE(0, knob("pages_shared"));
	EXPECT_EQ(run, knob("run"));
	EXPECT_EQ(17, knob("max_page_sharing"));
	EXPECT_EQ(1, knob("use_zero_pages"));
	EXPECT_LT(0, knob_text("advisor_mode", mode, sizeof(mode)));
	EXPECT_STREQ("none [scan-time]\n", mode);
	ASSERT_TRUE(stuck_release(s));
	ASSERT_EQ(0, knob_write("advisor_mode", "none"));
	ASSERT_EQ(0, knob_set("pages_to_scan", 10000));
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
	ASSERT_TRUE(set_some());					\
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
	EXPECT_EQ(-ETIME, writer_result(pid, 2000));
	EXPECT_EQ(-EBUSY, writer_result(pid, IN_TIME_MS));
	in_tree_works(_metadata, &s, 0);
	ASSERT_EQ(0, load_stopped());
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
	in_tree_works(_metadata, &s, 0);
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
	in_tree_works(_metadata, &s, 1);
}

/* Writers to in-tree KSM wait for that lock, and for each other. What they wrote counts. */
MODULE_TEST(gives_up_while_writers_wait)
{
	pid_t pid, first, second;
	struct stuck s;
	int tries;

	STUCK(&s);
	ASSERT_EQ(0, knob_set("run", 0));
	ASSERT_TRUE(stuck_hold(&s));
	first = knob_writer("run", "2");
	usleep(500000);
	second = knob_writer("run", "1");
	usleep(500000);
	pid = loader();
	for (tries = 0; tries < IN_TIME_MS && knob_set("sleep_millisecs", 0) != -EBUSY; tries++)
		usleep(1000);
	EXPECT_GT(IN_TIME_MS, tries);
	EXPECT_EQ(-ETIME, writer_result(pid, 0));
	EXPECT_LE(0, knob("run"));
	EXPECT_EQ(-EBUSY, writer_result(pid, IN_TIME_MS));
	EXPECT_EQ(0, knob_set("sleep_millisecs", 0));
	EXPECT_EQ(-ETIME, writer_result(first, 100));
	EXPECT_EQ(-ETIME, writer_result(second, 100));
	ASSERT_TRUE(stuck_release(&s));
	EXPECT_EQ(0, writer_result(first, IN_TIME_MS));
	EXPECT_EQ(0, writer_result(second, IN_TIME_MS));
	in_tree_works(_metadata, &s, 1);
}

TEST_HARNESS_MAIN

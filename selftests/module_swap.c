// SPDX-License-Identifier: GPL-2.0
/* Loading the module where in-tree KSM has merged what was swapped out since. */
#include <signal.h>

#include "module_fixture.h"
#include "swap_lib.h"

/*
 * In-tree KSM lets go of a process in which nothing is mergeable any more. A merged
 * page that comes back there from the swap cache is one that it does not know of.
 */
MODULE_TEST(back_from_swap_in_unknown_process)
{
	pid_t other;
	char *map;
	int fd[2];

	/* With nothing to scan no pass would end. */
	other = fork_child();
	if (other == 0) {
		MERGEABLE_PAGES(1, 9);
		pause();
		_exit(1);
	}
	/* From a test that was killed. */
	swap_off();
	cgroups_remove();
	ASSERT_EQ(0, reset_zram());
	ASSERT_TRUE(enter_swap_group() && swap_on_zram());
	/* What comes now is all there is to push out. */
	ASSERT_EQ(0, mlockall(MCL_CURRENT));
	map = MERGEABLE_PAGES(2, 8);
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, 1));
	/* Who refers to the page keeps it in the swap cache. */
	ASSERT_TRUE(put_in_pipe(map, fd));
	ASSERT_TRUE(push_out(map, 2));
	ASSERT_EQ(0, madvise(map, 2 * pagesize, MADV_UNMERGEABLE));
	ASSERT_TRUE(ksm_passes(2));
	ASSERT_TRUE(all_hold(map, 2, 8));
	ASSERT_TRUE(all_ksm(map, 2));

	EXPECT_EQ(0, load_stopped());
	EXPECT_TRUE(no_two_share(map, 2));
	EXPECT_TRUE(all_hold(map, 2, 8));
	EXPECT_FALSE(is_ksm(map));
	EXPECT_EQ(0, unload());
	swap_off();
	EXPECT_EQ(0, reset_zram());
	file_write("/sys/fs/cgroup/cgroup.procs", "0");
	cgroups_remove();
	kill(other, SIGKILL);
	wait_child(other);
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/* Out of memory while the module is loaded. */
#include "fault.h"
#include "module_fixture.h"

/*
 * It is loaded or it is not. If not, in-tree KSM is there as before, with the
 * same memory registered, which it merges again.
 */
MODULE_TEST(load_fails)
{
	char *map = MERGEABLE_PAGES(8, 1);
	int fd = open_fail_nth(0), failed = 0, n, err;

	if (access(FAILSLAB, F_OK))
		SKIP(return, "this kernel has no fault injection");
	ASSERT_LE(0, fd);
	ASSERT_TRUE(fail_percent(0));
	ASSERT_TRUE(any_allocation_may_fail());
	for (n = 1;; n += 1 + n / 12) {
		bool fault;

		ASSERT_EQ(0, knob_set("run", 1));
		ASSERT_TRUE(ksm_settles(1, 7));
		set_nth(fd, n);
		err = load_stopped();
		fault = nth_failed(fd);
		ASSERT_TRUE(all_hold(map, 8, 1));
		ASSERT_EQ(err == 0, loaded());
		if (err) {
			ASSERT_TRUE(fault);
			failed++;
			ASSERT_EQ(1, knob("run"));
			continue;
		}
		ASSERT_TRUE(no_two_share(map, 8));
		ASSERT_TRUE(knobs_for_test());
		ASSERT_EQ(0, knob_set("run", 1));
		ASSERT_TRUE(ksm_settles(1, 7));
		ASSERT_TRUE(unmerge_everything());
		ASSERT_EQ(0, unload());
		if (!fault)
			break;
	}
	EXPECT_LE(10, failed);
	/* What rksm was unmerged with was carried back. */
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, 7));
	EXPECT_TRUE(all_hold(map, 8, 1));
}

TEST_HARNESS_MAIN

/* SPDX-License-Identifier: GPL-2.0 */
/* Tests that push memory out to swap, and nothing but their own. */
#ifndef SWAP_FIXTURE_H
#define SWAP_FIXTURE_H

#include "ksm_harness.h"
#include "swap_lib.h"

FIXTURE(swap) {
	struct knob_values before;
};

FIXTURE_SETUP(swap)
{
	ASSERT_TRUE(knobs_save(&self->before));
	ASSERT_TRUE(unmerge_everything());
	ASSERT_TRUE(knobs_for_test());
	swap_off();	/* from a test that was killed */
	reset_zram();
	ASSERT_TRUE(enter_swap_group());
	/* Then the test's memory is all there is to push out. */
	ASSERT_EQ(0, mlockall(MCL_CURRENT));
}

FIXTURE_TEARDOWN_PARENT(swap)
{
	EXPECT_TRUE(unmerge_everything());
	EXPECT_TRUE(knobs_restore(&self->before));
	swap_off();
	EXPECT_EQ(0, reset_zram());
	cgroups_remove();
}

#define SWAP_TEST(name)	TEST_F_TIMEOUT(swap, name, TEST_SECONDS)

#endif

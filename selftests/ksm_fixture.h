/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Every test starts with nothing merged, the scanner off and the knobs at
 * values that make a pass short, and ends with nothing merged and the knobs
 * as they were. The end runs in the parent, so it also happens when the test
 * was killed.
 */
#ifndef KSM_FIXTURE_H
#define KSM_FIXTURE_H

#include "ksm_harness.h"

FIXTURE(ksm) {
	struct knob_values before;
};

FIXTURE_SETUP(ksm)
{
	ASSERT_TRUE(knobs_save(&self->before));
	ASSERT_TRUE(unmerge_everything());
	ASSERT_TRUE(knobs_for_test());
}

FIXTURE_TEARDOWN_PARENT(ksm)
{
	EXPECT_TRUE(unmerge_everything());
	EXPECT_TRUE(knobs_restore(&self->before));
}

#define KSM_TEST(name)	TEST_F_TIMEOUT(ksm, name, TEST_SECONDS)

#endif

/* SPDX-License-Identifier: GPL-2.0 */
/* Tests that let allocations of the caller or of the scanner fail. */
#ifndef FAULT_FIXTURE_H
#define FAULT_FIXTURE_H

#include "fault.h"
#include "ksm_harness.h"

FIXTURE(fault) {
	struct knob_values before;
};

FIXTURE_SETUP(fault)
{
	if (access(FAILSLAB, F_OK) || access(FAIL_PAGE, F_OK))
		SKIP(return, "this kernel has no fault injection");
	ASSERT_TRUE(knobs_save(&self->before));
	ASSERT_TRUE(unmerge_everything());
	ASSERT_TRUE(knobs_for_test());
	ASSERT_TRUE(fail_percent(0));
	ASSERT_TRUE(any_allocation_may_fail());
}

FIXTURE_TEARDOWN_PARENT(fault)
{
	if (access(FAILSLAB, F_OK) || access(FAIL_PAGE, F_OK))
		return;
	EXPECT_TRUE(fail_percent(0));
	make_fail(scanner(), false);
	EXPECT_TRUE(unmerge_everything());
	EXPECT_TRUE(knobs_restore(&self->before));
}

#define FAULT_TEST(name)	TEST_F_TIMEOUT(fault, name, TEST_SECONDS)

#endif

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tests of what one process, or what waits, may cost the others. Each starts as
 * those of ksm_fixture.h do, and ends with all events off as well. They are of
 * rksm only: in-tree KSM does not promise any of it.
 */
#ifndef BESIDE_FIXTURE_H
#define BESIDE_FIXTURE_H

#include <signal.h>

#include "ksm_harness.h"
#include "stuck_lib.h"
#include "trace_lib.h"

FIXTURE(beside) {
	struct knob_values before;
};

FIXTURE_SETUP(beside)
{
	if (access("/sys/module/rksm", F_OK))
		SKIP(return, "rksm is not loaded");
	trace_off();
	ASSERT_TRUE(knobs_save(&self->before));
	ASSERT_TRUE(unmerge_everything());
	ASSERT_TRUE(knobs_for_test());
}

FIXTURE_TEARDOWN_PARENT(beside)
{
	if (access("/sys/module/rksm", F_OK))
		return;
	trace_off();
	EXPECT_TRUE(unmerge_everything());
	EXPECT_TRUE(knobs_restore(&self->before));
}

#define BESIDE_TEST(name)	TEST_F_TIMEOUT(beside, name, TEST_SECONDS)

#endif

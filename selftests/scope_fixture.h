/* SPDX-License-Identifier: GPL-2.0 */
/* Tests of what is merged unasked. They end with the scope as it was, and with all events off. */
#ifndef SCOPE_FIXTURE_H
#define SCOPE_FIXTURE_H

#include "ksm_harness.h"
#include "trace_lib.h"

FIXTURE(scope) {
	struct knob_values before;
};

FIXTURE_SETUP(scope)
{
	NEEDS_KNOB("scope", "this provider has no scope");
	ASSERT_TRUE(knobs_save(&self->before));
	ASSERT_TRUE(unmerge_everything());
	ASSERT_TRUE(knobs_for_test());
}

FIXTURE_TEARDOWN_PARENT(scope)
{
	trace_off();
	EXPECT_TRUE(unmerge_everything());
	EXPECT_TRUE(knobs_restore(&self->before));
}

#define SCOPE_TEST(name)	TEST_F_TIMEOUT(scope, name, TEST_SECONDS)

#endif

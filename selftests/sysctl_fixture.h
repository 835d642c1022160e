/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tests that change a setting of the kernel, SYSCTL, which whoever includes this defines. It is as it was when
 * they end, however they do.
 */
#ifndef SYSCTL_FIXTURE_H
#define SYSCTL_FIXTURE_H

#include "ksm_harness.h"

FIXTURE(sysctl) {
	struct knob_values before;
	long value;
};

static inline int sysctl_set(long value)
{
	char text[32];

	snprintf(text, sizeof(text), "%ld", value);
	return file_write(SYSCTL, text);
}

FIXTURE_SETUP(sysctl)
{
	self->value = file_long(SYSCTL);
	ASSERT_TRUE(knobs_save(&self->before));
	ASSERT_TRUE(unmerge_everything());
	ASSERT_TRUE(knobs_for_test());
}

FIXTURE_TEARDOWN_PARENT(sysctl)
{
	if (self->value >= 0)
		EXPECT_EQ(0, sysctl_set(self->value));
	EXPECT_TRUE(unmerge_everything());
	EXPECT_TRUE(knobs_restore(&self->before));
}

#define SYSCTL_TEST(name)	TEST_F_TIMEOUT(sysctl, name, TEST_SECONDS)

#endif

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tests that load and unload the module. Each starts with in-tree KSM at rest;
 * the module is back at the end if it was there before.
 */
#ifndef MODULE_FIXTURE_H
#define MODULE_FIXTURE_H

#include "ksm_harness.h"
#include "module_lib.h"

FIXTURE(module) {
	bool was_loaded;
	struct knob_values rksm, in_tree;
};

FIXTURE_SETUP(module)
{
	if (!getenv("RKSM_KO") || !*getenv("RKSM_KO"))
		SKIP(return, "RKSM_KO does not say where rksm.ko is");
	kunit_suites("none");
	/* The knobs are those of the one that is there. */
	unsetenv("KSM_SYSFS");
	self->was_loaded = loaded();
	if (self->was_loaded) {
		ASSERT_TRUE(knobs_save(&self->rksm));
		ASSERT_TRUE(unmerge_everything());
		ASSERT_EQ(0, unload());
	}
	ASSERT_TRUE(knobs_save(&self->in_tree));
	ASSERT_TRUE(unmerge_everything());
	ASSERT_TRUE(knobs_for_test());
}

FIXTURE_TEARDOWN_PARENT(module)
{
	unsetenv("KSM_SYSFS");
	if (loaded()) {
		EXPECT_TRUE(unmerge_everything());
		EXPECT_EQ(0, unload());
	}
	EXPECT_TRUE(unmerge_everything());
	EXPECT_TRUE(knobs_restore(&self->in_tree));
	if (self->was_loaded) {
		EXPECT_EQ(0, load());
		EXPECT_TRUE(knobs_restore(&self->rksm));
	}
	kunit_suites("*");
}

#define MODULE_TEST(name) TEST_F_TIMEOUT(module, name, TEST_SECONDS)

/* Load, and set the knobs as the tests want them. */
#define LOAD() do {							\
	ASSERT_EQ(0, load_stopped());					\
	ASSERT_TRUE(knobs_for_test());					\
} while (0)

#endif

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

static inline size_t swapped(char *map, size_t n)
{
	size_t found = 0;

	while (n--)
		if (pagemap_of(0, page_of(map, n)) & PM_SWAP_BIT)
			found++;
	return found;
}

/*
 * Until the last of these is out. A page just used gets a second chance, and
 * reclaim goes by statistics of the group that lag by up to two seconds.
 */
static inline bool push_out(char *map, size_t n)
{
	int tries;

	for (tries = 0; tries < 10000 && swapped(map, n) < n; tries++)
		reclaim("128K swappiness=max");
	return swapped(map, n) == n;
}

#endif

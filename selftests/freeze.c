// SPDX-License-Identifier: GPL-2.0
/* The scanner freezes with everybody else, whatever it is doing. */
#include "ksm_fixture.h"
#include "trace_lib.h"

/*
 * One round of suspend that goes no further than freezing. It fails with
 * EBUSY where a thread does not freeze in twenty seconds.
 */
static int freeze_once(void)
{
	const char *delay = "/sys/module/suspend/parameters/pm_test_delay";
	int err = file_write("/sys/power/pm_test", "freezer");

	/* Seconds to stay frozen: everybody is, or it would have failed. */
	if (!err)
		err = file_write(delay, "0");
	if (!err)
		err = file_write("/sys/power/state", "freeze");
	if (file_write(delay, "5") || file_write("/sys/power/pm_test", "none"))
		return -EIO;
	return err;
}

#define NEEDS_FREEZER()							\
	do {								\
		if (access("/sys/power/pm_test", W_OK))			\
			SKIP(return, "the kernel cannot suspend");	\
	} while (0)

KSM_TEST(at_rest)
{
	NEEDS_FREEZER();
	ASSERT_TRUE(scanner_stop());
	EXPECT_EQ(0, freeze_once());
}

KSM_TEST(between_batches)
{
	char *map;

	NEEDS_FREEZER();
	map = MERGED_PAGES(8, 1);
	ASSERT_EQ(0, knob_set("sleep_millisecs", 3600000));
	EXPECT_EQ(0, freeze_once());
	EXPECT_TRUE(all_hold(map, 8, 1));
}

KSM_TEST(while_it_scans)
{
	char *map;

	NEEDS_FREEZER();
	map = MERGED_PAGES(200, 2);
	ASSERT_EQ(0, knob_set("sleep_millisecs", 0));
	ASSERT_EQ(0, knob_set("pages_to_scan", 100000000));
	EXPECT_EQ(0, freeze_once());
	EXPECT_TRUE(ksm_passes(2));
	EXPECT_TRUE(all_hold(map, 200, 2));
}

/* Not at its end: the thread stops where it is. It goes on with the batch afterwards. */
KSM_TEST(in_the_midst_of_a_batch)
{
	bool in_time = false;
	int i;

	NEEDS_FREEZER();
	if (access("/sys/module/rksm", F_OK))
		SKIP(return, "in-tree KSM ends the batch first");
	ASSERT_NE(NULL, different_pages(rounds(60000), 3));
	ASSERT_EQ(0, knob_set("pages_to_scan", 4000000000L));
	ASSERT_TRUE(trace_passes());
	ASSERT_EQ(0, knob_set("run", 1));
	for (i = 0; i < 8 && !in_time; i++) {
		ASSERT_TRUE(trace_pass_begins());
		EXPECT_EQ(0, freeze_once());
		in_time = trace_pass_goes_on();
	}
	EXPECT_TRUE(in_time);
	trace_off();
	EXPECT_TRUE(ksm_passes(2));
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/* The advisor that goes by how much memory is available. */
#include <sys/mman.h>
#include <unistd.h>

#include "beside_fixture.h"

#define N	64
/* A few looks, of which there is one a second. */
#define LOOKS	3
/* More than it takes to come to see anything, on any machine. */
#define SOON_S	60

/* In KiB; -1: it does not say. */
static long meminfo(const char *key)
{
	char text[8192];
	const char *at;

	if (file_read("/proc/meminfo", text, sizeof(text)) <= 0)
		return -1;
	at = strstr(text, key);
	return at ? strtol(at + strlen(key), NULL, 10) : -1;
}

/* In percent. */
static long available(void)
{
	return meminfo("MemAvailable:") * 100 / meminfo("MemTotal:");
}

/* Both marks, whatever they were. */
static bool marks(long low, long high)
{
	return !knob_set("advisor_free_low", 0) && !knob_set("advisor_free_high", high) &&
	       !knob_set("advisor_free_low", low);
}

/* No machine that these tests run on has as little, or as much, available. */
#define ENOUGH()	ASSERT_TRUE(marks(0, 11))
#define SCARCE()	ASSERT_TRUE(marks(99, 100))

static bool comes_to(bool (*is_so)(void))
{
	int i;

	for (i = 0; i < SOON_S * 100; i++) {
		if (is_so())
			return true;
		usleep(10000);
	}
	dprintf(2, "# %ld %% available, pages_to_scan is %ld\n", available(), knob("pages_to_scan"));
	return false;
}

static bool waits(void)
{
	return knob("pages_to_scan") == 0;
}

static bool scans(void)
{
	return knob("pages_to_scan") > 0;
}

/* Nothing, for as long as a few looks take; what is still under way may take the first of it. */
static bool scans_nothing(void)
{
	int attempts;

	for (attempts = 0; attempts < 10; attempts++) {
		long before = knob("pages_scanned");

		sleep(LOOKS);
		if (knob("pages_scanned") == before)
			return true;
	}
	return false;
}

BESIDE_TEST(marks_are_one_above_the_other)
{
	static const struct {
		const char *name, *text;
	} bad[] = {
		{ "advisor_free_high", "10" }, { "advisor_free_high", "0" },
		{ "advisor_free_high", "101" }, { "advisor_free_high", "-1" },
		{ "advisor_free_high", "20%" }, { "advisor_free_high", "\n" },
		{ "advisor_free_low", "20" }, { "advisor_free_low", "21" },
		{ "advisor_free_low", "101" }, { "advisor_free_low", "4294967296" },
	};
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		EXPECT_EQ(-EINVAL, knob_write(bad[i].name, bad[i].text)) {
			TH_LOG("%s to %s", bad[i].text, bad[i].name);
		}
		EXPECT_EQ(10, knob("advisor_free_low"));
		EXPECT_EQ(20, knob("advisor_free_high"));
	}
	EXPECT_EQ(0, knob_set("advisor_free_high", 11));
	EXPECT_EQ(0, knob_set("advisor_free_high", 100));
	EXPECT_EQ(0, knob_set("advisor_free_low", 99));
	EXPECT_EQ(0, knob_set("advisor_free_low", 0));
}

BESIDE_TEST(modes)
{
	char text[64];

	ENOUGH();
	ASSERT_EQ(0, knob_set("pages_to_scan", 777));
	ASSERT_EQ(0, knob_write("advisor_mode", "pressure\n"));
	ASSERT_LT(0, knob_text("advisor_mode", text, sizeof(text)));
	EXPECT_STREQ("none scan-time [pressure]\n", text);
	/* It decides with the write that puts it in charge. */
	EXPECT_EQ(0, knob("pages_to_scan"));
	EXPECT_EQ(-EINVAL, knob_set("pages_to_scan", 100));
	SCARCE();
	EXPECT_LT(0, knob("pages_to_scan"));
	EXPECT_EQ(-EINVAL, knob_set("pages_to_scan", 100));
	ASSERT_EQ(0, knob_write("advisor_mode", "scan-time"));
	EXPECT_EQ(500, knob("pages_to_scan"));
	ASSERT_EQ(0, knob_write("advisor_mode", "pressure"));
	EXPECT_LT(0, knob("pages_to_scan"));
	ASSERT_EQ(0, knob_write("advisor_mode", "none"));
	EXPECT_EQ(100, knob("pages_to_scan"));
	EXPECT_EQ(0, knob_set("pages_to_scan", 101));
}

static bool nothing_is_merged(void)
{
	return knob("pages_shared") == 0;
}

BESIDE_TEST(nothing_while_there_is_enough)
{
	char *map = MERGEABLE_PAGES(N, 1);
	pid_t pid;

	ENOUGH();
	ASSERT_EQ(0, knob_write("advisor_mode", "pressure"));
	ASSERT_EQ(0, knob_set("run", 1));
	EXPECT_TRUE(scans_nothing());
	EXPECT_TRUE(none_ksm(map, N));

	SCARCE();
	EXPECT_TRUE(ksm_settles(1, N - 1));
	EXPECT_TRUE(all_ksm(map, N));

	/* What is merged stays so. */
	ENOUGH();
	EXPECT_TRUE(scans_nothing());
	EXPECT_TRUE(all_ksm(map, N));

	/* Whoever goes is cleaned up after. */
	ASSERT_TRUE(unmerge_everything());
	ASSERT_EQ(0, munmap(map, N * pagesize));
	SCARCE();
	pid = fork_child();
	if (pid == 0) {
		map = equal_pages(N, 1);
		if (!map || madvise(map, N * pagesize, MADV_MERGEABLE))
			_exit(1);
		for (;;)
			pause();
	}
	ASSERT_EQ(0, knob_set("run", 1));
	EXPECT_TRUE(ksm_settles(1, N - 1));
	ENOUGH();
	EXPECT_TRUE(scans_nothing());
	kill_all(&pid, 1);
	EXPECT_TRUE(comes_to(nothing_is_merged));
}

/* One cleans up and looks; the others sleep until they are told to go on. */
BESIDE_TEST(all_scanners_go_on)
{
	char *map = MERGEABLE_PAGES(N, 1);
	pid_t pids[4];
	int i;

	ENOUGH();
	ASSERT_EQ(0, knob_set("scanners", 4));
	ASSERT_EQ(0, knob_write("advisor_mode", "pressure"));
	ASSERT_EQ(0, knob_set("run", 1));
	for (i = 0; i < 4; i++) {
		pids[i] = fork_child();
		if (pids[i] == 0) {
			fill_all(map, N, 1);
			for (;;)
				pause();
		}
	}
	EXPECT_TRUE(scans_nothing());
	SCARCE();
	EXPECT_TRUE(ksm_passes(2));
	EXPECT_TRUE(all_ksm(map, N));
	kill_all(pids, 4);
}

/* As soon as somebody else decides, or nobody. */
BESIDE_TEST(waiting_ends_with_the_mode)
{
	char *map = MERGEABLE_PAGES(N, 1);

	ENOUGH();
	ASSERT_EQ(0, knob_write("advisor_mode", "pressure"));
	ASSERT_EQ(0, knob_set("run", 1));
	EXPECT_TRUE(scans_nothing());
	ASSERT_EQ(0, knob_write("advisor_mode", "none"));
	EXPECT_TRUE(ksm_settles(1, N - 1));
	EXPECT_TRUE(all_ksm(map, N));
}

/* The next look is not overslept, and the share that is allowed is not all of a CPU. */
BESIDE_TEST(any_sleep)
{
	static const char * const sleeps[] = { "4294967295", "0" };
	int i;

	ASSERT_EQ(0, knob_write("advisor_mode", "pressure"));
	for (i = 0; i < 2; i++) {
		char *map = MERGEABLE_PAGES(N, 1);

		ASSERT_EQ(0, knob_write("sleep_millisecs", sleeps[i]));
		SCARCE();
		ASSERT_EQ(0, knob_set("run", 1));
		EXPECT_TRUE(ksm_passes(3));
		EXPECT_TRUE(all_ksm(map, N));
		EXPECT_GT(UINT32_MAX, knob("pages_to_scan"));
		ENOUGH();
		EXPECT_TRUE(scans_nothing());
		ASSERT_TRUE(unmerge_everything());
		ASSERT_EQ(0, munmap(map, N * pagesize));
	}
}

/* Somebody fills memory, until it is short, and goes. */
BESIDE_TEST(begins_when_it_is_short_and_ends_when_it_is_not)
{
	char *map = MERGEABLE_PAGES(N, 1);
	long before = available(), high = before - 6, low = before - 16;
	pid_t pid;
	int i;

	if (low < 0 || high < 11)
		SKIP(return, "there is no memory to be filled");
	ASSERT_TRUE(marks(low, high));
	ASSERT_EQ(0, knob_write("advisor_mode", "pressure"));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(waits());
	for (i = 0; i < 2; i++) {
		EXPECT_TRUE(scans_nothing());
		pid = fork_child();
		if (pid == 0) {
			munmap(map, N * pagesize);
			while (available() > (low + high) / 2)
				if (!equal_pages(256, 7))
					_exit(1);
			for (;;)
				pause();
		}
		EXPECT_TRUE(comes_to(scans));
		EXPECT_TRUE(ksm_settles(1, N - 1));
		EXPECT_TRUE(all_ksm(map, N));
		kill_all(&pid, 1);
		EXPECT_TRUE(comes_to(waits));
		fill_all(map, N, 2 + i);
	}
}

TEST_HARNESS_MAIN

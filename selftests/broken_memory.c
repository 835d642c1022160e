// SPDX-License-Identifier: GPL-2.0
/* Merged pages in memory that fails, or that is taken out of the machine. */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "bus_errors.h"
#include "ksm_fixture.h"
#include "trace_lib.h"

#define UNPOISON	"/sys/kernel/debug/hwpoison/unpoison-pfn"
#define BLOCKS		"/sys/devices/system/memory/"
/* A memory module, to the firmware. */
#define DIMM		"/sys/bus/acpi/devices/PNP0C80:00/"
#define N		8
#define MAPS		40
#define MPOL_BIND	2

static char *poisoned_map;

static int peer_breaks_page(struct peer *p, void *arg)
{
	poisoned_map = map_pages(N);
	CHECK(poisoned_map);
	CHECK(handle_bus_errors(on_bus_error));
	CHECK(be_told_early());
	fill_all(poisoned_map, N, 1);
	CHECK(!madvise(poisoned_map, N * pagesize, MADV_MERGEABLE));
	CHECK(peer_meet(p));
	CHECK(peer_swap(p, pfn_of(0, poisoned_map)) == 0);
	CHECK(!madvise(poisoned_map, pagesize, MADV_HWPOISON));
	CHECK(bus_errors > 0);
	CHECK(peer_meet(p));
	CHECK(!munmap(poisoned_map, N * pagesize));
	return 0;
}

static int peer_is_told(struct peer *p, void *arg)
{
	struct timespec long_time = { .tv_sec = 100 };
	char *map = map_pages(N), *other = map_pages(N);
	siginfo_t info;
	sigset_t bus;

	CHECK(map && other);
	sigemptyset(&bus);
	sigaddset(&bus, SIGBUS);
	CHECK(!sigprocmask(SIG_BLOCK, &bus, NULL));
	CHECK(be_told_early());
	fill_all(map, N, 1);
	fill_all(other, N, 2);
	CHECK(!madvise(map, N * pagesize, MADV_MERGEABLE));
	CHECK(!madvise(other, N * pagesize, MADV_MERGEABLE));
	CHECK(peer_meet(p));
	CHECK(peer_meet(p));
	CHECK(sigtimedwait(&bus, &info, &long_time) == SIGBUS);
	CHECK(info.si_code == BUS_MCEERR_AO);
	CHECK((char *)info.si_addr >= map &&
	      (char *)info.si_addr < map + N * pagesize);
	/* The page is gone from every place; the others are well. */
	CHECK(pfn_of(0, map) == 0 && pfn_of(0, page_of(map, N - 1)) == 0);
	CHECK(all_hold(other, N, 2));
	CHECK(!munmap(map, N * pagesize));
	CHECK(peer_meet(p));
	CHECK(peer_meet(p));
	CHECK(all_ksm(other, N) && all_hold(other, N, 2));
	return 0;
}

/* It did not ask to be told: it lives until it touches the page. */
static int peer_touches_it(struct peer *p, void *arg)
{
	char *map = map_pages(N);

	CHECK(map);
	CHECK(handle_bus_errors(leave_on_bus_error));
	fill_all(map, N, 1);
	CHECK(!madvise(map, N * pagesize, MADV_MERGEABLE));
	CHECK(peer_meet(p));
	CHECK(peer_meet(p));
	CHECK(bus_errors == 0);
	CHECK(pfn_of(0, map) == 0);
	if (!sigsetjmp(after_bus_error, 1))
		CHECK(!holds(map, 1) && false);
	CHECK(bus_errors == 1);
	CHECK(bus_error.si_code == BUS_MCEERR_AR);
	CHECK(bus_error.si_addr == map);
	CHECK(!munmap(map, N * pagesize));
	return 0;
}

/* Every process that maps the broken page is found, and told where. */
KSM_TEST(memory_failure)
{
	struct peer breaks, told, touches;
	char text[32];
	long pfn;

	if (access(UNPOISON, F_OK))
		SKIP(return, "no hwpoison in debugfs");
	ASSERT_TRUE(peer_start(&breaks, peer_breaks_page, NULL));
	ASSERT_TRUE(peer_start(&told, peer_is_told, NULL));
	ASSERT_TRUE(peer_start(&touches, peer_touches_it, NULL));
	ASSERT_TRUE(peer_meet(&breaks) && peer_meet(&told) && peer_meet(&touches));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(2, 4 * N - 2));
	ASSERT_TRUE(scanner_stop());
	ASSERT_TRUE(peer_meet(&told));
	pfn = peer_swap(&breaks, 0);
	ASSERT_LT(0, pfn);
	EXPECT_TRUE(peer_meet(&breaks));
	EXPECT_EQ(0, peer_end(&breaks));
	EXPECT_TRUE(peer_meet(&told));
	EXPECT_TRUE(peer_meet(&touches));
	EXPECT_EQ(0, peer_end(&touches));
	snprintf(text, sizeof(text), "%ld", pfn);
	/* It may stay out of use while the provider remembers it. */
	file_write(UNPOISON, text);
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, N - 1));
	EXPECT_TRUE(peer_meet(&told));
	EXPECT_EQ(0, peer_end(&told));
}

static int set_state(const char *block, const char *state)
{
	char path[300];

	snprintf(path, sizeof(path), BLOCKS "%s/state", block);
	return file_write(path, state);
}

/* A block of memory that can go: make it one for movable pages only. */
static bool movable_block(char *name)
{
	DIR *dir = opendir(BLOCKS);
	struct dirent *e;
	bool found = false;

	while (dir && !found && (e = readdir(dir))) {
		if (strncmp(e->d_name, "memory", 6) ||
		    set_state(e->d_name, "offline"))
			continue;
		strcpy(name, e->d_name);
		found = set_state(name, "online_movable") == 0;
	}
	if (dir)
		closedir(dir);
	return found;
}

static bool in_block(const char *name, uint64_t pfn)
{
	uint64_t address = pfn * pagesize, size;
	char buf[32];

	if (file_read(BLOCKS "block_size_bytes", buf, sizeof(buf)) < 0)
		return false;
	size = strtoull(buf, NULL, 16);
	return address / size == strtoull(name + strlen("memory"), NULL, 10);
}

/* Has memory come from the node that the block belongs to. */
static bool use_node_of(const char *name)
{
	char path[PATH_MAX];
	unsigned long mask;
	int node;

	for (node = 0; node < 8; node++) {
		snprintf(path, sizeof(path), BLOCKS "%s/node%d", name, node);
		if (access(path, F_OK))
			continue;
		mask = 1UL << node;
		return !syscall(SYS_set_mempolicy, MPOL_BIND, &mask, 64);
	}
	return false;
}

/* Merged pages, each of its own content, some of which are in the block. */
static void merge_in_block(struct __test_metadata *_metadata, const char *block, char *map[MAPS])
{
	size_t i, inside = 0;

	ASSERT_TRUE(use_node_of(block));
	/* Pages of user space come from such memory first. */
	for (i = 0; i < MAPS; i++)
		map[i] = MERGEABLE_PAGES(N, 10 + i);
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(MAPS, MAPS * (N - 1)));
	for (i = 0; i < MAPS; i++)
		inside += in_block(block, pfn_of(0, map[i]));
	EXPECT_LT(0, inside);
}

/* Memory with merged pages goes offline while the scanner runs, and comes back. */
KSM_TEST(memory_offline)
{
	char block[NAME_MAX + 1], *map[MAPS];
	size_t i;
	int round;

	if (access(BLOCKS "block_size_bytes", F_OK))
		SKIP(return, "no memory hotplug");
	ASSERT_TRUE(movable_block(block));
	merge_in_block(_metadata, block, map);
	for (round = 0; round < 3; round++) {
		ASSERT_EQ(0, set_state(block, "offline"));
		for (i = 0; i < MAPS; i++) {
			EXPECT_FALSE(in_block(block, pfn_of(0, map[i])));
			EXPECT_EQ(1, distinct_pfns(map[i], N));
			EXPECT_TRUE(all_hold(map[i], N, 10 + i));
			fill(page_of(map[i], round), 10 + i);
		}
		ASSERT_TRUE(ksm_settles(MAPS, MAPS * (N - 1)));
		ASSERT_EQ(0, set_state(block, "online_movable"));
		/* New pages, there again. */
		ASSERT_EQ(0, knob_set("run", 2));
		ASSERT_EQ(0, knob_set("run", 1));
		ASSERT_TRUE(ksm_settles(MAPS, MAPS * (N - 1)));
	}
	ASSERT_EQ(0, set_state(block, "offline"));
	ASSERT_EQ(0, set_state(block, "online_kernel"));
	for (i = 0; i < MAPS; i++) {
		EXPECT_TRUE(all_hold(map[i], N, 10 + i));
	}
}

/* Makes the blocks of a memory module such that they can go; the name of one. */
static bool movable_module(const char *module, char *name)
{
	DIR *dir = opendir(module);
	char path[PATH_MAX];
	struct dirent *e;
	bool good = dir;

	name[0] = 0;
	while (dir && (e = readdir(dir))) {
		if (strncmp(e->d_name, "physical_node", strlen("physical_node")))
			continue;
		snprintf(path, sizeof(path), "%s/%s", module, e->d_name);
		if (!realpath(path, path) || strncmp(basename(path), "memory", 6))
			continue;
		strcpy(name, basename(path));
		set_state(name, "offline");
		good &= set_state(name, "online_movable") == 0;
	}
	if (dir)
		closedir(dir);
	return good && name[0];
}

/*
 * The memory module with merged pages is taken out of the machine: there is
 * not even a memory map where they were.
 */
KSM_TEST(memory_removed)
{
	char block[NAME_MAX + 1], path[PATH_MAX], *map[MAPS];
	size_t i;
	int tries;

	if (access(DIMM "eject", F_OK))
		SKIP(return, "no memory module to take out");
	ASSERT_TRUE(movable_module(DIMM, block));
	merge_in_block(_metadata, block, map);
	/* The scanner has yet to find out that nobody shares these any more. */
	ASSERT_TRUE(scanner_stop());
	for (i = 0; i < MAPS; i += 4) {
		ASSERT_EQ(0, munmap(map[i], N * pagesize));
	}
	ASSERT_EQ(0, file_write(DIMM "eject", "1"));
	snprintf(path, sizeof(path), BLOCKS "%s", block);
	for (tries = 0; tries < 60000 && !access(path, F_OK); tries++)
		usleep(1000);
	ASSERT_NE(0, access(path, F_OK));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_passes(2));
	for (i = 0; i < MAPS; i++) {
		if (i % 4 == 0)
			map[i] = MERGEABLE_PAGES(N, 10 + i);
		EXPECT_TRUE(all_hold(map[i], N, 10 + i));
	}
	ASSERT_TRUE(ksm_settles(MAPS, MAPS * (N - 1)));
	for (i = 0; i < MAPS; i++) {
		EXPECT_EQ(1, distinct_pfns(map[i], N));
		EXPECT_FALSE(in_block(block, pfn_of(0, map[i])));
		EXPECT_TRUE(all_hold(map[i], N, 10 + i));
	}
}

#define SPINNERS	4

/* So that the scanner gets hardly any time, and a batch takes many times as long. */
static bool starve_scanner(pid_t *spinners)
{
	int i;

	for (i = 0; i < SPINNERS; i++) {
		spinners[i] = fork_child();
		if (spinners[i] == 0) {
			for (;;)
				;
		}
		if (spinners[i] < 0)
			return false;
	}
	return !setpriority(PRIO_PROCESS, scanner(), 19);
}

static void feed_scanner(pid_t *spinners)
{
	int i;

	for (i = 0; i < SPINNERS; i++) {
		kill(spinners[i], SIGKILL);
		wait_child(spinners[i]);
	}
	/* What it gives itself. */
	setpriority(PRIO_PROCESS, scanner(), 5);
}

/* Taking memory out waits for no batch. */
KSM_TEST(offline_in_the_midst_of_a_batch)
{
	pid_t spinners[SPINNERS];
	bool in_time = false;
	char block[NAME_MAX];
	int i;

	if (access(BLOCKS "block_size_bytes", F_OK))
		SKIP(return, "no memory hotplug");
	if (access("/sys/module/rksm", F_OK))
		SKIP(return, "in-tree KSM ends the batch first");
	ASSERT_TRUE(movable_block(block));
	ASSERT_TRUE(starve_scanner(spinners));
	ASSERT_NE(NULL, different_pages(rounds(20000), 30));
	ASSERT_EQ(0, knob_set("pages_to_scan", 4000000000L));
	/* Most of what is in it moves away with the first one. */
	ASSERT_EQ(0, set_state(block, "offline"));
	ASSERT_EQ(0, set_state(block, "online_movable"));
	ASSERT_TRUE(trace_passes());
	ASSERT_EQ(0, knob_set("run", 1));
	for (i = 0; i < 3 && !in_time; i++) {
		ASSERT_TRUE(trace_pass_begins());
		ASSERT_EQ(0, set_state(block, "offline"));
		in_time = trace_pass_goes_on();
		ASSERT_EQ(0, set_state(block, "online_movable"));
	}
	EXPECT_TRUE(in_time);
	feed_scanner(spinners);
	trace_off();
}

TEST_HARNESS_MAIN

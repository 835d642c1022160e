// SPDX-License-Identifier: GPL-2.0
/* Merged pages that are pushed out to swap, and come back. */
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/swap.h>

#include "ksm_harness.h"

#define ZRAM	"/sys/block/zram0/"
#define N	16

static char cgroup[] = "/tmp/ksm_cgroup_XXXXXX";
static char group[64], reclaim_file[96];

/*
 * A memory cgroup of its own for the test, so that writing to memory.reclaim
 * pushes out what the test has and nothing else. Reclaim finds all mappings of
 * a merged page through the provider.
 */
static bool enter_cgroup(void)
{
	char path[96];

	if (!mkdtemp(cgroup) || mount("cgroup2", cgroup, "cgroup2", 0, NULL))
		return false;
	snprintf(path, sizeof(path), "%s/cgroup.subtree_control", cgroup);
	if (file_write(path, "+memory"))
		return false;
	snprintf(group, sizeof(group), "%s/ksm_swap_test", cgroup);
	if (mkdir(group, 0755))
		return false;
	snprintf(reclaim_file, sizeof(reclaim_file), "%s/memory.reclaim", group);
	snprintf(path, sizeof(path), "%s/cgroup.procs", group);
	return file_write(path, "0") == 0;
}

/* An area of 64 MiB on the compressed RAM disk. */
static bool swap_on(void)
{
	int disk = open("/dev/zram0", O_RDWR | O_CLOEXEC);
	/* The header that swapon() looks for: version, last page, signature. */
	uint32_t header[1024] = {};

	header[256] = 1;
	header[257] = (64 << 20) / 4096 - 1;
	memcpy((char *)header + 4086, "SWAPSPACE2", 10);
	if (disk < 0 || file_write(ZRAM "disksize", "64M") ||
	    pwrite(disk, header, 4096, 0) != 4096)
		return false;
	close(disk);
	return swapon("/dev/zram0", 0) == 0;
}

FIXTURE(swap) {
	struct knob_values before;
};

FIXTURE_SETUP(swap)
{
	ASSERT_TRUE(knobs_save(&self->before));
	ASSERT_TRUE(unmerge_everything());
	ASSERT_TRUE(knobs_for_test());
	swapoff("/dev/zram0");	/* from a test that was killed */
	file_write(ZRAM "reset", "1");
	ASSERT_TRUE(swap_on());
	ASSERT_TRUE(enter_cgroup());
	/* Then the test's memory is all there is to push out. */
	ASSERT_EQ(0, mlockall(MCL_CURRENT));
}

static void remove_cgroups(void)
{
	/* The fixture's parent has not seen the name: look for it. */
	if (system("for d in /tmp/ksm_cgroup_*; do rmdir $d/ksm_swap_test; "
		   "umount $d; rmdir $d; done 2>/dev/null") < 0)
		perror("# removing the cgroup");
}

FIXTURE_TEARDOWN_PARENT(swap)
{
	EXPECT_TRUE(unmerge_everything());
	EXPECT_TRUE(knobs_restore(&self->before));
	swapoff("/dev/zram0");	/* a test may have done so */
	EXPECT_EQ(0, file_write(ZRAM "reset", "1"));
	remove_cgroups();
}

#define SWAP_TEST(name)	TEST_F_TIMEOUT(swap, name, TEST_SECONDS)

static size_t swapped(char *map, size_t n)
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
static bool push_out(char *map, size_t n)
{
	int tries;

	for (tries = 0; tries < 10000 && swapped(map, n) < n; tries++)
		file_write(reclaim_file, "128K swappiness=max");
	return swapped(map, n) == n;
}

static long vm_event(const char *name)
{
	static char buf[1 << 16];
	char *line;

	if (file_read("/proc/vmstat", buf, sizeof(buf)) < 0)
		return -1;
	line = strstr(buf, name);
	return line ? strtol(line + strlen(name), NULL, 10) : -1;
}

SWAP_TEST(out_and_in)
{
	char *map = MERGED_PAGES(N, 1);

	ASSERT_EQ(0, knob_set("run", 0));
	ASSERT_TRUE(push_out(map, N));
	EXPECT_TRUE(all_hold(map, N, 1));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, N - 1));
	EXPECT_TRUE(all_ksm(map, N));
	EXPECT_TRUE(all_hold(map, N, 1));
}

/* Out, in by a read, written, merged anew, and out again: nothing old returns. */
SWAP_TEST(changed_in_between)
{
	char *map = MERGED_PAGES(N, 2);
	int i, round;

	for (round = 0; round < 4; round++) {
		ASSERT_EQ(0, knob_set("run", 0));
		ASSERT_TRUE(push_out(map, N));
		EXPECT_TRUE(all_hold(map, N, 2 + round));
		for (i = 0; i < N; i++)
			fill(page_of(map, i), 3 + round);
		ASSERT_EQ(0, knob_set("run", 1));
		ASSERT_TRUE(ksm_settles(1, N - 1));
	}
	ASSERT_TRUE(push_out(map, N));
	EXPECT_TRUE(all_hold(map, N, 6));
}

/* run=2 while the pages are out: they come back as ordinary ones. */
SWAP_TEST(unmerged_while_out)
{
	char *map = MERGED_PAGES(N, 7);

	ASSERT_EQ(0, knob_set("run", 0));
	ASSERT_TRUE(push_out(map, N));
	ASSERT_EQ(0, knob_set("run", 2));
	EXPECT_EQ(0, knob("pages_shared"));
	EXPECT_EQ(0, knob("pages_sharing"));
	EXPECT_TRUE(all_hold(map, N, 7));
	EXPECT_TRUE(no_two_share(map, N));
	EXPECT_FALSE(is_ksm(map));
}

static int peer_swapped(struct peer *p, void *arg)
{
	char *map;

	CHECK(!mlockall(MCL_CURRENT));
	map = map_pages(N);
	CHECK(map);
	fill_all(map, N, 8);
	CHECK(!madvise(map, N * pagesize, MADV_MERGEABLE));
	CHECK(peer_meet(p));
	CHECK(peer_meet(p));	/* merged: push out what both have */
	CHECK(peer_meet(p));
	CHECK(swapped(map, N) == N);
	CHECK(peer_meet(p));	/* the other side has it back in */
	CHECK(all_hold(map, N, 8));
	fill(map, 9);
	CHECK(peer_meet(p));
	CHECK(peer_meet(p));
	CHECK(holds(map, 9));
	CHECK(all_hold(page_of(map, 1), N - 1, 8));
	return 0;
}

/* Both processes' mappings go, and both come back. */
SWAP_TEST(two_processes)
{
	struct peer p;
	char *map;

	ASSERT_TRUE(peer_start(&p, peer_swapped, NULL));
	map = MERGEABLE_PAGES(N, 8);
	ASSERT_TRUE(peer_meet(&p));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, 2 * N - 1));
	ASSERT_EQ(0, knob_set("run", 0));
	ASSERT_TRUE(peer_meet(&p));
	ASSERT_TRUE(push_out(map, N));
	ASSERT_TRUE(peer_meet(&p));
	EXPECT_TRUE(all_hold(map, N, 8));
	fill(page_of(map, 1), 10);
	ASSERT_TRUE(peer_meet(&p));
	ASSERT_TRUE(peer_meet(&p));
	EXPECT_TRUE(holds(map, 8));
	EXPECT_TRUE(holds(page_of(map, 1), 10));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, 2 * N - 3));
	ASSERT_TRUE(peer_meet(&p));
	EXPECT_EQ(0, peer_end(&p));
}

/* Page by page, with fork and scanner: some are out, some in, some half. */
SWAP_TEST(fork_and_scan)
{
	char *map = MERGED_PAGES(N, 11);
	int i;

	for (i = 0; i < 20; i++) {
		pid_t pid = fork_child();

		if (pid == 0) {
			file_write(reclaim_file, "64K swappiness=max");
			fill(page_of(map, i % N), 12);
			EXPECT_TRUE(holds(page_of(map, (i + 1) % N), 11));
			_exit(!holds(page_of(map, i % N), 12));
		}
		file_write(reclaim_file, "64K swappiness=max");
		fill(page_of(map, (i * 3) % N), 11);
		ASSERT_TRUE(all_hold(map, N, 11));
		ASSERT_EQ(0, wait_child(pid));
	}
	/* What is out is not merged. */
	EXPECT_TRUE(all_hold(map, N, 11));
	EXPECT_TRUE(ksm_settles(1, N - 1));
}

/* swapoff brings everything in at once, into VMAs of several anon_vmas. */
SWAP_TEST(swapoff)
{
	char *map[4];
	pid_t pid;
	int i;

	for (i = 0; i < 4; i++)
		map[i] = MERGEABLE_PAGES(4, 13);
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, 15));
	ASSERT_EQ(0, knob_set("run", 0));
	pid = fork_child();
	if (pid == 0) {
		for (;;)
			pause();
	}
	for (i = 0; i < 4; i++) {
		ASSERT_TRUE(push_out(map[i], 4));
	}
	ASSERT_EQ(0, swapoff("/dev/zram0"));
	for (i = 0; i < 4; i++) {
		EXPECT_EQ(0, swapped(map[i], 4));
		EXPECT_TRUE(all_hold(map[i], 4, 13));
		EXPECT_NE(0, pfn_of(pid, map[i]));
	}
	ASSERT_EQ(0, knob_set("run", 1));
	EXPECT_TRUE(ksm_settles(1, 31));
	kill(pid, SIGKILL);
	wait_child(pid);
	for (i = 0; i < 4; i++) {
		EXPECT_TRUE(all_hold(map[i], 4, 13));
	}
}

/* Who swaps it in second, at another place, gets a copy; that is counted. */
SWAP_TEST(copies_are_counted)
{
	char *a = MERGEABLE_PAGES(1, 14), *gap = map_pages(1);
	char *b = MERGEABLE_PAGES(1, 14);
	long copies = vm_event("ksm_swpin_copy ");

	ASSERT_NE(NULL, gap);
	ASSERT_LE(0, copies);
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, 1));
	ASSERT_EQ(0, knob_set("run", 0));
	ASSERT_TRUE(push_out(a, 1) && push_out(b, 1));
	EXPECT_TRUE(holds(a, 14) && holds(b, 14));
	EXPECT_LT(copies, vm_event("ksm_swpin_copy "));
	EXPECT_NE(pfn_of(0, a), pfn_of(0, b));
	fill(a, 15);
	EXPECT_TRUE(holds(b, 14));
}

TEST_HARNESS_MAIN

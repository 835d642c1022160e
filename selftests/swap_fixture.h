/* SPDX-License-Identifier: GPL-2.0 */
/* Tests that push memory out to swap, and nothing but their own. */
#ifndef SWAP_FIXTURE_H
#define SWAP_FIXTURE_H

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/swap.h>

#include "cgroup.h"
#include "ksm_harness.h"

#define ZRAM	"/sys/block/zram0/"

/*
 * The test has a memory cgroup of its own, so that writing to memory.reclaim
 * pushes out what the test has and nothing else. Reclaim finds all mappings of
 * a merged page through the provider.
 */
#define GROUP		"swap"

#define SWAP_BYTES	(64 << 20)

/* Swap on a disk, of which this is the first page. */
static bool make_swap(const char *device)
{
	int disk = open(device, O_RDWR | O_CLOEXEC);
	/* The header that swapon() looks for: version, last page, signature. */
	uint32_t header[1024] = {};

	header[256] = 1;
	header[257] = SWAP_BYTES / 4096 - 1;
	memcpy((char *)header + 4086, "SWAPSPACE2", 10);
	if (disk < 0 || pwrite(disk, header, 4096, 0) != 4096)
		return false;
	close(disk);
	return swapon(device, 0) == 0;
}

/* On the compressed RAM disk: pages leave the swap cache as soon as they can. */
static inline bool swap_on_zram(void)
{
	return file_write(ZRAM "disksize", "64M") == 0 && make_swap("/dev/zram0");
}

/* On a disk that counts as slow: pages stay in the swap cache. */
static inline bool swap_on_loop(void)
{
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), disk, file, nr;
	struct loop_info64 info = { .lo_flags = LO_FLAGS_AUTOCLEAR };
	char path[32];

	nr = ioctl(control, LOOP_CTL_GET_FREE);
	snprintf(path, sizeof(path), "/dev/loop%d", nr);
	disk = open(path, O_RDWR | O_CLOEXEC);
	file = memfd_create("swap", MFD_CLOEXEC);
	if (nr < 0 || disk < 0 || file < 0 || ftruncate(file, SWAP_BYTES) ||
	    ioctl(disk, LOOP_SET_FD, file) || ioctl(disk, LOOP_SET_STATUS64, &info))
		return false;
	/* The disk, and the memory in it, go when swap is off. */
	if (!make_swap(path))
		return false;
	close(disk);
	close(file);
	close(control);
	return true;
}

static void swap_off(void)
{
	char line[256], device[128];
	FILE *f = fopen("/proc/swaps", "r");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%127s", device) == 1 &&
		    (!strcmp(device, "/dev/zram0") || !strncmp(device, "/dev/loop", 9)))
			swapoff(device);
	if (f)
		fclose(f);
}

FIXTURE(swap) {
	struct knob_values before;
};

FIXTURE_SETUP(swap)
{
	ASSERT_TRUE(knobs_save(&self->before));
	ASSERT_TRUE(unmerge_everything());
	ASSERT_TRUE(knobs_for_test());
	swap_off();	/* from a test that was killed */
	file_write(ZRAM "reset", "1");
	ASSERT_TRUE(cgroups_mount() && cgroup_make(GROUP) && cgroup_enter(GROUP));
	/* Then the test's memory is all there is to push out. */
	ASSERT_EQ(0, mlockall(MCL_CURRENT));
}

FIXTURE_TEARDOWN_PARENT(swap)
{
	EXPECT_TRUE(unmerge_everything());
	EXPECT_TRUE(knobs_restore(&self->before));
	swap_off();
	EXPECT_EQ(0, file_write(ZRAM "reset", "1"));
	cgroups_remove();
}

#define SWAP_TEST(name)	TEST_F_TIMEOUT(swap, name, TEST_SECONDS)

/* Push some of it out. */
static inline void reclaim(const char *amount)
{
	file_write(cgroup_file(GROUP, "memory.reclaim"), amount);
}

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

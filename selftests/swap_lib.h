/* SPDX-License-Identifier: GPL-2.0 */
/* Swap to push memory out to, and a memory cgroup that says whose. */
#ifndef SWAP_LIB_H
#define SWAP_LIB_H

#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/swap.h>
#include <unistd.h>

#include "cgroup.h"
#include "ksm_lib.h"

#define ZRAM	"/sys/block/zram0/"

/*
 * Who pushes memory out has a memory cgroup of its own, so that writing to
 * memory.reclaim pushes out what it has and nothing else. Reclaim finds all
 * mappings of a merged page through the provider.
 */
#define GROUP		"swap"

static inline bool enter_swap_group(void)
{
	return cgroups_mount() && cgroup_make(GROUP) && cgroup_enter(GROUP);
}

/* Push some of it out. */
static inline void reclaim(const char *amount)
{
	file_write(cgroup_file(GROUP, "memory.reclaim"), amount);
}

#define SWAP_BYTES	(64 << 20)

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

/* Swap on a disk, of which this is the first page. */
static inline bool make_swap(const char *device)
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

/* udev opens it for a moment when it has changed, and nobody may have it open then. */
static inline int reset_zram(void)
{
	int err, tries;

	for (tries = 0; tries < 1000; tries++) {
		err = file_write(ZRAM "reset", "1");
		if (err != -EBUSY)
			break;
		usleep(10000);
	}
	return err;
}

/* On the compressed RAM disk: pages leave the swap cache as soon as they can. */
static inline bool swap_on_zram(void)
{
	return file_write(ZRAM "disksize", "64M") == 0 && make_swap("/dev/zram0");
}

/* On a disk that counts as slow: pages stay in the swap cache. What is on it is in this file. */
static inline int swap_on_file(void)
{
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), disk, file, nr;
	void *memory;
	struct loop_info64 info = { .lo_flags = LO_FLAGS_AUTOCLEAR };
	char path[32];

	nr = ioctl(control, LOOP_CTL_GET_FREE);
	snprintf(path, sizeof(path), "/dev/loop%d", nr);
	disk = open(path, O_RDWR | O_CLOEXEC);
	file = memfd_create("swap", MFD_CLOEXEC);
	if (nr < 0 || disk < 0 || file < 0 || ftruncate(file, SWAP_BYTES))
		return -1;
	/* It must not be swapped out to itself. */
	memory = mmap(NULL, SWAP_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (memory == MAP_FAILED || mlock(memory, SWAP_BYTES) ||
	    ioctl(disk, LOOP_SET_FD, file) || ioctl(disk, LOOP_SET_STATUS64, &info))
		return -1;
	/* The disk, and the memory in it, go when swap is off. */
	if (!make_swap(path))
		return -1;
	close(disk);
	close(control);
	return file;
}

static inline bool swap_on_loop(void)
{
	int file = swap_on_file();

	return file >= 0 && !close(file);
}

static inline void swap_off(void)
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

#endif

/* SPDX-License-Identifier: GPL-2.0 */
/* Huge pages of files in memory. */
#ifndef SHARED_HUGE_H
#define SHARED_HUGE_H

#include "shared_maps.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif

/* Pages of it. */
#define HUGE	512

/* Where huge pages can be mapped. */
static inline char *map_huge(int fd, size_t n)
{
	char *map = mmap(NULL, (n + HUGE) * pagesize, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	map = (char *)(((unsigned long)map + HUGE * pagesize - 1) & -(HUGE * pagesize));
	map = mmap(map, n * pagesize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
	return map == MAP_FAILED ? NULL : map;
}

/* Where each page is huge, if memory is not in pieces from what was there before. */
static inline bool mount_huge(char *dir)
{
	return !file_write("/proc/sys/vm/compact_memory", "1") && shared_mount(dir, 0, "huge=always");
}

/* Not at once: pages may be on their way to the lists of LRU, or khugepaged may look at them. */
static inline bool collapse(char *map)
{
	int tries;

	for (tries = 0; tries < 1000; tries++) {
		if (!madvise(map, HUGE * pagesize, MADV_COLLAPSE))
			return true;
		if (errno != EAGAIN)
			break;
		usleep(1000);
	}
	return false;
}

/* KiB of the mapping that are mapped by huge entries. */
static inline long huge_kb(const char *map)
{
	return smaps_kb(map, "ShmemPmdMapped");
}

#endif

/* SPDX-License-Identifier: GPL-2.0 */
/* Huge pages of files in memory. */
#ifndef SHARED_HUGE_H
#define SHARED_HUGE_H

#include "shared_maps.h"

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

/* KiB of the mapping that are mapped by huge entries. */
static inline long huge_kb(const char *map)
{
	return smaps_kb(map, "ShmemPmdMapped");
}

#endif

/* SPDX-License-Identifier: GPL-2.0 */
/* Huge pages of files in memory that are swapped out in one piece. */
#ifndef SWAP_HUGE_H
#define SWAP_HUGE_H

#include "shared_huge.h"
#include "swap_lib.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT	21
#endif

static inline long vmstat(const char *key)
{
	char text[16384], line[64], *at;

	snprintf(line, sizeof(line), "\n%s ", key);
	if (file_read("/proc/vmstat", text, sizeof(text)) <= 0)
		return -1;
	at = strstr(text, line);
	return at ? atol(at + strlen(line)) : -1;
}

/* A file that is one huge page, in swap; what it holds is in the model. */
static inline int huge_file_out(const char *mount, char *model, uint64_t seed)
{
	long before = vmstat("thp_swpout");
	int fd = shared_file(mount);
	char *map;
	bool ok;

	if (fd < 0 || !shared_fill(fd, HUGE, seed) ||
	    pread(fd, model, HUGE * pagesize, 0) != HUGE * pagesize)
		return -1;
	map = map_huge(fd, HUGE);
	if (!map)
		return -1;
	look_at(map, HUGE);
	ok = huge_kb(map) == HUGE * pagesize / 1024 && !madvise(map, HUGE * pagesize, MADV_PAGEOUT) &&
	     vmstat("thp_swpout") == before + 1;
	munmap(map, HUGE * pagesize);
	return ok ? fd : -1;
}

#endif

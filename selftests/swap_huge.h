/* SPDX-License-Identifier: GPL-2.0 */
/* Huge pages of files in memory that are swapped out in one piece. */
#ifndef SWAP_HUGE_H
#define SWAP_HUGE_H

#include "shared_huge.h"
#include "swap_lib.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT	21
#endif

/* What has been written to swap is not in memory any more. */
static inline bool swap_cache_is_empty(void)
{
	int tries;

	for (tries = 0; tries < 1000 && meminfo_pages("SwapCached"); tries++)
		reclaim("4M swappiness=max");
	return !meminfo_pages("SwapCached");
}

/* A file that is one huge page, in swap and nowhere else; what it holds is in the model. */
static inline int huge_file_out(const char *mount, char *model, uint64_t seed)
{
	long before = vm_event("thp_swpout");
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
	     vm_event("thp_swpout") == before + 1;
	munmap(map, HUGE * pagesize);
	return ok && swap_cache_is_empty() ? fd : -1;
}

static inline bool swap_free_becomes(long pages)
{
	int tries;

	for (tries = 0; tries < 20000; tries++) {
		if (meminfo_pages("SwapFree") == pages)
			return true;
		usleep(1000);
	}
	dprintf(2, "# %ld pages of swap are free, not %ld\n", meminfo_pages("SwapFree"), pages);
	return false;
}

#endif

/* SPDX-License-Identifier: GPL-2.0 */
/* Huge pages of files in memory that are swapped out in one piece. */
#ifndef SWAP_HUGE_H
#define SWAP_HUGE_H

#include <malloc.h>

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

/*
 * Room for what such a file holds. From now on the file is all there is to push out: no heap
 * that is not used any more, either.
 */
static inline char *huge_model(void)
{
	char *model = malloc(HUGE * pagesize);

	return model && mallopt(M_MMAP_THRESHOLD, 1 << 16) && enter_swap_group() &&
	       !mlockall(MCL_CURRENT) ? model : NULL;
}

/* A file that is one huge page, in swap and nowhere else; what it holds is in the model. */
static inline int huge_file_out(const char *mount, char *model, uint64_t seed)
{
	long before = vm_event("thp_swpout");
	int fd = shared_file(mount);
	char *map;
	long kb;
	int err;

	if (fd < 0 || !shared_fill(fd, HUGE, seed) ||
	    pread(fd, model, HUGE * pagesize, 0) != HUGE * pagesize)
		return -1;
	map = map_huge(fd, HUGE);
	if (!map)
		return -1;
	look_at(map, HUGE);
	kb = huge_kb(map);
	err = madvise(map, HUGE * pagesize, MADV_PAGEOUT);
	munmap(map, HUGE * pagesize);
	if (kb == HUGE * pagesize / 1024 && !err && vm_event("thp_swpout") > before &&
	    swap_cache_is_empty())
		return fd;
	dprintf(2, "# %ld KiB mapped in one piece, pushed out: %d, in one piece: %ld; in the swap cache: %ld\n",
		kb, err, vm_event("thp_swpout") - before, meminfo_pages("SwapCached"));
	return -1;
}

/* What was read ahead, and is nobody's any more, goes when it is pushed out. */
static inline bool swap_free_becomes(long pages)
{
	int tries;

	for (tries = 0; tries < 20000; tries++) {
		if (meminfo_pages("SwapFree") == pages)
			return true;
		reclaim("4M swappiness=max");
		usleep(1000);
	}
	dprintf(2, "# %ld pages of swap are free, not %ld\n", meminfo_pages("SwapFree"), pages);
	return false;
}

#endif

/* SPDX-License-Identifier: GPL-2.0 */
/* Common pages in page tables: whose they are, and that they are still common. */
#ifndef SHARED_MAPS_H
#define SHARED_MAPS_H

#include "shared_lib.h"

/* At once, unlike shared_becomes(): nothing is on its way out. */
static inline bool shared_is(const char *what, long pages, long slots)
{
	struct shared_counts now = shared_now();

	if (now.pages != pages || now.slots != slots)
		dprintf(2, "# %s: %ld pages in %ld slots, not %ld in %ld\n", what, now.pages,
			now.slots, pages, slots);
	return now.pages == pages && now.slots == slots;
}

/* One byte of each page is read, so that all of them are mapped. */
static inline void look_at(const char *map, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		(void)*(volatile const char *)(map + i * pagesize);
}

/* Page by page the same frames; pid 0 is the caller. */
static inline bool same_frames(pid_t pid, const char *a, pid_t other, const char *b, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		uint64_t one = pfn_of(pid, a + i * pagesize);

		if (!one || one != pfn_of(other, b + i * pagesize)) {
			dprintf(2, "# page %zu is mapped from %lx and %lx\n", i, one,
				pfn_of(other, b + i * pagesize));
			return false;
		}
	}
	return true;
}

/* A value of smaps, of the mapping that begins there, in KiB. */
static inline long smaps_kb(const char *map, const char *key)
{
	char line[256], start[32];
	FILE *f = fopen("/proc/self/smaps", "r");
	bool here = false;
	long kb = -1;

	snprintf(start, sizeof(start), "%lx-", (unsigned long)map);
	while (f && kb < 0 && fgets(line, sizeof(line), f)) {
		if (!strncmp(line, start, strlen(start)))
			here = true;
		if (here && !strncmp(line, key, strlen(key)) && line[strlen(key)] == ':')
			kb = atol(line + strlen(key) + 1);
	}
	if (f)
		fclose(f);
	return kb;
}

#endif

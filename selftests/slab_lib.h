/* SPDX-License-Identifier: GPL-2.0 */
/* What the kernel has allocated, from /proc/slabinfo. */
#ifndef SLAB_LIB_H
#define SLAB_LIB_H

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ksm_lib.h"

/* What is free, but kept at hand for the next one, is not to count. */
static inline void slab_shrink(const char *prefix)
{
	DIR *dir = opendir("/sys/kernel/slab");
	struct dirent *e;
	char path[512];

	/* Some is freed after a grace period. */
	usleep(100000);
	while (dir && (e = readdir(dir))) {
		if (strncmp(e->d_name, prefix, strlen(prefix)))
			continue;
		snprintf(path, sizeof(path), "/sys/kernel/slab/%s/shrink", e->d_name);
		file_write(path, "1");
	}
	if (dir)
		closedir(dir);
}

/* Calls of one line each; false: there is no such file. */
static inline bool slab_each(const char *prefix, void (*each)(const char *name, long objects,
							      long size, void *arg), void *arg)
{
	char line[512], name[128];
	long objects, all, size;
	FILE *f;

	slab_shrink(prefix);
	f = fopen("/proc/slabinfo", "r");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%127s %ld %ld %ld", name, &objects, &all, &size) == 4 &&
		    !strncmp(name, prefix, strlen(prefix)))
			each(name, objects, size, arg);
	if (!f)
		return false;
	fclose(f);
	return true;
}

static inline void slab_add_objects(const char *name, long objects, long size, void *sum)
{
	*(long *)sum += objects;
}

/* Without what a debug kernel puts around each object. */
static inline void slab_add_bytes(const char *name, long objects, long size, void *sum)
{
	char path[256];
	long bare;

	snprintf(path, sizeof(path), "/sys/kernel/slab/%s/object_size", name);
	bare = file_long(path);
	*(long *)sum += objects * (bare > 0 ? bare : size);
}

/* Of all caches whose name begins so. */
static inline long slab_objects(const char *prefix)
{
	long sum = 0;

	return slab_each(prefix, slab_add_objects, &sum) ? sum : -1;
}

static inline long slab_bytes(const char *prefix)
{
	long sum = 0;

	return slab_each(prefix, slab_add_bytes, &sum) ? sum : -1;
}

#endif

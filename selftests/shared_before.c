// SPDX-License-Identifier: GPL-2.0
/*
 * For LD_PRELOAD: merges what is in the program's own files in memory before it does something
 * with them. Many of those are gone in a moment, before a process beside them can come by.
 *
 *   an ioctl() of gup_test, by which tests have pages pinned: all of its memfds
 *   an ioctl() of userfaultfd, after which what is watched is not merged: all that it has mapped
 *
 * SHARED_COUNT: the file to which it writes how many pages that were.
 */
#define _GNU_SOURCE
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/syscall.h>

#include "shared_all.h"

static struct merger merger;
static volatile sig_atomic_t never;
static bool made;

__attribute__((constructor)) static void make(void)
{
	pagesize = sysconf(_SC_PAGESIZE);
	made = merger_make(&merger);
}

/* Children that end otherwise do not count. */
__attribute__((destructor)) static void tell(void)
{
	const char *path = getenv("SHARED_COUNT");
	FILE *file = path ? fopen(path, "a") : NULL;

	if (file) {
		fprintf(file, "%lu\n", merger.merged);
		fclose(file);
	}
}

static void merge_own(const char *what)
{
	if (made)
		merge_folder(&merger, "self", what, &never);
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list list;
	void *arg;

	va_start(list, request);
	arg = va_arg(list, void *);
	va_end(list);
	if (_IOC_TYPE(request) == 'g')
		merge_own("fd");
	if (_IOC_TYPE(request) == UFFDIO)
		merge_own("map_files");
	return syscall(SYS_ioctl, fd, request, arg);
}

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Allocations that fail when told to. fail-nth makes exactly one allocation of
 * one task fail; counting n up from 1 until an operation ends before its n-th
 * allocation makes each of them fail once.
 */
#ifndef FAULT_H
#define FAULT_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ksm_lib.h"

#define FAILSLAB	"/sys/kernel/debug/failslab/"
#define FAIL_PAGE	"/sys/kernel/debug/fail_page_alloc/"

static inline bool any_allocation_may_fail(void)
{
	return !file_write(FAILSLAB "ignore-gfp-wait", "N") &&
	       !file_write(FAIL_PAGE "ignore-gfp-wait", "N") &&
	       !file_write(FAIL_PAGE "ignore-gfp-highmem", "N") &&
	       !file_write(FAIL_PAGE "min-order", "0") &&
	       !file_write(FAILSLAB "verbose", "0") &&
	       !file_write(FAIL_PAGE "verbose", "0") &&
	       !file_write(FAILSLAB "task-filter", "Y") &&
	       !file_write(FAIL_PAGE "task-filter", "Y") &&
	       !file_write(FAILSLAB "times", "-1") &&
	       !file_write(FAIL_PAGE "times", "-1");
}

static inline bool fail_percent(int percent)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", percent);
	return !file_write(FAILSLAB "probability", text) &&
	       !file_write(FAIL_PAGE "probability", text);
}

/* Whether the percentage counts for a task. */
static inline void make_fail(pid_t pid, bool yes)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/make-it-fail", pid);
	file_write(path, yes ? "1" : "0");
}

/* fail-nth of a task; the file stays open, so that using it allocates nothing. */
static inline int open_fail_nth(pid_t pid)
{
	char path[64];

	if (!pid)
		return open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/%d/fail-nth", pid);
	return open(path, O_RDWR | O_CLOEXEC);
}

static inline void set_nth(int fd, unsigned int n)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", n);
	if (pwrite(fd, text, strlen(text), 0) < 0)
		abort();
}

/* Did the n-th allocation come, and fail? Ends the counting in any case. */
static inline bool nth_failed(int fd)
{
	char text[16] = "";
	bool failed = pread(fd, text, sizeof(text) - 1, 0) > 0 && atoi(text) == 0;

	set_nth(fd, 0);
	return failed;
}

#endif

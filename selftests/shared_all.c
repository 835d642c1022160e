// SPDX-License-Identifier: GPL-2.0
/*
 * Merges every page of every memfd, all the time: what others test goes on as before, while
 * whatever they read is in common and whatever they write is given back. Shared anonymous
 * memory and System V shared memory are files of the same kind. It looks at processes that
 * began after it.
 *
 *   shared_all        until it is killed; then it says how many pages that were
 */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>

#include "shared_all.h"

static volatile sig_atomic_t stop;

static void on_signal(int signal)
{
	stop = 1;
}

static void merge_all(struct merger *m)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;

	while (dir && !stop && (entry = readdir(dir))) {
		if (atoi(entry->d_name) <= getpid())
			continue;
		merge_folder(m, entry->d_name, "fd", &stop);
		merge_folder(m, entry->d_name, "map_files", &stop);
	}
	if (dir)
		closedir(dir);
}

int main(void)
{
	struct merger m = {};

	if (!merger_make(&m))
		return 1;
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	while (!stop) {
		merge_all(&m);
		sched_yield();
	}
	printf("%lu\n", m.merged);
	return 0;
}

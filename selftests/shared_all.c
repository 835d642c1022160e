// SPDX-License-Identifier: GPL-2.0
/*
 * Merges every page of every memfd, all the time, with a copy that it makes itself: what others
 * test goes on as before, while whatever they read is in common and whatever they write is given
 * back. Shared anonymous memory and System V shared memory are files of the same kind. It looks
 * at processes that began after it, so that it is quick enough for files of a moment.
 *
 *   shared_all        until it is killed; then it says how many pages that were
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>

#include "shared_lib.h"

/* Copies that are kept. What they were merged with stays so without them. */
#define COPIES	256

static int copies;
static size_t next;
static unsigned long merged;
static volatile sig_atomic_t stop;
static dev_t device;

static void on_signal(int signal)
{
	stop = 1;
}

static void merge_page(int fd, off_t at, char *page)
{
	off_t to = next++ % COPIES * pagesize;

	if (pread(fd, page, pagesize, at) == pagesize && pwrite(copies, page, pagesize, to) == pagesize &&
	    dedupe(copies, to, fd, at, pagesize) == 0)
		merged++;
}

static void merge_file(const char *path, char *page)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	off_t at = 0;

	if (fd < 0)
		return;
	if (!fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_dev == device)
		while (!stop && (at = lseek(fd, at, SEEK_DATA)) >= 0 && at + pagesize <= st.st_size) {
			merge_page(fd, at, page);
			at += pagesize;
		}
	close(fd);
}

/* What a process has open, or has mapped. */
static void merge_folder(const char *pid, const char *what, char *page)
{
	char path[PATH_MAX];
	struct dirent *entry;
	struct stat st;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%s/%s", pid, what);
	dir = opendir(path);
	while (dir && !stop && (entry = readdir(dir))) {
		snprintf(path, sizeof(path), "/proc/%s/%s/%s", pid, what, entry->d_name);
		/* Nothing else is opened: that can have effects. */
		if (!stat(path, &st) && S_ISREG(st.st_mode) && st.st_dev == device)
			merge_file(path, page);
	}
	if (dir)
		closedir(dir);
}

static void merge_all(char *page)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;

	while (dir && !stop && (entry = readdir(dir))) {
		int pid = atoi(entry->d_name);

		if (pid <= getpid())
			continue;
		merge_folder(entry->d_name, "fd", page);
		merge_folder(entry->d_name, "map_files", page);
	}
	if (dir)
		closedir(dir);
}

int main(void)
{
	char *page = malloc(pagesize);
	struct stat st;

	copies = memfd_create("copies", MFD_CLOEXEC);
	if (!page || copies < 0 || ftruncate(copies, COPIES * pagesize) || fstat(copies, &st))
		return 1;
	device = st.st_dev;
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	while (!stop) {
		merge_all(page);
		sched_yield();
	}
	printf("%lu\n", merged);
	return 0;
}

/* SPDX-License-Identifier: GPL-2.0 */
/* Merges pages of memfds with copies that it makes itself. */
#ifndef SHARED_ALL_H
#define SHARED_ALL_H

#include <dirent.h>
#include <limits.h>

#include "shared_lib.h"

/* Copies that are kept. What they were merged with stays so without them. */
#define COPIES	256

struct merger {
	int copies;
	size_t next;
	unsigned long merged;
	dev_t device;
	ino_t own;
	char *page;
};

static inline bool merger_make(struct merger *m)
{
	struct stat st;

	m->page = malloc(pagesize);
	m->copies = memfd_create("copies", MFD_CLOEXEC);
	if (!m->page || m->copies < 0 || ftruncate(m->copies, COPIES * pagesize) || fstat(m->copies, &st))
		return false;
	m->device = st.st_dev;
	m->own = st.st_ino;
	return true;
}

static inline void merge_page(struct merger *m, int fd, off_t at)
{
	off_t to = m->next++ % COPIES * pagesize;

	if (pread(fd, m->page, pagesize, at) == pagesize &&
	    pwrite(m->copies, m->page, pagesize, to) == pagesize &&
	    dedupe(m->copies, to, fd, at, pagesize) == 0)
		m->merged++;
}

static inline void merge_file(struct merger *m, const char *path, volatile sig_atomic_t *stop)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	off_t at = 0;

	if (fd < 0)
		return;
	/* It may be another one by now. */
	if (!fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_dev == m->device && st.st_ino != m->own)
		while (!*stop && (at = lseek(fd, at, SEEK_DATA)) >= 0 && at + pagesize <= st.st_size) {
			merge_page(m, fd, at);
			at += pagesize;
		}
	close(fd);
}

/* What a process has open, or has mapped. */
static inline void merge_folder(struct merger *m, const char *pid, const char *what,
				volatile sig_atomic_t *stop)
{
	char path[PATH_MAX];
	struct dirent *entry;
	struct stat st;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%s/%s", pid, what);
	dir = opendir(path);
	while (dir && !*stop && (entry = readdir(dir))) {
		snprintf(path, sizeof(path), "/proc/%s/%s/%s", pid, what, entry->d_name);
		/* Nothing else is opened: that can have effects. */
		if (!stat(path, &st) && S_ISREG(st.st_mode) && st.st_dev == m->device && st.st_ino != m->own)
			merge_file(m, path, stop);
	}
	if (dir)
		closedir(dir);
}

#endif

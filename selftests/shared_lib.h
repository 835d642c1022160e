/* SPDX-License-Identifier: GPL-2.0 */
/* Files in memory whose pages are merged by FIDEDUPERANGE, and what they have to hold. */
#ifndef SHARED_LIB_H
#define SHARED_LIB_H

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ksm_lib.h"

#define SHARED_DEBUGFS	"/sys/kernel/debug/shmem_dedup"

/* 0: the same, and merged; 1: not the same; or -errno. */
static inline int dedupe(int src, off_t from, int dst, off_t to, size_t len)
{
	__u64 room[(sizeof(struct file_dedupe_range) + sizeof(struct file_dedupe_range_info)) / 8] = {};
	struct file_dedupe_range *range = (void *)room;

	range->src_offset = from;
	range->src_length = len;
	range->dest_count = 1;
	range->info[0].dest_fd = dst;
	range->info[0].dest_offset = to;
	if (ioctl(src, FIDEDUPERANGE, range))
		return -errno;
	return range->info[0].status;
}

static inline int dedupe_pages(int src, int dst, size_t n)
{
	return dedupe(src, 0, dst, 0, n * pagesize);
}

/* What is kept, how much of it is in swap, and the slots of files that it stands in for. */
struct shared_counts {
	long pages, slots, swapped;
};

static inline struct shared_counts shared_now(void)
{
	struct shared_counts now = { -1, -1, -1 };
	char text[128];

	if (file_read(SHARED_DEBUGFS, text, sizeof(text)) > 0 &&
	    sscanf(text, "pages %ld slots %ld swapped %ld", &now.pages, &now.slots,
		   &now.swapped) != 3)
		now.pages = now.slots = now.swapped = -1;
	return now;
}

/* What is not used is freed soon after; one without slots counts as swapped until then, if it is. */
static inline bool shared_becomes(long pages, long slots)
{
	struct shared_counts now;
	int tries;

	for (tries = 0; tries < 20000; tries++) {
		now = shared_now();
		if (now.pages == pages && now.slots == slots && now.swapped <= pages)
			return true;
		usleep(1000);
	}
	dprintf(2, "# %ld pages, %ld of them swapped, in %ld slots, not %ld in %ld\n", now.pages,
		now.swapped, now.slots, pages, slots);
	return false;
}

/* For tests: the kernel can do it, and nothing is left of an earlier one. */
#define NEED_MERGING() do {						\
	if (access(SHARED_DEBUGFS, F_OK))				\
		SKIP(return, "this kernel merges no pages of files");	\
	ASSERT_TRUE(shared_becomes(0, 0));				\
} while (0)

/*
 * So many turns, of which rounds() says how many percent, and then until there has been enough
 * to see: others may not have had their turn yet; but they may never have.
 */
static inline bool goes_on(long turn, int turns, bool enough)
{
	long most = rounds(turns);

	return turn <= most || (turn <= 100 * most && !enough);
}

/* All slots of all files, compared with the records: by a kernel with DEBUG_VM. */
static inline bool shared_adds_up(void)
{
	long slots, lost, wrong;
	char text[128];

	if (file_read(SHARED_DEBUGFS "_check", text, sizeof(text)) == -ENOENT)
		return true;
	if (sscanf(text, "slots %ld lost %ld wrong %ld", &slots, &lost, &wrong) != 3)
		return false;
	if (lost || wrong)
		dprintf(2, "# of %ld slots %ld are lost, and %ld counts are wrong\n", slots, lost, wrong);
	return !lost && !wrong;
}

/* A value of /proc/meminfo, in pages, and exact. */
static inline long meminfo_pages(const char *key)
{
	char text[8192], line[32], *at;

	snprintf(line, sizeof(line), "\n%s:", key);
	file_write("/proc/sys/vm/stat_refresh", "1");
	if (file_read("/proc/meminfo", text, sizeof(text)) <= 0)
		return -1;
	at = strstr(text, line);
	return at ? atol(at + strlen(line)) * 1024 / (long)pagesize : -1;
}

static inline long shmem_pages(void)
{
	return meminfo_pages("Shmem");
}

/* What was closed a moment ago may still be on its way out. */
static inline long shmem_at_rest(void)
{
	long last = -1, now = shmem_pages();
	int same = 0;

	while (same < 20) {
		same = now == last ? same + 1 : 0;
		last = now;
		usleep(5000);
		now = shmem_pages();
	}
	return now;
}

static inline bool shmem_becomes(long pages)
{
	int tries;

	for (tries = 0; tries < 20000; tries++) {
		if (shmem_pages() == pages)
			return true;
		usleep(1000);
	}
	dprintf(2, "# Shmem is %ld pages, not %ld\n", shmem_pages(), pages);
	return false;
}

/* Where files come from: a tmpfs of the test's own, or memfd_create(). */
static inline int shared_file(const char *dir)
{
	return dir ? open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600) :
		     memfd_create("shared", MFD_CLOEXEC | MFD_ALLOW_SEALING);
}

/* Page i has the content of seed + i. */
static inline bool shared_fill(int fd, size_t n, uint64_t seed)
{
	char *page = malloc(pagesize);
	bool ok = page;
	size_t i;

	for (i = 0; ok && i < n; i++) {
		fill(page, seed + i);
		ok = pwrite(fd, page, pagesize, i * pagesize) == pagesize;
	}
	free(page);
	return ok;
}

/* Two files that begin with the same content, and what each has to hold. */
struct pair {
	int fd[2];
	size_t n;
	char *model[2];
};

static inline bool pair_make(struct pair *p, const char *dir, size_t n, uint64_t seed)
{
	int k;

	p->n = n;
	for (k = 0; k < 2; k++) {
		p->fd[k] = shared_file(dir);
		p->model[k] = malloc(n * pagesize);
		if (p->fd[k] < 0 || !p->model[k] || !shared_fill(p->fd[k], n, seed) ||
		    pread(p->fd[k], p->model[k], n * pagesize, 0) != n * pagesize)
			return false;
	}
	return true;
}

static inline bool pair_merge(struct pair *p)
{
	return dedupe_pages(p->fd[0], p->fd[1], p->n) == 0;
}

/* A file gets pages of its own again, and its content stays. */
static inline bool take_back(int fd, size_t first, size_t n)
{
	return fallocate(fd, 0, first * pagesize, n * pagesize) == 0;
}

static inline bool same_bytes(const char *what, const char *have, const char *want, size_t len)
{
	size_t i;

	for (i = 0; i < len && have[i] == want[i]; i++)
		;
	if (i < len)
		dprintf(2, "# %s: byte %zu is %02x, not %02x\n", what, i, have[i] & 0xff, want[i] & 0xff);
	return i == len;
}

/* A part of the file holds what the model has there. */
static inline bool part_holds(int fd, const char *model, off_t from, size_t len)
{
	char *have = malloc(len);
	bool ok = have && pread(fd, have, len, from) == len &&
		  same_bytes("file", have, model + from, len);

	free(have);
	return ok;
}

static inline bool file_holds(int fd, const char *model, size_t len)
{
	return part_holds(fd, model, 0, len);
}

static inline bool pair_holds(struct pair *p)
{
	size_t len = p->n * pagesize;

	return file_holds(p->fd[0], p->model[0], len) && file_holds(p->fd[1], p->model[1], len);
}

static inline void pair_free(struct pair *p)
{
	int k;

	for (k = 0; k < 2; k++) {
		close(p->fd[k]);
		free(p->model[k]);
	}
}

static inline char *map_file(int fd, size_t n, int flags)
{
	char *map = mmap(NULL, n * pagesize, PROT_READ | PROT_WRITE, flags, fd, 0);

	return map == MAP_FAILED ? NULL : map;
}

/* A tmpfs of so many pages; 0: of any size. */
static inline bool shared_mount(char *dir, size_t pages, const char *options)
{
	char text[128];

	strcpy(dir, "/tmp/shared_XXXXXX");
	snprintf(text, sizeof(text), "size=%zu%s%s", pages * pagesize, *options ? "," : "", options);
	return mkdtemp(dir) && !mount("shared", dir, "tmpfs", 0, text);
}

static inline void shared_unmount(const char *dir)
{
	umount2(dir, MNT_DETACH);
	rmdir(dir);
}

#endif

// SPDX-License-Identifier: GPL-2.0
/* Operations that leave the pages alone, and are meant to get in the way of the scanner. */
#define _GNU_SOURCE
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "torture_ops.h"

#define SPARSE		(1UL << 40)
#define MAPPINGS	512
#define HELD		4096

/* Far from where the areas move: the kernel's choice may be a place that one has just left. */
static char *reserve(int thread, size_t size)
{
	char *map = mmap((char *)((2 + thread) * SPARSE), size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);

	return map == MAP_FAILED ? NULL : map;
}

bool sparse_probe(void)
{
	char *map = reserve(0, SPARSE);

	return map && !munmap(map, SPARSE);
}

static void linger(uint64_t value)
{
	unsigned int times = value % 64;

	while (times--)
		sched_yield();
}

/* A page in a lot of nothing comes, and goes. */
int sparse(struct worker *w, const struct step *s)
{
	char *map = reserve(w->thread, SPARSE), *page;

	if (!map)
		return -errno;
	page = map + s->value % SPARSE / pagesize * pagesize;
	content(page, s->value % CONTENTS);
	madvise(map, SPARSE, MADV_MERGEABLE);
	linger(s->value >> 8);
	*page ^= 1;
	*page ^= 1;
	return result(munmap(map, SPARSE));
}

/* Many mappings, with a page in one of them. */
int many_mappings(struct worker *w, const struct step *s)
{
	char *map = reserve(w->thread, MAPPINGS * pagesize);
	size_t i;
	int err = 0;

	if (!map)
		return -errno;
	content(map, s->value % CONTENTS);
	madvise(map, MAPPINGS * pagesize, MADV_MERGEABLE);
	for (i = 1; i < MAPPINGS && !err; i += 2)
		err = result(mprotect(page_of(map, i), pagesize, PROT_READ));
	linger(s->value >> 8);
	munmap(map, MAPPINGS * pagesize);
	return err;
}

/* The mmap lock is held nearly always for a while. */
int hold_lock(struct worker *w, const struct step *s)
{
	int rounds = 1 + s->value % 64, err = 0;
	char *map = reserve(w->thread, HELD * pagesize);
	size_t i;

	if (!map)
		return -errno;
	for (i = 0; i < HELD; i += 8)
		*page_of(map, i) = 1;
	while (rounds-- && !err) {
		err = result(mprotect(map, HELD * pagesize, PROT_READ));
		if (!err)
			err = result(mprotect(map, HELD * pagesize, PROT_READ | PROT_WRITE));
	}
	munmap(map, HELD * pagesize);
	return err;
}

/* Processes that come and are gone before anybody looks at them. */
int fork_storm(struct worker *w, const struct step *s)
{
	int n = 1 + s->value % 16, err = 0;

	while (n-- && !err) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(0);
		if (pid < 0)
			err = -errno;
		else if (wait_child(pid))
			report(w, AREAS, 0, "a child that does nothing failed");
	}
	return err;
}

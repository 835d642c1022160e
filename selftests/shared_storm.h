/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Processes that see each other by a page of a file, which somebody else merges with that
 * of another file all the time.
 */
#ifndef SHARED_STORM_H
#define SHARED_STORM_H

#include <linux/falloc.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "shared_maps.h"

#define STORM_PAGES	4

/* In memory that all of them share, and that stays where some is pushed out. */
struct storm {
	int fd[2];
	atomic_long told[STORM_PAGES];	/* what has been written there */
	atomic_bool go, stop;
	atomic_long merged, looks, wrong;
	int turns;	/* of the first one; 0: many */
	int pages;	/* that are merged */
	int (*work[8])(struct storm *s);
	pid_t pids[8];
	int nr;
};

static inline struct storm *storm_make(const char *dir)
{
	struct storm *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int k;

	if (s == MAP_FAILED || mlock(s, sizeof(*s)))
		return NULL;
	memset(s, 0, sizeof(*s));
	s->pages = STORM_PAGES;
	for (k = 0; k < 2; k++) {
		s->fd[k] = shared_file(dir);
		if (s->fd[k] < 0 || !shared_fill(s->fd[k], STORM_PAGES, 1))
			return NULL;
	}
	return s;
}

static inline char *storm_map(struct storm *s, int flags)
{
	return map_file(s->fd[0], STORM_PAGES, flags);
}

/* A process that does this, when all are there, until it is told to stop, or is done. */
static inline bool storm_add(struct storm *s, int (*work)(struct storm *s))
{
	pid_t pid = fork_child();

	if (pid == 0) {
		while (!s->go)
			usleep(100);
		_exit(work(s));
	}
	s->pids[s->nr++] = pid;
	return pid > 0;
}

/* Has the first one another turn? */
static inline bool storm_goes_on(struct storm *s, long turn, int turns)
{
	return goes_on(turn, turns, s->wrong || (s->merged >= 10 && s->looks >= 10));
}

/* The first one has come to its end, and then all the others. */
static inline bool storm_end(struct storm *s)
{
	bool ok;
	int k;

	s->go = true;
	ok = wait_child(s->pids[0]) == 0;
	s->stop = true;
	for (k = 1; k < s->nr; k++)
		ok &= wait_child(s->pids[k]) == 0;
	close(s->fd[0]);
	close(s->fd[1]);
	dprintf(2, "# %ld looks, with %ld merged: %ld wrong\n", s->looks, s->merged, s->wrong);
	ok &= !s->wrong && s->merged >= 10 && s->looks >= 10;
	munmap(s, sizeof(*s));
	return ok;
}

/* The other file gets what the one has, so that they can be merged. */
static inline int storm_merges(struct storm *s)
{
	char *page = malloc(pagesize);
	unsigned int i = 0;

	while (!s->stop) {
		off_t at = i++ % s->pages * pagesize;

		CHECK(pread(s->fd[0], page, pagesize, at) == pagesize);
		CHECK(pwrite(s->fd[1], page, pagesize, at) == pagesize);
		if (dedupe(s->fd[i / 8 % 2], at, s->fd[!(i / 8 % 2)], at, pagesize) == 0)
			s->merged++;
		/* On one CPU the others get a turn by this. */
		sched_yield();
	}
	return 0;
}

/* Any page with any other, of whatever of these files. */
static inline int storm_merges_any(struct storm *s, const int *files, int nr, int pages)
{
	unsigned int seed = getpid();

	while (!s->stop) {
		int from = rand_r(&seed) % pages, to = rand_r(&seed) % pages, src = rand_r(&seed) % nr;

		if (dedupe(files[src], from * pagesize, files[rand_r(&seed) % nr], to * pagesize,
			   pagesize) == 0)
			s->merged++;
		if (from == to)
			sched_yield();
	}
	return 0;
}

static inline volatile long *storm_word(char *map, int i)
{
	return (volatile long *)(map + i * pagesize + 2048);
}

/*
 * Counts in all pages, and says where it has. Now and then there is a hole first: nothing is
 * said as long as it is not filled.
 */
static inline int storm_counts(struct storm *s)
{
	char *map = storm_map(s, MAP_SHARED);
	unsigned int seed = 5;
	long value;

	CHECK(map);
	for (value = 1; storm_goes_on(s, value, s->turns ?: 4000); value++) {
		int i = rand_r(&seed) % STORM_PAGES;

		s->told[i] = 0;
		if (rand_r(&seed) % 2) {
			CHECK(!fallocate(s->fd[0], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					 i * pagesize, pagesize));
			CHECK(*storm_word(map, i) == 0);
		}
		*storm_word(map, i) = value;
		s->told[i] = value;
		usleep(rand_r(&seed) % 300);
		CHECK(*storm_word(map, i) == value);
	}
	return 0;
}

/* As long as nothing else is said, what was said is what is there. */
static inline int storm_sees(struct storm *s)
{
	char *map = storm_map(s, MAP_SHARED);
	unsigned int k = 0;

	CHECK(map);
	while (!s->stop) {
		int i = k++ % STORM_PAGES;
		long told = s->told[i], have = *storm_word(map, i);

		if (told && s->told[i] == told) {
			s->looks++;
			if (have != told && !s->wrong++)
				dprintf(2, "# page %d: %ld, and not %ld\n", i, have, told);
		}
		if (k % 64 == 0)
			sched_yield();
	}
	return 0;
}

#endif

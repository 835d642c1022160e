/* SPDX-License-Identifier: GPL-2.0 */
/* The parts of the torture program, and what its processes have in common. */
#ifndef TORTURE_H
#define TORTURE_H

#include <stdatomic.h>

#include "ksm_lib.h"

/* A thread's memory: so many areas, each of which may become one huge page. */
#define AREAS		2
#define AREA_PAGES	512
#define HISTORY		4096
#define MAX_WORKERS	64
#define MAX_OPERATIONS	64

/* One operation: all of it is drawn before anything is done. */
struct step {
	uint64_t nr, value;
	uint16_t page, count;
	uint8_t operation, area;
	/* What came of it: 0 or -errno. The next steps do not depend on it. */
	int16_t result;
};

struct page_state {
	uint8_t prot;
	bool guard;
	/* After MADV_FREE: as in the shadow, or zero. */
	bool maybe_zero;
};

struct area {
	char *map;
	int side;
	size_t pages;
	struct page_state page[AREA_PAGES];
};

/*
 * A thread and all it knows. It lies in shared memory, which nobody merges, with
 * the shadow of its pages behind it: a copy of it all is what a child starts from.
 */
struct worker {
	int process, thread, depth;
	uint64_t random;
	uint64_t steps;
	struct step history[HISTORY];
	unsigned long done[MAX_OPERATIONS], failed[MAX_OPERATIONS];
	struct area areas[AREAS];
	pid_t child;
	int mem, uffd, soft_offlines;
	/* The quiet point that it has come to. */
	_Atomic uint32_t quiet;
};

/* What all processes share. */
struct control {
	uint64_t seed;
	int processes, threads;
	_Atomic bool stop;
	/* Set by the first who finds a fault, and who reports it. */
	_Atomic bool failed;
	/* Not 0: the workers are to come to rest. A futex. */
	_Atomic uint32_t quiet;
	/* gup_test has room for one. */
	_Atomic bool pinning;
	/* What the director did last. */
	char log[32][80];
	_Atomic unsigned int logged;
};

extern struct control *control;
extern const char *replay;

/* Numbers that follow from the seed: splitmix64. */
uint64_t draw(uint64_t *random);

/* The shadow. */
size_t worker_size(void);
char *shadow(struct worker *w, size_t area, size_t page);
/* The contents that pages are filled with again and again. */
#define CONTENTS	12
void content(char *page, uint64_t value);
/* Sees to it that the shadow says what was written, and reports what is not so. */
void wrote(struct worker *w, size_t area, size_t page, size_t from, const char *data, size_t len);
void is_zero_now(struct worker *w, size_t area, size_t page);
bool readable(struct worker *w, size_t area, size_t page);
bool writable(struct worker *w, size_t area, size_t page);
/* Compares bytes that are said to be those of a page. */
void compare(struct worker *w, size_t area, size_t page, const char *data, const char *how);
void verify(struct worker *w, size_t area, size_t page);
void verify_all(struct worker *w);
/* Says what is wrong, with the history of the page; area AREAS: of no page. Does not return. */
void report(struct worker *w, size_t area, size_t page, const char *format, ...)
	__attribute__((format(printf, 4, 5), noreturn));
/* The same in parts, for those who have more to say in between. */
void report_begin(struct worker *w);
void report_end(struct worker *w, size_t area, size_t page) __attribute__((noreturn));
/* A fault that is nobody's page: ends the run. */
void fault(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The operations. */
extern const size_t nr_operations;
const char *operation_name(size_t operation);
bool operation_skipped(size_t operation);
void operations_probe(bool reclaim);
/* It is drawn, and not done: the other steps stay the same. */
bool operation_skip(const char *name);
/* Maps the areas, and goes on until told to stop. */
void worker_run(struct worker *w);

/* The director. */
/* Another memory cgroup than that of which memory is pushed out. */
#define OTHER_GROUP	"other"

struct totals {
	unsigned long quiet_points, unmerges, reloads, knobs;
	long most_sharing, most_zero;
	bool counters_right, unmerged, reloaded;
};

struct options {
	long seconds;
	bool reload, reclaim, faults;
};

void direct(struct worker **workers, pid_t *pids, const struct options *options, struct totals *totals);

/* What must hold while everybody rests. Both say what is wrong. */
bool counters_add_up(const pid_t *pids, int n);
bool nothing_is_left(const pid_t *pids, int n);

#endif

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Bad neighbours: a process that holds its mmap lock for writing until it is
 * let go, and one that holds it nearly always.
 *
 * The first one waits for a FUSE server that does not answer: the folio of a
 * read that is under way is locked, and mmap() of the same file, opened for
 * direct I/O, waits for that with the mmap lock held. Nothing is mounted
 * anywhere, and all of it goes with the server, which dies with the test.
 */
#ifndef STUCK_LIB_H
#define STUCK_LIB_H

#include "ksm_lib.h"

struct stuck {
	struct peer victim, server;
	bool held;
};

/* Does this kernel have what is needed? */
bool stuck_possible(void);
#define NEEDS_STUCK() do {						\
	if (!stuck_possible())						\
		SKIP(return, "no FUSE: no way to hold an mmap lock for ever"); \
} while (0)

/* The process comes, and prepares its memory: prepare() returns false if it cannot. */
bool stuck_start(struct stuck *s, bool (*prepare)(void *arg), void *arg);
/* From here on its mmap lock is held. Do not read its maps, or page tables. */
bool stuck_hold(struct stuck *s);
/* It goes on, calls prepare() no more, and can be held again. */
bool stuck_release(struct stuck *s);
/* Lets it go if it must, and waits for its end. */
bool stuck_end(struct stuck *s);

/* The calling process holds its own mmap lock nearly always, from a thread. */
bool busy_begin(void);
void busy_end(void);

/* A process that writes a knob: so that what may wait can be watched, and killed. */
pid_t knob_writer(const char *name, const char *text);
/*
 * Its end, waited for so long at most: 0 or -errno of the write, -ECHILD if a signal
 * killed it, -ETIME if it still runs.
 */
int writer_result(pid_t pid, unsigned int ms);
/* The same, and it is killed if it still runs. */
int knob_write_within(const char *name, const char *text, unsigned int ms);

#endif

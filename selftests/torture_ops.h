/* SPDX-License-Identifier: GPL-2.0 */
/* The operations, by what they are about. */
#ifndef TORTURE_OPS_H
#define TORTURE_OPS_H

#include <errno.h>
#include <sys/mman.h>

#include "torture.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL	102
#define MADV_GUARD_REMOVE	103
#endif
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE	101
#endif

/* 0 or -errno. What is wrong is reported, and does not return. */
typedef int operation(struct worker *w, const struct step *s);

static inline char *at(struct worker *w, size_t area, size_t page)
{
	return page_of(w->areas[area].map, page);
}

static inline int result(long ret)
{
	return ret < 0 ? -errno : 0;
}

/* What pages hold. */
operation write_page, write_word, write_last, fill_range, fill_mixed, zero_range, copy_page,
	hammer, verify_range, read_remote;

/* Advice, mappings, protection. */
operation mergeable, unmergeable, dontneed, free_range, pageout, cold, willneed, populate,
	guard, unguard, protect, unprotect_all, lock_range, unlock_all, dont_dump, dump_all,
	dumpable, map_anew, resize, move, move_to_node, huge_anew, hugepage, nohugepage, collapse,
	soft_offline, merge_any, watch, unwatch;
char *place(struct worker *w, size_t area, int side);
void map_fresh(struct worker *w, size_t area, size_t page, size_t count);
int watcher(void);

/* The kernel holds on to pages. */
operation through_pipe, pinned, direct_read, registered;
bool pins_probe(void);
bool direct_probe(void);
bool rings_probe(void);

/* What gets in the scanner's way. */
operation sparse, many_mappings, hold_lock, fork_storm;
bool sparse_probe(void);

#endif

/* SPDX-License-Identifier: GPL-2.0 */
/* Pages on NUMA nodes, for tests that need more than one. */
#ifndef NUMA_PAGES_H
#define NUMA_PAGES_H

#include <sys/syscall.h>

#include "ksm_harness.h"

#define MPOL_BIND	2
#define MPOL_MF_MOVE	2
#define MPOL_MF_MOVE_ALL	4

/* Skips where there is one node. */
#define NEED_TWO_NODES() do {						\
	if (access("/sys/devices/system/node/node1", F_OK))		\
		SKIP(return, "the machine has one NUMA node");		\
} while (0)

/* Move one page, with all its mappings, to a node. Is it there now? */
static inline bool move_page(pid_t pid, char *page, int node)
{
	void *pages[] = { page };
	int status = -1;

	return syscall(SYS_move_pages, pid, 1, pages, &node, &status,
		       MPOL_MF_MOVE_ALL) == 0 && status == node;
}

/* From now on so many pages are on that node. */
static inline bool on_node(char *map, int n, int node)
{
	unsigned long mask = 1UL << node;

	return !syscall(SYS_mbind, map, n * pagesize, MPOL_BIND, &mask, 8 * sizeof(mask),
			MPOL_MF_MOVE);
}

static inline int node_of(char *page)
{
	void *pages[] = { page };
	int status = -1;

	syscall(SYS_move_pages, 0, 1, pages, NULL, &status, 0);
	return status;
}

#endif

/* SPDX-License-Identifier: GPL-2.0 */
/* Tests that need more than one NUMA node. */
#ifndef NUMA_FIXTURE_H
#define NUMA_FIXTURE_H

#include <sys/syscall.h>

#include "ksm_fixture.h"

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

static inline int node_of(char *page)
{
	void *pages[] = { page };
	int status = -1;

	syscall(SYS_move_pages, 0, 1, pages, NULL, &status, 0);
	return status;
}

#endif

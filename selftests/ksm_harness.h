/* SPDX-License-Identifier: GPL-2.0 */
/* The kernel's test harness, and memory to start a test from. */
#ifndef KSM_HARNESS_H
#define KSM_HARNESS_H

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "ksm_lib.h"

/* A test that takes longer hangs; generous, for kernels full of checks. */
#define TEST_SECONDS	600

/* n pages with the same content, advised, and the scanner on. */
#define MERGEABLE_PAGES(n, seed) ({					\
	char *_map = map_pages(n);					\
									\
	ASSERT_NE(NULL, _map);						\
	fill_all(_map, n, seed);					\
	ASSERT_EQ(0, madvise(_map, (n) * pagesize, MADV_MERGEABLE));	\
	_map;								\
})

#define MERGED_PAGES(n, seed) ({					\
	char *_m = MERGEABLE_PAGES(n, seed);				\
									\
	ASSERT_EQ(0, knob_set("run", 1));				\
	ASSERT_TRUE(ksm_settles(1, (n) - 1));				\
	ASSERT_TRUE(all_ksm(_m, n));					\
	ASSERT_EQ(1, distinct_pfns(_m, n));				\
	_m;								\
})

#endif

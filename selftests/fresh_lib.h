/* SPDX-License-Identifier: GPL-2.0 */
/* Merged pages in frames that were drawn: fresh_frames. */
#ifndef FRESH_LIB_H
#define FRESH_LIB_H

#include <stdlib.h>

#include "ksm_harness.h"
#include "trace_lib.h"

/* A pool has so many slots. */
#define SLOTS	1024

FIXTURE(fresh) {
	struct knob_values before;
};

FIXTURE_SETUP(fresh)
{
	NEEDS_KNOB("fresh_frames", "this provider draws no frames");
	ASSERT_TRUE(knobs_save(&self->before));
	ASSERT_TRUE(unmerge_everything());
	ASSERT_TRUE(knobs_for_test());
	ASSERT_EQ(0, knob_set("fresh_frames", 1));
	ASSERT_TRUE(trace_on("rksm/rksm_fresh_frame"));
}

FIXTURE_TEARDOWN_PARENT(fresh)
{
	trace_off();
	EXPECT_TRUE(unmerge_everything());
	EXPECT_TRUE(knobs_restore(&self->before));
}

#define FRESH_TEST(name)	TEST_F_TIMEOUT(fresh, name, TEST_SECONDS)

/* The frames of n pages, in their order; all of them are there. */
static inline uint64_t *frames_of(char *map, size_t n)
{
	uint64_t *frames = malloc(n * sizeof(*frames));
	size_t i;

	for (i = 0; i < n; i++)
		frames[i] = pfn_of(0, page_of(map, i));
	return frames;
}

static inline bool is_among(uint64_t pfn, const uint64_t *frames, size_t n)
{
	while (n--)
		if (frames[n] == pfn)
			return true;
	return false;
}

/* How many of these pages are in one of those frames. */
static inline size_t in_frames(char *map, size_t pages, const uint64_t *frames, size_t n)
{
	size_t i, in = 0;

	for (i = 0; i < pages; i++)
		in += is_among(pfn_of(0, page_of(map, i)), frames, n);
	return in;
}

/* Pages in pairs: the i-th has the content of the (i + n)-th. Not advised. */
static inline char *pairs(size_t n, uint64_t seed)
{
	char *map = map_pages(2 * n);
	size_t i;

	for (i = 0; map && i < 2 * n; i++)
		fill(page_of(map, i), seed + i % n);
	return map;
}

static inline bool pairs_hold(char *map, size_t n, uint64_t seed)
{
	size_t i;

	for (i = 0; i < 2 * n; i++)
		if (!holds(page_of(map, i), seed + i % n))
			return false;
	return true;
}

/*
 * How many of n pairs share a frame that one of both has had. What another pair has freed may be drawn in
 * time.
 */
static inline size_t supplied(char *map, size_t n, const uint64_t *before)
{
	size_t i, of_them = 0;

	for (i = 0; i < n; i++) {
		uint64_t now = pfn_of(0, page_of(map, i));

		of_them += now == before[i] || now == before[i + n];
	}
	return of_them;
}

#endif

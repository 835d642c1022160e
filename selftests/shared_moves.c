// SPDX-License-Identifier: GPL-2.0
/* Common pages that the kernel moves to other frames, by compaction or between nodes. */
#define _GNU_SOURCE
#include "numa_pages.h"
#include "shared_protect.h"
#include "shared_storm.h"

#define COMPACT		"/proc/sys/vm/compact_memory"
#define BALANCE		"/proc/sys/kernel/numa_balancing"
#define BALANCE_KNOBS	"/sys/kernel/debug/sched/numa_balancing/"

PROTECT_TEST(compacted)
{
	ASSERT_EQ(0, file_write(COMPACT, "1"));
	EXPECT_MERGED();
	if (variant->read)
		EXPECT_TRUE(same_frames(0, self->map, 0, self->other, N));
	EXPECT_PROTECTED(self->map);
}

PROTECT_TEST(moved_to_a_node)
{
	uint64_t frames[N];
	int i;

	NEED_TWO_NODES();
	for (i = 0; i < N; i++)
		frames[i] = pfn_of(0, page_of(self->other, i));
	for (i = 0; i < N; i++)
		ASSERT_TRUE(move_page(0, page_of(self->other, i), !node_of(page_of(self->other, i))));
	for (i = 0; i < N; i++)
		EXPECT_NE(frames[i], pfn_of(0, page_of(self->other, i)));
	EXPECT_MERGED();
	/* Whoever had it mapped has it mapped there. */
	if (variant->read)
		EXPECT_TRUE(same_frames(0, self->map, 0, self->other, N));
	EXPECT_PROTECTED(self->map);
}

/* By a policy, and what comes by faults later on. */
PROTECT_TEST(bound_to_a_node)
{
	NEED_TWO_NODES();
	ASSERT_TRUE(on_node(self->map, N, !node_of(self->other)));
	EXPECT_MERGED();
	EXPECT_PROTECTED(self->map);
}

/* What the kernel balances nodes by: at once, and all the time. */
static const char * const balance_knobs[] = {
	BALANCE_KNOBS "scan_delay_ms", BALANCE_KNOBS "scan_period_min_ms",
	BALANCE_KNOBS "scan_period_max_ms", BALANCE,
};

#define NR_BALANCE	4

/* Protected so that a fault tells who uses it: what is done with pages of one's own. */
PROTECT_TEST(balanced)
{
	size_t n = 64, tries;
	char *own = map_pages(n), old[NR_BALANCE][32];
	long faults = vm_event("numa_hint_faults");
	int i;

	NEED_TWO_NODES();
	for (i = 0; i < NR_BALANCE; i++) {
		ASSERT_LT(0, file_read(balance_knobs[i], old[i], sizeof(old[i])));
		ASSERT_EQ(0, file_write(balance_knobs[i], "1"));
	}
	fill_all(own, n, 1);
	/* The kernel looks at a process that runs, and at pages that are elsewhere. */
	for (tries = 0; tries < 10000 && vm_event("numa_hint_faults") < faults + (long)n; tries++) {
		for (i = 0; i < n && tries % 20 == 0; i++)
			move_page(0, page_of(own, i), tries / 20 % 2);
		for (i = 0; i < 200; i++) {
			look_at(own, n);
			look_at(self->other, N);
			if (variant->read)
				look_at(self->map, N);
		}
	}
	EXPECT_GT(10000, tries);
	EXPECT_MERGED();
	EXPECT_PROTECTED(self->map);
	for (i = 0; i < NR_BALANCE; i++)
		file_write(balance_knobs[i], old[i]);
}

static int compacts(struct storm *s)
{
	while (!s->stop) {
		CHECK(!file_write(COMPACT, "1"));
		usleep(500);
	}
	return 0;
}

/* Each page to and fro between the nodes, with all its mappings. */
static int moves(struct storm *s)
{
	char *map[2];
	int i, k = 0;

	for (i = 0; i < 2; i++) {
		map[i] = map_file(s->fd[i], STORM_PAGES, MAP_SHARED);
		CHECK(map[i]);
	}
	while (!s->stop) {
		i = k++ % STORM_PAGES;
		look_at(map[0], STORM_PAGES);
		look_at(map[1], STORM_PAGES);
		move_page(0, page_of(map[k % 2], i), k / STORM_PAGES % 2);
		usleep(200);
	}
	return 0;
}

FIXTURE(storm) {
};

FIXTURE_SETUP(storm)
{
	NEED_MERGING();
}

FIXTURE_TEARDOWN(storm)
{
}

static void storm_of(struct __test_metadata *_metadata, int (*mover)(struct storm *s))
{
	struct storm *s = storm_make(NULL);

	ASSERT_NE(NULL, s);
	s->turns = 1000;
	ASSERT_TRUE(storm_add(s, storm_counts));
	ASSERT_TRUE(storm_add(s, storm_merges));
	ASSERT_TRUE(storm_add(s, mover));
	ASSERT_TRUE(storm_add(s, storm_sees));
	ASSERT_TRUE(storm_add(s, storm_sees));
	EXPECT_TRUE(storm_end(s));
	EXPECT_TRUE(shared_becomes(0, 0));
}

TEST_F_TIMEOUT(storm, used_while_compacted, TEST_SECONDS)
{
	storm_of(_metadata, compacts);
}

TEST_F_TIMEOUT(storm, used_while_moved, TEST_SECONDS)
{
	NEED_TWO_NODES();
	storm_of(_metadata, moves);
}

TEST_HARNESS_MAIN

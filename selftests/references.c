// SPDX-License-Identifier: GPL-2.0
/*
 * The scanner holds references to pages for as long as it reads them, and over no wait:
 * whoever wants to move them is not kept from it for longer.
 */
#include "numa_fixture.h"
#include "stuck_lib.h"

#define N	512
#define TRIES	3

static bool prepare_candidates(void *arg)
{
	return different_pages(N, 3) != NULL;
}

static bool are_candidates(void *arg)
{
	return knob("pages_unshared") >= N;
}

/* Pages of all that did not move to a node, in a few calls. */
static int not_moved(char *map, size_t n, int node)
{
	void *pages[N];
	int nodes[N], status[N], left, try;
	size_t i;

	for (try = 0; try < TRIES; try++) {
		for (i = 0; i < n; i++) {
			pages[i] = page_of(map, i);
			nodes[i] = node;
			status[i] = -1;
		}
		syscall(SYS_move_pages, 0, n, pages, nodes, status, MPOL_MF_MOVE_ALL);
		syscall(SYS_move_pages, 0, n, pages, NULL, status, 0);
		left = 0;
		for (i = 0; i < n; i++)
			left += status[i] != node;
		if (!left)
			break;
		usleep(2000);
	}
	return left;
}

/* While the scanner comes again and again to candidates of a process that is stuck. */
KSM_TEST(beside_a_stuck_process)
{
	struct stuck s;
	char *map;
	int i, node;

	NEED_TWO_NODES();
	NEEDS_STUCK();
	if (access("/sys/module/rksm", F_OK))
		SKIP(return, "in-tree KSM waits for the stuck process");
	ASSERT_TRUE(stuck_start(&s, prepare_candidates, NULL));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_until(are_candidates, NULL));
	ASSERT_TRUE(stuck_hold(&s));
	map = different_pages(N, 3);
	ASSERT_NE(NULL, map);
	node = node_of(map);
	for (i = 0; i < 5; i++) {
		usleep(200000);
		node = !node;
		EXPECT_EQ(0, not_moved(map, N, node))
			TH_LOG("round %d", i);
	}
	EXPECT_TRUE(stuck_end(&s));
}

/* Between batches, whatever is left of the last one. */
KSM_TEST(between_batches)
{
	static const long batches[] = { 1, 10, 63, 100, 1000 };
	char *map = different_pages(N, 4);
	long scanned;
	int i, node;

	NEED_TWO_NODES();
	ASSERT_NE(NULL, map);
	node = node_of(map);
	for (i = 0; i < 5; i++) {
		ASSERT_TRUE(scanner_stop());
		ASSERT_EQ(0, knob_set("pages_to_scan", batches[i]));
		ASSERT_EQ(0, knob_set("sleep_millisecs", 10000 + i));
		scanned = knob("pages_scanned");
		ASSERT_EQ(0, knob_set("run", 1));
		while (knob("pages_scanned") == scanned)
			usleep(1000);
		ASSERT_TRUE(scanner_sleeps());
		node = !node;
		EXPECT_EQ(0, not_moved(map, N, node));
	}
}

TEST_HARNESS_MAIN

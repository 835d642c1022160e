// SPDX-License-Identifier: GPL-2.0
/* Several scanners: how many there are, and that they do what one does. */
#include "beside_fixture.h"

#define PEERS	6
#define N	300

static bool as_many(int n)
{
	pid_t pids[MOST_SCANNERS];
	int i;

	for (i = 0; i < 10000; i++) {
		if (scanners(pids, MOST_SCANNERS) == n)
			return true;
		usleep(1000);
	}
	dprintf(2, "# %d scanners, not %d\n", scanners(pids, MOST_SCANNERS), n);
	return false;
}

BESIDE_TEST(knob)
{
	static const char * const bad[] = {
		"0", "17", "-1", "256", "4294967297", "\n", "x", "1 2", "2.0",
	};
	int i;

	EXPECT_EQ(1, knob("scanners"));
	for (i = 1; i <= 16; i++) {
		EXPECT_EQ(0, knob_set("scanners", i));
		EXPECT_EQ(i, knob("scanners"));
	}
	ASSERT_EQ(0, knob_set("scanners", 3));
	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		EXPECT_EQ(-EINVAL, knob_write("scanners", bad[i]));
		EXPECT_EQ(3, knob("scanners"));
	}
}

BESIDE_TEST(threads_follow)
{
	static const int numbers[] = { 2, 16, 5, 1, 4, 1 };
	int i;

	ASSERT_NE(NULL, different_pages(N, 1));
	ASSERT_EQ(0, knob_set("run", 1));
	EXPECT_TRUE(as_many(1));
	for (i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
		ASSERT_EQ(0, knob_set("scanners", numbers[i]));
		EXPECT_TRUE(as_many(numbers[i]));
		EXPECT_TRUE(ksm_passes(2));
	}
}

/* Half of it is everybody's, half its own. */
static int peer_merges(struct peer *p, void *arg)
{
	char *same = map_pages(N), *own = map_pages(N);
	long seed;
	int i;

	CHECK(same && own);
	seed = peer_swap(p, 0);
	for (i = 0; i < N; i++) {
		fill(page_of(same, i), 1000 + i);
		fill(page_of(own, i), seed * 100000 + i);
	}
	CHECK(!madvise(same, N * pagesize, MADV_MERGEABLE));
	CHECK(!madvise(own, N * pagesize, MADV_MERGEABLE));
	CHECK(peer_meet(p));
	CHECK(peer_meet(p));	/* merged */
	for (i = 0; i < N; i++) {
		CHECK(holds(page_of(same, i), 1000 + i) && is_ksm(page_of(same, i)));
		CHECK(holds(page_of(own, i), seed * 100000 + i) && !is_ksm(page_of(own, i)));
	}
	return 0;
}

static bool start_peers(struct peer *peers)
{
	int i;

	for (i = 0; i < PEERS; i++)
		if (!peer_start(&peers[i], peer_merges, NULL) || peer_swap(&peers[i], i + 1) ||
		    !peer_meet(&peers[i]))
			return false;
	return true;
}

static bool end_peers(struct peer *peers)
{
	bool good = true;
	int i;

	for (i = 0; i < PEERS; i++)
		good &= peer_meet(&peers[i]);
	for (i = 0; i < PEERS; i++)
		good &= peer_end(&peers[i]) == 0;
	return good;
}

/* They find what one finds, each page once. */
static void merge_with(struct __test_metadata *_metadata, int n)
{
	struct peer peers[PEERS];

	ASSERT_EQ(0, knob_set("scanners", n));
	ASSERT_TRUE(start_peers(peers));
	ASSERT_EQ(0, knob_set("run", 1));
	EXPECT_TRUE(ksm_settles(N, (PEERS - 1) * N));
	EXPECT_TRUE(counter_reaches("pages_unshared", PEERS * N));
	EXPECT_EQ(0, knob("pages_volatile"));
	EXPECT_TRUE(end_peers(peers));
}

BESIDE_TEST(two_merge)
{
	merge_with(_metadata, 2);
}

BESIDE_TEST(four_merge)
{
	merge_with(_metadata, 4);
}

BESIDE_TEST(more_than_processes)
{
	merge_with(_metadata, 16);
}

/* A page is looked at once a pass, by one of them. */
BESIDE_TEST(each_page_once_a_pass)
{
	struct peer peers[PEERS];
	long scanned, scans, pages = 2L * PEERS * N;

	ASSERT_EQ(0, knob_set("scanners", 4));
	ASSERT_TRUE(start_peers(peers));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(N, (PEERS - 1) * N));
	ASSERT_TRUE(scanner_stop());
	scanned = knob("pages_scanned");
	scans = knob("full_scans");
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_passes(5));
	ASSERT_TRUE(scanner_stop());
	scanned = knob("pages_scanned") - scanned;
	scans = knob("full_scans") - scans;
	EXPECT_LE((scans - 1) * pages, scanned);
	EXPECT_GE((scans + 1) * pages, scanned);
	EXPECT_TRUE(end_peers(peers));
}

/* Their number changes all the time, and so do the pages. */
BESIDE_TEST(changed_while_they_scan)
{
	char *map = MERGEABLE_PAGES(N, 9);
	int i, k, n = rounds(100);

	ASSERT_EQ(0, knob_set("run", 1));
	for (i = 0; i < n; i++) {
		ASSERT_EQ(0, knob_set("scanners", 1 + i * 7 % 16));
		for (k = i % 5; k < N; k += 5)
			*page_of(map, k) ^= 1;
		if (i % 10 == 0) {
			ASSERT_TRUE(ksm_passes(1));
		}
		if (i % 25 == 24) {
			ASSERT_EQ(0, knob_set("run", 2));
			ASSERT_EQ(0, knob("pages_shared"));
			ASSERT_EQ(0, knob_set("run", 1));
		}
		for (k = i % 5; k < N; k += 5)
			*page_of(map, k) ^= 1;
		ASSERT_TRUE(all_hold(map, N, 9));
	}
	EXPECT_TRUE(ksm_settles((N + 255) / 256, N - (N + 255) / 256));
	ASSERT_EQ(0, knob_set("scanners", 1));
	EXPECT_TRUE(as_many(1));
}

/* Where all but one are asleep between batches, a change of the knobs reaches them all. */
BESIDE_TEST(all_end_with_run_0)
{
	ASSERT_NE(NULL, different_pages(N, 2));
	ASSERT_EQ(0, knob_set("scanners", 4));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_passes(2));
	ASSERT_TRUE(scanner_stop());
	EXPECT_TRUE(scanner_rests(2000, 5));
	ASSERT_EQ(0, knob_set("run", 1));
	EXPECT_TRUE(all_scanners_run());
}

TEST_HARNESS_MAIN

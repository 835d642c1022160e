// SPDX-License-Identifier: GPL-2.0
/* A merged page is in a frame that was drawn, which none of those who share it supplied. */
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>

#include "fresh_lib.h"

#define N	64

FRESH_TEST(knob)
{
	static const char * const bad[] = { "2", "-1", "\n", "y", "on", "1 0", "0x1", "4294967297", "Auto" };
	static const struct {
		const char *value, *shown;
	} values[] = { { "0", "auto [0] 1\n" }, { "1", "auto 0 [1]\n" }, { "auto", "[auto] 0 1\n" } };
	char text[32];
	size_t v, i;

	for (v = 0; v < sizeof(values) / sizeof(*values); v++) {
		ASSERT_EQ(0, knob_write("fresh_frames", values[v].value));
		for (i = 0; i < sizeof(bad) / sizeof(*bad); i++)
			EXPECT_EQ(-EINVAL, knob_write("fresh_frames", bad[i]));
		ASSERT_LT(0, knob_text("fresh_frames", text, sizeof(text)));
		EXPECT_STREQ(values[v].shown, text);
	}
}

/* N pairs, and what they were in. */
static void merge_pairs(struct __test_metadata *_metadata, char **map, uint64_t **before)
{
	*map = pairs(N, 1);
	ASSERT_NE(NULL, *map);
	*before = frames_of(*map, 2 * N);
	ASSERT_EQ(0, madvise(*map, 2 * N * pagesize, MADV_MERGEABLE));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(N, N));
	ASSERT_TRUE(scanner_stop());
	ASSERT_TRUE(all_ksm(*map, 2 * N));
	ASSERT_TRUE(pairs_hold(*map, N, 1));
}

struct event {
	const uint64_t *before;
	char *map;
	int wrong, n;
};

static bool is_of_them(const char *line, void *arg)
{
	struct event *e = arg;
	uint64_t now = trace_field(line, "ksm pfn");
	int i;

	e->n++;
	for (i = 0; i < N && pfn_of(0, page_of(e->map, i)) != now; i++)
		;
	e->wrong += i == N || !is_among(trace_field(line, "pfn"), e->before, 2 * N);
	return false;
}

FRESH_TEST(neither_side_supplies_it)
{
	struct event e = {};
	uint64_t *before;
	char *map;

	merge_pairs(_metadata, &map, &before);
	EXPECT_EQ(N, distinct_pfns(map, 2 * N));
	EXPECT_EQ(0, supplied(map, N, before));
	/* And the event says so. */
	e.before = before;
	e.map = map;
	EXPECT_FALSE(trace_each("rksm_fresh_frame", NULL, is_of_them, &e));
	EXPECT_EQ(N, e.n);
	EXPECT_EQ(0, e.wrong);
	/* Unmerged, the content is there. */
	ASSERT_EQ(0, knob_set("run", 2));
	EXPECT_TRUE(pairs_hold(map, N, 1));
	EXPECT_TRUE(no_two_share(map, 2 * N));
}

FRESH_TEST(off_a_side_supplies_it)
{
	uint64_t *before;
	char *map;

	ASSERT_EQ(0, knob_set("fresh_frames", 0));
	merge_pairs(_metadata, &map, &before);
	EXPECT_EQ(N, supplied(map, N, before));
	EXPECT_EQ(0, trace_count("rksm_fresh_frame", NULL));
}

FRESH_TEST(goes_by_the_domain)
{
	static const struct {
		const char *domain;
		int drawn;
	} kinds[] = { { "all", 0 }, { "process", N }, { "auto", 0 } };
	uint64_t *before;
	char *map;
	size_t i;

	ASSERT_EQ(0, knob_write("fresh_frames", "auto"));
	for (i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		trace_forget();
		ASSERT_EQ(0, knob_write("domain", kinds[i].domain));
		merge_pairs(_metadata, &map, &before);
		EXPECT_EQ(N - kinds[i].drawn, supplied(map, N, before));
		EXPECT_EQ(kinds[i].drawn, trace_count("rksm_fresh_frame", NULL));
		ASSERT_EQ(0, munmap(map, 2 * N * pagesize));
		ASSERT_EQ(0, knob_set("run", 2));
	}
}

/* What merged while the knob was off is in a frame that somebody supplied: it stays, and nobody joins it. */
FRESH_TEST(only_drawn_ones_are_joined)
{
	uint64_t *before, *merged;
	char *map, *more;

	ASSERT_EQ(0, knob_set("fresh_frames", 0));
	merge_pairs(_metadata, &map, &before);
	merged = frames_of(map, 2 * N);
	ASSERT_EQ(0, knob_set("fresh_frames", 1));
	more = pairs(N, 1);
	ASSERT_NE(NULL, more);
	ASSERT_EQ(0, madvise(more, 2 * N * pagesize, MADV_MERGEABLE));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(2 * N, 2 * N));
	ASSERT_TRUE(scanner_stop());
	EXPECT_EQ(0, in_frames(more, 2 * N, merged, 2 * N));
	EXPECT_EQ(2 * N, in_frames(map, 2 * N, merged, 2 * N));
	EXPECT_EQ(N, knob("stable_node_chains"));
	/* Those who come next share what was drawn. */
	merged = frames_of(more, 2 * N);
	more = pairs(N, 1);
	ASSERT_NE(NULL, more);
	ASSERT_EQ(0, madvise(more, 2 * N * pagesize, MADV_MERGEABLE));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(2 * N, 4 * N));
	EXPECT_EQ(2 * N, in_frames(more, 2 * N, merged, 2 * N));
	EXPECT_TRUE(pairs_hold(map, N, 1) && pairs_hold(more, N, 1));
	/* With the knob off any will do. */
	ASSERT_EQ(0, knob_set("fresh_frames", 0));
	more = pairs(N, 1);
	ASSERT_NE(NULL, more);
	ASSERT_EQ(0, madvise(more, 2 * N * pagesize, MADV_MERGEABLE));
	ASSERT_TRUE(ksm_settles(2 * N, 6 * N));
}

/* Each twin of a content is in a frame of its own, that was drawn. */
FRESH_TEST(twins)
{
	char *map = equal_pages(N, 1);
	uint64_t *before;
	int i;

	ASSERT_NE(NULL, map);
	ASSERT_EQ(0, knob_set("max_page_sharing", 2));
	before = frames_of(map, N);
	ASSERT_EQ(0, madvise(map, N * pagesize, MADV_MERGEABLE));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(N / 2, N / 2));
	EXPECT_EQ(N / 2, distinct_pfns(map, N));
	for (i = 0; i < N; i++)
		EXPECT_NE(before[i], pfn_of(0, page_of(map, i)));
	EXPECT_EQ(N / 2, trace_count("rksm_fresh_frame", NULL));
	EXPECT_TRUE(all_hold(map, N, 1));
}

#define MERGES	(8 * SLOTS)

struct draws {
	unsigned int of_slot[SLOTS], n;
};

static bool count_slot(const char *line, void *arg)
{
	struct draws *draws = arg;
	long slot = trace_field(line, "slot");

	if (slot < 0 || slot >= SLOTS)
		return true;
	draws->of_slot[slot]++;
	draws->n++;
	return false;
}

/*
 * Pearson's test with 8 draws expected of each slot, so that 1023 numbers are free. By
 * Wilson and Hilferty the cube root of chi square over that is normal, with a mean of
 * 1 - 2 / (9 * 1023) and a variance of 2 / (9 * 1023). Beyond 4.9 sigma, on both sides together,
 * lies one in a million: draws that are too even are not random either.
 */
FRESH_TEST(all_slots_are_as_likely)
{
	const double free_numbers = SLOTS - 1, variance = 2 / (9 * free_numbers);
	static struct draws draws;
	double chi = 0, sigma;
	char *map = pairs(MERGES, 1);
	int i;

	ASSERT_NE(NULL, map);
	ASSERT_EQ(0, madvise(map, 2 * MERGES * pagesize, MADV_MERGEABLE));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(MERGES, MERGES));
	ASSERT_TRUE(scanner_stop());
	EXPECT_FALSE(trace_each("rksm_fresh_frame", NULL, count_slot, &draws));
	ASSERT_EQ(MERGES, draws.n);
	for (i = 0; i < SLOTS; i++) {
		double off = (double)draws.of_slot[i] - MERGES / SLOTS;

		chi += off * off / (MERGES / SLOTS);
	}
	sigma = (cbrt(chi / free_numbers) - (1 - variance)) / sqrt(variance);
	TH_LOG("chi square %.0f of %.0f: %.2f sigma", chi, free_numbers, sigma);
	EXPECT_GT(4.9, fabs(sigma));
}

/* One merge: what was drawn for it, and the two frames that it freed. */
struct merge {
	uint64_t drawn, freed[2];
};

struct merges {
	struct merge merge[SLOTS];
	int n, joined;
};

static bool note_merge(const char *line, void *arg)
{
	struct merges *merges = arg;

	if (strstr(line, " rksm_fresh_frame:") && merges->n < SLOTS) {
		merges->merge[merges->n].drawn = trace_field(line, "ksm pfn");
		merges->merge[merges->n++].freed[0] = trace_field(line, "pfn");
	} else if (strstr(line, " rksm_merge_with_ksm_page:") && strstr(line, "error 0") && merges->n) {
		merges->merge[merges->n - 1].freed[1] = trace_field(line, "pfn");
		merges->joined++;
	}
	return false;
}

static bool freed_by(const struct merge *merge, uint64_t pfn)
{
	return merge->freed[0] == pfn || merge->freed[1] == pfn;
}

/* Frames that were freed by one of the last so many merges, and drawn. */
static int come_back(const struct merges *merges, int within)
{
	int i, j, back = 0;

	for (i = 0; i < merges->n; i++)
		for (j = i - 1; j >= 0 && j >= i - within; j--)
			back += freed_by(&merges->merge[j], merges->merge[i].drawn);
	return back;
}

/* Frames that were drawn one after the other, and freed by one merge or by two in a row. */
static int come_in_order(const struct merges *merges)
{
	int i, j, k, in_order = 0;

	for (i = 0; i + 1 < merges->n; i++)
		for (j = 0; j < i; j++)
			for (k = j ? j - 1 : 0; k <= j + 1; k++)
				in_order += freed_by(&merges->merge[j], merges->merge[i].drawn) &&
					    freed_by(&merges->merge[k], merges->merge[i + 1].drawn);
	return in_order;
}

/*
 * What has come into the pool is drawn next with a chance of one in as many as there are slots. Two frames
 * are freed by each merge: of 1024 draws at the most 2 are of what the merge before has freed, 128 of what the
 * 64 before have, and 6 of a neighbour of the last one. By Poisson's distribution it is more than 13, 190
 * and 22 once in a million times. From a list of what was freed last, as the kernel has one, nearly all
 * come back at once, and in order.
 */
FRESH_TEST(what_is_freed_does_not_come_back_at_once)
{
	static struct merges merges;
	char *map = pairs(SLOTS, 1);

	ASSERT_NE(NULL, map);
	ASSERT_EQ(0, madvise(map, 2 * SLOTS * pagesize, MADV_MERGEABLE));
	ASSERT_TRUE(trace_on("rksm/rksm_merge_with_ksm_page"));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(SLOTS, SLOTS));
	ASSERT_TRUE(scanner_stop());
	EXPECT_FALSE(trace_each(NULL, NULL, note_merge, &merges));
	ASSERT_EQ(SLOTS, merges.n);
	ASSERT_EQ(SLOTS, merges.joined);
	TH_LOG("of the last merge %d, of the last 64 %d, in order %d", come_back(&merges, 1),
	       come_back(&merges, 64), come_in_order(&merges));
	EXPECT_GE(13, come_back(&merges, 1));
	EXPECT_GE(190, come_back(&merges, 64));
	EXPECT_GE(22, come_in_order(&merges));
}

static int peer_has_parents_page(struct peer *p, void *arg)
{
	char *map = arg;

	CHECK(!madvise(map, 2 * N * pagesize, MADV_MERGEABLE));
	CHECK(peer_meet(p));
	CHECK(peer_meet(p));
	CHECK(pairs_hold(map, N, 1));
	CHECK(all_ksm(map, 2 * N));
	return 0;
}

/* The parent keeps its pages, as it has not asked; what is merged in the child is in another frame. */
FRESH_TEST(pages_that_a_fork_shares)
{
	char *map = pairs(N, 1);
	uint64_t *before;
	struct peer p;
	int i;

	ASSERT_NE(NULL, map);
	before = frames_of(map, 2 * N);
	ASSERT_TRUE(peer_start(&p, peer_has_parents_page, map));
	ASSERT_TRUE(peer_meet(&p));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(N, N));
	for (i = 0; i < 2 * N; i++) {
		EXPECT_EQ(before[i], pfn_of(0, page_of(map, i)));
		EXPECT_FALSE(is_among(pfn_of(p.pid, page_of(map, i)), before, 2 * N));
	}
	EXPECT_TRUE(none_ksm(map, 2 * N));
	ASSERT_TRUE(peer_meet(&p));
	EXPECT_EQ(0, peer_end(&p));
	EXPECT_TRUE(pairs_hold(map, N, 1));
}

static long meminfo_kb(const char *key)
{
	char buf[8192], *at;

	if (file_read("/proc/meminfo", buf, sizeof(buf)) <= 0)
		return -1;
	at = strstr(buf, key);
	return at ? strtol(at + strlen(key), NULL, 10) : -1;
}

static bool mlocked_is(long kb)
{
	int tries;

	for (tries = 0; tries < 1000 && meminfo_kb("Mlocked:") != kb; tries++) {
		/* Each CPU has some that it has not dealt with. */
		file_write("/proc/sys/vm/compact_memory", "1");
		usleep(1000);
	}
	return meminfo_kb("Mlocked:") == kb;
}

/* Locked memory stays locked, and is let go of. */
FRESH_TEST(locked_memory)
{
	long locked = meminfo_kb("Mlocked:");
	char *map = pairs(N, 1);
	uint64_t *before;

	ASSERT_NE(NULL, map);
	ASSERT_LE(0, locked);
	ASSERT_EQ(0, mlock(map, 2 * N * pagesize));
	before = frames_of(map, 2 * N);
	ASSERT_EQ(0, madvise(map, 2 * N * pagesize, MADV_MERGEABLE));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(N, N));
	EXPECT_EQ(0, supplied(map, N, before));
	EXPECT_TRUE(mlocked_is(locked + N * pagesize / 1024));
	EXPECT_TRUE(pairs_hold(map, N, 1));
	ASSERT_EQ(0, munmap(map, 2 * N * pagesize));
	EXPECT_TRUE(mlocked_is(locked));
}

#define PROCESSES	8

static int peer_of_several(struct peer *p, void *arg)
{
	char *map = pairs(N, 1);
	uint64_t *before;

	CHECK(map);
	before = frames_of(map, 2 * N);
	CHECK(!madvise(map, 2 * N * pagesize, MADV_MERGEABLE));
	CHECK(peer_meet(p));
	CHECK(peer_meet(p));
	CHECK(supplied(map, N, before) == 0);
	CHECK(pairs_hold(map, N, 1));
	return 0;
}

FRESH_TEST(several_scanners)
{
	struct peer peers[PROCESSES];
	int i, k;

	ASSERT_EQ(0, knob_set("scanners", 4));
	for (k = 0; k < 4; k++) {
		for (i = 0; i < PROCESSES; i++) {
			ASSERT_TRUE(peer_start(&peers[i], peer_of_several, NULL));
			ASSERT_TRUE(peer_meet(&peers[i]));
		}
		ASSERT_EQ(0, knob_set("run", 1));
		ASSERT_TRUE(ksm_settles(N, (2 * PROCESSES - 1) * N));
		for (i = 0; i < PROCESSES; i++) {
			ASSERT_TRUE(peer_meet(&peers[i]));
			EXPECT_EQ(0, peer_end(&peers[i]));
		}
		ASSERT_EQ(0, knob_set("run", 2));
	}
}

/* Free memory in pages, while nothing else goes on: the most of several looks. */
static long most_free_pages(void)
{
	long most = 0;
	int i;

	for (i = 0; i < 20; i++) {
		long now = free_pages();

		most = now > most ? now : most;
		usleep(20000);
	}
	return most;
}

/*
 * How many pages a pool holds when N pairs more are merged: with the knob off nothing is held. Others may take
 * or free some meanwhile: of some tries the least counts.
 */
static long held(struct __test_metadata *_metadata)
{
	long least = SLOTS;
	int i;

	for (i = 0; i < 4; i++) {
		char *map = pairs(N, 1 + i * N);
		long most;

		ASSERT_NE(NULL, map);
		ASSERT_EQ(0, madvise(map, 2 * N * pagesize, MADV_MERGEABLE));
		ASSERT_EQ(0, knob_set("run", 1));
		while (knob("pages_shared") < (i + 1) * N)
			usleep(500);
		ASSERT_TRUE(scanner_stop());
		most = most_free_pages();
		ASSERT_EQ(0, knob_set("fresh_frames", 0));
		most = most_free_pages() - most;
		least = most < least ? most : least;
		ASSERT_EQ(0, knob_set("fresh_frames", 1));
	}
	return least;
}

/* The scanner is stopped in the middle of a pass, far from its end. */
FRESH_TEST(a_pool_is_empty_when_it_is_stopped)
{
	ASSERT_NE(NULL, different_pages(8192, 7));
	ASSERT_EQ(0, knob_set("pages_to_scan", 64));
	ASSERT_EQ(0, knob_set("sleep_millisecs", 10));
	EXPECT_GT(SLOTS / 2, held(_metadata));
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/* A process whose mmap lock is held costs the others nothing, and itself no more than a cut turn. */
#include "beside_fixture.h"

#define N		500
#define LONG_TURN	20000
#define UPPER		4000

static char text[64];

/* Both halves have the same N contents, which are those of prepare_candidates(). */
static char *twice_the_same(void)
{
	char *a = different_pages(N, 3), *b = different_pages(N, 3);

	return a && b ? a : NULL;
}

static bool prepare_candidates(void *arg)
{
	return different_pages(N, 3) != NULL;
}

static bool are_candidates(void *arg)
{
	return knob("pages_unshared") >= N;
}

/* The others find each other as soon as if it were not there. */
static void others_merge(struct __test_metadata *_metadata)
{
	ASSERT_NE(NULL, twice_the_same());
	ASSERT_TRUE(ksm_passes(3));
	EXPECT_LE(N, knob("pages_shared"));
	EXPECT_LE(N, knob("pages_sharing"));
}

BESIDE_TEST(candidates_of_a_stuck_process)
{
	struct stuck s;

	NEEDS_STUCK();
	ASSERT_TRUE(stuck_start(&s, prepare_candidates, NULL));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_until(are_candidates, NULL));
	ASSERT_TRUE(stuck_hold(&s));
	others_merge(_metadata);
	ASSERT_TRUE(stuck_release(&s));
	/* It joins them later. */
	EXPECT_TRUE(ksm_settles(N, 2 * N));
	EXPECT_TRUE(stuck_end(&s));
}

static int peer_busy(struct peer *p, void *arg)
{
	CHECK(prepare_candidates(NULL));
	CHECK(peer_meet(p));
	CHECK(peer_meet(p));	/* they are candidates */
	CHECK(busy_begin());
	CHECK(peer_meet(p));
	CHECK(peer_meet(p));
	busy_end();
	return 0;
}

BESIDE_TEST(candidates_of_a_busy_process)
{
	struct peer p;

	ASSERT_TRUE(peer_start(&p, peer_busy, NULL));
	ASSERT_TRUE(peer_meet(&p));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_until(are_candidates, NULL));
	ASSERT_TRUE(peer_meet(&p) && peer_meet(&p));
	others_merge(_metadata);
	ASSERT_TRUE(peer_meet(&p));
	EXPECT_EQ(0, peer_end(&p));
}

/* How many mmap locks are held at a time. */
struct held {
	int now, most;
};

static bool count_held(const char *line, void *arg)
{
	struct held *held = arg;

	if (strstr(line, " mmap_lock_released:"))
		held->now--;
	else if (strstr(line, " mmap_lock_acquire_returned:") && strstr(line, "success=true"))
		held->now++;
	if (held->now > held->most)
		held->most = held->now;
	return false;
}

static int peer_has_candidates(struct peer *p, void *arg)
{
	CHECK(prepare_candidates(NULL));
	CHECK(peer_meet(p));
	CHECK(peer_meet(p));
	return 0;
}

/* Where two processes are merged, neither waits for what is done for the other. */
BESIDE_TEST(one_mmap_lock_at_a_time)
{
	struct held held = {};
	struct peer p;

	if (access(EVENTS "mmap_lock/mmap_lock_released", F_OK))
		SKIP(return, "no events of mmap locks");
	ASSERT_TRUE(peer_start(&p, peer_has_candidates, NULL) && peer_meet(&p));
	ASSERT_NE(NULL, different_pages(N, 3));
	ASSERT_TRUE(trace_only(scanner()));
	ASSERT_TRUE(trace_on("mmap_lock/mmap_lock_acquire_returned") &&
		    trace_on("mmap_lock/mmap_lock_released"));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(counter_reaches("pages_sharing", N));
	ASSERT_TRUE(scanner_stop());
	trace_each(NULL, NULL, count_held, &held);
	EXPECT_EQ(1, held.most);
	EXPECT_EQ(0, held.now);
	ASSERT_TRUE(peer_meet(&p));
	EXPECT_EQ(0, peer_end(&p));
}

struct turns {
	unsigned long at;
	bool cut;
	int cuts, resumed, elsewhere;
};

/* After rksm_cut, the next rksm_look of the same address space begins there. */
static bool follow(const char *line, void *arg)
{
	struct turns *t = arg;
	unsigned long start;

	if (strstr(line, " rksm_cut:")) {
		t->at = trace_field(line, "address");
		t->cut = true;
		t->cuts++;
	} else if (strstr(line, " rksm_look:") && t->cut) {
		start = trace_field(line, "start");
		/* Where it was cut before it began says nothing. */
		t->resumed += start == t->at && start;
		t->elsewhere += start != t->at;
		if (start != t->at)
			dprintf(2, "# cut at %lx, and gone on at %lx\n", t->at, start);
		t->cut = false;
	}
	return false;
}

static bool prepare_long_turn(void *arg)
{
	return different_pages(LONG_TURN, 4) != NULL;
}

/* It is cut where it was, and not begun anew. */
BESIDE_TEST(a_turn_that_is_cut_is_resumed)
{
	struct turns turns = {};
	struct stuck s;
	int i;

	NEEDS_STUCK();
	ASSERT_TRUE(trace_on("rksm/rksm_enter"));
	ASSERT_TRUE(stuck_start(&s, prepare_long_turn, NULL));
	ASSERT_TRUE(trace_mm(s.victim.pid, text, sizeof(text)));
	ASSERT_NE(NULL, different_pages(1, 6));
	ASSERT_TRUE(trace_on("rksm/rksm_cut") && trace_on("rksm/rksm_look"));
	/* So slow that it is in the midst of it. */
	ASSERT_EQ(0, knob_set("sleep_millisecs", 5));
	ASSERT_EQ(0, knob_set("pages_to_scan", 20));
	ASSERT_EQ(0, knob_set("run", 1));
	while (trace_sum("rksm_look", text, "pages") < LONG_TURN / 20)
		usleep(20000);
	ASSERT_TRUE(stuck_hold(&s));
	for (i = 0; i < 20000 && !trace_count("rksm_cut", text); i++)
		usleep(1000);
	EXPECT_LE(1, trace_count("rksm_cut", text));
	ASSERT_TRUE(ksm_passes(2));
	ASSERT_EQ(0, knob_set("pages_to_scan", 1000));
	ASSERT_TRUE(stuck_release(&s));
	ASSERT_TRUE(ksm_passes(1));
	ASSERT_TRUE(scanner_stop());
	trace_each(NULL, text, follow, &turns);
	EXPECT_LE(1, turns.cuts);
	EXPECT_LE(1, turns.resumed);
	EXPECT_EQ(0, turns.elsewhere);
	EXPECT_TRUE(stuck_end(&s));
}

static bool prepare_upper_part(void *arg)
{
	char *map = different_pages(UPPER, 5);

	if (map)
		fill_all(page_of(map, UPPER - 64), 64, 5);
	return map != NULL;
}

/* However often its turn is cut, the upper end of a large mapping is reached, too. */
BESIDE_TEST(the_upper_part_is_reached)
{
	struct stuck s;
	int i;

	NEEDS_STUCK();
	ASSERT_TRUE(stuck_start(&s, prepare_upper_part, NULL));
	ASSERT_NE(NULL, different_pages(1, 6));
	ASSERT_EQ(0, knob_set("sleep_millisecs", 5));
	ASSERT_EQ(0, knob_set("pages_to_scan", 20));
	ASSERT_EQ(0, knob_set("run", 1));
	/* An eighth of it at least, and it is stuck until a pass has gone by without it. */
	for (i = 0; i < 20 && knob("pages_sharing") < 63; i++) {
		long scanned = knob("pages_scanned"), scans;

		while (knob("pages_scanned") < scanned + UPPER / 8)
			usleep(1000);
		ASSERT_TRUE(stuck_hold(&s));
		scans = knob("full_scans");
		while (knob("full_scans") < scans + 2)
			usleep(1000);
		ASSERT_TRUE(stuck_release(&s));
	}
	EXPECT_LE(63, knob("pages_sharing"));
	EXPECT_TRUE(stuck_end(&s));
}

TEST_HARNESS_MAIN

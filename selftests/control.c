// SPDX-License-Identifier: GPL-2.0
/*
 * Whoever turns a knob waits for nobody, and counters move meanwhile. That a write
 * did not wait is told by order, not by time: what it would have waited for
 * has not come to its end. The machine may be so busy that it has all the
 * same, so there are several attempts; one that waits fails all of them.
 */
#include "beside_fixture.h"

#define ATTEMPTS	8
/* A pass over so many, in one batch, takes a while on any machine. */
#define MANY		rounds(60000)
#define HUGE_BATCH	4000000000L
/* More than any write takes that waits for nobody, and less than patience is. */
#define SOON_MS		8000

/* All that can be written without being made to wait. */
static const struct {
	const char *name, *value;
} writes[] = {
	{ "sleep_millisecs", "0" },
	{ "advisor_mode", "none" },
	{ "pages_to_scan", "4000000000" },
	{ "use_zero_pages", "0" },
	{ "smart_scan", "0" },
	{ "max_page_sharing", "256" },
	{ "merge_across_nodes", "1" },
	{ "stable_node_chains_prune_millisecs", "0" },
	{ "advisor_max_cpu", "70" },
	{ "advisor_min_pages_to_scan", "500" },
	{ "advisor_max_pages_to_scan", "30000" },
	{ "advisor_target_scan_time", "200" },
	{ "advisor_free_low", "0" },
	{ "advisor_free_high", "20" },
	{ "advisor_free_low", "10" },
	{ "scanners", "1" },
	{ "run", "1" },
};

#define NR_WRITES	(sizeof(writes) / sizeof(*writes))

static bool written_within_a_pass(const char *name, const char *value)
{
	int i;

	for (i = 0; i < ATTEMPTS; i++) {
		if (!trace_pass_begins() || knob_write(name, value))
			return false;
		if (trace_pass_goes_on())
			return true;
	}
	return false;
}

BESIDE_TEST(writes_do_not_wait_for_a_batch)
{
	int i;

	ASSERT_NE(NULL, different_pages(MANY, 1));
	ASSERT_TRUE(trace_passes());
	ASSERT_EQ(0, knob_set("pages_to_scan", HUGE_BATCH));
	ASSERT_EQ(0, knob_set("run", 1));
	for (i = 0; i < NR_WRITES; i++) {
		EXPECT_TRUE(written_within_a_pass(writes[i].name, writes[i].value))
			TH_LOG("%s waits for the batch", writes[i].name);
	}
}

/* It ends where it is, and goes on from there. */
BESIDE_TEST(run_0_ends_a_batch)
{
	bool ended = false;
	long scanned;
	int i;

	ASSERT_NE(NULL, different_pages(MANY, 2));
	ASSERT_TRUE(trace_passes());
	ASSERT_EQ(0, knob_set("pages_to_scan", HUGE_BATCH));
	for (i = 0; i < ATTEMPTS && !ended; i++) {
		ASSERT_EQ(0, knob_set("run", 1));
		ASSERT_TRUE(trace_pass_begins());
		ASSERT_EQ(0, knob_set("run", 0));
		ended = trace_pass_goes_on();
		scanned = knob("pages_scanned");
		usleep(200000);
		/* One step may be under way. More of them are where the scanner has not had a CPU since. */
		ended &= scanned + 64 >= knob("pages_scanned") && trace_pass_goes_on();
	}
	EXPECT_TRUE(ended);
	ASSERT_EQ(0, knob_set("run", 1));
	EXPECT_TRUE(ksm_passes(2));
}

/* Pages with equals, for run=2 to be busy with for a while. */
static char *merged_pairs(size_t n)
{
	char *map = map_pages(n);
	size_t i;

	for (i = 0; map && i < n; i++)
		*(uint64_t *)page_of(map, i) = i / 2 + 1;
	if (!map || madvise(map, n * pagesize, MADV_MERGEABLE))
		return NULL;
	return knob_set("run", 1) || !ksm_settles(n / 2, n / 2) ? NULL : map;
}

/* run=2 is being written, and has given back some pages, but not all. */
static pid_t unmerge_begins(void)
{
	long anon = vm_event("nr_anon_pages");
	pid_t pid = knob_writer("run", "2");
	int i;

	for (i = 0; i < 60000 && vm_event("nr_anon_pages") < anon + 2000; i++)
		usleep(500);
	return pid;
}

#define MERGE_AGAIN(n) do {						\
	ASSERT_EQ(0, knob_set("run", 1));				\
	ASSERT_TRUE(ksm_settles((n) / 2, (n) / 2));			\
} while (0)

BESIDE_TEST(writes_do_not_wait_for_unmerging)
{
	bool done[NR_WRITES] = {};
	int i, k;

	ASSERT_NE(NULL, merged_pairs(MANY));
	for (i = 0; i < ATTEMPTS; i++) {
		pid_t pid = unmerge_begins();
		int left = 0;

		/* The last one would end it. */
		for (k = 0; k < NR_WRITES - 1; k++) {
			int err = done[k] ? 0 : knob_write(writes[k].name, writes[k].value);

			EXPECT_TRUE(!err || err == -EBUSY);
			/* Its end may lie between what it does last and its exit. */
			done[k] |= knob("pages_sharing") > 0 && waitpid(pid, NULL, WNOHANG) == 0;
			left += !done[k];
		}
		wait_child(pid);
		if (!left)
			break;
		MERGE_AGAIN(MANY);
	}
	for (k = 0; k < NR_WRITES - 1; k++) {
		EXPECT_TRUE(done[k])
			TH_LOG("%s waits for run=2", writes[k].name);
	}
	ASSERT_EQ(0, knob_set("run", 2));
	EXPECT_EQ(0, knob("pages_shared"));
}

/* Who wants to scan again waits for nobody; what gives pages back is done first. */
BESIDE_TEST(run_1_comes_after_unmerging)
{
	int i;

	ASSERT_NE(NULL, merged_pairs(MANY));
	for (i = 0; i < rounds(ATTEMPTS); i++) {
		pid_t pid = unmerge_begins();

		ASSERT_EQ(0, knob_set("run", 1));
		EXPECT_EQ(1, knob("run"));
		EXPECT_EQ(0, writer_result(pid, 600000));
		EXPECT_EQ(1, knob("run"));
		ASSERT_TRUE(ksm_settles(MANY / 2, MANY / 2));
	}
}

BESIDE_TEST(run_0_lets_unmerging_go_on)
{
	bool went_on = false;
	int i;

	ASSERT_NE(NULL, merged_pairs(MANY));
	for (i = 0; i < ATTEMPTS && !went_on; i++) {
		pid_t pid = unmerge_begins();

		ASSERT_EQ(0, knob_set("run", 0));
		went_on = knob("pages_sharing") > 0;
		EXPECT_EQ(0, writer_result(pid, 600000));
		EXPECT_EQ(0, knob("pages_shared"));
		EXPECT_EQ(0, knob("pages_sharing"));
		if (!went_on)
			MERGE_AGAIN(MANY);
	}
	EXPECT_TRUE(went_on);
}

/* One that is killed while it waits for another one leaves run to that one. */
BESIDE_TEST(a_second_one_is_killed)
{
	bool went_on = false;
	long run = -1;
	int i;

	/* On one, the first is done when the second comes. */
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "needs two CPUs");
	ASSERT_NE(NULL, merged_pairs(MANY));
	for (i = 0; i < ATTEMPTS && !went_on; i++) {
		pid_t first = unmerge_begins(), second = knob_writer("run", "2");

		if (writer_result(second, 2) == -ETIME) {
			kill(second, SIGKILL);
			wait_child(second);
			run = knob("run");
			went_on = knob("pages_sharing") > 0;
		}
		EXPECT_EQ(0, writer_result(first, 600000));
		if (!went_on)
			MERGE_AGAIN(MANY);
	}
	EXPECT_TRUE(went_on);
	EXPECT_EQ(2, run);
	EXPECT_EQ(2, knob("run"));
}

static const char * const moving[] = { "pages_scanned", "pages_sharing", "general_profit" };

/* How many values they have while something goes on. */
struct values {
	long last[3];
	int seen[3];
};

static void look_at(struct values *v)
{
	int k;

	for (k = 0; k < 3; k++) {
		long value = knob(moving[k]);

		v->seen[k] += value != v->last[k];
		v->last[k] = value;
	}
}

BESIDE_TEST(counters_move_during_a_batch)
{
	int i, k, most[3] = {};

	ASSERT_NE(NULL, merged_pairs(MANY));
	ASSERT_EQ(0, knob_set("pages_to_scan", HUGE_BATCH));
	for (i = 0; i < ATTEMPTS; i++) {
		struct values v = {};
		long scans;

		ASSERT_EQ(0, knob_set("run", 2));
		scans = knob("full_scans");
		look_at(&v);
		memset(v.seen, 0, sizeof(v.seen));
		ASSERT_EQ(0, knob_set("run", 1));
		while (knob("full_scans") == scans)
			look_at(&v);
		for (k = 0; k < 3; k++)
			most[k] = v.seen[k] > most[k] ? v.seen[k] : most[k];
		if (most[0] > 3 && most[1] > 3 && most[2] > 3)
			break;
	}
	for (k = 0; k < 3; k++) {
		EXPECT_LT(3, most[k])
			TH_LOG("%s stands still during a batch", moving[k]);
	}
}

BESIDE_TEST(counters_move_during_unmerging)
{
	int i, k, most[3] = {};

	/* On one, whoever looks has the CPU before or after. */
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "needs two CPUs");
	ASSERT_NE(NULL, merged_pairs(MANY));
	for (i = 0; i < ATTEMPTS; i++) {
		struct values v = {};
		pid_t pid = unmerge_begins();
		int status;

		look_at(&v);
		memset(v.seen, 0, sizeof(v.seen));
		while (waitpid(pid, &status, WNOHANG) == 0)
			look_at(&v);
		EXPECT_EQ(0, status);
		for (k = 0; k < 3; k++)
			most[k] = v.seen[k] > most[k] ? v.seen[k] : most[k];
		if (most[1] > 3 && most[2] > 3)
			break;
		MERGE_AGAIN(MANY);
	}
	for (k = 1; k < 3; k++) {
		EXPECT_LT(3, most[k])
			TH_LOG("%s stands still during run=2", moving[k]);
	}
}

#define OF_STUCK	1000

/* Candidates, and merged pages. */
static bool prepare_stuck(void *arg)
{
	char *map = different_pages(OF_STUCK, 7), *equal = map_pages(8);

	if (!map || !equal)
		return false;
	fill_all(equal, 8, 7);
	return !madvise(equal, 8 * pagesize, MADV_MERGEABLE);
}

#define STUCK(s) do {							\
	NEEDS_STUCK();							\
	ASSERT_TRUE(stuck_start(s, prepare_stuck, NULL));		\
	ASSERT_EQ(0, knob_set("run", 1));				\
	ASSERT_TRUE(ksm_settles(1, 7));					\
	ASSERT_TRUE(stuck_hold(s));					\
} while (0)

/* Where what is waited for does not end, a bound tells as much as order does. */
BESIDE_TEST(writes_do_not_wait_for_a_stuck_process)
{
	struct stuck s;
	int i;

	STUCK(&s);
	/* The same as its candidates: the scanner looks for it again and again. */
	ASSERT_NE(NULL, different_pages(OF_STUCK, 7));
	ASSERT_EQ(0, knob_set("sleep_millisecs", 0));
	usleep(100000);
	for (i = 0; i < NR_WRITES; i++) {
		int err = knob_write_within(writes[i].name, writes[i].value, SOON_MS);

		EXPECT_TRUE(!err || err == -EBUSY)
			TH_LOG("%s: %s", writes[i].name, strerror(-err));
	}
	EXPECT_EQ(0, knob_write_within("run", "0", SOON_MS));
	EXPECT_TRUE(stuck_end(&s));
}

/* run=2 cannot be done then. Whoever waits for it can be killed, or gives up. */
BESIDE_TEST(unmerging_beside_a_stuck_process)
{
	struct stuck s;
	pid_t pid;

	STUCK(&s);
	pid = knob_writer("run", "2");
	EXPECT_EQ(-ETIME, writer_result(pid, 300));
	kill(pid, SIGINT);
	EXPECT_EQ(-EINTR, writer_result(pid, SOON_MS));
	pid = knob_writer("run", "2");
	EXPECT_EQ(-ETIME, writer_result(pid, 300));
	kill(pid, SIGKILL);
	EXPECT_EQ(-ECHILD, writer_result(pid, SOON_MS));
	EXPECT_EQ(-EBUSY, knob_write_within("run", "2", 60000));
	/* The others are scanned again. */
	ASSERT_EQ(0, knob_set("run", 1));
	EXPECT_TRUE(ksm_passes(2));
	ASSERT_TRUE(stuck_end(&s));
}

/* Two that write 2: the second is told, or waits its turn, and can be killed then. */
BESIDE_TEST(two_that_unmerge)
{
	struct stuck s;
	pid_t first, second;
	int err;

	STUCK(&s);
	first = knob_writer("run", "2");
	EXPECT_EQ(-ETIME, writer_result(first, 300));
	second = knob_writer("run", "2");
	err = writer_result(second, 1000);
	if (err == -ETIME) {
		kill(second, SIGKILL);
		err = writer_result(second, SOON_MS);
		EXPECT_EQ(-ECHILD, err);
		/* The first still has to do with it. */
		EXPECT_EQ(2, knob("run"));
	} else {
		EXPECT_EQ(-EBUSY, err);
	}
	kill(first, SIGKILL);
	EXPECT_EQ(-ECHILD, writer_result(first, SOON_MS));
	EXPECT_EQ(0, knob("run"));
	EXPECT_TRUE(stuck_end(&s));
	EXPECT_EQ(0, knob_set("run", 2));
	EXPECT_EQ(0, knob("pages_shared"));
}

/* The same for narrowing the scope. */
BESIDE_TEST(narrowing_beside_a_stuck_process)
{
	struct stuck s;
	pid_t pid;

	STUCK(&s);
	ASSERT_EQ(0, knob_write_within("scope", "all", SOON_MS));
	pid = knob_writer("scope", "madvise");
	if (writer_result(pid, 300) == -ETIME) {
		kill(pid, SIGKILL);
		EXPECT_EQ(-ECHILD, writer_result(pid, SOON_MS));
	}
	EXPECT_EQ(0, knob_write_within("run", "0", SOON_MS));
	EXPECT_TRUE(stuck_end(&s));
	EXPECT_EQ(0, knob_write("scope", "madvise"));
}

/* Pages that nobody has advised: the scope alone has them merged. */
static bool prepare_unasked(void *arg)
{
	return equal_pages(8, 9) != NULL;
}

/* A scope that cannot be left: whoever waits for that is told, and it stays. */
BESIDE_TEST(narrowing_gives_up)
{
	char scope[64];
	struct stuck s;
	pid_t pid;
	int i;

	NEEDS_STUCK();
	ASSERT_TRUE(stuck_start(&s, prepare_unasked, NULL));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_EQ(0, knob_write("scope", "all"));
	for (i = 0; i < 20 && merging_pages(s.victim.pid) < 8; i++)
		ASSERT_TRUE(ksm_passes(1));
	ASSERT_LE(8, merging_pages(s.victim.pid));
	ASSERT_TRUE(stuck_hold(&s));
	pid = knob_writer("scope", "madvise");
	EXPECT_EQ(-ETIME, writer_result(pid, 300));
	kill(pid, SIGINT);
	EXPECT_EQ(-EINTR, writer_result(pid, SOON_MS));
	EXPECT_EQ(-EBUSY, knob_write_within("scope", "madvise", 60000));
	EXPECT_LT(0, knob_text("scope", scope, sizeof(scope)));
	EXPECT_STREQ("madvise [all]\n", scope);
	/* The others are scanned again. */
	EXPECT_TRUE(ksm_passes(2));
	ASSERT_TRUE(stuck_end(&s));
	EXPECT_EQ(0, knob_write("scope", "madvise"));
}

TEST_HARNESS_MAIN

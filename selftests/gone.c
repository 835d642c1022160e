// SPDX-License-Identifier: GPL-2.0
/* Forks and exits cost the scanner nothing to speak of, and the dead are forgotten at once. */
#include "beside_fixture.h"
#include "slab_lib.h"

#define ATTEMPTS	8
#define MANY		rounds(60000)
#define CHILDREN	20
/* The scanner may have been on its way to sleep, and be looked for by others. */
#define SOME_SWITCHES	20

/* It has stopped, and whatever it had to do is done. */
static bool is_off(void)
{
	return !knob_set("run", 0) && scanner_rests(300, 100);
}

/* Of a registered process; nothing is recorded of the child. */
static bool fork_and_exit(int n)
{
	while (n--) {
		pid_t pid = fork_child();

		if (pid == 0)
			_exit(0);
		if (wait_child(pid))
			return false;
	}
	return true;
}

BESIDE_TEST(exits_wake_nobody)
{
	int n = rounds(1000);
	long before;

	ASSERT_NE(NULL, different_pages(4, 1));
	ASSERT_TRUE(is_off());
	before = scanner_switches();
	ASSERT_TRUE(fork_and_exit(n));
	EXPECT_GE(before + SOME_SWITCHES, scanner_switches());
}

/* What the scanner uses for some of them: the least of several times, as for leftover_cpu(). */
static long long exits_cpu(void)
{
	long long least = -1;
	int i;

	for (i = 0; i < 4; i++) {
		long long used = scanner_cpu();

		if (!fork_and_exit(200) || !is_off())
			return -1;
		used = scanner_cpu() - used;
		if (least < 0 || used < least)
			least = used;
	}
	return least;
}

/* An exit costs the scanner no more where many are registered than where few are. */
BESIDE_TEST(exits_beside_many)
{
	enum { SLEEPERS = 1500 };
	static pid_t pids[SLEEPERS];
	int sleepers = rounds(SLEEPERS);
	long long few, many;

	ASSERT_NE(NULL, different_pages(4, 2));
	ASSERT_TRUE(is_off());
	few = exits_cpu();
	ASSERT_LE(0, few);
	ASSERT_TRUE(fork_sleepers(pids, sleepers));
	many = exits_cpu();
	ASSERT_LE(0, many);
	EXPECT_GE(2 * few + 30000000, many)
		TH_LOG("%lld us with %d sleepers, %lld us without", many / 1000, sleepers, few / 1000);
	kill_all(pids, sleepers);
}

BESIDE_TEST(off_is_off)
{
	enum { SLEEPERS = 300 };
	static pid_t pids[SLEEPERS];

	ASSERT_NE(NULL, different_pages(4, 3));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_passes(2));
	ASSERT_TRUE(fork_sleepers(pids, SLEEPERS));
	ASSERT_TRUE(is_off());
	EXPECT_TRUE(scanner_rests(3000, 5));
	kill_all(pids, SLEEPERS);
}

/* A merged page that only its child has, of which the scanner knows nothing. */
static int peer_leaves_a_child(struct peer *p, void *arg)
{
	char *map = map_pages(2), c;
	pid_t pid;

	CHECK(map);
	fill_all(map, 2, 4);
	CHECK(!madvise(map, 2 * pagesize, MADV_MERGEABLE));
	CHECK(peer_meet(p));
	CHECK(peer_meet(p));
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		/* Until the test is done with it, or dead. */
		while (read(p->rd, &c, 1) > 0)
			;
		_exit(0);
	}
	return 0;
}

/* Another process that has a lot of pages, until it is let go. */
static int peer_has_many(struct peer *p, void *arg)
{
	uint64_t share = *(int *)arg;
	char *map = map_pages(MANY);
	int i;

	CHECK(map);
	for (i = 0; i < MANY; i++)
		*(uint64_t *)page_of(map, i) = i / share + 1;
	CHECK(!madvise(map, MANY * pagesize, MADV_MERGEABLE));
	CHECK(peer_meet(p));
	peer_meet(p);
	return 0;
}

/* So many of them have the same content each. */
#define HAS_MANY(p, n) do {						\
	int _n = n;							\
									\
	ASSERT_TRUE(peer_start(p, peer_has_many, &_n) && peer_meet(p));	\
} while (0)

struct looks {
	int n;
	long most;
};

static bool add_look(const char *line, void *arg)
{
	struct looks *looks = arg;
	long nodes = trace_field(line, "nodes");

	looks->n++;
	if (looks->most < nodes)
		looks->most = nodes;
	return false;
}

/* While nothing is scanned, such a page is looked at again and again, and none of the others is. */
BESIDE_TEST(leftovers_go_by_their_own_number)
{
	struct peer leaves, tree;
	struct looks looks = { 0, 0 };
	int i;

	HAS_MANY(&tree, 2);
	ASSERT_TRUE(peer_start(&leaves, peer_leaves_a_child, NULL) && peer_meet(&leaves));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(MANY / 2 + 1, MANY / 2 + 1));
	ASSERT_TRUE(is_off());
	ASSERT_TRUE(peer_meet(&leaves));
	ASSERT_EQ(0, wait_child(leaves.pid));
	ASSERT_TRUE(counter_reaches("pages_shared", MANY / 2));
	ASSERT_TRUE(trace_on("rksm/rksm_prune"));
	for (i = 0; i < 60 && looks.n < 3; i++) {
		sleep(1);
		looks = (struct looks){ 0, 0 };
		trace_each("rksm_prune", NULL, add_look, &looks);
	}
	EXPECT_LE(3, looks.n);
	EXPECT_EQ(1, looks.most);
	close(leaves.wr);
	close(leaves.rd);
	EXPECT_EQ(0, peer_end(&tree));
}

/* Children with records of their own. */
static bool fork_recorded(pid_t *pids)
{
	long unshared;
	int i;

	/* Those that died before are forgotten by then. */
	if (knob_set("run", 1) || !ksm_passes(2))
		return false;
	unshared = knob("pages_unshared");
	for (i = 0; i < CHILDREN; i++) {
		pids[i] = fork_child();
		if (pids[i] == 0) {
			if (!different_pages(4, 100 + i))
				_exit(1);
			for (;;)
				pause();
		}
		if (pids[i] < 0)
			return false;
	}
	return counter_reaches("pages_unshared", unshared + 4 * CHILDREN);
}

static bool forgotten_during_a_pass(int n)
{
	int i;

	for (i = 0; i < 60000 && trace_pass_goes_on(); i++) {
		if (trace_count("rksm_forget", NULL) >= n)
			return trace_pass_goes_on();
		usleep(1000);
	}
	return false;
}

/* The scanner comes to them in the midst of a batch, however long. */
BESIDE_TEST(the_dead_during_a_batch)
{
	pid_t pids[CHILDREN];
	struct peer many;
	bool done = false;
	int i;

	HAS_MANY(&many, 1);
	ASSERT_EQ(0, knob_set("pages_to_scan", 4000000000L));
	ASSERT_TRUE(trace_on("rksm/rksm_forget"));
	ASSERT_TRUE(trace_passes());
	for (i = 0; i < ATTEMPTS && !done; i++) {
		ASSERT_TRUE(fork_recorded(pids));
		ASSERT_TRUE(trace_pass_begins());
		kill_all(pids, CHILDREN);
		done = forgotten_during_a_pass(CHILDREN);
	}
	EXPECT_TRUE(done);
	EXPECT_EQ(0, peer_end(&many));
}

/* Unmerging forgets them on its way, and not the scanner behind it. */
BESIDE_TEST(the_dead_during_unmerging)
{
	pid_t pids[CHILDREN], pid;
	struct peer many;
	bool done = false;
	int i;

	HAS_MANY(&many, 2);
	ASSERT_TRUE(trace_on("rksm/rksm_forget") && trace_on("rksm/rksm_unmerge"));
	for (i = 0; i < ATTEMPTS && !done; i++) {
		ASSERT_EQ(0, knob_set("run", 1));
		ASSERT_TRUE(ksm_settles(MANY / 2, MANY / 2));
		ASSERT_TRUE(fork_recorded(pids));
		trace_forget();
		pid = knob_writer("run", "2");
		while (!trace_count("rksm_unmerge", NULL))
			usleep(100);
		kill_all(pids, CHILDREN);
		wait_child(pid);
		ASSERT_TRUE(trace_mark("unmerged"));
		done = trace_between("rksm_forget:", "rksm_unmerge:", "unmerged");
	}
	EXPECT_TRUE(done);
	EXPECT_EQ(0, peer_end(&many));
}

/* What the dead had is free again, however long it takes whoever writes 2. */
BESIDE_TEST(mm_structs_during_unmerging)
{
	enum { FORKS = 400, SPARSE = 4 };
	pid_t pids[SPARSE], pid;
	char *map;
	long before;
	int i;

	if (slab_objects("mm_struct") < 0)
		SKIP(return, "no /proc/slabinfo");
	ASSERT_NE(NULL, different_pages(4, 6));
	/* With addresses enough for minutes, if it went by them. */
	for (i = 0; i < SPARSE; i++) {
		pids[i] = fork_child();
		if (pids[i] == 0) {
			map = mmap(NULL, 64UL << 40, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
			if (map != MAP_FAILED)
				map[64UL << 39] = 1;
			madvise(map, 64UL << 40, MADV_MERGEABLE);
			for (;;)
				pause();
		}
	}
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_passes(2));
	before = slab_objects("mm_struct");
	pid = knob_writer("run", "2");
	usleep(100000);
	ASSERT_TRUE(fork_and_exit(FORKS));
	/* Some are free and not yet back, as far as slabinfo goes. */
	EXPECT_GE(before + FORKS / 2, slab_objects("mm_struct"));
	kill_all(pids, SPARSE);
	if (writer_result(pid, 60000) == -ETIME) {
		kill(pid, SIGKILL);
		writer_result(pid, 60000);
	}
}

TEST_HARNESS_MAIN

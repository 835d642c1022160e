// SPDX-License-Identifier: GPL-2.0
/* Merged pages and memory cgroups: who is charged, and what a limit does. */
#include <signal.h>
#include <time.h>

#include "cgroup.h"
#include "ksm_harness.h"
#include "trace_lib.h"

/*
 * 8 MiB. Its merged pages are 1 MiB, which is told apart from nothing and from twice as much: the counters
 * of a cgroup may lag behind by SLACK, and a process has a few pages besides.
 */
#define N		2048
#define SLACK		64
#define SHARING		8

FIXTURE(memcg) {
	struct knob_values before;
};

FIXTURE_SETUP(memcg)
{
	ASSERT_TRUE(knobs_save(&self->before));
	ASSERT_TRUE(unmerge_everything());
	ASSERT_TRUE(knobs_for_test());
	ASSERT_EQ(0, knob_set("max_page_sharing", SHARING));
	ASSERT_TRUE(cgroups_mount() && cgroup_make("a") && cgroup_make("b"));
}

FIXTURE_TEARDOWN_PARENT(memcg)
{
	trace_off();
	EXPECT_TRUE(unmerge_everything());
	EXPECT_TRUE(knobs_restore(&self->before));
	cgroups_remove();
}

#define MEMCG_TEST(name)	TEST_F_TIMEOUT(memcg, name, TEST_SECONDS)

/* A line of memory.stat or memory.events. */
static long group_value(const char *group, const char *file, const char *key)
{
	char buf[8192], *line, *save;

	if (file_read(cgroup_file(group, file), buf, sizeof(buf)) < 0)
		return -1;
	for (line = strtok_r(buf, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		if (!strncmp(line, key, strlen(key)) && line[strlen(key)] == ' ')
			return atol(line + strlen(key));
	return -1;
}

static long anon_pages(const char *group)
{
	return group_value(group, "memory.stat", "anon") / (long)pagesize;
}

/* Within the slack. The kernel brings the figure up to date every two seconds. */
static bool anon_becomes(const char *group, long pages)
{
	time_t start = time(NULL);

	do {
		if (labs(anon_pages(group) - pages) <= SLACK)
			return true;
		usleep(1000);
	} while (time(NULL) - start < 30);
	dprintf(2, "# group %s has %ld anonymous pages, not %ld\n", group,
		anon_pages(group), pages);
	return false;
}

static int set_limit(const char *group, long pages)
{
	char text[32];

	if (!pages)
		return file_write(cgroup_file(group, "memory.max"), "max");
	snprintf(text, sizeof(text), "%ld", pages * (long)pagesize);
	return file_write(cgroup_file(group, "memory.max"), text);
}

static bool within_limit(const char *group, long pages)
{
	return file_long(cgroup_file(group, "memory.current")) <= pages * (long)pagesize;
}

/* What a member of a group has, and what it is asked. */
struct member {
	const char *group;
	uint64_t seed;		/* 0: zero pages */
	bool unkillable, unasked;
	bool spread;		/* no two pages alike */
};

enum { LOOK = 1, UNMERGE, MOVE };

static uint64_t seed_of(const struct member *m, long page)
{
	return m->spread ? m->seed + page : m->seed;
}

static int peer_member(struct peer *p, void *arg)
{
	struct member *m = arg;
	char *map = map_pages(N), *to = map_pages(N);
	long question, i, answer;

	CHECK(map && to);
	CHECK(cgroup_enter(m->group));
	CHECK(!m->unkillable || !file_write("/proc/self/oom_score_adj", "-1000"));
	for (i = 0; i < N; i++) {
		if (m->seed)
			fill(page_of(map, i), seed_of(m, i));
		else
			memset(page_of(map, i), 0, pagesize);
	}
	CHECK(m->unasked || !madvise(map, N * pagesize, MADV_MERGEABLE));
	CHECK(peer_meet(p));
	while ((question = peer_swap(p, 0)) > 0) {
		answer = 0;
		if (question == UNMERGE && madvise(map, N * pagesize, MADV_UNMERGEABLE))
			answer = errno;
		if (question == MOVE) {
			if (mremap(map, N * pagesize, N * pagesize, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to)
				map = to;
			else
				answer = errno;
		}
		for (i = 0; i < N; i++)
			CHECK(m->seed ? holds(page_of(map, i), seed_of(m, i)) :
			      is_zero(page_of(map, i)));
		CHECK(peer_swap(p, answer) == 0);
	}
	return 0;
}

static bool start_member(struct peer *p, struct member *m)
{
	return peer_start(p, peer_member, m) && peer_meet(p);
}

/* It has all its content, and answers; -1: it is gone. */
static long ask(struct peer *p, int question)
{
	return peer_swap(p, question) == 0 ? peer_swap(p, 0) : -1;
}

static int end_member(struct peer *p)
{
	peer_swap(p, -1);
	return peer_end(p);
}

MEMCG_TEST(merging_uncharges)
{
	struct member m = { .group = "a", .seed = 1 };
	struct peer p;

	ASSERT_TRUE(start_member(&p, &m));
	ASSERT_TRUE(anon_becomes("a", N));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(N / SHARING, N - N / SHARING));
	EXPECT_TRUE(anon_becomes("a", N / SHARING));
	ASSERT_EQ(0, knob_set("run", 2));
	EXPECT_TRUE(anon_becomes("a", N));
	EXPECT_EQ(0, ask(&p, LOOK));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(N / SHARING, N - N / SHARING));
	EXPECT_EQ(0, ask(&p, UNMERGE));
	EXPECT_TRUE(anon_becomes("a", N));
	EXPECT_EQ(0, end_member(&p));
	EXPECT_TRUE(anon_becomes("a", 0));
}

MEMCG_TEST(zero_pages_uncharge)
{
	struct member m = { .group = "a" };
	struct peer p;

	ASSERT_EQ(0, knob_set("use_zero_pages", 1));
	ASSERT_TRUE(start_member(&p, &m));
	ASSERT_TRUE(anon_becomes("a", N));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(counter_reaches("ksm_zero_pages", N));
	EXPECT_TRUE(anon_becomes("a", 0));
	ASSERT_EQ(0, knob_set("run", 2));
	EXPECT_TRUE(anon_becomes("a", N));
	EXPECT_EQ(0, ask(&p, LOOK));
	EXPECT_EQ(0, end_member(&p));
}

/* Two groups share; one of them goes for good, with what was charged to it. */
MEMCG_TEST(group_goes)
{
	struct member a = { .group = "a", .seed = 2 }, b = { .group = "b", .seed = 2 };
	struct peer pa, pb;
	int i;

	for (i = 0; i < 2; i++) {
		ASSERT_TRUE(start_member(&pa, i ? &a : &b));
		ASSERT_TRUE(start_member(&pb, i ? &b : &a));
		ASSERT_EQ(0, knob_set("run", 1));
		ASSERT_TRUE(ksm_settles(2 * N / SHARING, 2 * N - 2 * N / SHARING));
		EXPECT_TRUE(anon_becomes("a", N / SHARING));
		EXPECT_TRUE(anon_becomes("b", N / SHARING));
		ASSERT_EQ(0, end_member(&pa));
		ASSERT_EQ(0, rmdir(cgroup_file(i ? "a" : "b", "")));
		ASSERT_TRUE(ksm_settles(N / SHARING, N - N / SHARING));
		EXPECT_EQ(0, ask(&pb, LOOK));
		ASSERT_EQ(0, knob_set("run", 2));
		EXPECT_TRUE(anon_becomes(i ? "b" : "a", N));
		EXPECT_EQ(0, ask(&pb, LOOK));
		ASSERT_EQ(0, end_member(&pb));
		EXPECT_TRUE(anon_becomes(i ? "b" : "a", 0));
		ASSERT_TRUE(cgroup_make(i ? "a" : "b"));
	}
}

/* No room for the copies, and nobody to kill: it says so, and nothing is lost. */
MEMCG_TEST(unmerge_at_the_limit)
{
	struct member a = { .group = "a", .seed = 3, .unkillable = true };
	struct member b = { .group = "b", .seed = 3 };
	struct peer pa, pb;

	ASSERT_TRUE(start_member(&pa, &a));
	ASSERT_TRUE(start_member(&pb, &b));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(2 * N / SHARING, 2 * N - 2 * N / SHARING));
	ASSERT_EQ(0, set_limit("a", N / 2));
	EXPECT_EQ(-ENOMEM, knob_set("run", 2));
	EXPECT_EQ(0, knob("run"));
	EXPECT_LT(0, knob("pages_shared"));
	EXPECT_TRUE(within_limit("a", N / 2));
	/* By its owner neither; it stays registered then. */
	EXPECT_EQ(EAGAIN, ask(&pa, UNMERGE));
	EXPECT_TRUE(within_limit("a", N / 2));
	EXPECT_EQ(0, ask(&pa, LOOK));
	EXPECT_EQ(0, ask(&pb, LOOK));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(2 * N / SHARING, 2 * N - 2 * N / SHARING));
	/* With room it goes. */
	ASSERT_EQ(0, set_limit("a", 0));
	EXPECT_EQ(0, knob_set("run", 2));
	EXPECT_EQ(0, knob("pages_shared"));
	EXPECT_TRUE(anon_becomes("a", N));
	EXPECT_EQ(0, ask(&pa, LOOK));
	EXPECT_EQ(0, ask(&pb, LOOK));
	EXPECT_EQ(0, end_member(&pa));
	EXPECT_EQ(0, end_member(&pb));
}

/* The kernel may kill for it, but only inside the group that is full. */
MEMCG_TEST(unmerge_kills_inside)
{
	struct member a = { .group = "a", .seed = 4 }, b = { .group = "b", .seed = 4 };
	struct peer pa, pb;

	ASSERT_TRUE(start_member(&pa, &a));
	ASSERT_TRUE(start_member(&pb, &b));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(2 * N / SHARING, 2 * N - 2 * N / SHARING));
	ASSERT_EQ(0, set_limit("a", N / 2));
	knob_set("run", 2);
	EXPECT_TRUE(within_limit("a", N / 2));
	EXPECT_EQ(1, group_value("a", "memory.events", "oom_kill"));
	EXPECT_EQ(-1, ask(&pa, LOOK));
	EXPECT_EQ(128 + SIGKILL, end_member(&pa));
	EXPECT_EQ(0, group_value("b", "memory.events", "oom_kill"));
	EXPECT_EQ(0, ask(&pb, LOOK));
	EXPECT_EQ(0, knob_set("run", 2));
	EXPECT_EQ(0, knob("pages_shared"));
	EXPECT_TRUE(anon_becomes("a", 0));
	EXPECT_TRUE(anon_becomes("b", N));
	EXPECT_EQ(0, ask(&pb, LOOK));
	EXPECT_EQ(0, end_member(&pb));
}

/* Somebody else has it unmerge: nobody is killed for it, and nothing is lost. */
MEMCG_TEST(release_at_the_limit)
{
	struct member a = { .group = "a", .seed = 5, .unasked = true };
	struct peer pa;

	NEEDS_ENROL();
	ASSERT_TRUE(start_member(&pa, &a));
	ASSERT_EQ(0, knob_set("enrol", pa.pid));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(N / SHARING, N - N / SHARING));
	ASSERT_EQ(0, set_limit("a", N / 2));
	EXPECT_EQ(-ENOMEM, knob_set("release", pa.pid));
	EXPECT_EQ(0, group_value("a", "memory.events", "oom_kill"));
	EXPECT_TRUE(within_limit("a", N / 2));
	/* With room it goes. Without, a fault of its own would have it killed. */
	ASSERT_EQ(0, set_limit("a", 0));
	EXPECT_EQ(0, ask(&pa, LOOK));
	EXPECT_EQ(0, knob_set("release", pa.pid));
	EXPECT_TRUE(anon_becomes("a", N));
	EXPECT_EQ(0, ask(&pa, LOOK));
	EXPECT_EQ(0, end_member(&pa));
}

/* Two groups whose pages are merged with each other: the one that came first, and waited, is charged. */
static void merge_two(struct __test_metadata *_metadata, struct peer *pa, struct peer *pb)
{
	struct member a = { .group = "a", .seed = 6, .spread = true };
	struct member b = { .group = "b", .seed = 6, .spread = true };

	ASSERT_TRUE(start_member(pa, &a));
	ASSERT_TRUE(start_member(pb, &b));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(N, N));
	EXPECT_TRUE(anon_becomes("a", N));
	EXPECT_TRUE(anon_becomes("b", 0));
}

/* Whoever has had a page of its own is charged for what takes its place, in whichever frame. */
static void charge_stays(struct __test_metadata *_metadata, int drawn)
{
	struct peer pa, pb;

	NEEDS_KNOB("fresh_frames", "this provider draws no frames");
	ASSERT_EQ(0, knob_set("fresh_frames", drawn));
	merge_two(_metadata, &pa, &pb);
	EXPECT_EQ(0, ask(&pb, LOOK));
	EXPECT_EQ(0, end_member(&pb));
	EXPECT_TRUE(anon_becomes("a", N));
	EXPECT_EQ(0, ask(&pa, LOOK));
	EXPECT_EQ(0, end_member(&pa));
	EXPECT_TRUE(anon_becomes("a", 0));
}

MEMCG_TEST(charge_stays_with_supplied_frames)
{
	charge_stays(_metadata, 0);
}

MEMCG_TEST(charge_stays_with_drawn_frames)
{
	charge_stays(_metadata, 1);
}

/* The last one that maps a page which is charged to others gets, and is charged for, one of its own. */
MEMCG_TEST(last_mapping_in_another_group)
{
	struct peer pa, pb;

	NEEDS_KNOB("scope", "this provider copies the last mapping, whoever is charged for it");
	merge_two(_metadata, &pa, &pb);
	EXPECT_EQ(0, end_member(&pa));
	ASSERT_TRUE(ksm_settles(N, 0));
	EXPECT_TRUE(anon_becomes("a", N));
	EXPECT_TRUE(anon_becomes("b", 0));
	ASSERT_EQ(0, knob_set("run", 2));
	EXPECT_TRUE(anon_becomes("a", 0));
	EXPECT_TRUE(anon_becomes("b", N));
	EXPECT_EQ(0, ask(&pb, LOOK));
	EXPECT_EQ(0, end_member(&pb));
}

/* What was merged unasked is unmerged before it moves: that can fail, and nothing is lost. */
MEMCG_TEST(unasked_memory_moves_at_the_limit)
{
	struct member a = { .group = "a", .seed = 9, .unasked = true, .unkillable = true };
	struct peer pa;

	NEEDS_KNOB("scope", "this provider has no scope");
	ASSERT_EQ(0, knob_write("scope", "all"));
	ASSERT_TRUE(start_member(&pa, &a));
	ASSERT_EQ(0, knob_set("run", 1));
	while (merging_pages(pa.pid) < N)
		ASSERT_TRUE(ksm_passes(1));
	ASSERT_TRUE(scanner_stop());
	ASSERT_EQ(0, set_limit("a", N / 2));
	EXPECT_EQ(ENOMEM, ask(&pa, MOVE));
	EXPECT_TRUE(within_limit("a", N / 2));
	ASSERT_EQ(0, set_limit("a", 0));
	EXPECT_EQ(0, ask(&pa, MOVE));
	EXPECT_TRUE(anon_becomes("a", N));
	EXPECT_EQ(0, end_member(&pa));
}

/* A frame that is drawn takes the place of one that is freed: no limit is in its way, and nobody dies of it. */
MEMCG_TEST(frames_are_drawn_at_the_limit)
{
	struct member a = { .group = "a", .seed = 7 };
	struct peer pa;

	NEEDS_KNOB("fresh_frames", "this provider draws no frames");
	ASSERT_EQ(0, knob_set("fresh_frames", 1));
	ASSERT_EQ(0, knob_set("max_page_sharing", 2));
	ASSERT_TRUE(start_member(&pa, &a));
	ASSERT_TRUE(anon_becomes("a", N));
	/* To the page. */
	ASSERT_EQ(0, set_limit("a", file_long(cgroup_file("a", "memory.current")) / pagesize));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(N / 2, N / 2));
	EXPECT_EQ(0, group_value("a", "memory.events", "oom_kill"));
	EXPECT_TRUE(anon_becomes("a", N / 2));
	EXPECT_EQ(0, ask(&pa, LOOK));
	EXPECT_EQ(0, end_member(&pa));
	EXPECT_TRUE(anon_becomes("a", 0));
}

/* The parent keeps its pages; the child, which is in the same group, has pairs. */
static int peer_forks(struct peer *p, void *arg)
{
	char *map = map_pages(N);
	pid_t child;
	int i;

	CHECK(map);
	CHECK(cgroup_enter("a"));
	for (i = 0; i < N; i++)
		fill(page_of(map, i), 10 + i / 2);
	child = fork_child();
	if (child == 0) {
		if (madvise(map, N * pagesize, MADV_MERGEABLE))
			_exit(1);
		for (;;)
			pause();
	}
	while (ksm_stat(child, "ksm_mergeable") != 1)
		usleep(1000);
	CHECK(peer_swap(p, (long)map) == 0);
	CHECK(peer_swap(p, child) == 0);
	CHECK(peer_meet(p));
	for (i = 0; i < N; i++)
		CHECK(holds(page_of(map, i), 10 + i / 2));
	CHECK(!kill(child, SIGKILL));
	CHECK(wait_child(child) == 128 + SIGKILL);
	return 0;
}

/*
 * Pages that a fork shares may have to be copied to be merged. The copies are
 * charged; and where there is no room for them, nobody is killed for it.
 */
static void merge_forked(struct __test_metadata *_metadata, bool limited)
{
	/* In-tree KSM merges the parent's pages as well. */
	bool copies = is_rksm();
	char *map, want[32];
	struct peer p;
	pid_t child;
	int i;

	ASSERT_TRUE(peer_start(&p, peer_forks, NULL));
	map = (char *)peer_swap(&p, 0);
	child = peer_swap(&p, 0);
	ASSERT_LT(0, child);
	ASSERT_TRUE(anon_becomes("a", N));
	if (limited) {
		ASSERT_EQ(0, set_limit("a", N + N / 4));
	}
	if (copies) {
		ASSERT_TRUE(trace_on("rksm/rksm_merge_one_page"));
	}
	ASSERT_EQ(0, knob_set("run", 1));
	if (limited) {
		ASSERT_TRUE(ksm_passes(10));
	} else {
		ASSERT_TRUE(ksm_settles(N / 2, N / 2));
	}
	EXPECT_EQ(0, group_value("a", "memory.events", "oom_kill"));
	for (i = 0; i < N; i += 2) {
		uint64_t flags = kflags_of(p.pid, page_of(map, i)) | kflags_of(p.pid, page_of(map, i + 1));

		ASSERT_EQ(copies, !(flags & KPF_KSM_BIT));
	}
	if (!copies) {
		EXPECT_EQ(N / 2, knob("pages_shared"));
		EXPECT_TRUE(anon_becomes("a", N));
	} else if (limited) {
		/* There is room for less than N / 4, as page tables are charged as well. */
		EXPECT_LT(N / 8, knob("pages_shared"));
		EXPECT_GT(N / 4, knob("pages_shared"));
		EXPECT_TRUE(within_limit("a", N + N / 4));
		/* The event says why. */
		snprintf(want, sizeof(want), "error %d ", -ENOMEM);
		EXPECT_LT(0, trace_count("rksm_merge_one_page", want));
		/* Where there is room, the others are merged. */
		ASSERT_EQ(0, set_limit("a", 0));
		ASSERT_TRUE(ksm_settles(N / 2, N / 2));
	}
	if (copies) {
		EXPECT_TRUE(anon_becomes("a", N + N / 2));
	}
	EXPECT_EQ(0, kill(child, 0));
	EXPECT_TRUE(peer_meet(&p));
	EXPECT_EQ(0, peer_end(&p));
	EXPECT_TRUE(anon_becomes("a", 0));
}

MEMCG_TEST(copies_are_charged)
{
	merge_forked(_metadata, false);
}

MEMCG_TEST(no_room_for_copies)
{
	merge_forked(_metadata, true);
}

TEST_HARNESS_MAIN

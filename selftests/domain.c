// SPDX-License-Identifier: GPL-2.0
/* Whose pages are merged with whose: domain=all, user, cgroup and process. */
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>

#include "cgroup.h"
#include "ksm_harness.h"
#include "trace_lib.h"

#define N	8

FIXTURE(domain) {
	struct knob_values before;
};

FIXTURE_SETUP(domain)
{
	NEEDS_KNOB("domain", "this provider has no domains");
	ASSERT_TRUE(knobs_save(&self->before));
	ASSERT_TRUE(unmerge_everything());
	ASSERT_TRUE(knobs_for_test());
	ASSERT_TRUE(cgroups_mount());
}

FIXTURE_TEARDOWN_PARENT(domain)
{
	trace_off();
	EXPECT_TRUE(unmerge_everything());
	EXPECT_TRUE(knobs_restore(&self->before));
	cgroups_remove();
}

#define DOMAIN_TEST(name)	TEST_F_TIMEOUT(domain, name, TEST_SECONDS)

static bool domain_is(const char *shown)
{
	char text[64];

	return knob_text("domain", text, sizeof(text)) > 0 && !strcmp(text, shown);
}

/* Who a process is, and where: 0 and NULL is as the test is. */
struct who {
	uid_t real, effective;
	gid_t group;
	bool own_namespace;
	bool hidden;	/* not dumpable */
	const char *cgroup;
};

#define USER(id)	{ .real = (id), .effective = (id) }

static bool become(const struct who *who)
{
	if (who->cgroup && !cgroup_enter(who->cgroup))
		return false;
	if (who->group && setresgid(who->group, who->group, who->group))
		return false;
	if ((who->real || who->effective) &&
	    setresuid(who->real, who->effective, who->effective))
		return false;
	if (who->own_namespace && unshare(CLONE_NEWUSER))
		return false;
	/* As after the exec() of a program. */
	return prctl(PR_SET_DUMPABLE, !who->hidden) == 0;
}

#define ANYWHERE	((void *)0x2000000000UL)

/* Pages that have the same address in each process that is not a child of another. */
static char *pages_there(uint64_t seed)
{
	char *map = mmap(ANYWHERE, N * pagesize, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	if (map != ANYWHERE)
		return NULL;
	fill_all(map, N, seed);
	return madvise(map, N * pagesize, MADV_MERGEABLE) ? NULL : map;
}

/* Has the same content as the others, and becomes somebody else when it is told so. */
static int peer_who(struct peer *p, void *arg)
{
	const struct who *who = arg;
	char *map;

	CHECK(become(who));
	map = pages_there(1);
	CHECK(map);
	CHECK(peer_meet(p));
	CHECK(peer_meet(p));	/* as far as merging goes it is done */
	CHECK(all_hold(map, N, 1));
	return 0;
}

static uint64_t frame_of(struct peer *p)
{
	return pfn_of(p->pid, ANYWHERE);
}

/* Whoever is not root does not get to know that of himself. */
static bool is_merged(struct peer *p, char *map)
{
	int i, merged = 0;

	for (i = 0; i < N; i++)
		merged += !!(kflags_of(p->pid, page_of(map, i)) & KPF_KSM_BIT);
	return merged == N && merging_pages(p->pid) == N;
}

/* Two of these, with one content, when all is merged that can be: whether they share a page. */
static int share(struct __test_metadata *_metadata, const struct who *a, const struct who *b)
{
	struct peer peers[2];
	int i, shared;

	ASSERT_TRUE(peer_start(&peers[0], peer_who, (void *)a));
	ASSERT_TRUE(peer_start(&peers[1], peer_who, (void *)b));
	for (i = 0; i < 2; i++)
		ASSERT_TRUE(peer_meet(&peers[i]));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_passes(6));
	ASSERT_TRUE(scanner_stop());
	EXPECT_TRUE(is_merged(&peers[0], ANYWHERE));
	EXPECT_TRUE(is_merged(&peers[1], ANYWHERE));
	shared = frame_of(&peers[0]) == frame_of(&peers[1]);
	EXPECT_EQ(shared ? 1 : 2, knob("pages_shared"));
	EXPECT_EQ(2 * N, knob("pages_shared") + knob("pages_sharing"));
	for (i = 0; i < 2; i++) {
		ASSERT_TRUE(peer_meet(&peers[i]));
		EXPECT_EQ(0, peer_end(&peers[i]));
	}
	ASSERT_EQ(0, knob_set("run", 2));
	return shared;
}

DOMAIN_TEST(knob)
{
	static const char * const bad[] = { "\n", "All", "none", "1", "user cgroup", "alll" };
	int i;

	EXPECT_TRUE(domain_is("auto [all] user cgroup process\n"));
	EXPECT_EQ(0, knob_write("domain", "user\n"));
	EXPECT_TRUE(domain_is("auto all [user] cgroup process\n"));
	for (i = 0; i < 6; i++)
		EXPECT_EQ(-EINVAL, knob_write("domain", bad[i]));
	EXPECT_TRUE(domain_is("auto all [user] cgroup process\n"));
	EXPECT_EQ(0, knob_write("domain", "cgroup"));
	EXPECT_TRUE(domain_is("auto all user [cgroup] process\n"));
	EXPECT_EQ(0, knob_write("domain", "process"));
	EXPECT_TRUE(domain_is("auto all user cgroup [process]\n"));
	EXPECT_EQ(0, knob_write("domain", "auto"));
	EXPECT_TRUE(domain_is("[auto] all user cgroup process\n"));
	EXPECT_EQ(0, knob("domain_depth"));
	EXPECT_EQ(0, knob_set("domain_depth", 4294967295));
	EXPECT_EQ(4294967295, knob("domain_depth"));
	EXPECT_EQ(-EINVAL, knob_set("domain_depth", 4294967296));
	EXPECT_EQ(-EINVAL, knob_set("domain_depth", -1));
}

/* Two users have the same page. */
DOMAIN_TEST(goes_by_the_scope)
{
	static const struct who a = USER(1000), b = USER(1001);
	struct peer peers[2];
	int i;

	ASSERT_EQ(0, knob_write("domain", "auto"));
	ASSERT_TRUE(peer_start(&peers[0], peer_who, (void *)&a) && peer_meet(&peers[0]));
	ASSERT_TRUE(peer_start(&peers[1], peer_who, (void *)&b) && peer_meet(&peers[1]));
	ASSERT_EQ(0, knob_set("run", 1));
	EXPECT_TRUE(ksm_settles(1, 2 * N - 1));
	/* Not what it is, but who says so. */
	EXPECT_EQ(0, knob_write("domain", "all"));
	EXPECT_EQ(0, knob_write("domain", "auto"));
	EXPECT_EQ(-EBUSY, knob_write("domain", "user"));
	EXPECT_EQ(0, knob_write("scope", "all"));
	EXPECT_TRUE(ksm_passes(6));
	EXPECT_TRUE(is_merged(&peers[0], ANYWHERE));
	EXPECT_TRUE(is_merged(&peers[1], ANYWHERE));
	EXPECT_NE(frame_of(&peers[0]), frame_of(&peers[1]));
	EXPECT_EQ(0, knob_write("domain", "user"));
	EXPECT_EQ(-EBUSY, knob_write("domain", "all"));
	for (i = 0; i < 2; i++) {
		ASSERT_TRUE(peer_meet(&peers[i]));
		EXPECT_EQ(0, peer_end(&peers[i]));
	}
}

DOMAIN_TEST(is_constant_while_pages_are_merged)
{
	char *map = MERGED_PAGES(N, 1);

	EXPECT_EQ(-EBUSY, knob_write("domain", "user"));
	EXPECT_EQ(-EBUSY, knob_set("domain_depth", 1));
	EXPECT_TRUE(domain_is("auto [all] user cgroup process\n"));
	EXPECT_EQ(0, knob("domain_depth"));
	/* What it is set to, it can be set to. */
	EXPECT_EQ(0, knob_write("domain", "all"));
	EXPECT_EQ(0, knob_set("domain_depth", 0));
	EXPECT_TRUE(all_ksm(map, N));
	ASSERT_TRUE(ksm_passes(2));
	EXPECT_TRUE(all_ksm(map, N));
	ASSERT_EQ(0, knob_set("run", 2));
	EXPECT_EQ(0, knob_write("domain", "user"));
	ASSERT_EQ(0, knob_set("run", 1));
	EXPECT_TRUE(ksm_settles(1, N - 1));
}

DOMAIN_TEST(users)
{
	static const struct who a = USER(1000), b = USER(1001),
		half = { .real = 1000, .effective = 1001 },
		group = { .real = 1000, .effective = 1000, .group = 100 },
		hidden = { .real = 1000, .effective = 1000, .hidden = true },
		space = { .real = 1000, .effective = 1000, .own_namespace = true };

	EXPECT_TRUE(share(_metadata, &a, &b));
	ASSERT_EQ(0, knob_write("domain", "user"));
	EXPECT_FALSE(share(_metadata, &a, &b));
	EXPECT_TRUE(share(_metadata, &a, &a));
	/* Which group it is does not matter. */
	EXPECT_TRUE(share(_metadata, &a, &group));
	/* Whoever is not wholly one user is alone, also with another of that kind. */
	EXPECT_FALSE(share(_metadata, &a, &half));
	EXPECT_FALSE(share(_metadata, &b, &half));
	EXPECT_FALSE(share(_metadata, &half, &half));
	EXPECT_FALSE(share(_metadata, &a, &hidden));
	EXPECT_FALSE(share(_metadata, &hidden, &hidden));
	/* The same user of another namespace is another one, each time. */
	EXPECT_FALSE(share(_metadata, &a, &space));
	EXPECT_FALSE(share(_metadata, &space, &space));
}

DOMAIN_TEST(several_scanners)
{
	static const struct who a = USER(1000), b = USER(1001);

	ASSERT_EQ(0, knob_write("domain", "user"));
	ASSERT_EQ(0, knob_set("scanners", 4));
	EXPECT_FALSE(share(_metadata, &a, &b));
	EXPECT_TRUE(share(_metadata, &a, &a));
}

DOMAIN_TEST(processes)
{
	static const struct who a = USER(1000);

	ASSERT_EQ(0, knob_write("domain", "process"));
	EXPECT_FALSE(share(_metadata, &a, &a));
}

DOMAIN_TEST(cgroups)
{
	static const struct who a = { .cgroup = "a" }, b = { .cgroup = "b" },
		x = { .cgroup = "c/x" }, y = { .cgroup = "c/y" };

	ASSERT_TRUE(cgroup_make("a") && cgroup_make("b") && cgroup_make("c"));
	ASSERT_EQ(0, file_write(cgroup_file("c", "cgroup.subtree_control"), "+memory"));
	ASSERT_TRUE(cgroup_make("c/x") && cgroup_make("c/y"));
	ASSERT_EQ(0, knob_write("domain", "cgroup"));
	EXPECT_FALSE(share(_metadata, &a, &b));
	EXPECT_TRUE(share(_metadata, &a, &a));
	EXPECT_FALSE(share(_metadata, &x, &y));
	ASSERT_EQ(0, knob_set("domain_depth", 1));
	EXPECT_TRUE(share(_metadata, &x, &y));
	EXPECT_FALSE(share(_metadata, &a, &x));
	ASSERT_EQ(0, knob_set("domain_depth", 2));
	EXPECT_FALSE(share(_metadata, &x, &y));
	/* Where it lies no deeper, it is the cgroup itself. */
	EXPECT_TRUE(share(_metadata, &a, &a));
	EXPECT_FALSE(share(_metadata, &a, &b));
}

/* Their content is no secret. */
static int peer_zeroes(struct peer *p, void *arg)
{
	char *map;

	CHECK(become(arg));
	map = pages_there(1);
	CHECK(map);
	memset(map, 0, N * pagesize);
	CHECK(peer_meet(p));
	CHECK(peer_meet(p));
	CHECK(is_zero(map));
	return 0;
}

DOMAIN_TEST(zero_pages_are_everybodys)
{
	static const struct who a = USER(1000), b = USER(1001);
	struct peer peers[2];
	int i;

	ASSERT_EQ(0, knob_write("domain", "user"));
	ASSERT_EQ(0, knob_set("use_zero_pages", 1));
	ASSERT_TRUE(peer_start(&peers[0], peer_zeroes, (void *)&a));
	ASSERT_TRUE(peer_start(&peers[1], peer_zeroes, (void *)&b));
	ASSERT_TRUE(peer_meet(&peers[0]) && peer_meet(&peers[1]));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(counter_reaches("ksm_zero_pages", 2 * N));
	EXPECT_EQ(frame_of(&peers[0]), frame_of(&peers[1]));
	for (i = 0; i < 2; i++) {
		ASSERT_TRUE(peer_meet(&peers[i]));
		EXPECT_EQ(0, peer_end(&peers[i]));
	}
}

struct moving {
	struct who from, to;
};

static int peer_moves(struct peer *p, void *arg)
{
	const struct moving *moving = arg;
	char *map;

	CHECK(become(&moving->from));
	map = pages_there(1);
	CHECK(map);
	CHECK(peer_meet(p));
	CHECK(peer_meet(p));	/* merged with the other's */
	CHECK(become(&moving->to));
	CHECK(peer_meet(p));
	CHECK(peer_meet(p));	/* merged in the other domain */
	CHECK(all_hold(map, N, 1));
	return 0;
}

/* Whether an event is one of giving back, and whether one of merging came before. */
struct order {
	bool merged, wrong;
	int given_back;
};

static bool in_order(const char *line, void *arg)
{
	struct order *order = arg;

	if (strstr(line, "rksm_unmerge:")) {
		order->given_back += trace_field(line, "found");
		order->wrong |= order->merged;
	} else if (strstr(line, "error 0")) {
		order->merged = true;
	}
	return false;
}

/* Two of one domain that share a page; one goes to another domain, and to the one of a third. */
static void moves(struct __test_metadata *_metadata, const struct moving *moving)
{
	struct peer stays, goes, there;
	struct order order = {};
	char mm[64];

	ASSERT_TRUE(peer_start(&stays, peer_who, (void *)&moving->from));
	ASSERT_TRUE(peer_start(&there, peer_who, (void *)&moving->to));
	ASSERT_TRUE(trace_on("rksm/rksm_enter"));
	ASSERT_TRUE(peer_start(&goes, peer_moves, (void *)moving));
	ASSERT_TRUE(peer_meet(&stays) && peer_meet(&goes) && peer_meet(&there));
	ASSERT_TRUE(trace_mm(goes.pid, mm, sizeof(mm)));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(2, 3 * N - 2));
	ASSERT_TRUE(scanner_stop());
	EXPECT_EQ(frame_of(&stays), frame_of(&goes));
	EXPECT_NE(frame_of(&stays), frame_of(&there));

	ASSERT_TRUE(peer_meet(&goes));
	ASSERT_TRUE(peer_meet(&goes));
	/* Until the scanner comes by it has what it had. */
	EXPECT_EQ(frame_of(&stays), frame_of(&goes));
	ASSERT_TRUE(trace_on("rksm/rksm_unmerge"));
	ASSERT_TRUE(trace_on("rksm/rksm_merge_one_page"));
	ASSERT_TRUE(trace_on("rksm/rksm_merge_with_ksm_page"));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(2, 3 * N - 2));
	EXPECT_NE(frame_of(&stays), frame_of(&goes));
	EXPECT_EQ(frame_of(&there), frame_of(&goes));
	EXPECT_TRUE(is_merged(&goes, ANYWHERE));
	EXPECT_FALSE(trace_each(NULL, mm, in_order, &order));
	EXPECT_EQ(N, order.given_back);
	EXPECT_TRUE(order.merged);
	EXPECT_FALSE(order.wrong);
	ASSERT_TRUE(peer_meet(&goes) && peer_meet(&stays) && peer_meet(&there));
	EXPECT_EQ(0, peer_end(&goes));
	EXPECT_EQ(0, peer_end(&stays));
	EXPECT_EQ(0, peer_end(&there));
}

DOMAIN_TEST(setuid)
{
	static const struct moving moving = { {}, USER(1000) };

	ASSERT_EQ(0, knob_write("domain", "user"));
	moves(_metadata, &moving);
}

DOMAIN_TEST(move_to_a_cgroup)
{
	static const struct moving moving = { { .cgroup = "a" }, { .cgroup = "b" } };

	ASSERT_TRUE(cgroup_make("a") && cgroup_make("b"));
	ASSERT_EQ(0, knob_write("domain", "cgroup"));
	moves(_metadata, &moving);
}

/* A child maps what its parent has merged. */
static int peer_child(struct peer *p, void *arg)
{
	char *map = arg;

	CHECK(peer_meet(p));
	CHECK(peer_meet(p));	/* the scanner has come by */
	CHECK(all_hold(map, N, 1));
	return 0;
}

static int peer_child_of_user(struct peer *p, void *arg)
{
	static const struct who user = USER(1000);

	CHECK(become(&user));
	return peer_child(p, arg);
}

static int forks(struct __test_metadata *_metadata, const char *domain,
		 int (*child)(struct peer *, void *), long *given_back)
{
	struct peer p;
	char *map;
	int shared;

	ASSERT_EQ(0, knob_write("domain", domain));
	map = MERGED_PAGES(N, 1);
	ASSERT_TRUE(scanner_stop());
	ASSERT_TRUE(trace_on("rksm/rksm_unmerge"));
	ASSERT_TRUE(peer_start(&p, child, map));
	ASSERT_TRUE(peer_meet(&p));
	ASSERT_EQ(pfn_of(0, map), pfn_of(p.pid, map));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_passes(6));
	ASSERT_TRUE(scanner_stop());
	*given_back = trace_sum("rksm_unmerge", NULL, "found");
	shared = pfn_of(0, map) == pfn_of(p.pid, map);
	EXPECT_TRUE(is_merged(&p, map));
	ASSERT_TRUE(peer_meet(&p));
	EXPECT_EQ(0, peer_end(&p));
	EXPECT_TRUE(all_ksm(map, N) && all_hold(map, N, 1));
	return shared;
}

DOMAIN_TEST(fork_into_the_same)
{
	long given_back;

	EXPECT_TRUE(forks(_metadata, "user", peer_child, &given_back));
	EXPECT_EQ(0, given_back);
}

DOMAIN_TEST(fork_of_a_process)
{
	long given_back;

	EXPECT_FALSE(forks(_metadata, "process", peer_child, &given_back));
	EXPECT_EQ(N, given_back);
}

DOMAIN_TEST(fork_into_another)
{
	long given_back;

	EXPECT_FALSE(forks(_metadata, "user", peer_child_of_user, &given_back));
	EXPECT_EQ(N, given_back);
}

static int peer_forks(struct peer *p, void *arg)
{
	static const struct who who = { .cgroup = "a" };
	char *map;
	int i;

	CHECK(become(&who));
	map = pages_there(1);
	CHECK(map);
	CHECK(peer_meet(p));
	CHECK(peer_meet(p));	/* they are merged */
	for (i = rounds(400); i > 0; i--) {
		pid_t child = fork_child();

		if (child == 0)
			_exit(0);
		CHECK(wait_child(child) == 0);
	}
	CHECK(peer_meet(p));
	return 0;
}

/* A child is of the root cgroup until fork has put it where it belongs. */
DOMAIN_TEST(forks_in_a_cgroup)
{
	struct peer p;

	ASSERT_TRUE(cgroup_make("a"));
	ASSERT_EQ(0, knob_write("domain", "cgroup"));
	ASSERT_TRUE(peer_start(&p, peer_forks, NULL));
	ASSERT_TRUE(peer_meet(&p));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, N - 1));
	ASSERT_TRUE(trace_on("rksm/rksm_unmerge"));
	ASSERT_TRUE(peer_meet(&p) && peer_meet(&p));
	EXPECT_EQ(0, trace_sum("rksm_unmerge", NULL, "found"));
	EXPECT_EQ(0, peer_end(&p));
}

/* Much of it: in many steps, of which none takes long. */
#define MANY	4096

static bool is_short(const char *line, void *arg)
{
	*(long *)arg += trace_field(line, "units");
	return trace_field(line, "units") > 200;
}

static int peer_of_many(struct peer *p, void *arg)
{
	static const struct who user = USER(1000);
	char *map = arg;

	CHECK(become(&user));
	CHECK(peer_meet(p));
	CHECK(peer_meet(p));
	CHECK(all_hold(map, MANY, 1));
	return 0;
}

DOMAIN_TEST(in_steps_that_are_charged)
{
	long units = 0;
	struct peer p;
	char *map;

	ASSERT_EQ(0, knob_write("domain", "user"));
	ASSERT_EQ(0, knob_set("max_page_sharing", 2 * MANY));
	map = MERGED_PAGES(MANY, 1);
	ASSERT_TRUE(ksm_step());
	ASSERT_TRUE(peer_start(&p, peer_of_many, map));
	ASSERT_TRUE(peer_meet(&p));
	ASSERT_TRUE(trace_on("rksm/rksm_unmerge"));
	ASSERT_TRUE(trace_on("rksm/rksm_step"));
	ASSERT_TRUE(ksm_step());
	EXPECT_EQ(MANY, trace_sum("rksm_unmerge", NULL, "found"));
	EXPECT_LE(MANY / 64, trace_count("rksm_unmerge", NULL));
	EXPECT_FALSE(trace_each("rksm_step", NULL, is_short, &units));
	/* Scanned in the parent; given back, and scanned, in the child. */
	EXPECT_LE(3 * MANY, units);
	EXPECT_GE(3 * MANY + MANY / 2, units);
	/* Some of the copies were on their way to the LRU. */
	ASSERT_TRUE(ksm_step() && ksm_step());
	EXPECT_EQ(2, knob("pages_shared"));
	EXPECT_EQ(2 * MANY - 2, knob("pages_sharing"));
	ASSERT_TRUE(peer_meet(&p));
	EXPECT_EQ(0, peer_end(&p));
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * A futex in a page that is merged: who waits and who wakes meet by the file, however they
 * map it, and never by what files have in common.
 */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>

#include "shared_fixture.h"
#include "shared_maps.h"

#define N	4
/* The word, in the second page. */
#define AT	(4096 + 512)

static long futex(void *word, int op, unsigned int value)
{
	return syscall(SYS_futex, word, op, value, NULL, NULL, 0);
}

struct place {
	struct pair p;
	int k;		/* which of the files */
	int prot;
	int flags;
	bool look;	/* so that it is mapped when he waits */
};

/* Waits once, for a word that is as it was in the file. */
static int peer_waits(struct peer *peer, void *arg)
{
	struct place *w = arg;
	char *map = mmap(NULL, N * pagesize, w->prot, w->flags, w->p.fd[w->k], 0);
	unsigned int value;

	CHECK(map != MAP_FAILED);
	memcpy(&value, w->p.model[w->k] + AT, sizeof(value));
	CHECK(peer_meet(peer));
	if (w->look)
		look_at(map, N);
	CHECK(peer_meet(peer));
	/* Woken, and not because of another value. */
	CHECK(futex(map + AT, FUTEX_WAIT, value) == 0);
	return 0;
}

static bool sleeps(pid_t pid)
{
	int tries;

	for (tries = 0; tries < 20000 && state_of(pid) != 'S'; tries++)
		usleep(1000);
	return tries < 20000;
}

/* Within some time he is found; it is no matter of time for who is not. */
static int wake_one(char *map)
{
	int tries, woken = 0;

	for (tries = 0; tries < 1000 && !woken; tries++) {
		woken = futex(map + AT, FUTEX_WAKE, 1);
		if (!woken)
			usleep(1000);
	}
	return woken;
}

/* How he waits, and when the page was merged. */
static const struct {
	const char *name;
	int prot, flags;
	bool look, during;
} ways[] = {
	{ "writable", PROT_READ | PROT_WRITE, MAP_SHARED, false, false },
	{ "writable, looked at", PROT_READ | PROT_WRITE, MAP_SHARED, true, false },
	{ "writable, merged while he waits", PROT_READ | PROT_WRITE, MAP_SHARED, false, true },
	{ "read-only", PROT_READ, MAP_SHARED, false, false },
	{ "read-only, looked at", PROT_READ, MAP_SHARED, true, false },
	{ "read-only, merged while he waits", PROT_READ, MAP_SHARED, false, true },
	{ "read-only, looked at, merged while he waits", PROT_READ, MAP_SHARED, true, true },
	/* As long as it is not written it is the file's, too. */
	{ "private, read-only", PROT_READ, MAP_PRIVATE, false, false },
	{ "private, read-only, looked at", PROT_READ, MAP_PRIVATE, true, false },
	{ "private, read-only, looked at, merged while he waits", PROT_READ, MAP_PRIVATE, true, true },
};

/* Each by one who writes, and one who only reads; nobody is woken by the other file. */
SHARED_TEST(waiter_is_found)
{
	int i, k;

	for (i = 0; i < 2 * sizeof(ways) / sizeof(*ways); i++) {
		bool waker_reads = i % 2;
		struct place w = {
			.k = i / 2 % 2,
			.prot = ways[i / 2].prot,
			.flags = ways[i / 2].flags,
			.look = ways[i / 2].look,
		};
		struct peer peer;
		char *map[2];

		ASSERT_TRUE(pair_make(&w.p, self->dir, N, 1));
		if (!ways[i / 2].during)
			ASSERT_TRUE(pair_merge(&w.p));
		for (k = 0; k < 2; k++) {
			map[k] = mmap(NULL, N * pagesize, PROT_READ | (waker_reads ? 0 : PROT_WRITE),
				      MAP_SHARED, w.p.fd[k], 0);
			ASSERT_NE(MAP_FAILED, map[k]);
			look_at(map[k], N);
		}
		ASSERT_TRUE(peer_start(&peer, peer_waits, &w));
		ASSERT_TRUE(peer_meet(&peer));
		ASSERT_TRUE(peer_meet(&peer));
		ASSERT_TRUE(sleeps(peer.pid));
		if (ways[i / 2].during) {
			ASSERT_TRUE(pair_merge(&w.p));
			look_at(map[0], N);
			look_at(map[1], N);
		}
		EXPECT_EQ(0, futex(map[!w.k] + AT, FUTEX_WAKE, 100)) {
			TH_LOG("%s: by the other file", ways[i / 2].name);
		}
		EXPECT_EQ(1, wake_one(map[w.k])) {
			TH_LOG("%s, waker %s", ways[i / 2].name, waker_reads ? "reads" : "writes");
			kill_all(&peer.pid, 1);
		}
		peer_end(&peer);
		for (k = 0; k < 2; k++)
			munmap(map[k], N * pagesize);
		pair_free(&w.p);
		ASSERT_TRUE(shared_becomes(0, 0));
	}
}

/* A lock that two processes take in turns, in a page that is merged all the time. */
#define TURNS	2000

static void take(unsigned int *lock)
{
	unsigned int none = 0;

	if (__atomic_compare_exchange_n(lock, &none, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		return;
	while (__atomic_exchange_n(lock, 2, __ATOMIC_ACQUIRE))
		futex(lock, FUTEX_WAIT, 2);
}

static void give(unsigned int *lock)
{
	if (__atomic_exchange_n(lock, 0, __ATOMIC_RELEASE) == 2)
		futex(lock, FUTEX_WAKE, 1);
}

static int peer_locks(struct peer *peer, void *arg)
{
	struct pair *p = arg;
	char *map = map_file(p->fd[0], N, MAP_SHARED);
	unsigned int *lock = (void *)(map + AT);
	volatile long *count = (void *)(map + 2 * pagesize);
	int left = rounds(TURNS);

	CHECK(map);
	CHECK(peer_meet(peer));
	while (left--) {
		take(lock);
		++*count;
		if (left % 16 == 0)
			usleep(100);
		give(lock);
	}
	return 0;
}

SHARED_TEST(lock_in_a_merged_page)
{
	struct peer peers[2];
	char *page = malloc(pagesize);
	long none = 0, merged = 0, count;
	struct pair p;
	siginfo_t info = {};
	int k;

	ASSERT_TRUE(pair_make(&p, self->dir, N, 1));
	ASSERT_EQ(4, pwrite(p.fd[0], &none, 4, AT));
	ASSERT_EQ(sizeof(none), pwrite(p.fd[0], &none, sizeof(none), 2 * pagesize));
	for (k = 0; k < 2; k++)
		ASSERT_TRUE(peer_start(&peers[k], peer_locks, &p));
	for (k = 0; k < 2; k++)
		ASSERT_TRUE(peer_meet(&peers[k]));
	while (!waitid(P_PID, peers[0].pid, &info, WEXITED | WNOHANG | WNOWAIT) && !info.si_pid) {
		for (k = 1; k < 3; k++) {
			ASSERT_EQ(pagesize, pread(p.fd[0], page, pagesize, k * pagesize));
			ASSERT_EQ(pagesize, pwrite(p.fd[1], page, pagesize, k * pagesize));
			merged += dedupe(p.fd[0], k * pagesize, p.fd[1], k * pagesize, pagesize) == 0;
		}
		sched_yield();
	}
	for (k = 0; k < 2; k++)
		EXPECT_EQ(0, peer_end(&peers[k]));
	EXPECT_LT(0, merged);
	ASSERT_EQ(sizeof(count), pread(p.fd[0], &count, sizeof(count), 2 * pagesize));
	EXPECT_EQ(2 * rounds(TURNS), count);
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * Files that are written, cut and have holes punched while they are merged. Each file
 * has one owner, who knows every byte of it; a third thread merges them all the time.
 */
#define _GNU_SOURCE
#include <linux/falloc.h>
#include <pthread.h>
#include <stdatomic.h>

#include "shared_fixture.h"

#define N	16

struct race {
	int fd[2];
	size_t pages;
	atomic_bool stop;
	atomic_long merged;
};

/* What a page of either file has, but for its last word. */
static void fill_race(char *page, size_t i)
{
	fill(page, 1000 + i);
	memset(page + pagesize - 8, 0, 8);
}

static void *merger(void *arg)
{
	struct race *r = arg;
	unsigned int seed = 1;

	while (!r->stop) {
		size_t i = rand_r(&seed) % r->pages, n = 1 + rand_r(&seed) % (r->pages - i);
		int k = rand_r(&seed) % 2;

		if (dedupe(r->fd[k], i * pagesize, r->fd[!k], i * pagesize, n * pagesize) == 0)
			r->merged++;
		/* On one CPU the others get a turn by this. */
		sched_yield();
	}
	return NULL;
}

struct owner {
	struct race *race;
	int fd;
	unsigned int seed;
	char *map, *model;
	long wrong;
};

static bool is_right(struct owner *o, size_t at, size_t len, bool mapped)
{
	char have[len];

	if (mapped)
		memcpy(have, o->map + at, len);
	else if (pread(o->fd, have, len, at) != len)
		return false;
	return same_bytes(mapped ? "map" : "file", have, o->model + at, len);
}

/* One thing that an owner does to a page; the content stays such that it can merge now and then. */
static bool change(struct owner *o)
{
	size_t i = rand_r(&o->seed) % N, at = i * pagesize, last = at + pagesize - 8;
	int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	uint64_t word = rand_r(&o->seed) % 2;

	switch (rand_r(&o->seed) % 12) {
	case 0 ... 3:
		*(volatile uint64_t *)(o->map + last) = word;
		memcpy(o->model + last, &word, 8);
		return is_right(o, last, 8, rand_r(&o->seed) % 2);
	case 4 ... 5:
		memcpy(o->model + last, &word, 8);
		return pwrite(o->fd, &word, 8, last) == 8 && is_right(o, last, 8, rand_r(&o->seed) % 2);
	case 6:
		memset(o->model + at, 0, pagesize);
		if (fallocate(o->fd, mode, at, pagesize) || !is_right(o, at, pagesize, true))
			return false;
		break;
	case 7:
		memset(o->model + at + 100, 0, 200);
		if (fallocate(o->fd, mode, at + 100, 200) || !is_right(o, at, pagesize, false))
			return false;
		break;
	case 8:
		if (ftruncate(o->fd, at + 123) || ftruncate(o->fd, N * pagesize))
			return false;
		memset(o->model + at + 123, 0, (N - i) * pagesize - 123);
		if (!is_right(o, at, pagesize, rand_r(&o->seed) % 2))
			return false;
		for (; i < N; i++) {
			fill_race(o->model + i * pagesize, i);
			if (pwrite(o->fd, o->model + i * pagesize, pagesize, i * pagesize) != pagesize)
				return false;
		}
		return true;
	case 9:
		return is_right(o, at, pagesize, true);
	default:
		return is_right(o, at + 8, pagesize - 16, false);
	}
	fill_race(o->model + at, i);
	if (rand_r(&o->seed) % 2)
		return pwrite(o->fd, o->model + at, pagesize, at) == pagesize;
	memcpy(o->map + at, o->model + at, pagesize);
	return true;
}

static void *owner(void *arg)
{
	struct owner *o = arg;
	long turn;

	for (turn = 1; goes_on(turn, 20000, o->race->merged >= 10) && !o->wrong; turn++) {
		if (!change(o))
			o->wrong++;
		if (rand_r(&o->seed) % 8 == 0)
			sched_yield();
	}
	return NULL;
}

static bool owner_start(struct owner *o, struct race *r, int k, const char *dir)
{
	size_t i;

	r->fd[k] = shared_file(dir);
	*o = (struct owner){ .race = r, .fd = r->fd[k], .seed = 7 + k };
	o->model = malloc(N * pagesize);
	for (i = 0; i < N; i++)
		fill_race(o->model + i * pagesize, i);
	if (o->fd < 0 || pwrite(o->fd, o->model, N * pagesize, 0) != N * pagesize)
		return false;
	o->map = map_file(o->fd, N, MAP_SHARED);
	return o->map;
}

SHARED_TEST(changed_while_merged)
{
	pthread_t threads[3];
	struct owner owners[2];
	struct race r = { .pages = N };
	int k;

	for (k = 0; k < 2; k++)
		ASSERT_TRUE(owner_start(&owners[k], &r, k, self->dir));
	ASSERT_EQ(0, pthread_create(&threads[2], NULL, merger, &r));
	for (k = 0; k < 2; k++)
		ASSERT_EQ(0, pthread_create(&threads[k], NULL, owner, &owners[k]));
	for (k = 0; k < 2; k++)
		pthread_join(threads[k], NULL);
	r.stop = true;
	pthread_join(threads[2], NULL);
	EXPECT_LE(10, (long)r.merged);
	EXPECT_TRUE(shared_adds_up());
	for (k = 0; k < 2; k++) {
		EXPECT_EQ(0, owners[k].wrong);
		EXPECT_TRUE(file_holds(r.fd[k], owners[k].model, N * pagesize));
		munmap(owners[k].map, N * pagesize);
		close(r.fd[k]);
	}
	EXPECT_TRUE(shared_becomes(0, 0));
}

/*
 * Mapped so often that it takes a while until nobody maps it any more, and written at some
 * time by the one who has been forgotten up to then.
 */
#define MAPS	32

SHARED_TEST(written_while_unmapped)
{
	struct race r = { .pages = 1 };
	long turn;
	int k;
	pthread_t thread;
	unsigned int seed = 5;
	char *maps[MAPS];
	uint64_t word;

	for (k = 0; k < 2; k++) {
		r.fd[k] = shared_file(self->dir);
		ASSERT_LE(0, r.fd[k]);
		ASSERT_TRUE(shared_fill(r.fd[k], 1, 1));
	}
	for (k = 0; k < MAPS; k++) {
		maps[k] = map_file(r.fd[0], 1, MAP_SHARED);
		ASSERT_NE(NULL, maps[k]);
	}
	word = *(uint64_t *)maps[0];
	ASSERT_EQ(0, pthread_create(&thread, NULL, merger, &r));
	for (turn = 1; goes_on(turn, 1000, r.merged >= 10); turn++) {
		uint64_t other = word + turn, have;

		for (k = 0; k < MAPS; k++)
			ASSERT_EQ(word, *(volatile uint64_t *)maps[k]);
		usleep(rand_r(&seed) % 1000);
		*(volatile uint64_t *)maps[rand_r(&seed) % MAPS] = other;
		ASSERT_EQ(sizeof(have), pread(r.fd[0], &have, sizeof(have), 0));
		ASSERT_EQ(other, have);
		/* As it was, so that it can merge. */
		*(volatile uint64_t *)maps[rand_r(&seed) % MAPS] = word;
	}
	r.stop = true;
	pthread_join(thread, NULL);
	EXPECT_LE(10, (long)r.merged);
}

/* Two that see each other by one file: what the one has written the other one reads, wherever that is. */
static int peer_reads(struct peer *peer, void *arg)
{
	int *fds = arg;
	char *map = map_file(fds[0], N, MAP_SHARED);
	long value;

	CHECK(map);
	while ((value = peer_swap(peer, 0)) > 0)
		CHECK(*(volatile long *)(map + value % N * pagesize) == value);
	CHECK(value == 0);
	return 0;
}

SHARED_TEST(two_processes_one_file)
{
	struct race r = { .pages = N };
	struct peer peer;
	pthread_t thread;
	struct pair p;
	long value;
	char *map;

	ASSERT_TRUE(pair_make(&p, self->dir, N, 1));
	memcpy(r.fd, p.fd, sizeof(r.fd));
	ASSERT_TRUE(peer_start(&peer, peer_reads, p.fd));
	map = map_file(p.fd[0], N, MAP_SHARED);
	ASSERT_NE(NULL, map);
	ASSERT_EQ(0, pthread_create(&thread, NULL, merger, &r));
	for (value = 1; goes_on(value, 3000, r.merged >= 10); value++) {
		size_t at = value % N * pagesize;

		/* The other file gets the same, so that it can merge. */
		*(volatile long *)(map + at) = value;
		ASSERT_EQ(sizeof(value), pwrite(p.fd[1], &value, sizeof(value), at));
		ASSERT_EQ(0, peer_swap(&peer, value));
	}
	ASSERT_EQ(0, peer_swap(&peer, 0));
	EXPECT_EQ(0, peer_end(&peer));
	r.stop = true;
	pthread_join(thread, NULL);
	EXPECT_LE(10, (long)r.merged);
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * The first merge of a file finds all its mappings, also those that are made, forked, split
 * and moved at that time: none of them may be written to what two files have in common.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "shared_fixture.h"
#include "shared_maps.h"
#include "stuck_lib.h"

#define N	4
#define CREW	3
#define MAPS	6

/* What a crew and the test tell each other, in memory that they share. */
struct turn {
	atomic_int ready, go, merged;
};

/* One mapping of all pages, whatever has been done with it. */
static char *make_map(int fd, unsigned int *seed)
{
	size_t len = N * pagesize;
	char *map, *at;

	switch (rand_r(seed) % 5) {
	case 0:
		return map_file(fd, N, MAP_SHARED);
	case 1:
		map = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);
		look_at(map, N);
		return mprotect(map, len, PROT_READ | PROT_WRITE) ? NULL : map;
	case 2:
		map = map_file(fd, N, MAP_SHARED);
		if (!map || munmap(map + pagesize, 2 * pagesize))
			return NULL;
		sched_yield();
		at = mmap(map + pagesize, 2 * pagesize, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_FIXED, fd, pagesize);
		return at == map + pagesize ? map : NULL;
	case 3:
		map = map_file(fd, N, MAP_SHARED);
		if (!map || mprotect(map + pagesize, pagesize, PROT_READ))
			return NULL;
		sched_yield();
		return mprotect(map + pagesize, pagesize, PROT_READ | PROT_WRITE) ? NULL : map;
	default:
		map = map_file(fd, N, MAP_SHARED);
		at = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (!map || at == MAP_FAILED)
			return NULL;
		map = mremap(map, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, at);
		return map == MAP_FAILED ? NULL : map;
	}
}

/* Read first: that is what maps the common page. */
static void write_all(char *map)
{
	int i;

	look_at(map, N);
	for (i = 0; i < N; i++)
		++*(volatile uint64_t *)(map + i * pagesize + 8);
}

/* Makes mappings until they are merged, forks meanwhile, and writes to all of it. */
static int crew_maps(struct turn *t, int fd, unsigned int seed)
{
	char *maps[MAPS] = {};
	pid_t pid = -1;
	int k;

	t->ready++;
	while (!t->go)
		sched_yield();
	while (!t->merged) {
		k = rand_r(&seed) % MAPS;
		if (maps[k])
			CHECK(!munmap(maps[k], N * pagesize));
		maps[k] = make_map(fd, &seed);
		CHECK(maps[k]);
		look_at(maps[k], N);
		if (rand_r(&seed) % 4 == 0 && pid < 0)
			pid = fork();
		if (pid == 0)
			break;
		sched_yield();
	}
	/* A child is here before. */
	while (!t->merged)
		sched_yield();
	for (k = 0; k < MAPS; k++)
		if (maps[k])
			write_all(maps[k]);
	if (pid == 0)
		_exit(0);
	CHECK(pid < 0 || wait_child(pid) == 0);
	return 0;
}

static void one_turn(struct __test_metadata *_metadata, const char *dir, unsigned int seed)
{
	struct turn *t = mmap(NULL, pagesize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pids[CREW];
	struct pair p;
	int i, err = 0;
	char *other;

	ASSERT_NE(MAP_FAILED, t);
	ASSERT_TRUE(pair_make(&p, dir, N, seed));
	other = map_file(p.fd[1], N, MAP_SHARED);
	ASSERT_NE(NULL, other);
	for (i = 0; i < CREW; i++) {
		pids[i] = fork_child();
		if (pids[i] == 0)
			_exit(crew_maps(t, p.fd[0], seed * CREW + i));
		ASSERT_LT(0, pids[i]);
	}
	while (t->ready < CREW)
		sched_yield();
	t->go = 1;
	usleep(seed * 37 % 500);
	/* Those who map it may be in the way for a while, or one of its pages in use. */
	for (i = 0; i < 10000 && (err = dedupe_pages(p.fd[0], p.fd[1], N)); i++)
		usleep(rand() % 100);
	EXPECT_EQ(0, err);
	look_at(other, N);
	t->merged = 1;
	for (i = 0; i < CREW; i++)
		EXPECT_EQ(0, wait_child(pids[i]));
	EXPECT_TRUE(same_bytes("the other file", other, p.model[1], N * pagesize));
	EXPECT_TRUE(file_holds(p.fd[1], p.model[1], N * pagesize));
	munmap(other, N * pagesize);
	munmap(t, pagesize);
	pair_free(&p);
}

SHARED_TEST(mapped_beside_the_first_merge)
{
	int left = rounds(60);

	while (left-- && __test_passed(_metadata))
		one_turn(_metadata, self->dir, 1 + left);
	EXPECT_TRUE(shared_becomes(0, 0));
}

/* Takes the lock of the address space all the time, for the one who merges to find it taken. */
static void *map_and_unmap(void *arg)
{
	atomic_bool *stop = arg;

	while (!*stop) {
		char *map = map_pages(1);

		*map = 1;
		munmap(map, pagesize);
		sched_yield();
	}
	return NULL;
}

/*
 * Mappings from before and after the first merge become one, which has one protection; the
 * page is moved, and mapped anew by that.
 */
SHARED_TEST(old_and_new_mapping_joined)
{
	int left = rounds(20), err, tries;

	while (left-- && __test_passed(_metadata)) {
		size_t len = N * pagesize;
		char *room = mmap(NULL, 2 * len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		char *map, *later, *other;
		atomic_bool stop = false;
		pthread_t thread;
		struct pair p;

		ASSERT_NE(MAP_FAILED, room);
		ASSERT_TRUE(pair_make(&p, self->dir, 2 * N, 1 + left));
		map = mmap(room, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, p.fd[0], 0);
		ASSERT_EQ(room, map);
		ASSERT_EQ(0, pthread_create(&thread, NULL, map_and_unmap, &stop));
		for (tries = 0; tries < 10000; tries++) {
			err = dedupe_pages(p.fd[0], p.fd[1], 2 * N);
			if (err != -EBUSY)
				break;
		}
		ASSERT_EQ(0, err);
		later = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, p.fd[0], len);
		ASSERT_NE(MAP_FAILED, later);
		look_at(later, N);
		ASSERT_EQ(room + len, mremap(later, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, room + len));
		stop = true;
		pthread_join(thread, NULL);
		look_at(map, 2 * N);
		other = map_file(p.fd[1], 2 * N, MAP_SHARED);
		ASSERT_NE(NULL, other);
		look_at(other, 2 * N);
		ASSERT_EQ(0, file_write("/proc/sys/vm/compact_memory", "1"));
		write_all(map);
		write_all(map + len);
		EXPECT_TRUE(same_bytes("the other file", other, p.model[1], 2 * len));
		EXPECT_TRUE(file_holds(p.fd[1], p.model[1], 2 * len));
		munmap(room, 2 * len);
		munmap(other, 2 * len);
		pair_free(&p);
	}
	EXPECT_TRUE(shared_becomes(0, 0));
}

static bool maps_it(void *arg)
{
	struct pair *p = arg;
	char *map = map_file(p->fd[0], N, MAP_SHARED);

	if (map)
		look_at(map, N);
	return map;
}

/* A process keeps the lock that its mappings need: he who merges is told, and waits for nobody. */
SHARED_TEST(lock_is_kept)
{
	struct stuck s;
	struct pair p;

	NEEDS_STUCK();
	ASSERT_TRUE(pair_make(&p, self->dir, N, 1));
	ASSERT_TRUE(stuck_start(&s, maps_it, &p));
	ASSERT_TRUE(stuck_hold(&s));
	EXPECT_EQ(-EBUSY, dedupe_pages(p.fd[0], p.fd[1], N));
	EXPECT_EQ(-EBUSY, dedupe_pages(p.fd[1], p.fd[0], N));
	EXPECT_TRUE(shared_becomes(0, 0));
	ASSERT_TRUE(stuck_release(&s));
	EXPECT_EQ(0, dedupe_pages(p.fd[0], p.fd[1], N));
	/* Once is enough. */
	ASSERT_TRUE(stuck_hold(&s));
	EXPECT_TRUE(take_back(p.fd[1], 0, 1));
	EXPECT_EQ(0, dedupe_pages(p.fd[0], p.fd[1], 1));
	ASSERT_TRUE(stuck_release(&s));
	EXPECT_TRUE(shared_becomes(N, 2 * N));
	EXPECT_TRUE(stuck_end(&s));
	EXPECT_TRUE(pair_holds(&p));
	pair_free(&p);
}

TEST_HARNESS_MAIN

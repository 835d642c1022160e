// SPDX-License-Identifier: GPL-2.0
/*
 * What is merged, and mapped from the common page by several processes, is written: all
 * who map that file see it at once, and nobody who maps the other one.
 */
#define _GNU_SOURCE
#include <linux/falloc.h>
#include <sys/uio.h>

#include "shared_fixture.h"
#include "shared_maps.h"

#define N	8
#define PEERS	3

/* Odd, and over two borders of pages. */
#define AT	(2 * 4096 + 100)
#define LENGTH	(4096 + 4096 + 77)
#define TOUCHED	3

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE	23
#endif

/* Both files, mapped here, and the first one in other processes, too. */
struct scene {
	struct pair p;
	char *map[2], *private;
	struct peer peers[PEERS];
	char *there[PEERS];
};

/* What a peer is to do; the low byte is the content. */
#define SEE	0x100
#define STORE	0x200
#define END	0x300

static int peer_maps(struct peer *peer, void *arg)
{
	struct scene *s = arg;
	size_t len = N * pagesize;
	char *map = map_file(s->p.fd[0], N, MAP_SHARED);
	char *other = map_file(s->p.fd[1], N, MAP_SHARED);
	long todo;

	CHECK(map && other);
	look_at(map, N);
	CHECK(peer_swap(peer, (long)map) == 0);
	/* Merged now, and looked at again. */
	CHECK(same_bytes("there", map, s->p.model[0], len));
	CHECK(same_bytes("other there", other, s->p.model[1], len));
	CHECK(peer_meet(peer));
	while ((todo = peer_swap(peer, 0)) != END) {
		CHECK(todo > 0);
		if (todo & STORE)
			memset(map + AT, todo & 0xff, LENGTH);
		memset(s->p.model[0] + AT, todo & 0xff, LENGTH);
		CHECK(same_bytes("there", map, s->p.model[0], len));
		CHECK(same_bytes("other there", other, s->p.model[1], len));
		CHECK(peer_meet(peer));
	}
	return 0;
}

/* Told, and done. */
static bool peer_does(struct peer *peer, long todo)
{
	return peer_swap(peer, todo) == 0 && peer_meet(peer);
}

static bool scene_make(struct scene *s, const char *dir, bool early)
{
	int k;

	if (!pair_make(&s->p, dir, N, 1))
		return false;
	for (k = 0; k < 2; k++) {
		s->map[k] = map_file(s->p.fd[k], N, MAP_SHARED);
		if (!s->map[k])
			return false;
		/* Written, so that its entries of the page table can be, too. */
		if (early)
			memcpy(s->map[k], s->p.model[k], N * pagesize);
	}
	s->private = map_file(s->p.fd[0], N, MAP_PRIVATE);
	for (k = 0; k < PEERS; k++) {
		if (!peer_start(&s->peers[k], peer_maps, s))
			return false;
		s->there[k] = (char *)peer_swap(&s->peers[k], 0);
	}
	if (!pair_merge(&s->p) || !s->private)
		return false;
	look_at(s->map[0], N);
	look_at(s->map[1], N);
	look_at(s->private, N);
	for (k = 0; k < PEERS; k++)
		if (!peer_meet(&s->peers[k]))
			return false;
	return true;
}

/* Here and there, by a mapping or the file, and the other file. */
static bool all_see(struct scene *s, const char *what, int byte)
{
	size_t len = N * pagesize;
	bool ok = true;
	int k;

	memset(s->p.model[0] + AT, byte, LENGTH);
	ok &= same_bytes(what, s->map[0], s->p.model[0], len);
	ok &= same_bytes(what, s->map[1], s->p.model[1], len);
	ok &= same_bytes(what, s->private, s->p.model[0], len);
	ok &= pair_holds(&s->p);
	for (k = 0; k < PEERS; k++)
		ok &= peer_does(&s->peers[k], SEE | byte);
	return ok;
}

static bool scene_end(struct scene *s)
{
	bool ok = true;
	int k;

	for (k = 0; k < PEERS; k++) {
		peer_swap(&s->peers[k], END);
		ok &= peer_end(&s->peers[k]) == 0;
	}
	for (k = 0; k < 2; k++)
		munmap(s->map[k], N * pagesize);
	munmap(s->private, N * pagesize);
	pair_free(&s->p);
	return ok;
}

static bool with_store(struct scene *s, const char *buf)
{
	memcpy(s->map[0] + AT, buf, LENGTH);
	return true;
}

static bool with_store_of_0(struct scene *s, const char *buf)
{
	return peer_does(&s->peers[0], STORE | (buf[0] & 0xff));
}

static bool with_store_of_1(struct scene *s, const char *buf)
{
	return peer_does(&s->peers[1], STORE | (buf[0] & 0xff));
}

static bool with_store_of_2(struct scene *s, const char *buf)
{
	return peer_does(&s->peers[2], STORE | (buf[0] & 0xff));
}

static bool with_pwrite(struct scene *s, const char *buf)
{
	return pwrite(s->p.fd[0], buf, LENGTH, AT) == LENGTH;
}

static bool with_read_into_map(struct scene *s, const char *buf)
{
	int from = memfd_create("plain", MFD_CLOEXEC);
	bool ok = from >= 0 && pwrite(from, buf, LENGTH, 0) == LENGTH &&
		  pread(from, s->map[0] + AT, LENGTH, 0) == LENGTH;

	close(from);
	return ok;
}

static bool with_process_vm_writev(struct scene *s, const char *buf)
{
	struct iovec from = { (char *)buf, LENGTH }, to = { s->there[1] + AT, LENGTH };

	return process_vm_writev(s->peers[1].pid, &from, 1, &to, 1, 0) == LENGTH;
}

static bool with_mem_file(struct scene *s, const char *buf)
{
	char path[32];
	bool ok;
	int mem;

	snprintf(path, sizeof(path), "/proc/%d/mem", s->peers[2].pid);
	mem = open(path, O_RDWR | O_CLOEXEC);
	ok = pwrite(mem, buf, LENGTH, (off_t)s->there[2] + AT) == LENGTH;
	close(mem);
	return ok;
}

static bool with_populated_map(struct scene *s, const char *buf)
{
	char *map = map_file(s->p.fd[0], N, MAP_SHARED);
	bool ok = map && !madvise(map + 2 * pagesize, TOUCHED * pagesize, MADV_POPULATE_WRITE);

	if (ok)
		memcpy(map + AT, buf, LENGTH);
	return map && !munmap(map, N * pagesize) && ok;
}

static bool with_hole(struct scene *s, const char *buf)
{
	return !fallocate(s->p.fd[0], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, AT, LENGTH);
}

static const struct {
	const char *name;
	bool (*write)(struct scene *s, const char *buf);
} writers[] = {
	{ "store", with_store }, { "store of the first one", with_store_of_0 },
	{ "store of the second one", with_store_of_1 }, { "store of the third one", with_store_of_2 },
	{ "pwrite", with_pwrite }, { "read into a map", with_read_into_map },
	{ "process_vm_writev", with_process_vm_writev }, { "/proc/PID/mem", with_mem_file },
	{ "MADV_POPULATE_WRITE", with_populated_map }, { "hole", with_hole },
};

static void write_by_every_way(struct __test_metadata *_metadata, const char *dir, bool early)
{
	char buf[LENGTH];
	int i;

	for (i = 0; i < sizeof(writers) / sizeof(*writers); i++) {
		int byte = writers[i].write == with_hole ? 0 : 0x5a;
		struct scene s;

		ASSERT_TRUE(scene_make(&s, dir, early));
		EXPECT_TRUE(shared_is(writers[i].name, N, 2 * N));
		memset(buf, byte, LENGTH);
		EXPECT_TRUE(writers[i].write(&s, buf)) {
			TH_LOG("%s fails: %s", writers[i].name, strerror(errno));
		}
		/* Those pages are the file's own, and no others. */
		EXPECT_TRUE(shared_is(writers[i].name, N, 2 * N - TOUCHED));
		EXPECT_TRUE(all_see(&s, writers[i].name, byte));
		/* What is written by another one then goes to the same page. */
		EXPECT_TRUE(peer_does(&s.peers[1], STORE | 0x66));
		EXPECT_TRUE(all_see(&s, writers[i].name, 0x66));
		EXPECT_TRUE(shared_is(writers[i].name, N, 2 * N - TOUCHED));
		EXPECT_TRUE(scene_end(&s));
		ASSERT_TRUE(shared_becomes(0, 0));
	}
}

SHARED_TEST(by_every_way)
{
	write_by_every_way(_metadata, self->dir, false);
}

/* It could be written by the mapping before, too. */
SHARED_TEST(by_every_way_again)
{
	write_by_every_way(_metadata, self->dir, true);
}

/* The content stays, and yet the file is to have pages of its own. */
SHARED_TEST(pages_asked_for)
{
	int how;

	for (how = 0; how < 3; how++) {
		char *at, byte;
		struct scene s;

		ASSERT_TRUE(scene_make(&s, self->dir, how & 1));
		at = s.map[0] + 2 * pagesize;
		byte = *at;
		if (how == 0) {
			EXPECT_EQ(0, madvise(at, TOUCHED * pagesize, MADV_POPULATE_WRITE));
		} else if (how == 1) {
			EXPECT_EQ(0, fallocate(s.p.fd[0], 0, AT, LENGTH));
		} else {
			EXPECT_EQ(byte, __atomic_exchange_n(at, byte, __ATOMIC_SEQ_CST));
		}
		EXPECT_TRUE(shared_is("asked for", N, 2 * N - (how == 2 ? 1 : TOUCHED)));
		EXPECT_TRUE(same_bytes("asked for", s.map[0], s.p.model[0], N * pagesize));
		EXPECT_TRUE(same_bytes("other", s.map[1], s.p.model[1], N * pagesize));
		/* Three who had the common page mapped see what is written to the new one. */
		memset(s.map[0] + AT, 0x77, LENGTH);
		EXPECT_TRUE(all_see(&s, "asked for", 0x77));
		EXPECT_TRUE(scene_end(&s));
		ASSERT_TRUE(shared_becomes(0, 0));
	}
}

/* A private mapping copies the common page, and follows the file in what it has not written. */
SHARED_TEST(private_mappings)
{
	struct pair p = MERGED_PAIR(N, 1);
	char *private[2], *map = map_file(p.fd[0], N, MAP_SHARED), byte = 0x17;
	int k;

	ASSERT_NE(NULL, map);
	for (k = 0; k < 2; k++) {
		private[k] = map_file(p.fd[0], N, MAP_PRIVATE);
		ASSERT_NE(NULL, private[k]);
	}
	look_at(map, N);
	/* One page that was read before, and one that was not. */
	look_at(private[0] + pagesize, 1);
	memset(private[0] + pagesize, 0x33, 100);
	memset(private[0] + 2 * pagesize, 0x44, 100);
	EXPECT_TRUE(shared_is("private", N, 2 * N));
	EXPECT_TRUE(is_ksm(map + pagesize) && is_ksm(map + 2 * pagesize));
	EXPECT_FALSE(is_ksm(private[0] + pagesize) || is_ksm(private[0] + 2 * pagesize));
	EXPECT_EQ(0x33, private[0][pagesize + 99]);
	EXPECT_TRUE(same_bytes("rest", private[0] + pagesize + 100, map + pagesize + 100, pagesize - 100));
	EXPECT_TRUE(same_bytes("rest", private[0] + 2 * pagesize + 100, map + 2 * pagesize + 100,
			       pagesize - 100));
	EXPECT_TRUE(same_bytes("private", private[1], p.model[0], N * pagesize));
	EXPECT_TRUE(pair_holds(&p));

	/* The file is written: one mapping sees all of that, the other what it has not written. */
	for (k = 0; k < 4; k++) {
		if (k % 2)
			map[k * pagesize] = byte;
		else
			ASSERT_EQ(1, pwrite(p.fd[0], &byte, 1, k * pagesize));
		p.model[0][k * pagesize] = byte;
	}
	EXPECT_TRUE(same_bytes("private", private[1], p.model[0], N * pagesize));
	EXPECT_EQ(byte, private[0][0]);
	EXPECT_EQ(0x33, private[0][pagesize]);
	EXPECT_EQ(0x44, private[0][2 * pagesize]);
	EXPECT_EQ(byte, private[0][3 * pagesize]);
	EXPECT_TRUE(pair_holds(&p));
	EXPECT_TRUE(shared_is("private", N, 2 * N - 4));
}

/* A child has what was mapped; it and its parent write in turns. */
SHARED_TEST(across_fork)
{
	struct pair p = MERGED_PAIR(N, 1);
	char *map[2], *private = map_file(p.fd[0], N, MAP_PRIVATE);
	pid_t pid;
	int k;

	ASSERT_NE(NULL, private);
	for (k = 0; k < 2; k++) {
		map[k] = map_file(p.fd[k], N, MAP_SHARED);
		ASSERT_NE(NULL, map[k]);
		look_at(map[k], N);
	}
	look_at(private, N);
	pid = fork_child();
	ASSERT_LE(0, pid);
	if (pid == 0) {
		map[0][pagesize] = 0x21;
		private[2 * pagesize] = 0x22;
		map[1][3 * pagesize] = 0x23;
		_exit(private[pagesize] != 0x21 || map[0][2 * pagesize] != p.model[0][2 * pagesize] ||
		      map[0][3 * pagesize] != p.model[0][3 * pagesize]);
	}
	EXPECT_EQ(0, wait_child(pid));
	p.model[0][pagesize] = 0x21;
	p.model[1][3 * pagesize] = 0x23;
	EXPECT_TRUE(same_bytes("map", map[0], p.model[0], N * pagesize));
	EXPECT_TRUE(same_bytes("other", map[1], p.model[1], N * pagesize));
	EXPECT_TRUE(same_bytes("private", private, p.model[0], N * pagesize));
	EXPECT_TRUE(pair_holds(&p));
	EXPECT_TRUE(shared_is("after a child", N, 2 * N - 2));
	map[0][4 * pagesize] = 0x24;
	p.model[0][4 * pagesize] = 0x24;
	EXPECT_TRUE(pair_holds(&p));
}

/* Many mappings of each page by one process, at other addresses, and of files in other places. */
SHARED_TEST(many_mappings)
{
	enum { MAPS = 24 };
	struct pair p = MERGED_PAIR(N, 1);
	char *maps[MAPS];
	int k, round;

	for (k = 0; k < MAPS; k++) {
		maps[k] = map_file(p.fd[k % 2], N, k % 8 == 7 ? MAP_PRIVATE : MAP_SHARED);
		ASSERT_NE(NULL, maps[k]);
	}
	for (round = 0; round < 4 * N; round++) {
		size_t at = round % N * pagesize + 5 * round;
		int by = round % MAPS;

		for (k = 0; k < MAPS; k++)
			look_at(maps[k], N);
		if (by % 8 == 7)
			by--;
		maps[by][at]++;
		p.model[by % 2][at]++;
		for (k = 0; k < MAPS; k++)
			ASSERT_EQ(p.model[k % 2][at], maps[k][at]);
		ASSERT_TRUE(pair_holds(&p));
		/* Merged anew, since the other one gets the same. */
		maps[!(by % 2)][at]++;
		p.model[!(by % 2)][at]++;
		ASSERT_TRUE(pair_merge(&p));
	}
	for (k = 0; k < MAPS; k++)
		EXPECT_TRUE(same_bytes("map", maps[k], p.model[k % 2], N * pagesize));
	EXPECT_TRUE(shared_adds_up());
}

TEST_HARNESS_MAIN

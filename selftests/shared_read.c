// SPDX-License-Identifier: GPL-2.0
/* What is merged and only read stays merged, and is mapped from the common page. */
#define _GNU_SOURCE
#include <linux/falloc.h>
#include <sys/ptrace.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "shared_fixture.h"
#include "shared_maps.h"

#define N	8

/* Odd, and over two borders of pages. */
#define AT	(2 * 4096 + 100)
#define LENGTH	(4096 + 4096 + 77)

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#endif
#ifndef SYS_cachestat
#define SYS_cachestat	451
#endif

/* Of the file, by which it is read, and of the caller, where it is mapped. */
struct reader {
	int fd;
	char *map, *private;
	const char *dir;
};

static bool take(int fd, char *buf, size_t len)
{
	ssize_t got;

	for (; len; buf += got, len -= got) {
		got = read(fd, buf, len);
		if (got <= 0)
			return false;
	}
	return true;
}

static bool by_read(struct reader *r, char *buf)
{
	return lseek(r->fd, AT, SEEK_SET) == AT && take(r->fd, buf, LENGTH);
}

static bool by_preadv(struct reader *r, char *buf)
{
	struct iovec iov[3] = { { buf, 1 }, { buf + 1, 4095 }, { buf + 4096, LENGTH - 4096 } };

	return preadv(r->fd, iov, 3, AT) == LENGTH;
}

static bool by_shared_map(struct reader *r, char *buf)
{
	memcpy(buf, r->map + AT, LENGTH);
	return true;
}

static bool by_private_map(struct reader *r, char *buf)
{
	memcpy(buf, r->private + AT, LENGTH);
	return true;
}

static bool by_populate(struct reader *r, char *buf)
{
	char *map = map_file(r->fd, N, MAP_SHARED);
	bool ok = map && !madvise(map, N * pagesize, MADV_POPULATE_READ) &&
		  !madvise(r->private, N * pagesize, MADV_POPULATE_READ) &&
		  pfn_of(0, map + AT) && pfn_of(0, r->private + AT);

	if (ok)
		memcpy(buf, map + AT, LENGTH);
	return map && !munmap(map, N * pagesize) && ok;
}

static bool by_splice(struct reader *r, char *buf)
{
	loff_t at = AT;
	int pipes[2];
	size_t len = LENGTH;
	bool ok = !pipe2(pipes, O_CLOEXEC);

	while (ok && len) {
		ssize_t got = splice(r->fd, &at, pipes[1], NULL, len, 0);

		ok = got > 0 && take(pipes[0], buf, got);
		buf += got;
		len -= got;
	}
	close(pipes[0]);
	close(pipes[1]);
	return ok;
}

static bool by_vmsplice(struct reader *r, char *buf)
{
	struct iovec iov = { r->map + AT, LENGTH };
	int pipes[2];
	bool ok = !pipe2(pipes, O_CLOEXEC) && vmsplice(pipes[1], &iov, 1, 0) == LENGTH &&
		  take(pipes[0], buf, LENGTH);

	close(pipes[0]);
	close(pipes[1]);
	return ok;
}

static bool by_sendfile(struct reader *r, char *buf)
{
	int to = shared_file(r->dir);
	off_t at = AT;
	bool ok = to >= 0 && sendfile(to, r->fd, &at, LENGTH) == LENGTH &&
		  pread(to, buf, LENGTH, 0) == LENGTH;

	close(to);
	return ok;
}

static bool by_copy_file_range(struct reader *r, char *buf)
{
	int to = shared_file(r->dir);
	loff_t at = AT, pos = 0;
	bool ok = to >= 0 && copy_file_range(r->fd, &at, to, &pos, LENGTH, 0) == LENGTH &&
		  pread(to, buf, LENGTH, 0) == LENGTH;

	close(to);
	return ok;
}

static bool by_process_vm_readv(struct reader *r, char *buf)
{
	struct iovec to = { buf, LENGTH }, from = { r->map + AT, LENGTH };

	return process_vm_readv(getpid(), &to, 1, &from, 1, 0) == LENGTH;
}

static bool by_mem_file(struct reader *r, char *buf)
{
	int mem = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	bool ok = pread(mem, buf, LENGTH, (off_t)r->map + AT) == LENGTH;

	close(mem);
	return ok;
}

/* From memory to a file: the kernel reads where a process would. */
static bool by_write_from_map(struct reader *r, char *buf)
{
	int to = shared_file(r->dir);
	bool ok = to >= 0 && pwrite(to, r->map + AT, LENGTH, 0) == LENGTH &&
		  pread(to, buf, LENGTH, 0) == LENGTH;

	close(to);
	return ok;
}

/* A word at a time, as a debugger does. */
static bool by_ptrace(struct reader *r, char *buf)
{
	pid_t pid = fork_child();
	int status;
	bool ok;
	size_t i;
	long word;

	if (pid == 0)
		for (;;)
			pause();
	ok = pid > 0 && !ptrace(PTRACE_ATTACH, pid, NULL, NULL) && waitpid(pid, &status, 0) == pid;
	for (i = 0; ok && i < LENGTH; i += sizeof(word)) {
		size_t len = LENGTH - i < sizeof(word) ? LENGTH - i : sizeof(word);

		errno = 0;
		word = ptrace(PTRACE_PEEKDATA, pid, r->map + AT + i, NULL);
		ok = !errno;
		memcpy(buf + i, &word, len);
	}
	kill_all(&pid, 1);
	return ok;
}

static const struct {
	const char *name;
	bool (*read)(struct reader *r, char *buf);
} readers[] = {
	{ "read", by_read }, { "preadv", by_preadv }, { "shared map", by_shared_map },
	{ "private map", by_private_map }, { "MADV_POPULATE_READ", by_populate },
	{ "splice", by_splice }, { "vmsplice", by_vmsplice }, { "sendfile", by_sendfile },
	{ "copy_file_range", by_copy_file_range }, { "process_vm_readv", by_process_vm_readv },
	{ "/proc/self/mem", by_mem_file }, { "write from a map", by_write_from_map },
	{ "ptrace", by_ptrace },
};

/* Each by itself, so that each is the first one to look, and then again. */
SHARED_TEST(stays_merged)
{
	struct pair p = MERGED_PAIR(N, 1);
	char buf[LENGTH];
	int i, k;

	for (i = 0; i < sizeof(readers) / sizeof(*readers); i++) {
		for (k = 0; k < 4; k++) {
			struct reader r = {
				.fd = p.fd[k % 2],
				.map = map_file(p.fd[k % 2], N, MAP_SHARED),
				.private = map_file(p.fd[k % 2], N, MAP_PRIVATE),
				.dir = self->dir,
			};

			ASSERT_TRUE(r.map && r.private);
			/* Once where nobody maps the page, and once where he does. */
			if (k >= 2) {
				look_at(r.map, N);
				look_at(r.private, N);
			}
			memset(buf, 0xee, LENGTH);
			EXPECT_TRUE(readers[i].read(&r, buf)) {
				TH_LOG("%s fails: %s", readers[i].name, strerror(errno));
			}
			EXPECT_TRUE(same_bytes(readers[i].name, buf, p.model[k % 2] + AT, LENGTH));
			EXPECT_TRUE(shared_is(readers[i].name, N, 2 * N));
			ASSERT_EQ(0, munmap(r.map, N * pagesize));
			ASSERT_EQ(0, munmap(r.private, N * pagesize));
			/* For the next one, also where this one has it undone. */
			ASSERT_TRUE(pair_merge(&p));
			ASSERT_TRUE(shared_becomes(N, 2 * N));
		}
	}
	EXPECT_TRUE(pair_holds(&p));
	EXPECT_TRUE(shared_adds_up());
}

static int peer_maps(struct peer *peer, void *arg)
{
	struct pair *p = arg;
	char *map = map_file(p->fd[1], N, MAP_SHARED);
	char *read_only = mmap(NULL, N * pagesize, PROT_READ, MAP_SHARED, p->fd[0], 0);

	CHECK(map && read_only != MAP_FAILED);
	look_at(map, N);
	look_at(read_only, N);
	CHECK(peer_swap(peer, (long)map) >= 0);
	CHECK(peer_swap(peer, (long)read_only) >= 0);
	CHECK(peer_meet(peer));
	CHECK(same_bytes("there", map, p->model[1], N * pagesize));
	CHECK(same_bytes("there", read_only, p->model[0], N * pagesize));
	return 0;
}

/* One frame, wherever it is mapped, and it says what it is. */
SHARED_TEST(one_frame)
{
	struct pair p = MERGED_PAIR(N, 1);
	char *map[2], *private, *there;
	struct peer peer;
	int i, k;

	for (k = 0; k < 2; k++) {
		map[k] = map_file(p.fd[k], N, MAP_SHARED);
		ASSERT_NE(NULL, map[k]);
		look_at(map[k], N);
	}
	private = map_file(p.fd[1], N, MAP_PRIVATE);
	ASSERT_NE(NULL, private);
	look_at(private, N);
	EXPECT_TRUE(same_frames(0, map[0], 0, map[1], N));
	EXPECT_TRUE(same_frames(0, map[0], 0, private, N));
	EXPECT_TRUE(all_ksm(map[0], N));

	ASSERT_TRUE(peer_start(&peer, peer_maps, &p));
	for (i = 0; i < 2; i++) {
		there = (char *)peer_swap(&peer, 0);
		ASSERT_NE((char *)-1, there);
		EXPECT_TRUE(same_frames(0, map[0], peer.pid, there, N));
	}
	ASSERT_TRUE(peer_meet(&peer));
	EXPECT_EQ(0, peer_end(&peer));
	for (k = 0; k < 2; k++)
		EXPECT_TRUE(same_bytes("map", map[k], p.model[k], N * pagesize));
	EXPECT_TRUE(same_bytes("private", private, p.model[1], N * pagesize));
	EXPECT_TRUE(pair_holds(&p));
	EXPECT_TRUE(shared_is("mapped", N, 2 * N));

	/* A page that is the file's own is none of those. */
	map[0][3 * pagesize] ^= 1;
	EXPECT_FALSE(is_ksm(map[0] + 3 * pagesize));
	look_at(map[1], N);
	EXPECT_NE(pfn_of(0, map[0] + 3 * pagesize), pfn_of(0, map[1] + 3 * pagesize));
	EXPECT_TRUE(is_ksm(map[1] + 3 * pagesize));
}

/* What is saved stays saved, whoever maps and reads it. */
SHARED_TEST(memory_stays_free)
{
	char *map[2], *buf = malloc(N * pagesize);
	struct pair p;
	long shmem;
	int k;

	ASSERT_TRUE(pair_make(&p, self->dir, N, 1));
	shmem = shmem_at_rest();
	ASSERT_TRUE(pair_merge(&p));
	ASSERT_TRUE(shmem_becomes(shmem - N));
	for (k = 0; k < 2; k++) {
		map[k] = map_file(p.fd[k], N, MAP_SHARED);
		ASSERT_NE(NULL, map[k]);
		look_at(map[k], N);
		ASSERT_EQ(N * pagesize, pread(p.fd[k], buf, N * pagesize, 0));
	}
	EXPECT_TRUE(shmem_becomes(shmem - N));
	/* What one writes is no longer saved: of as many pages as that. */
	map[0][0] ^= 1;
	ASSERT_EQ(1, pwrite(p.fd[1], "x", 1, 2 * pagesize));
	EXPECT_TRUE(shmem_becomes(shmem - N + 2));
	free(buf);
}

/* Mapped by both, each page is counted for either, and by halves. */
SHARED_TEST(counted_where_mapped)
{
	struct pair p = MERGED_PAIR(N, 1);
	long kb = N * pagesize / 1024;
	char *map[2];
	int k;

	for (k = 0; k < 2; k++) {
		map[k] = map_file(p.fd[k], N, MAP_SHARED);
		ASSERT_NE(NULL, map[k]);
		EXPECT_EQ(0, smaps_kb(map[k], "Rss"));
	}
	look_at(map[0], N);
	EXPECT_EQ(kb, smaps_kb(map[0], "Rss"));
	EXPECT_EQ(kb, smaps_kb(map[0], "Pss"));
	EXPECT_EQ(0, smaps_kb(map[1], "Rss"));
	look_at(map[1], N);
	for (k = 0; k < 2; k++) {
		EXPECT_EQ(kb, smaps_kb(map[k], "Rss"));
		EXPECT_EQ(kb / 2, smaps_kb(map[k], "Pss"));
		EXPECT_EQ(0, smaps_kb(map[k], "Swap"));
	}
	ASSERT_EQ(0, munmap(map[1], N * pagesize));
	EXPECT_EQ(kb, smaps_kb(map[0], "Pss"));
	/* A page of its own stands in its place, and is counted once. */
	map[0][pagesize] ^= 1;
	EXPECT_EQ(kb, smaps_kb(map[0], "Rss"));
	EXPECT_EQ(kb, smaps_kb(map[0], "Pss"));
	ASSERT_EQ(0, fallocate(p.fd[0], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 2 * pagesize));
	EXPECT_EQ(kb - 2 * (long)pagesize / 1024, smaps_kb(map[0], "Rss"));
}

/* Being merged, and being mapped from the common page, cannot be told from having an own page. */
SHARED_TEST(nobody_can_tell_by_asking)
{
	struct cachestat_range { __u64 off, len; } range = { 0, N * pagesize };
	struct { __u64 cache, dirty, writeback, evicted, recently; } before, after;
	unsigned char core[2][N];
	struct pair p = MERGED_PAIR(N, 1);
	char *map = map_file(p.fd[0], N, MAP_SHARED);

	ASSERT_NE(NULL, map);
	ASSERT_EQ(0, mincore(map, N * pagesize, core[0]));
	ASSERT_EQ(0, syscall(SYS_cachestat, p.fd[0], &range, &before, 0));
	EXPECT_EQ(N, before.cache);
	look_at(map, N);
	ASSERT_EQ(0, mincore(map, N * pagesize, core[1]));
	ASSERT_EQ(0, syscall(SYS_cachestat, p.fd[0], &range, &after, 0));
	EXPECT_EQ(0, memcmp(&before, &after, sizeof(before)));
	EXPECT_EQ(0, memcmp(core[0], core[1], N));
	EXPECT_TRUE(shared_is("asked", N, 2 * N));
}

TEST_HARNESS_MAIN

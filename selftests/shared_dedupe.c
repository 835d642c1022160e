// SPDX-License-Identifier: GPL-2.0
/* Files whose pages were merged hold what they held, however they are read or written. */
#define _GNU_SOURCE
#include <linux/falloc.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

#include "shared_fixture.h"

#define N	8

/* Odd, and over two borders of pages. */
#define AT	(2 * 4096 + 100)
#define LENGTH	(4096 + 4096 + 77)

/* Reads fully from a pipe or a file that has a position. */
static bool take(int fd, char *buf, size_t len)
{
	while (len) {
		ssize_t got = read(fd, buf, len);

		if (got <= 0)
			return false;
		buf += got;
		len -= got;
	}
	return true;
}

/* Ways to read. */

static bool by_read(int fd, off_t at, char *buf, size_t len)
{
	return lseek(fd, at, SEEK_SET) == at && take(fd, buf, len);
}

static bool by_pread(int fd, off_t at, char *buf, size_t len)
{
	return pread(fd, buf, len, at) == len;
}

static bool by_preadv(int fd, off_t at, char *buf, size_t len)
{
	struct iovec iov[2] = { { buf, 13 }, { buf + 13, len - 13 } };

	return preadv(fd, iov, 2, at) == len;
}

/* Past the page cache, as far as a file in memory has that. */
static int open_direct(int fd)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
}

static bool by_direct(int fd, off_t at, char *buf, size_t len)
{
	int direct = open_direct(fd);
	bool ok = pread(direct, buf, len, at) == len;

	return !close(direct) && ok;
}

static bool by_map(int fd, off_t at, char *buf, size_t len, int flags)
{
	char *map = map_file(fd, N, flags);

	if (!map)
		return false;
	memcpy(buf, map + at, len);
	return !munmap(map, N * pagesize);
}

static bool by_shared_map(int fd, off_t at, char *buf, size_t len)
{
	return by_map(fd, at, buf, len, MAP_SHARED);
}

static bool by_private_map(int fd, off_t at, char *buf, size_t len)
{
	return by_map(fd, at, buf, len, MAP_PRIVATE);
}

static bool by_populated_map(int fd, off_t at, char *buf, size_t len)
{
	return by_map(fd, at, buf, len, MAP_SHARED | MAP_POPULATE);
}

static bool by_splice(int fd, off_t at, char *buf, size_t len)
{
	loff_t from = at;
	int pipes[2];
	bool ok = !pipe2(pipes, O_CLOEXEC);

	while (ok && len) {
		ssize_t got = splice(fd, &from, pipes[1], NULL, len, 0);

		ok = got > 0 && take(pipes[0], buf, got);
		buf += got;
		len -= got;
	}
	close(pipes[0]);
	close(pipes[1]);
	return ok;
}

static bool by_sendfile(int fd, off_t at, char *buf, size_t len)
{
	int to = memfd_create("plain", MFD_CLOEXEC);
	bool ok = to >= 0 && sendfile(to, fd, &at, len) == len && pread(to, buf, len, 0) == len;

	close(to);
	return ok;
}

static bool by_copy_file_range(int fd, off_t at, char *buf, size_t len)
{
	/* Within one file, since it has to be one filesystem. */
	loff_t from = at, to = N * pagesize;
	bool ok = copy_file_range(fd, &from, fd, &to, len, 0) == len &&
		  pread(fd, buf, len, N * pagesize) == len;

	return !ftruncate(fd, N * pagesize) && ok;
}

static bool by_process_vm_readv(int fd, off_t at, char *buf, size_t len)
{
	char *map = map_file(fd, N, MAP_SHARED);
	struct iovec to = { buf, len }, from = { map + at, len };
	bool ok = map && process_vm_readv(getpid(), &to, 1, &from, 1, 0) == len;

	return map && !munmap(map, N * pagesize) && ok;
}

static bool by_mem_file(int fd, off_t at, char *buf, size_t len)
{
	char *map = map_file(fd, N, MAP_SHARED);
	int mem = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	bool ok = map && pread(mem, buf, len, (off_t)map + at) == len;

	close(mem);
	return map && !munmap(map, N * pagesize) && ok;
}

static const struct {
	const char *name;
	bool (*read)(int fd, off_t at, char *buf, size_t len);
} readers[] = {
	{ "read", by_read }, { "pread", by_pread }, { "preadv", by_preadv }, { "O_DIRECT", by_direct },
	{ "shared map", by_shared_map }, { "private map", by_private_map },
	{ "populated map", by_populated_map }, { "splice", by_splice }, { "sendfile", by_sendfile },
	{ "copy_file_range", by_copy_file_range }, { "process_vm_readv", by_process_vm_readv },
	{ "/proc/self/mem", by_mem_file },
};

SHARED_TEST(read_by_every_way)
{
	char buf[LENGTH];
	int i;

	for (i = 0; i < sizeof(readers) / sizeof(*readers); i++) {
		struct pair p = MERGED_PAIR(N, 100 * i);

		EXPECT_TRUE(readers[i].read(p.fd[0], AT, buf, LENGTH)) {
			TH_LOG("%s fails", readers[i].name);
		}
		EXPECT_TRUE(same_bytes(readers[i].name, buf, p.model[0] + AT, LENGTH));
		/* The other file is as it was. */
		EXPECT_TRUE(readers[i].read(p.fd[1], AT, buf, LENGTH));
		EXPECT_TRUE(same_bytes(readers[i].name, buf, p.model[1] + AT, LENGTH));
		EXPECT_TRUE(pair_holds(&p));
		pair_free(&p);
		ASSERT_TRUE(shared_becomes(0, 0));
	}
}

/* Ways to write: into a file, and the same into what it is to hold. */

static bool with_write(int fd, off_t at, const char *buf, size_t len)
{
	return lseek(fd, at, SEEK_SET) == at && write(fd, buf, len) == len;
}

static bool with_pwritev(int fd, off_t at, const char *buf, size_t len)
{
	struct iovec iov[2] = { { (char *)buf, 13 }, { (char *)buf + 13, len - 13 } };

	return pwritev(fd, iov, 2, at) == len;
}

static bool with_direct(int fd, off_t at, const char *buf, size_t len)
{
	int direct = open_direct(fd);
	bool ok = pwrite(direct, buf, len, at) == len;

	return !close(direct) && ok;
}

static bool with_store(int fd, off_t at, const char *buf, size_t len)
{
	char *map = map_file(fd, N, MAP_SHARED);

	if (!map)
		return false;
	memcpy(map + at, buf, len);
	return !munmap(map, N * pagesize);
}

static bool with_process_vm_writev(int fd, off_t at, const char *buf, size_t len)
{
	char *map = map_file(fd, N, MAP_SHARED);
	struct iovec from = { (char *)buf, len }, to = { map + at, len };
	bool ok = map && process_vm_writev(getpid(), &from, 1, &to, 1, 0) == len;

	return map && !munmap(map, N * pagesize) && ok;
}

static bool with_mem_file(int fd, off_t at, const char *buf, size_t len)
{
	char *map = map_file(fd, N, MAP_SHARED);
	int mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	bool ok = map && pwrite(mem, buf, len, (off_t)map + at) == len;

	close(mem);
	return map && !munmap(map, N * pagesize) && ok;
}

static int plain_file(const char *buf, size_t len)
{
	int fd = memfd_create("plain", MFD_CLOEXEC);

	return fd >= 0 && pwrite(fd, buf, len, 0) == len ? fd : -1;
}

/* The kernel writes to the mapping. */
static bool with_read_into_map(int fd, off_t at, const char *buf, size_t len)
{
	char *map = map_file(fd, N, MAP_SHARED);
	int from = plain_file(buf, len);
	bool ok = map && from >= 0 && pread(from, map + at, len, 0) == len;

	close(from);
	return map && !munmap(map, N * pagesize) && ok;
}

static bool with_splice(int fd, off_t at, const char *buf, size_t len)
{
	loff_t to = at;
	int pipes[2];
	bool ok = !pipe2(pipes, O_CLOEXEC) && write(pipes[1], buf, len) == len;

	while (ok && len) {
		ssize_t put = splice(pipes[0], NULL, fd, &to, len, 0);

		ok = put > 0;
		len -= put;
	}
	close(pipes[0]);
	close(pipes[1]);
	return ok;
}

static bool with_sendfile(int fd, off_t at, const char *buf, size_t len)
{
	int from = plain_file(buf, len);
	bool ok = from >= 0 && lseek(fd, at, SEEK_SET) == at && sendfile(fd, from, NULL, len) == len;

	close(from);
	return ok;
}

static bool with_hole(int fd, off_t at, const char *buf, size_t len)
{
	return !fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, len);
}

static const struct {
	const char *name;
	bool (*write)(int fd, off_t at, const char *buf, size_t len);
} writers[] = {
	{ "write", with_write }, { "pwritev", with_pwritev }, { "O_DIRECT", with_direct },
	{ "store", with_store }, { "process_vm_writev", with_process_vm_writev },
	{ "/proc/self/mem", with_mem_file }, { "read into a map", with_read_into_map },
	{ "splice", with_splice }, { "sendfile", with_sendfile }, { "hole", with_hole },
};

/* Everybody who maps the one file sees what was written, and nobody who maps the other one. */
SHARED_TEST(written_by_every_way)
{
	char buf[LENGTH];
	int i, k;

	for (i = 0; i < sizeof(writers) / sizeof(*writers); i++) {
		for (k = 0; k < 2; k++) {
			struct pair p;
			char *map[2], *private;

			ASSERT_TRUE(pair_make(&p, self->dir, N, 1000 + 100 * i));
			map[0] = map_file(p.fd[0], N, MAP_SHARED);
			map[1] = map_file(p.fd[1], N, MAP_SHARED);
			private = map_file(p.fd[k], N, MAP_PRIVATE);
			ASSERT_TRUE(map[0] && map[1] && private);
			/* Mapped before they are merged, so that this has to go. */
			ASSERT_EQ(map[0][AT], private[AT]);
			ASSERT_EQ(map[0][AT], map[1][AT]);
			ASSERT_TRUE(pair_merge(&p));
			ASSERT_TRUE(shared_becomes(N, 2 * N));

			memset(buf, writers[i].write == with_hole ? 0 : 0x5a, LENGTH);
			EXPECT_TRUE(writers[i].write(p.fd[k], AT, buf, LENGTH)) {
				TH_LOG("%s fails: %s", writers[i].name, strerror(errno));
			}
			memcpy(p.model[k] + AT, buf, LENGTH);
			EXPECT_TRUE(same_bytes(writers[i].name, map[0], p.model[0], N * pagesize));
			EXPECT_TRUE(same_bytes(writers[i].name, map[1], p.model[1], N * pagesize));
			EXPECT_TRUE(same_bytes(writers[i].name, private, p.model[k], N * pagesize));
			EXPECT_TRUE(pair_holds(&p));
			ASSERT_EQ(0, munmap(map[0], N * pagesize));
			ASSERT_EQ(0, munmap(map[1], N * pagesize));
			ASSERT_EQ(0, munmap(private, N * pagesize));
			pair_free(&p);
			ASSERT_TRUE(shared_becomes(0, 0));
		}
	}
}

/* A private page that was written is nobody else's; the others follow the file. */
SHARED_TEST(private_pages)
{
	struct pair p = MERGED_PAIR(N, 1);
	char *private = map_file(p.fd[0], N, MAP_PRIVATE);
	int value = 0x17;

	ASSERT_NE(NULL, private);
	memset(private + pagesize, 0x33, pagesize);
	EXPECT_TRUE(pair_holds(&p));
	ASSERT_TRUE(pair_merge(&p));
	EXPECT_EQ(0x33, private[pagesize]);
	EXPECT_EQ(0x33, private[2 * pagesize - 1]);
	ASSERT_EQ(1, pwrite(p.fd[0], &value, 1, pagesize));
	ASSERT_EQ(1, pwrite(p.fd[0], &value, 1, 2 * pagesize));
	EXPECT_EQ(0x33, private[pagesize]);
	EXPECT_EQ(0x17, private[2 * pagesize]);
	p.model[0][pagesize] = 0x17;
	p.model[0][2 * pagesize] = 0x17;
	EXPECT_TRUE(pair_holds(&p));
}

/* The end of a page that was cut off is zero when the file grows again. */
SHARED_TEST(cut_within_a_page)
{
	struct pair p = MERGED_PAIR(N, 1);
	size_t at = 2 * pagesize + 1234;

	ASSERT_EQ(0, ftruncate(p.fd[0], at));
	ASSERT_EQ(0, ftruncate(p.fd[0], N * pagesize));
	memset(p.model[0] + at, 0, N * pagesize - at);
	EXPECT_TRUE(pair_holds(&p));
}

SHARED_TEST(cut_between_pages)
{
	struct pair p = MERGED_PAIR(N, 1);

	ASSERT_EQ(0, ftruncate(p.fd[1], 3 * pagesize));
	EXPECT_TRUE(shared_becomes(N, N + 3));
	ASSERT_EQ(0, ftruncate(p.fd[1], N * pagesize));
	memset(p.model[1] + 3 * pagesize, 0, (N - 3) * pagesize);
	EXPECT_TRUE(pair_holds(&p));
}

SHARED_TEST(holes)
{
	struct pair p = MERGED_PAIR(N, 1);
	int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	char *map = map_file(p.fd[0], N, MAP_SHARED);

	ASSERT_NE(NULL, map);
	/* A page, a part of one, and two with a part of a third. */
	ASSERT_EQ(0, fallocate(p.fd[0], mode, 0, pagesize));
	memset(p.model[0], 0, pagesize);
	EXPECT_TRUE(shared_becomes(N, 2 * N - 1));
	ASSERT_EQ(0, fallocate(p.fd[0], mode, 2 * pagesize + 10, 99));
	memset(p.model[0] + 2 * pagesize + 10, 0, 99);
	EXPECT_TRUE(shared_becomes(N, 2 * N - 2));
	ASSERT_EQ(0, fallocate(p.fd[0], mode, 4 * pagesize, 2 * pagesize + 5));
	memset(p.model[0] + 4 * pagesize, 0, 2 * pagesize + 5);
	EXPECT_TRUE(shared_becomes(N, 2 * N - 5));
	ASSERT_EQ(0, madvise(map + 7 * pagesize, pagesize, MADV_REMOVE));
	memset(p.model[0] + 7 * pagesize, 0, pagesize);
	EXPECT_TRUE(shared_becomes(N, 2 * N - 6));
	EXPECT_TRUE(same_bytes("map", map, p.model[0], N * pagesize));
	EXPECT_TRUE(pair_holds(&p));
	/* What the hole is filled with again is this file's alone. */
	fill(map, 77);
	memcpy(p.model[0], map, pagesize);
	EXPECT_TRUE(pair_holds(&p));
}

/* Merged with itself, with a third one, and anew after each change. */
SHARED_TEST(again_and_with_others)
{
	struct pair p = MERGED_PAIR(N, 1), q;
	char *map = map_file(p.fd[0], N, MAP_SHARED);
	int round;

	ASSERT_NE(NULL, map);
	EXPECT_TRUE(pair_merge(&p));
	EXPECT_TRUE(shared_becomes(N, 2 * N));
	ASSERT_TRUE(pair_make(&q, self->dir, N, 1));
	/* What is merged already is found from either side. */
	EXPECT_EQ(0, dedupe(p.fd[0], 0, q.fd[0], 0, N / 2 * pagesize));
	EXPECT_EQ(0, dedupe(q.fd[0], N / 2 * pagesize, p.fd[0], N / 2 * pagesize, N / 2 * pagesize));
	EXPECT_TRUE(shared_becomes(N, 3 * N));
	/* Two of one content, each in two files, become one. */
	ASSERT_TRUE(pair_make(&q, self->dir, N, 1));
	ASSERT_TRUE(pair_merge(&q));
	EXPECT_TRUE(shared_becomes(2 * N, 5 * N));
	EXPECT_EQ(0, dedupe_pages(p.fd[0], q.fd[0], N));
	EXPECT_EQ(0, dedupe_pages(p.fd[1], q.fd[1], N));
	EXPECT_TRUE(shared_becomes(N, 5 * N));
	EXPECT_TRUE(pair_holds(&q));
	for (round = 0; round < 20; round++) {
		size_t at = (round % N) * pagesize + 8 * round;

		map[at]++;
		p.model[0][at]++;
		EXPECT_EQ(1, dedupe_pages(p.fd[0], p.fd[1], N));
		ASSERT_EQ(1, pwrite(p.fd[1], &map[at], 1, at));
		p.model[1][at]++;
		EXPECT_TRUE(pair_merge(&p));
		EXPECT_TRUE(pair_holds(&p));
	}
	/* Within one file. */
	ASSERT_EQ(pagesize, pwrite(p.fd[0], p.model[0], pagesize, 5 * pagesize));
	memcpy(p.model[0] + 5 * pagesize, p.model[0], pagesize);
	EXPECT_EQ(0, dedupe(p.fd[0], 0, p.fd[0], 5 * pagesize, pagesize));
	map[0]++;
	p.model[0][0]++;
	EXPECT_TRUE(pair_holds(&p));
}

/* Zero pages merge as others do; a hole stays one. */
SHARED_TEST(zeroes)
{
	char *zero = calloc(1, pagesize);
	int fd = shared_file(self->dir);
	struct stat st;

	ASSERT_LE(0, fd);
	ASSERT_EQ(pagesize, pwrite(fd, zero, pagesize, 0));
	ASSERT_EQ(pagesize, pwrite(fd, zero, pagesize, pagesize));
	ASSERT_EQ(0, ftruncate(fd, 4 * pagesize));
	EXPECT_EQ(0, dedupe(fd, 0, fd, pagesize, pagesize));
	EXPECT_TRUE(shared_becomes(1, 2));
	EXPECT_EQ(0, dedupe(fd, 2 * pagesize, fd, 3 * pagesize, pagesize));
	EXPECT_EQ(0, dedupe(fd, 0, fd, 3 * pagesize, pagesize));
	EXPECT_TRUE(shared_becomes(1, 2));
	ASSERT_EQ(0, fstat(fd, &st));
	EXPECT_EQ(2 * pagesize / 512, st.st_blocks);
}

/* The last page of a file, which ends within it. */
SHARED_TEST(end_of_file)
{
	struct pair p;
	size_t len = 3 * pagesize + 777;
	char last;

	ASSERT_TRUE(pair_make(&p, self->dir, 4, 1));
	ASSERT_EQ(0, ftruncate(p.fd[0], len));
	ASSERT_EQ(0, ftruncate(p.fd[1], len));
	EXPECT_EQ(0, dedupe(p.fd[0], 0, p.fd[1], 0, len));
	EXPECT_TRUE(shared_becomes(4, 8));
	ASSERT_EQ(0, ftruncate(p.fd[0], 4 * pagesize));
	memset(p.model[0] + len, 0, 4 * pagesize - len);
	EXPECT_TRUE(file_holds(p.fd[0], p.model[0], 4 * pagesize));
	EXPECT_TRUE(file_holds(p.fd[1], p.model[1], len));
	ASSERT_EQ(0, pread(p.fd[1], &last, 1, len));
	/* In a file that goes on there, a part of a page is left out. */
	EXPECT_EQ(0, dedupe(p.fd[1], 0, p.fd[0], 0, len));
	EXPECT_TRUE(file_holds(p.fd[0], p.model[0], 4 * pagesize));
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * Pages of files that a device has: it sees what is written later on, so they are the
 * file's own, and are not merged for so long.
 */
#define _GNU_SOURCE
#include <sys/ipc.h>
#include <sys/shm.h>

#include "pin_lib.h"
#include "shared_protect.h"

/* One that does not end is the failure that some of these are about. */
#define PIN_TEST(name)	TEST_F_TIMEOUT(protect, name, 120)

/* What a device has before it. */
static bool device_sees(int fd, const char *what, const char *model, size_t len)
{
	char *seen = malloc(len);
	bool ok = seen && !read_pinned(fd, seen) && same_bytes(what, seen, model, len);

	free(seen);
	return ok;
}

/* The mapping is pinned; the file is written by another mapping, and by a call. */
static void pin_and_write(struct __test_metadata *_metadata, struct pair *p, const char *other,
			  char *map, char *writer, int flags)
{
	int fd = OPEN_GUP_TEST();
	char byte = 0x5a;
	int i;

	ASSERT_EQ(0, pin(fd, map, N, flags));
	EXPECT_TRUE(shared_is("pinned", N, N));
	EXPECT_TRUE(device_sees(fd, "device", p->model[0], N * pagesize));
	for (i = 0; i < N; i++) {
		size_t at = i * pagesize + 33 * i;

		if (i % 2) {
			ASSERT_EQ(1, pwrite(p->fd[0], &byte, 1, at));
		} else {
			writer[at] = byte;
		}
		p->model[0][at] = byte;
	}
	EXPECT_TRUE(device_sees(fd, "device", p->model[0], N * pagesize));
	EXPECT_TRUE(same_bytes("pinned map", map, p->model[0], N * pagesize));
	EXPECT_TRUE(same_bytes("the other file", other, p->model[1], N * pagesize));
	EXPECT_TRUE(pair_holds(p));
	/* Put back as it was, it is still not merged. */
	memcpy(writer, p->model[1], N * pagesize);
	memcpy(p->model[0], p->model[1], N * pagesize);
	EXPECT_EQ(-EBUSY, dedupe_pages(p->fd[0], p->fd[1], N));
	EXPECT_TRUE(device_sees(fd, "device", p->model[0], N * pagesize));
	ASSERT_EQ(0, ioctl(fd, PIN_STOP));
	EXPECT_TRUE(pair_merge(p));
	EXPECT_TRUE(shared_becomes(N, 2 * N));
	EXPECT_TRUE(pair_holds(p));
	close(fd);
}

PIN_TEST(to_read)
{
	pin_and_write(_metadata, &self->p, self->other, self->map, self->map, 0);
}

PIN_TEST(to_read_fast)
{
	pin_and_write(_metadata, &self->p, self->other, self->map, self->map, PIN_FAST_FLAG);
}

PIN_TEST(to_write)
{
	pin_and_write(_metadata, &self->p, self->other, self->map, self->map, PIN_WRITE_FLAG);
}

PIN_TEST(to_write_fast)
{
	pin_and_write(_metadata, &self->p, self->other, self->map, self->map,
		      PIN_WRITE_FLAG | PIN_FAST_FLAG);
}

/* By a mapping that cannot be written, and, for ever, by a file that cannot. */
PIN_TEST(read_only_mapping)
{
	char *map = mmap(NULL, N * pagesize, PROT_READ, MAP_SHARED, self->p.fd[0], 0);

	ASSERT_NE(MAP_FAILED, map);
	if (variant->read)
		look_at(map, N);
	pin_and_write(_metadata, &self->p, self->other, map, self->map, 0);
}

PIN_TEST(read_only_file)
{
	char path[32], *map;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->p.fd[0]);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	map = mmap(NULL, N * pagesize, PROT_READ, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	if (variant->read)
		look_at(map, N);
	pin_and_write(_metadata, &self->p, self->other, map, self->map, PIN_FAST_FLAG);
}

/* A private mapping gets pages of its own for it, and the file stays merged. */
PIN_TEST(private_mapping)
{
	char *map = map_file(self->p.fd[0], N, MAP_PRIVATE), *model = malloc(N * pagesize);
	int fd = OPEN_GUP_TEST();

	ASSERT_NE(NULL, map);
	if (variant->read)
		look_at(map, N);
	ASSERT_EQ(0, pin(fd, map, N, 0));
	EXPECT_MERGED();
	memcpy(model, self->p.model[0], N * pagesize);
	/* Seen by the device are this process's writes, not those to the file. */
	self->map[0]++;
	self->p.model[0][0]++;
	map[pagesize]++;
	model[pagesize]++;
	EXPECT_TRUE(device_sees(fd, "device", model, N * pagesize));
	EXPECT_TRUE(same_bytes("private", map, model, N * pagesize));
	EXPECT_TRUE(pair_holds(&self->p));
	ASSERT_EQ(0, ioctl(fd, PIN_STOP));
	EXPECT_PROTECTED(self->map);
	close(fd);
}

/* Of the pages of a file only those that are pinned stay as they are. */
PIN_TEST(one_of_them)
{
	int fd = OPEN_GUP_TEST();

	EXPECT_TRUE(write_shows_here_only(&self->p, self->other, self->map, N));
	memcpy(self->map, self->p.model[1], N * pagesize);
	memcpy(self->p.model[0], self->p.model[1], N * pagesize);
	ASSERT_EQ(0, pin(fd, self->map + 2 * pagesize, 1, 0));
	EXPECT_EQ(-EBUSY, dedupe_pages(self->p.fd[0], self->p.fd[1], N));
	EXPECT_TRUE(shared_becomes(N, 2 * N - 1));
	look_at(self->map, N);
	self->map[2 * pagesize]++;
	self->p.model[0][2 * pagesize]++;
	EXPECT_TRUE(device_sees(fd, "device", self->p.model[0] + 2 * pagesize, pagesize));
	EXPECT_TRUE(write_shows_here_only(&self->p, self->other, self->map, N));
	ASSERT_EQ(0, ioctl(fd, PIN_STOP));
	close(fd);
}

/* Memory of System V: a file that has other operations where it is mapped. */
PIN_TEST(sysv)
{
	size_t len = N * pagesize;
	int id = shmget(IPC_PRIVATE, len, IPC_CREAT | 0600), fd;
	char path[64], *map, *writer;
	struct pair p = self->p;

	ASSERT_LE(0, id);
	writer = shmat(id, NULL, 0);
	map = shmat(id, NULL, SHM_RDONLY);
	ASSERT_NE((void *)-1, map);
	ASSERT_NE((void *)-1, writer);
	ASSERT_EQ(0, shmctl(id, IPC_RMID, NULL));
	memcpy(writer, p.model[1], len);
	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (long)writer, (long)writer + len);
	fd = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);
	/* In place of the first file. */
	close(p.fd[0]);
	munmap(self->map, len);
	p.fd[0] = fd;
	ASSERT_TRUE(pair_merge(&p));
	ASSERT_TRUE(shared_becomes(N, 2 * N));
	if (variant->read)
		look_at(map, N);
	pin_and_write(_metadata, &p, self->other, map, writer, variant->before ? PIN_FAST_FLAG : 0);
	EXPECT_TRUE(write_shows_here_only(&p, self->other, writer, N));
}

TEST_HARNESS_MAIN

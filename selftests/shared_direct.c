// SPDX-License-Identifier: GPL-2.0
/* A disk reads from memory that is merged, and writes to it. */
#define _GNU_SOURCE
#include <linux/io_uring.h>
#include <sys/syscall.h>

#include "shared_protect.h"
#include "swap_lib.h"

#define LENGTH	(N * pagesize)

/* A disk that has something else on it: that of the test before is gone. */
#define OPEN_DISK() ({							\
	char *_page = malloc(2 * pagesize);				\
	int _fd, _i;							\
									\
	swap_off();							\
	ASSERT_EQ(0, reset_zram());					\
	ASSERT_EQ(0, file_write(ZRAM "disksize", "1M"));		\
	_fd = open("/dev/zram0", O_RDWR | O_DIRECT | O_CLOEXEC);	\
	ASSERT_LE(0, _fd);						\
	_page = (char *)(((uintptr_t)_page + pagesize) & -pagesize);	\
	for (_i = 0; _i < N; _i++) {					\
		fill(_page, 900 + _i);					\
		ASSERT_EQ(pagesize, pwrite(_fd, _page, pagesize, _i * pagesize)); \
	}								\
	_fd;								\
})

#define CLOSE_DISK(fd) do {						\
	ASSERT_EQ(0, close(fd));					\
	ASSERT_EQ(0, reset_zram());					\
} while (0)

static void disk_content(char *model)
{
	int i;

	for (i = 0; i < N; i++)
		fill(model + i * pagesize, 900 + i);
}

/* A short look: the disk gets the bytes, and they stay merged. */
PROTECT_TEST(written_from_it)
{
	int disk = OPEN_DISK();
	char *have = map_pages(N);

	ASSERT_EQ(LENGTH, pwrite(disk, self->map, LENGTH, 0));
	EXPECT_MERGED();
	ASSERT_EQ(LENGTH, pread(disk, have, LENGTH, 0));
	EXPECT_TRUE(same_bytes("disk", have, self->p.model[0], LENGTH));
	EXPECT_PROTECTED(self->map);
	CLOSE_DISK(disk);
}

PROTECT_TEST(read_into_it)
{
	int disk = OPEN_DISK();

	ASSERT_EQ(LENGTH, pread(disk, self->map, LENGTH, 0));
	disk_content(self->p.model[0]);
	EXPECT_TRUE(same_bytes("other", self->other, self->p.model[1], LENGTH));
	EXPECT_TRUE(shared_is("read into", N, N));
	EXPECT_PROTECTED(self->map);
	CLOSE_DISK(disk);
}

/* A private mapping gets what the disk has, and the file does not. */
PROTECT_TEST(read_into_a_private_mapping)
{
	char *map = map_file(self->p.fd[0], N, MAP_PRIVATE), *model = malloc(LENGTH);
	int disk = OPEN_DISK();

	ASSERT_NE(NULL, map);
	if (variant->read)
		look_at(map, N);
	ASSERT_EQ(LENGTH, pread(disk, map, LENGTH, 0));
	disk_content(model);
	EXPECT_TRUE(same_bytes("private", map, model, LENGTH));
	EXPECT_MERGED();
	EXPECT_PROTECTED(self->map);
	CLOSE_DISK(disk);
}

/* One request, of a ring of its own, with a buffer that is registered. */
struct ring {
	int fd;
	struct io_uring_params params;
	char *sq, *cq;
	struct io_uring_sqe *sqes;
};

static bool ring_make(struct ring *r)
{
	size_t size;

	memset(r, 0, sizeof(*r));
	r->fd = syscall(SYS_io_uring_setup, 4, &r->params);
	if (r->fd < 0)
		return false;
	size = r->params.sq_off.array + r->params.sq_entries * sizeof(uint32_t);
	r->sq = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, IORING_OFF_SQ_RING);
	size = r->params.cq_off.cqes + r->params.cq_entries * sizeof(struct io_uring_cqe);
	r->cq = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, IORING_OFF_CQ_RING);
	size = r->params.sq_entries * sizeof(struct io_uring_sqe);
	r->sqes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, IORING_OFF_SQES);
	return r->sq != MAP_FAILED && r->cq != MAP_FAILED && r->sqes != MAP_FAILED;
}

static int ring_read_fixed(struct ring *r, int fd, char *to, size_t len)
{
	uint32_t *tail = (void *)(r->sq + r->params.sq_off.tail);
	uint32_t *head = (void *)(r->cq + r->params.cq_off.head);
	uint32_t mask = *(uint32_t *)(r->cq + r->params.cq_off.ring_mask);
	struct io_uring_cqe *cqes = (void *)(r->cq + r->params.cq_off.cqes);
	int res;

	r->sqes[0] = (struct io_uring_sqe){
		.opcode = IORING_OP_READ_FIXED,
		.fd = fd,
		.addr = (uintptr_t)to,
		.len = len,
	};
	((uint32_t *)(r->sq + r->params.sq_off.array))[*tail & (r->params.sq_entries - 1)] = 0;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, r->fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1)
		return -errno;
	res = cqes[*head & mask].res;
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	return res;
}

/* Pinned for as long as it is registered: the file's own pages, which are written to. */
PROTECT_TEST(registered_as_a_buffer)
{
	struct iovec iov = { self->map, LENGTH };
	struct ring r;
	int disk;

	if (!ring_make(&r))
		SKIP(return, "no io_uring");
	disk = OPEN_DISK();
	ASSERT_EQ(0, syscall(SYS_io_uring_register, r.fd, IORING_REGISTER_BUFFERS, &iov, 1));
	EXPECT_TRUE(shared_is("registered", N, N));
	EXPECT_EQ(-EBUSY, dedupe_pages(self->p.fd[0], self->p.fd[1], N));
	ASSERT_EQ(LENGTH, ring_read_fixed(&r, disk, self->map, LENGTH));
	disk_content(self->p.model[0]);
	EXPECT_TRUE(same_bytes("registered", self->map, self->p.model[0], LENGTH));
	EXPECT_TRUE(same_bytes("other", self->other, self->p.model[1], LENGTH));
	EXPECT_TRUE(pair_holds(&self->p));
	close(r.fd);
	EXPECT_PROTECTED(self->map);
	CLOSE_DISK(disk);
}

TEST_HARNESS_MAIN

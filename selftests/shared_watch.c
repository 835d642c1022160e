// SPDX-License-Identifier: GPL-2.0
/* Mappings of merged pages that userfaultfd watches, and watches no more. */
#define _GNU_SOURCE
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>

#include "shared_protect.h"

#define NEED(fd, what) do {						\
	if ((fd) < 0)							\
		SKIP(return, "no userfaultfd that " what);		\
} while (0)

static int writes(int fd, char *map, unsigned long mode)
{
	struct uffdio_writeprotect protect = {
		.range = { (uintptr_t)map, N * pagesize },
		.mode = mode,
	};

	return ioctl(fd, UFFDIO_WRITEPROTECT, &protect);
}

static int allow_writes(int fd, char *map)
{
	return writes(fd, map, 0);
}

static int protect_writes(int fd, char *map)
{
	return writes(fd, map, UFFDIO_WRITEPROTECT_MODE_WP);
}

PROTECT_TEST(writes_watched)
{
	int fd = watch_writes(self->map, N * pagesize);

	NEED(fd, "watches writes");
	look_at(self->map, N / 2);
	EXPECT_MERGED();
	ASSERT_EQ(0, allow_writes(fd, self->map));
	look_at(self->map, N);
	EXPECT_MERGED();
	EXPECT_PROTECTED(self->map);
	ASSERT_EQ(0, close(fd));
}

/* Protected to the end: that is what takes the protection away. */
PROTECT_TEST(writes_watched_until_closed)
{
	int fd = watch_writes(self->map, N * pagesize);

	NEED(fd, "watches writes");
	look_at(self->map, N);
	ASSERT_EQ(0, close(fd));
	EXPECT_MERGED();
	EXPECT_PROTECTED(self->map);
}

PROTECT_TEST(accesses_watched_until_closed)
{
	int fd = watch_accesses(self->map, N * pagesize);

	NEED(fd, "watches accesses");
	ASSERT_EQ(0, close(fd));
	EXPECT_MERGED();
	EXPECT_PROTECTED(self->map);
}

/* Answers what a userfaultfd tells, page by page, until it is told to end. */
struct answerer {
	int fd, end;
	bool (*answer)(struct answerer *a, unsigned long page);
	char *map;
	long events, wrong;
	pthread_t thread;
};

static void *answer_all(void *arg)
{
	struct answerer *a = arg;
	struct pollfd polls[2] = { { a->fd, POLLIN, 0 }, { a->end, POLLIN, 0 } };
	struct uffd_msg msg;

	while (poll(polls, 2, -1) > 0 && !(polls[1].revents & POLLIN)) {
		if (read(a->fd, &msg, sizeof(msg)) != sizeof(msg))
			continue;
		a->events++;
		if (msg.event != UFFD_EVENT_PAGEFAULT ||
		    !a->answer(a, msg.arg.pagefault.address & -pagesize))
			a->wrong++;
	}
	return NULL;
}

static bool answerer_start(struct answerer *a)
{
	a->end = eventfd(0, EFD_CLOEXEC);
	return a->end >= 0 && !pthread_create(&a->thread, NULL, answer_all, a);
}

static void answerer_end(struct answerer *a)
{
	eventfd_write(a->end, 1);
	pthread_join(a->thread, NULL);
	close(a->end);
	close(a->fd);
}

/* Who waits is to go on, with the page as it is. */
static bool wake(struct answerer *a, unsigned long page)
{
	struct uffdio_range range = { page, pagesize };

	return !ioctl(a->fd, UFFDIO_WAKE, &range);
}

static bool allow_write(struct answerer *a, unsigned long page)
{
	struct uffdio_writeprotect allow = { .range = { page, pagesize } };

	return !ioctl(a->fd, UFFDIO_WRITEPROTECT, &allow);
}

/* A write to a page that is watched is told, once, and then done. */
PROTECT_TEST(writes_are_told)
{
	struct answerer a = { .answer = allow_write };

	a.fd = watch_writes(self->map, N * pagesize);
	NEED(a.fd, "watches writes");
	if (variant->read)
		look_at(self->map, N);
	EXPECT_MERGED();
	ASSERT_TRUE(answerer_start(&a));
	EXPECT_PROTECTED(self->map);
	answerer_end(&a);
	EXPECT_EQ(0, a.wrong);
	/* Of those that were mapped when they were protected. */
	if (variant->read)
		EXPECT_LE(N, a.events);
	EXPECT_PROTECTED(self->map);
}

static bool carry_on(struct answerer *a, unsigned long page)
{
	struct uffdio_continue go_on = { .range = { page, pagesize } };

	if (!ioctl(a->fd, UFFDIO_CONTINUE, &go_on))
		return true;
	/* Somebody else has it mapped by now. */
	return errno == EEXIST && wake(a, page);
}

static int watch_mode(char *map, unsigned long features, unsigned long mode)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	struct uffdio_register reg = { .range = { (uintptr_t)map, N * pagesize }, .mode = mode };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &reg)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* The page is in the file, and not mapped: whoever touches it waits for an answer. */
PROTECT_TEST(minor_faults_are_told)
{
	struct answerer a = { .answer = carry_on };

	a.fd = watch_mode(self->map, UFFD_FEATURE_MINOR_SHMEM, UFFDIO_REGISTER_MODE_MINOR);
	NEED(a.fd, "tells of minor faults");
	ASSERT_TRUE(answerer_start(&a));
	EXPECT_PROTECTED(self->map);
	/* The mapping goes, the page is read again, and then written. */
	ASSERT_TRUE(pair_make(&self->p, NULL, N, 2));
	ASSERT_EQ(self->map, mmap(self->map, N * pagesize, PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_FIXED, self->p.fd[0], 0));
	ASSERT_TRUE(pair_merge(&self->p));
	EXPECT_TRUE(same_bytes("anew", self->map, self->p.model[0], N * pagesize));
	answerer_end(&a);
	EXPECT_EQ(0, a.wrong);
}

/* Nothing is missing where it is merged; a hole is filled, and is this file's alone. */
static bool fill_in(struct answerer *a, unsigned long page)
{
	struct uffdio_copy copy = { .dst = page, .src = (uintptr_t)a->map, .len = pagesize };

	return !ioctl(a->fd, UFFDIO_COPY, &copy);
}

PROTECT_TEST(missing_pages_are_told)
{
	char *page = malloc(2 * pagesize);
	struct answerer a = { .answer = fill_in, .map = page };
	struct uffdio_copy copy = { .dst = (uintptr_t)self->map, .src = (uintptr_t)page, .len = pagesize };

	fill(page, 77);
	a.fd = watch_mode(self->map, 0, UFFDIO_REGISTER_MODE_MISSING);
	NEED(a.fd, "tells of missing pages");
	/* Over a page that is there. */
	EXPECT_EQ(-1, ioctl(a.fd, UFFDIO_COPY, &copy));
	EXPECT_EQ(EEXIST, errno);
	EXPECT_MERGED();
	ASSERT_TRUE(answerer_start(&a));
	EXPECT_TRUE(same_bytes("watched", self->map, self->p.model[0], N * pagesize));
	EXPECT_EQ(0, a.events);
	EXPECT_MERGED();
	ASSERT_EQ(0, madvise(self->map + 2 * pagesize, pagesize, MADV_REMOVE));
	EXPECT_EQ(page[5], self->map[2 * pagesize + 5]);
	memcpy(self->p.model[0] + 2 * pagesize, page, pagesize);
	EXPECT_PROTECTED(self->map);
	answerer_end(&a);
	EXPECT_EQ(1, a.events);
	EXPECT_EQ(0, a.wrong);
}

/* A child has the protection, too, if that was asked for; both write afterwards. */
PROTECT_TEST(watched_across_fork)
{
	int fd = watch_writes(self->map, N * pagesize);
	pid_t pid;

	NEED(fd, "watches writes");
	look_at(self->map, N);
	pid = fork_child();
	ASSERT_LE(0, pid);
	if (pid == 0)
		_exit(!write_shows_here_only(&self->p, self->other, self->map, N / 2));
	EXPECT_EQ(0, wait_child(pid));
	ASSERT_EQ(0, allow_writes(fd, self->map));
	memcpy(self->p.model[0], self->map, N / 2 * pagesize);
	EXPECT_TRUE(pair_holds(&self->p));
	EXPECT_PROTECTED(self->map);
	close(fd);
}

/* Where the page is given back by others, what was asked for stays so. */
PROTECT_TEST(unmerged_while_watched)
{
	struct answerer a = { .answer = allow_write };
	char byte = 0x5a;

	a.fd = watch_writes(self->map, N * pagesize);
	NEED(a.fd, "watches writes");
	look_at(self->map, N);
	ASSERT_EQ(0, protect_writes(a.fd, self->map));
	/* Written by the file, which is no event. */
	ASSERT_EQ(1, pwrite(self->p.fd[0], &byte, 1, 0));
	self->p.model[0][0] = byte;
	ASSERT_TRUE(answerer_start(&a));
	EXPECT_EQ(byte, self->map[0]);
	EXPECT_EQ(0, a.events);
	self->map[0]++;
	self->p.model[0][0]++;
	EXPECT_EQ(1, a.events);
	EXPECT_PROTECTED(self->map);
	answerer_end(&a);
	EXPECT_EQ(0, a.wrong);
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/* Operations in which the kernel holds on to pages while they are merged, or are not. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/loop.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "torture_ops.h"

/* From the kernel's mm/gup_test.h, which user space gets no header for. */
struct pin_longterm {
	uint64_t addr, size;
	uint32_t flags;
};

#define GUP_TEST	"/sys/kernel/debug/gup_test"
#define PIN_START	_IOW('g', 7, struct pin_longterm)
#define PIN_STOP	_IO('g', 8)
#define PIN_READ	_IOW('g', 9, uint64_t)
#define MOST_PINNED	8

static int disk = -1;

bool pins_probe(void)
{
	return access(GUP_TEST, R_OK | W_OK) == 0;
}

/* A disk in memory that holds each content, as often as is read at once. */
bool direct_probe(void)
{
	int loop = open("/dev/loop-control", O_RDWR | O_CLOEXEC), file, nr;
	struct loop_info64 info = { .lo_flags = LO_FLAGS_AUTOCLEAR };
	char path[32], data[pagesize];
	size_t i;

	if (loop < 0)
		return false;
	nr = ioctl(loop, LOOP_CTL_GET_FREE);
	close(loop);
	snprintf(path, sizeof(path), "/dev/loop%d", nr);
	disk = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	file = memfd_create("torture", MFD_CLOEXEC);
	if (disk < 0 || file < 0)
		return false;
	for (i = 0; i < 2 * CONTENTS; i++) {
		content(data, i);
		if (write(file, data, pagesize) != (ssize_t)pagesize)
			return false;
	}
	return !ioctl(disk, LOOP_SET_FD, file) && !ioctl(disk, LOOP_SET_STATUS64, &info) &&
	       !close(file);
}

/* The scanner comes by, perhaps. */
static void linger(uint64_t value)
{
	unsigned int times = value % 64;

	while (times--)
		sched_yield();
}

static bool all_are(struct worker *w, const struct step *s, size_t n,
		    bool (*what)(struct worker *w, size_t area, size_t page))
{
	while (n--)
		if (!what(w, s->area, s->page + n))
			return false;
	return true;
}

/* Pages lie in a pipe for a while. */
int through_pipe(struct worker *w, const struct step *s)
{
	size_t n = s->count < 8 ? s->count : 8, i, got;
	char *map = page_of(w->areas[s->area].map, s->page), buf[pagesize];
	struct iovec iov = { map, n * pagesize };
	ssize_t len;
	int fd[2];

	if (!all_are(w, s, n, readable))
		return -EFAULT;
	if (pipe2(fd, O_CLOEXEC | O_NONBLOCK))
		return -errno;
	len = vmsplice(fd[1], &iov, 1, 0);
	if (len >= 0)
		linger(s->value);
	for (i = 0; (ssize_t)((i + 1) * pagesize) <= len; i++) {
		for (got = 0; got < pagesize; ) {
			ssize_t ret = read(fd[0], buf + got, pagesize - got);

			if (ret <= 0)
				report(w, s->area, s->page + i, "reading from the pipe: %s",
				       ret ? strerror(errno) : "end of file");
			got += ret;
		}
		compare(w, s->area, s->page + i, buf, "from a pipe");
	}
	close(fd[0]);
	close(fd[1]);
	return len < 0 ? -errno : 0;
}

/* Writes a word to each of the first pages of a step, with time for the scanner before and after. */
static void write_slowly(struct worker *w, const struct step *s, size_t n)
{
	char *map = page_of(w->areas[s->area].map, s->page);
	uint64_t word = s->value >> 16 & 3;
	size_t from = (s->value >> 32) % (pagesize / sizeof(word)) * sizeof(word), i;

	linger(s->value);
	for (i = 0; i < n; i++) {
		memcpy(page_of(map, i) + from, &word, sizeof(word));
		wrote(w, s->area, s->page + i, from, (char *)&word, sizeof(word));
	}
	linger(s->value >> 8);
}

/* A device sees what the process writes while the page is pinned. */
int pinned(struct worker *w, const struct step *s)
{
	size_t n = s->count < MOST_PINNED ? s->count : MOST_PINNED, i;
	char *map = page_of(w->areas[s->area].map, s->page);
	struct pin_longterm range = { (uintptr_t)map, n * pagesize, s->value >> 8 & 3 };
	char *buf;
	uint64_t to;
	int fd, err = 0;

	if (!all_are(w, s, n, writable))
		return -EFAULT;
	if (atomic_exchange(&control->pinning, true))
		return -EBUSY;
	fd = open(GUP_TEST, O_RDWR | O_CLOEXEC);
	buf = mmap(NULL, n * pagesize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	to = (uintptr_t)buf;
	if (fd < 0 || buf == MAP_FAILED || ioctl(fd, PIN_START, &range)) {
		err = -errno;
	} else {
		write_slowly(w, s, n);
		if (ioctl(fd, PIN_READ, &to))
			report(w, s->area, s->page, "reading the pinned page: %s", strerror(errno));
		for (i = 0; i < n; i++)
			compare(w, s->area, s->page + i, page_of(buf, i), "through a pin");
		ioctl(fd, PIN_STOP);
	}
	if (buf != MAP_FAILED)
		munmap(buf, n * pagesize);
	close(fd);
	atomic_store(&control->pinning, false);
	return err;
}

static int new_ring(void)
{
	struct io_uring_params params = {};

	return syscall(SYS_io_uring_setup, 4, &params);
}

bool rings_probe(void)
{
	int ring = new_ring();

	return ring >= 0 && !close(ring);
}

/* Buffers of io_uring: pinned, as many as one likes, and by every thread at once. */
int registered(struct worker *w, const struct step *s)
{
	size_t n = s->count;
	char *map = page_of(w->areas[s->area].map, s->page);
	struct iovec iov = { map, n * pagesize };
	int ring, err;

	if (!all_are(w, s, n, writable))
		return -EFAULT;
	ring = new_ring();
	if (ring < 0)
		return -errno;
	err = result(syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &iov, 1));
	if (!err)
		write_slowly(w, s, n);
	close(ring);
	return err;
}

/* A disk writes into the pages. */
int direct_read(struct worker *w, const struct step *s)
{
	size_t n = s->count < CONTENTS ? s->count : CONTENTS, first = s->value % CONTENTS, i;
	char *map = page_of(w->areas[s->area].map, s->page), data[pagesize];
	ssize_t len;

	if (!all_are(w, s, n, writable))
		return -EFAULT;
	len = pread(disk, map, n * pagesize, first * pagesize);
	if (len < 0) {
		int err = -errno;

		/* Some of it may have been written. */
		for (i = 0; i < n; i++) {
			content(data, first + i);
			memcpy(map + i * pagesize, data, pagesize);
			wrote(w, s->area, s->page + i, 0, data, pagesize);
		}
		return err;
	}
	for (i = 0; i < n; i++) {
		if ((i + 1) * pagesize > (size_t)len)
			report(w, s->area, s->page + i, "a short read: %zd bytes", len);
		content(data, first + i);
		wrote(w, s->area, s->page + i, 0, data, pagesize);
		verify(w, s->area, s->page + i);
	}
	return 0;
}

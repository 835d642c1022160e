// SPDX-License-Identifier: GPL-2.0
/* Merged memory that UFFDIO_MOVE moves. */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "ksm_fixture.h"

#define N	8

/* Newer than the headers of some. */
#ifndef UFFDIO_MOVE
#define UFFD_FEATURE_MOVE	(1 << 16)
struct uffdio_move {
	__u64 dst, src, len, mode;
	__s64 move;
};

#define UFFDIO_MOVE		_IOWR(UFFDIO, 0x05, struct uffdio_move)
#endif

/* A userfaultfd that is told of missing pages in this range. */
static int watch(char *map, size_t n)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_MOVE };
	struct uffdio_register reg = {
		.range = { (unsigned long)map, n * pagesize },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) ||
	    ioctl(fd, UFFDIO_REGISTER, &reg))
		return -1;
	return fd;
}

/* A zero page that KSM has placed is an ordinary one where it is moved to. */
KSM_TEST(move_zero_pages)
{
	char *map = map_pages(N), *target = map_pages(N);
	struct uffdio_move move;
	int fd, i;

	ASSERT_TRUE(map && target);
	/* Written, so that they are pages and not the zero page from the start. */
	for (i = 0; i < N; i++)
		*(volatile char *)page_of(map, i) = 0;
	ASSERT_EQ(0, madvise(map, N * pagesize, MADV_MERGEABLE));
	ASSERT_EQ(0, knob_set("use_zero_pages", 1));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(counter_reaches("ksm_zero_pages", N));
	ASSERT_TRUE(scanner_stop());
	fd = watch(target, N);
	ASSERT_LE(0, fd);
	move = (struct uffdio_move){
		.dst = (unsigned long)target,
		.src = (unsigned long)map,
		.len = N * pagesize,
	};
	ASSERT_EQ(0, ioctl(fd, UFFDIO_MOVE, &move));
	EXPECT_EQ(0, knob("ksm_zero_pages"));
	EXPECT_EQ(0, ksm_stat(0, "ksm_zero_pages"));
	for (i = 0; i < N; i++)
		EXPECT_TRUE(is_zero(page_of(target, i)));
	fill_all(target, N, 1);
	EXPECT_TRUE(all_hold(target, N, 1));
	EXPECT_EQ(0, knob("ksm_zero_pages"));
	ASSERT_EQ(0, close(fd));
}

TEST_HARNESS_MAIN

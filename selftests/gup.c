// SPDX-License-Identifier: GPL-2.0
/* Pages that the kernel, or a device, holds a reference to. */
#include <signal.h>

#include "ksm_fixture.h"
#include "pin_lib.h"
#include "swap_lib.h"

/* Not merged while pinned; the device and the process keep seeing one page. */
static void pinned_not_merged(struct __test_metadata *_metadata, int flags)
{
	char *map = MERGEABLE_PAGES(4, 1), *seen = map_pages(1);
	int fd = OPEN_GUP_TEST();
	uint64_t pfn = pfn_of(0, map);

	ASSERT_NE(NULL, seen);
	ASSERT_EQ(0, pin(fd, map, 1, flags));
	ASSERT_EQ(0, knob_set("run", 1));
	/* Its equals may wait for it, or find each other. */
	ASSERT_TRUE(ksm_passes(8));
	EXPECT_EQ(pfn, pfn_of(0, map));
	EXPECT_FALSE(is_ksm(map));
	fill(map, 2);
	ASSERT_EQ(0, read_pinned(fd, seen));
	EXPECT_TRUE(holds(seen, 2));
	fill(map, 1);
	ASSERT_TRUE(ksm_passes(4));
	ASSERT_EQ(0, read_pinned(fd, seen));
	EXPECT_TRUE(holds(seen, 1));

	ASSERT_EQ(0, ioctl(fd, PIN_STOP));
	ASSERT_TRUE(ksm_settles(1, 3));
	EXPECT_TRUE(all_hold(map, 4, 1));
	close(fd);
}

KSM_TEST(pinned_for_reading)
{
	pinned_not_merged(_metadata, 0);
}

KSM_TEST(pinned_for_writing)
{
	pinned_not_merged(_metadata, PIN_WRITE_FLAG);
}

KSM_TEST(pinned_fast)
{
	pinned_not_merged(_metadata, PIN_WRITE_FLAG | PIN_FAST_FLAG);
}

/*
 * A long-term pin, even for reading only, is of the process's own page: a
 * merged one is unshared first, or a later write would part the two.
 */
static void pin_unshares(struct __test_metadata *_metadata, int flags)
{
	char *map = MERGED_PAGES(4, 3), *seen = map_pages(2);
	int fd = OPEN_GUP_TEST();

	ASSERT_NE(NULL, seen);
	ASSERT_EQ(0, pin(fd, map, 2, flags));
	EXPECT_FALSE(is_ksm(map));
	EXPECT_TRUE(no_two_share(map, 3));
	EXPECT_TRUE(all_hold(map, 4, 3));
	ASSERT_TRUE(ksm_settles(1, 1));
	fill(page_of(map, 1), 4);
	ASSERT_EQ(0, read_pinned(fd, seen));
	EXPECT_TRUE(holds(seen, 3));
	EXPECT_TRUE(holds(page_of(seen, 1), 4));
	ASSERT_EQ(0, ioctl(fd, PIN_STOP));
	close(fd);
	fill(page_of(map, 1), 3);
	ASSERT_TRUE(ksm_settles(1, 3));
}

KSM_TEST(pin_of_merged_page)
{
	pin_unshares(_metadata, 0);
}

KSM_TEST(fast_pin_of_merged_page)
{
	pin_unshares(_metadata, PIN_FAST_FLAG);
}

/* The zero page as well. */
KSM_TEST(pin_of_zero_page)
{
	char *map = MERGEABLE_PAGES(2, 5), *seen = map_pages(1);
	int fd = OPEN_GUP_TEST();

	ASSERT_NE(NULL, seen);
	memset(map, 0, 2 * pagesize);
	ASSERT_EQ(0, knob_set("use_zero_pages", 1));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(counter_reaches("ksm_zero_pages", 2));
	ASSERT_TRUE(scanner_stop());
	ASSERT_EQ(0, pin(fd, map, 1, 0));
	EXPECT_EQ(1, knob("ksm_zero_pages"));
	fill(map, 6);
	ASSERT_EQ(0, read_pinned(fd, seen));
	EXPECT_TRUE(holds(seen, 6));
	ASSERT_EQ(0, ioctl(fd, PIN_STOP));
	close(fd);
	EXPECT_TRUE(is_zero(page_of(map, 1)));
}

/* A page that lies in a pipe is referenced without a pin. */
KSM_TEST(page_in_pipe)
{
	char *map = MERGEABLE_PAGES(4, 7), *seen = map_pages(1);
	int fd[2];

	ASSERT_NE(NULL, seen);
	ASSERT_TRUE(put_in_pipe(map, fd));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_passes(8));
	EXPECT_FALSE(is_ksm(map));
	ASSERT_EQ(pagesize, read(fd[0], seen, pagesize));
	EXPECT_TRUE(holds(seen, 7));
	ASSERT_TRUE(ksm_settles(1, 3));
	EXPECT_TRUE(all_hold(map, 4, 7));
}

/* A merged page in a pipe keeps its content when its owner writes. */
KSM_TEST(merged_page_in_pipe)
{
	char *map = MERGED_PAGES(4, 8), *seen = map_pages(1);
	int fd[2];

	ASSERT_NE(NULL, seen);
	ASSERT_TRUE(put_in_pipe(map, fd));
	fill_all(map, 4, 9);
	ASSERT_TRUE(ksm_settles(1, 3));
	ASSERT_EQ(pagesize, read(fd[0], seen, pagesize));
	EXPECT_TRUE(holds(seen, 8));
	EXPECT_TRUE(all_hold(map, 4, 9));
}

/*
 * A disk reads into pages and writes from them while these are being merged:
 * what it reads must arrive in the page that the process sees. It holds a
 * reference from when the read begins, which may be at any moment of a merge.
 */
KSM_TEST(direct_io)
{
	enum { N = 16 };
	char *map = MERGEABLE_PAGES(N, 10);
	int fd, i;

	if (access(ZRAM, F_OK))
		SKIP(return, "no zram disk");
	ASSERT_EQ(0, file_write(ZRAM "disksize", "1M"));
	fd = open("/dev/zram0", O_RDWR | O_DIRECT | O_CLOEXEC);
	ASSERT_LE(0, fd);
	/* Two images, each of N pages alike, so that no page is right by chance. */
	ASSERT_EQ(N * pagesize, pwrite(fd, map, N * pagesize, 0));
	fill_all(map, N, 11);
	ASSERT_EQ(N * pagesize, pwrite(fd, map, N * pagesize, N * pagesize));
	ASSERT_EQ(0, knob_set("run", 1));
	for (i = 0; i < rounds(500); i++) {
		off_t image = i % 2 * N * pagesize;

		ASSERT_EQ(N * pagesize, pread(fd, map, N * pagesize, image));
		ASSERT_TRUE(all_hold(map, N, 10 + i % 2));
		ASSERT_EQ(N * pagesize, pwrite(fd, map, N * pagesize, image));
		/* The next pass finds them unchanged, and merges them. */
		ASSERT_TRUE(ksm_passes(1));
		usleep(rand() % 2000);
	}
	ASSERT_TRUE(ksm_settles(1, N - 1));
	close(fd);
	EXPECT_EQ(0, reset_zram());
}

TEST_HARNESS_MAIN

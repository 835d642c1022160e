// SPDX-License-Identifier: GPL-2.0
/* Files are cut within a huge page that is in swap in one piece and cannot be read from it. */
#define _GNU_SOURCE
#include "ksm_harness.h"
#include "swap_huge.h"

#define FAIL_IO		"/sys/kernel/debug/fail_make_request/"

FIXTURE(lost) {
	char mount[32];
	char *model;
	long swap_free;
};

/* From now on no request to the disk of compressed memory succeeds, or all do. */
static bool requests_fail(bool yes)
{
	return !file_write(FAIL_IO "verbose", "0") && !file_write(FAIL_IO "times", "-1") &&
	       !file_write(FAIL_IO "probability", yes ? "100" : "0") &&
	       !file_write(ZRAM "make-it-fail", yes ? "1" : "0");
}

FIXTURE_SETUP(lost)
{
	if (access(FAIL_IO, F_OK))
		SKIP(return, "this kernel has no fault injection");
	swap_off();	/* from a test that was killed */
	reset_zram();
	ASSERT_TRUE(requests_fail(false));
	ASSERT_TRUE(swap_on_zram());
	ASSERT_TRUE(shared_mount(self->mount, 0, "huge=always"));
	self->model = malloc(HUGE * pagesize);
	ASSERT_NE(NULL, self->model);
	self->swap_free = meminfo_pages("SwapFree");
}

FIXTURE_TEARDOWN_PARENT(lost)
{
	if (access(FAIL_IO, F_OK))
		return;
	EXPECT_TRUE(requests_fail(false));
	shared_unmount(self->mount);
	swap_off();
	EXPECT_EQ(0, reset_zram());
}

static void cut_lost_page(struct __test_metadata *_metadata, FIXTURE_DATA(lost) *self, size_t at,
			  bool known)
{
	int fd = huge_file_out(self->mount, self->model, at);
	struct stat st;
	char byte;

	ASSERT_LE(0, fd);
	ASSERT_TRUE(requests_fail(true));
	if (known) {
		EXPECT_EQ(-1, pread(fd, &byte, 1, pagesize));
		EXPECT_EQ(EIO, errno);
	}
	ASSERT_EQ(0, ftruncate(fd, at));
	ASSERT_TRUE(requests_fail(false));
	/* It is lost as a whole, and to be cut off as a whole. */
	EXPECT_EQ(-1, pread(fd, &byte, 1, 0));
	EXPECT_EQ(EIO, errno);
	ASSERT_EQ(0, ftruncate(fd, HUGE * pagesize));
	EXPECT_EQ(-1, pread(fd, &byte, 1, at));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(self->swap_free, meminfo_pages("SwapFree"));
	ASSERT_EQ(0, ftruncate(fd, 0));
	ASSERT_EQ(0, fstat(fd, &st));
	EXPECT_EQ(0, st.st_blocks);
	EXPECT_EQ(1, pwrite(fd, "y", 1, 9));
	close(fd);
}

TEST_F_TIMEOUT(lost, huge_page, TEST_SECONDS)
{
	static const size_t cuts[] = { 1, HUGE / 2, 300 };
	int i, known;

	for (i = 0; i < ARRAY_SIZE(cuts); i++)
		for (known = 0; known < 2; known++) {
			cut_lost_page(_metadata, self, cuts[i] * pagesize, known);
			cut_lost_page(_metadata, self, cuts[i] * pagesize + 100, known);
		}
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/* Files are cut within a huge page that is in swap in one piece. */
#define _GNU_SOURCE
#include <linux/falloc.h>

#include "ksm_harness.h"
#include "swap_huge.h"

FIXTURE(cut) {
	char mount[32];
	char *model;
	long swap_free;
};

FIXTURE_VARIANT(cut) {
	bool in_pieces;	/* it comes back page by page, through the swap cache */
};

FIXTURE_VARIANT_ADD(cut, zram) { .in_pieces = false };
FIXTURE_VARIANT_ADD(cut, loop) { .in_pieces = true };

FIXTURE_SETUP(cut)
{
	swap_off();	/* from a test that was killed */
	reset_zram();
	ASSERT_TRUE(variant->in_pieces ? swap_on_loop() : swap_on_zram());
	ASSERT_TRUE(mount_huge(self->mount));
	self->model = huge_model();
	ASSERT_NE(NULL, self->model);
	self->swap_free = meminfo_pages("SwapFree");
}

FIXTURE_TEARDOWN_PARENT(cut)
{
	shared_unmount(self->mount);
	swap_off();
	EXPECT_EQ(0, reset_zram());
	cgroups_remove();
}

#define CUT_TEST(name)	TEST_F_TIMEOUT(cut, name, TEST_SECONDS)

/* Pages on both sides of a part that is halved, and the outermost ones. */
static const size_t cuts[] = { 1, 2, 127, 255, 256, 257, 300, 511 };

static void cut_at(struct __test_metadata *_metadata, FIXTURE_DATA(cut) *self, size_t len)
{
	int fd = huge_file_out(self->mount, self->model, len);
	struct stat st;

	ASSERT_LE(0, fd);
	EXPECT_EQ(self->swap_free - HUGE, meminfo_pages("SwapFree"));
	ASSERT_EQ(0, ftruncate(fd, len));
	ASSERT_EQ(0, fstat(fd, &st));
	EXPECT_EQ((len + pagesize - 1) / pagesize * pagesize / 512, st.st_blocks);
	EXPECT_TRUE(file_holds(fd, self->model, len));
	/* Nothing of what was cut off comes back. */
	ASSERT_EQ(0, ftruncate(fd, HUGE * pagesize));
	memset(self->model + len, 0, HUGE * pagesize - len);
	EXPECT_TRUE(file_holds(fd, self->model, HUGE * pagesize));
	close(fd);
	EXPECT_TRUE(swap_free_becomes(self->swap_free));
}

CUT_TEST(at_a_page)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(cuts); i++)
		cut_at(_metadata, self, cuts[i] * pagesize);
}

CUT_TEST(within_a_page)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(cuts); i++)
		cut_at(_metadata, self, cuts[i] * pagesize + 100);
}

CUT_TEST(by_a_hole)
{
	int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	size_t from, len;
	struct stat st;
	int i, k;

	for (i = 0; i < ARRAY_SIZE(cuts) - 1; i++)
		for (k = 0; k < 2; k++) {
			int fd = huge_file_out(self->mount, self->model, i);

			ASSERT_LE(0, fd);
			from = cuts[i] * pagesize - k * 50;
			len = (cuts[i + 1] - cuts[i]) * pagesize + k * 100;
			ASSERT_EQ(0, fallocate(fd, mode, from, len));
			ASSERT_EQ(0, fstat(fd, &st));
			EXPECT_EQ((HUGE - cuts[i + 1] + cuts[i]) * pagesize / 512, st.st_blocks);
			memset(self->model + from, 0, len);
			EXPECT_TRUE(file_holds(fd, self->model, HUGE * pagesize));
			close(fd);
			EXPECT_TRUE(swap_free_becomes(self->swap_free));
		}
}

TEST_HARNESS_MAIN

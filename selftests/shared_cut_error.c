// SPDX-License-Identifier: GPL-2.0
/* Files are cut within a huge page that is in swap in one piece and cannot be read from it. */
#define _GNU_SOURCE
#include "ksm_harness.h"
#include "swap_huge.h"

#define FAIL_IO		"/sys/kernel/debug/fail_make_request/"
#define PAGE_CLUSTER	"/proc/sys/vm/page-cluster"

FIXTURE(lost) {
	char mount[32];
	char *model;
	long swap_free;
	char page_cluster[16];
};

FIXTURE_VARIANT(lost) {
	bool in_pieces;	/* it comes back page by page, through the swap cache */
};

FIXTURE_VARIANT_ADD(lost, zram) { .in_pieces = false };
FIXTURE_VARIANT_ADD(lost, loop) { .in_pieces = true };

/* From now on no request to a disk of ours with swap succeeds, or all do. */
static bool requests_fail(bool yes)
{
	char line[256], device[32], path[64];
	FILE *swaps = fopen("/proc/swaps", "r");
	bool ok = swaps && !file_write(FAIL_IO "verbose", "0") && !file_write(FAIL_IO "times", "-1") &&
		  !file_write(FAIL_IO "interval", "1") && !file_write(FAIL_IO "space", "0") &&
		  !file_write(FAIL_IO "task-filter", "N") &&
		  !file_write(FAIL_IO "probability", yes ? "100" : "0");

	while (ok && fgets(line, sizeof(line), swaps)) {
		if (sscanf(line, "/dev/%31s", device) != 1 ||
		    (strcmp(device, "zram0") && strncmp(device, "loop", 4)))
			continue;
		snprintf(path, sizeof(path), "/sys/block/%s/make-it-fail", device);
		ok = !file_write(path, yes ? "1" : "0");
	}
	if (swaps)
		fclose(swaps);
	return ok;
}

FIXTURE_SETUP(lost)
{
	if (access(FAIL_IO, F_OK))
		SKIP(return, "this kernel has no fault injection");
	ASSERT_TRUE(requests_fail(false));	/* from a test that was killed */
	swap_off();
	reset_zram();
	ASSERT_TRUE(variant->in_pieces ? swap_on_loop() : swap_on_zram());
	ASSERT_TRUE(mount_huge(self->mount));
	self->model = huge_model();
	ASSERT_NE(NULL, self->model);
	/* No page is lost because it was read ahead. */
	ASSERT_LT(0, file_read(PAGE_CLUSTER, self->page_cluster, sizeof(self->page_cluster)));
	ASSERT_EQ(0, file_write(PAGE_CLUSTER, "0"));
	self->swap_free = meminfo_pages("SwapFree");
}

FIXTURE_TEARDOWN_PARENT(lost)
{
	if (access(FAIL_IO, F_OK))
		return;
	EXPECT_TRUE(requests_fail(false));
	EXPECT_EQ(0, file_write(PAGE_CLUSTER, self->page_cluster));
	shared_unmount(self->mount);
	swap_off();
	EXPECT_EQ(0, reset_zram());
	cgroups_remove();
}

#define LOST_TEST(name)	TEST_F_TIMEOUT(lost, name, TEST_SECONDS)

static bool is_lost(int fd, size_t page)
{
	char byte;

	return pread(fd, &byte, 1, page * pagesize) == -1 && errno == EIO;
}

/* Of no pages at all, too: a read of none tells of the page that is there. */
static bool pages_hold(int fd, const char *model, size_t from, size_t to)
{
	return from == to || part_holds(fd, model, from * pagesize, (to - from) * pagesize);
}

/* Lost are the pages from..to, and nothing of what was cut off comes back. */
static void cut(struct __test_metadata *_metadata, FIXTURE_DATA(lost) *self, int fd, size_t at,
		size_t from, size_t to)
{
	struct stat st;

	ASSERT_EQ(0, ftruncate(fd, at));
	ASSERT_TRUE(requests_fail(false));
	memset(self->model + at, 0, HUGE * pagesize - at);
	EXPECT_TRUE(pages_hold(fd, self->model, 0, from));
	EXPECT_TRUE(is_lost(fd, from));
	ASSERT_EQ(0, ftruncate(fd, HUGE * pagesize));
	EXPECT_TRUE(is_lost(fd, from));
	EXPECT_TRUE(is_lost(fd, to - 1));
	EXPECT_TRUE(pages_hold(fd, self->model, to, HUGE));
	ASSERT_EQ(0, ftruncate(fd, 0));
	ASSERT_EQ(0, fstat(fd, &st));
	EXPECT_EQ(0, st.st_blocks);
	EXPECT_EQ(1, pwrite(fd, "y", 1, 9));
	close(fd);
	EXPECT_TRUE(swap_free_becomes(self->swap_free));
}

static const size_t cuts[] = { 1, HUGE / 2, 300, HUGE - 1 };

/* That ends. In one piece it is lost, and cut off, as a whole. */
LOST_TEST(huge_page)
{
	size_t at, page;
	int i, k, fd;

	for (i = 0; i < ARRAY_SIZE(cuts); i++)
		for (k = 0; k < 2; k++) {
			at = cuts[i] * pagesize + 100 * k;
			page = (at - 1) / pagesize;
			fd = huge_file_out(self->mount, self->model, i);
			ASSERT_LE(0, fd);
			ASSERT_TRUE(requests_fail(true));
			cut(_metadata, self, fd, at, variant->in_pieces ? page : 0,
			    variant->in_pieces ? page + 1 : HUGE);
		}
}

/* One that is known to be lost. */
LOST_TEST(after_a_look)
{
	int i, fd;

	for (i = 0; i < ARRAY_SIZE(cuts); i++) {
		fd = huge_file_out(self->mount, self->model, i);
		ASSERT_LE(0, fd);
		ASSERT_TRUE(requests_fail(true));
		EXPECT_TRUE(is_lost(fd, 0));
		ASSERT_TRUE(requests_fail(!variant->in_pieces));
		cut(_metadata, self, fd, cuts[i] * pagesize + 100, 0, variant->in_pieces ? 1 : HUGE);
	}
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * A disk with swap that cannot be read any more: no file shows other bytes than it has, what
 * is lost can be cut off, and what is written then is well.
 */
#define _GNU_SOURCE
#include <linux/falloc.h>

#include "bus_errors.h"
#include "ksm_harness.h"
#include "shared_maps.h"
#include "swap_lib.h"

#define N	4

struct disk {
	int file;
	long others;	/* pages of shmem that it has nothing to do with */
};

/* Not counting what the disk is made of, which gets more as it is written. */
static long shmem_beside(struct disk *disk)
{
	struct stat st;

	return fstat(disk->file, &st) ? -1 : shmem_at_rest() - st.st_blocks * 512 / (long)pagesize;
}

FIXTURE(lost) {
	struct disk disk;
};

FIXTURE_SETUP(lost)
{
	swap_off();	/* from a test that was killed */
	/* What the disk is made of is not the group's. */
	self->disk.file = swap_on_file();
	ASSERT_LE(0, self->disk.file);
	self->disk.others = shmem_beside(&self->disk);
	ASSERT_TRUE(enter_swap_group());
	ASSERT_EQ(0, mlockall(MCL_CURRENT));
}

FIXTURE_TEARDOWN_PARENT(lost)
{
	swap_off();
	cgroups_remove();
}

#define LOST_TEST(name)	TEST_F_TIMEOUT(lost, name, TEST_SECONDS)

/* Of what came after the disk nothing is in memory any more, nor on its way there. */
static bool all_out(struct disk *disk)
{
	int tries;

	for (tries = 0; tries < 100; tries++) {
		reclaim("128K swappiness=max");
		if (shmem_beside(disk) <= disk->others && !meminfo_pages("SwapCached"))
			return true;
	}
	dprintf(2, "# %ld pages in memory, %ld in the swap cache\n", shmem_beside(disk) - disk->others,
		meminfo_pages("SwapCached"));
	return false;
}

/*
 * All that is on the disk is lost: read-ahead ends at the end of the file, with an error. Once
 * something is written behind it, what was lost would read as zeroes; so each test looks first.
 */
static bool lose(struct disk *disk)
{
	return all_out(disk) && !ftruncate(disk->file, 0);
}

static bool is_lost(int fd, size_t page)
{
	int pipes[2];
	char byte;
	char *map = map_file(fd, N, MAP_SHARED);
	loff_t at = page * pagesize;
	bool ok;

	if (!map || pipe2(pipes, O_CLOEXEC))
		return false;
	ok = pread(fd, &byte, 1, at + 5) == -1 && errno == EIO &&
	     splice(fd, &at, pipes[1], NULL, 1, 0) == -1 && errno == EIO &&
	     pwrite(fd, "x", 1, at + 100) == -1 && errno == EIO && is_broken(map + at);
	close(pipes[0]);
	close(pipes[1]);
	munmap(map, N * pagesize);
	return ok;
}

static int lost_file(struct __test_metadata *_metadata, struct disk *disk)
{
	int fd = shared_file(NULL);

	ASSERT_LE(0, fd);
	ASSERT_TRUE(shared_fill(fd, 1, 1));
	ASSERT_TRUE(lose(disk));
	EXPECT_TRUE(is_lost(fd, 0));
	return fd;
}

/* Of a file that has nothing else, too. */
LOST_TEST(own_page_is_cut)
{
	int fd = lost_file(_metadata, &self->disk);
	struct stat st;

	ASSERT_EQ(0, ftruncate(fd, 0));
	ASSERT_EQ(0, fstat(fd, &st));
	EXPECT_EQ(0, st.st_blocks);
	EXPECT_EQ(1, pwrite(fd, "y", 1, 9));
	close(fd);
}

/* Counted twice it makes up for one that is in swap, which nobody looks for then. */
LOST_TEST(own_page_then_swapoff)
{
	int fd = lost_file(_metadata, &self->disk);
	char byte;

	ASSERT_EQ(1, pwrite(fd, "x", 1, pagesize));
	ASSERT_EQ(0, ftruncate(fd, 0));
	ASSERT_EQ(1, pwrite(fd, "y", 1, 9));
	ASSERT_TRUE(all_out(&self->disk));
	EXPECT_GT(meminfo_pages("SwapTotal"), meminfo_pages("SwapFree"));
	swap_off();
	ASSERT_EQ(1, pread(fd, &byte, 1, 9));
	EXPECT_EQ('y', byte);
	close(fd);
}

/* No swap holds it any more; it stays lost until it is cut off. */
LOST_TEST(swapoff_with_own_page)
{
	int fd = lost_file(_metadata, &self->disk);
	struct stat st;

	swap_off();
	EXPECT_EQ(0, meminfo_pages("SwapTotal"));
	EXPECT_TRUE(is_lost(fd, 0));
	ASSERT_EQ(0, ftruncate(fd, 0));
	ASSERT_EQ(0, fstat(fd, &st));
	EXPECT_EQ(0, st.st_blocks);
	EXPECT_EQ(1, pwrite(fd, "y", 1, 9));
	close(fd);
}

static void lose_pair(struct __test_metadata *_metadata, struct pair *p, struct disk *disk)
{
	ASSERT_TRUE(pair_make(p, NULL, N, 1));
	ASSERT_TRUE(pair_merge(p));
	ASSERT_TRUE(lose(disk));
	EXPECT_EQ(N, shared_now().swapped);
}

LOST_TEST(common_page)
{
	struct pair p, other;
	int i, k;

	NEED_MERGING();
	lose_pair(_metadata, &p, &self->disk);
	ASSERT_TRUE(pair_make(&other, NULL, N, 1));
	/* Before anybody knows, and after. */
	EXPECT_EQ(-EIO, dedupe(other.fd[0], 0, p.fd[0], 0, pagesize));
	for (i = 0; i < N; i++)
		for (k = 0; k < 2; k++)
			EXPECT_TRUE(is_lost(p.fd[k], i));
	EXPECT_TRUE(is_lost(p.fd[0], 1));
	EXPECT_EQ(-EIO, dedupe(p.fd[0], pagesize, other.fd[0], pagesize, pagesize));
	EXPECT_TRUE(pair_holds(&other));
	pair_free(&other);
	pair_free(&p);
	EXPECT_TRUE(shared_becomes(0, 0));
	EXPECT_TRUE(shared_adds_up());
}

LOST_TEST(common_page_is_cut)
{
	int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	struct stat st;
	struct pair p;

	NEED_MERGING();
	lose_pair(_metadata, &p, &self->disk);
	/* Parts of two pages, which stay lost; then both. */
	ASSERT_EQ(0, fallocate(p.fd[0], mode, 50, pagesize));
	EXPECT_TRUE(is_lost(p.fd[0], 0) && is_lost(p.fd[0], 1) && is_lost(p.fd[1], 0));
	ASSERT_EQ(0, fallocate(p.fd[0], mode, 0, 2 * pagesize));
	memset(p.model[0], 0, 2 * pagesize);
	ASSERT_EQ(1, pwrite(p.fd[0], "z", 1, 7));
	p.model[0][7] = 'z';
	EXPECT_TRUE(file_holds(p.fd[0], p.model[0], 2 * pagesize));
	EXPECT_TRUE(is_lost(p.fd[1], 1) && is_lost(p.fd[0], 2));
	/* Also such as nobody has looked at. */
	ASSERT_EQ(0, ftruncate(p.fd[1], 0));
	ASSERT_EQ(0, fstat(p.fd[1], &st));
	EXPECT_EQ(0, st.st_blocks);
	ASSERT_EQ(0, ftruncate(p.fd[1], N * pagesize));
	memset(p.model[1], 0, N * pagesize);
	EXPECT_TRUE(file_holds(p.fd[1], p.model[1], N * pagesize));
	EXPECT_TRUE(is_lost(p.fd[0], 3));
	pair_free(&p);
	EXPECT_TRUE(shared_becomes(0, 0));
	EXPECT_TRUE(shared_adds_up());
}

/* One common page in swap, after another one was lost and is gone: it is found. */
LOST_TEST(swapoff_after_that)
{
	struct pair p;

	NEED_MERGING();
	lose_pair(_metadata, &p, &self->disk);
	EXPECT_TRUE(is_lost(p.fd[0], 1));
	pair_free(&p);
	ASSERT_TRUE(shared_becomes(0, 0));
	ASSERT_TRUE(pair_make(&p, NULL, 1, 7));
	ASSERT_TRUE(pair_merge(&p));
	ASSERT_TRUE(all_out(&self->disk));
	EXPECT_EQ(1, shared_now().swapped);
	swap_off();
	EXPECT_EQ(0, shared_now().swapped);
	EXPECT_TRUE(pair_holds(&p));
	pair_free(&p);
	EXPECT_TRUE(shared_becomes(0, 0));
}

TEST_HARNESS_MAIN

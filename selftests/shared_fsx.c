// SPDX-License-Identifier: GPL-2.0
/*
 * Files in memory whose pages are merged by FIDEDUPERANGE behave as if nothing
 * had happened: everything that can be done to a file is done at random, and it
 * is known what each byte must be. SEED=N does the same again.
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "ksm_harness.h"
#include "shared_fsx.h"
#include "swap_lib.h"

#define PAGES		48
#define FOLDER		"/tmp/shared_fsx"
#define SHMEM_HUGE	"/sys/kernel/mm/transparent_hugepage/shmem_enabled"

FIXTURE(fsx) {
	struct fsx *fsx;
	char shmem_huge[32];
};

FIXTURE_VARIANT(fsx) {
	/* Options of a tmpfs; without them the files are memfds. */
	const char *mount;
	/* Room for huge pages, and asked for. */
	bool huge;
	/* In a memory cgroup with this limit, and swap if there is something to swap to. */
	const char *limit;
	int processes;
	/* Of all processes together; KSM_ROUNDS=1000 makes a million of all. */
	long operations;
};

FIXTURE_VARIANT_ADD(fsx, tmpfs) {
	.mount = "huge=never", .processes = 1, .operations = 25000,
};

FIXTURE_VARIANT_ADD(fsx, memfd) {
	.processes = 1, .operations = 25000,
};

FIXTURE_VARIANT_ADD(fsx, tmpfs_together) {
	.mount = "huge=never", .processes = 4, .operations = 20000,
};

FIXTURE_VARIANT_ADD(fsx, memfd_together) {
	.processes = 3, .operations = 15000,
};

FIXTURE_VARIANT_ADD(fsx, tmpfs_limited) {
	.mount = "huge=never", .limit = "48M", .processes = 1, .operations = 10000,
};

FIXTURE_VARIANT_ADD(fsx, memfd_limited_together) {
	.limit = "48M", .processes = 3, .operations = 10000,
};

FIXTURE_VARIANT_ADD(fsx, within_size) {
	.mount = "huge=within_size", .huge = true, .processes = 1, .operations = 2000,
};

FIXTURE_VARIANT_ADD(fsx, advise_together) {
	.mount = "huge=advise", .huge = true, .processes = 3, .operations = 2000,
};

FIXTURE_VARIANT_ADD(fsx, memfd_huge_limited) {
	.huge = true, .limit = "64M", .processes = 1, .operations = 2000,
};

static uint64_t seed(void)
{
	const char *given = getenv("SEED");
	uint64_t drawn = 0;

	if (given && *given)
		return strtoull(given, NULL, 0);
	if (getrandom(&drawn, sizeof(drawn), 0) < 0)
		drawn = getpid();
	return drawn % 1000000000;
}

static void away(void)
{
	umount2(FOLDER, MNT_DETACH);
	rmdir(FOLDER);
}

/* A tmpfs that holds the files, and not a page more: what is merged must not need any. */
static bool mount_it(const char *options, size_t pages)
{
	char text[96];

	snprintf(text, sizeof(text), "%s,nr_blocks=%zu", options, pages);
	return !mkdir(FOLDER, 0700) && !mount("tmpfs", FOLDER, "tmpfs", 0, text);
}

static bool make_file(struct fsx_file *file, const char *folder, int nr)
{
	char path[64];

	file->direct = -1;
	if (!folder) {
		file->fd = memfd_create("fsx", MFD_CLOEXEC);
	} else {
		snprintf(path, sizeof(path), "%s/%d", folder, nr);
		file->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	}
	if (file->fd < 0)
		return false;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file->fd);
	file->direct = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	return true;
}

/* Swapping is more: without a device it is a memory cgroup that is never short. */
static bool swap_if_any(void)
{
	if (access("/dev/zram0", F_OK) == 0)
		return swap_on_zram();
	return access("/dev/loop-control", F_OK) != 0 || swap_on_loop();
}

/* What FIDEDUPERANGE says where the filesystem has none. */
static bool merges(struct fsx_file *file)
{
	int result;

	if (ftruncate(file->fd, 2 * pagesize))
		return false;
	result = fsx_try_dedupe(file->fd);
	if (ftruncate(file->fd, 0))
		return false;
	return result != -EOPNOTSUPP && result != -ENOTTY;
}

FIXTURE_SETUP(fsx)
{
	size_t pages = variant->huge ? FSX_MOST_PAGES : PAGES;
	size_t room = FSX_FILES * (variant->huge ? FSX_MOST_PAGES + 512 : PAGES);
	long operations = rounds(variant->operations) / variant->processes;
	int i;

	away();
	swap_off();
	if (access("/dev/zram0", F_OK) == 0)
		reset_zram();
	if (variant->huge && file_read(SHMEM_HUGE, self->shmem_huge, sizeof(self->shmem_huge)) < 0)
		SKIP(return, "this kernel has no huge pages");
	if (variant->huge && !variant->mount)
		ASSERT_EQ(0, file_write(SHMEM_HUGE, "advise"));
	self->fsx = fsx_new(pages, variant->processes, operations, seed());
	ASSERT_NE(NULL, self->fsx);
	self->fsx->huge = variant->huge;
	if (variant->limit) {
		ASSERT_TRUE(swap_if_any());
		ASSERT_TRUE(enter_swap_group());
		ASSERT_EQ(0, file_write(cgroup_file(GROUP, "memory.max"), variant->limit));
		self->fsx->reclaim = true;
	}
	if (variant->mount)
		ASSERT_TRUE(mount_it(variant->mount, room));
	for (i = 0; i < FSX_FILES; i++)
		ASSERT_TRUE(make_file(&self->fsx->file[i], variant->mount ? FOLDER : NULL, i));
	self->fsx->dedupe = merges(&self->fsx->file[0]);
}

FIXTURE_TEARDOWN_PARENT(fsx)
{
	if (variant->huge && !variant->mount)
		file_write(SHMEM_HUGE, "never");
	away();
	if (!variant->limit)
		return;
	swap_off();
	if (access("/dev/zram0", F_OK) == 0)
		reset_zram();
	cgroups_remove();
}

/* Nothing is left of the files: each page of the tmpfs is free again. */
static bool all_is_free(struct fsx *fsx)
{
	struct statfs fs;
	int i;

	if (statfs(FOLDER, &fs))
		return false;
	for (i = 0; i < FSX_FILES; i++) {
		char path[64];

		snprintf(path, sizeof(path), "%s/%d", FOLDER, i);
		close(fsx->file[i].fd);
		close(fsx->file[i].direct);
		unlink(path);
	}
	for (i = 0; i < 20000; i++) {
		if (!statfs(FOLDER, &fs) && fs.f_bfree == fs.f_blocks)
			return true;
		/* Files that were open elsewhere go a little later. */
		usleep(1000);
	}
	dprintf(2, "# %llu of %llu blocks are free\n", (unsigned long long)fs.f_bfree, (unsigned long long)fs.f_blocks);
	return false;
}

TEST_F_TIMEOUT(fsx, anything, TEST_SECONDS)
{
	struct fsx *fsx = self->fsx;
	pid_t pid[FSX_PROCESSES];
	int i;

	TH_LOG("SEED=%llu, %d processes, %ld operations each%s", (unsigned long long)fsx->seed,
	       fsx->processes, fsx->operations, fsx->dedupe ? "" : ", without merging");
	/* Each has its part from the start. */
	if (fsx->processes > 1)
		for (i = 0; i < FSX_FILES; i++) {
			fsx->file[i].size = fsx->pages * pagesize;
			ASSERT_EQ(0, ftruncate(fsx->file[i].fd, fsx->file[i].size));
		}
	for (i = 0; i < fsx->processes; i++) {
		pid[i] = fork_child();
		if (!pid[i])
			_exit(fsx_run(fsx, i));
		ASSERT_LT(0, pid[i]);
	}
	for (i = 0; i < fsx->processes; i++)
		EXPECT_EQ(0, wait_child(pid[i]));
	ASSERT_FALSE((bool)fsx->failed);
	fsx_print(fsx);
	EXPECT_TRUE(fsx_is_right(fsx));
	if (variant->mount)
		EXPECT_TRUE(all_is_free(fsx));
	if (!fsx->dedupe)
		SKIP(return, "tmpfs has no FIDEDUPERANGE here: all else was right");
	EXPECT_LT(0, (long)fsx->merged);
}

TEST_HARNESS_MAIN

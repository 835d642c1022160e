// SPDX-License-Identifier: GPL-2.0
/* What FIDEDUPERANGE refuses on tmpfs, and that nothing of what it does shows in the accounts. */
#define _GNU_SOURCE
#include <linux/falloc.h>
#include <linux/quota.h>
#include <linux/userfaultfd.h>
#include <sys/quota.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/syscall.h>

#include "shared_fixture.h"

#define N	8

/* The headers of the machine that builds this may be older. */
#ifndef SYS_cachestat
#define SYS_cachestat	451
#endif

SHARED_TEST(refuses_by_cause)
{
	struct pair p;
	int dir, ro, other, pipes[2];
	char path[64];

	ASSERT_TRUE(pair_make(&p, self->dir, N, 1));
	/* The start has to be that of a page. */
	EXPECT_EQ(-EINVAL, dedupe(p.fd[0], 100, p.fd[1], 0, pagesize));
	EXPECT_EQ(-EINVAL, dedupe(p.fd[0], 0, p.fd[1], 512, pagesize));
	/* Beyond the end of either. */
	EXPECT_EQ(-EINVAL, dedupe(p.fd[0], N * pagesize, p.fd[1], 0, pagesize));
	EXPECT_EQ(-EINVAL, dedupe(p.fd[0], 0, p.fd[1], N * pagesize, pagesize));
	EXPECT_EQ(-EINVAL, dedupe(p.fd[0], 0, p.fd[1], pagesize, N * pagesize));
	EXPECT_EQ(-EINVAL, dedupe_pages(p.fd[0], p.fd[1], N + 1));
	/* Itself. */
	EXPECT_EQ(-EINVAL, dedupe_pages(p.fd[0], p.fd[0], N));
	EXPECT_EQ(-EINVAL, dedupe(p.fd[0], 0, p.fd[0], pagesize, 2 * pagesize));
	/* Nothing. */
	EXPECT_EQ(0, dedupe(p.fd[0], 0, p.fd[1], 0, 0));
	/* What is no file in memory. */
	EXPECT_EQ(-EBADF, dedupe_pages(p.fd[0], -1, 1));
	dir = open(self->dir ? self->dir : "/dev/shm", O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, dir);
	EXPECT_EQ(-EISDIR, dedupe_pages(dir, p.fd[0], 1));
	EXPECT_EQ(self->dir ? -EISDIR : -EXDEV, dedupe_pages(p.fd[0], dir, 1));
	ASSERT_EQ(0, pipe(pipes));
	EXPECT_EQ(-EINVAL, dedupe_pages(pipes[0], p.fd[0], 1));
	EXPECT_EQ(-EXDEV, dedupe_pages(p.fd[0], pipes[1], 1));
	/* Of another filesystem. */
	other = memfd_create("other", MFD_CLOEXEC);
	if (!self->dir) {
		char mount[32];

		close(other);
		ASSERT_TRUE(shared_mount(mount, 0, ""));
		other = shared_file(mount);
		shared_unmount(mount);
	}
	ASSERT_TRUE(shared_fill(other, N, 1));
	EXPECT_EQ(-EXDEV, dedupe_pages(p.fd[0], other, 1));
	/* A source that cannot be read. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", p.fd[0]);
	ro = open(path, O_WRONLY | O_CLOEXEC);
	ASSERT_LE(0, ro);
	EXPECT_EQ(-EINVAL, dedupe_pages(ro, p.fd[1], 1));
	/* Other bytes, at the very end. */
	ASSERT_EQ(1, pwrite(p.fd[1], "", 1, N * pagesize - 1));
	EXPECT_EQ(1, dedupe(p.fd[0], (N - 1) * pagesize, p.fd[1], (N - 1) * pagesize, pagesize));
	/* None of this merged a page. */
	EXPECT_TRUE(shared_becomes(0, 0));
}

/* The owner of a file may, and who can write to it. */
SHARED_TEST(needs_to_own_it)
{
	struct pair p;
	char path[64];
	int ro[2], k;

	ASSERT_TRUE(pair_make(&p, self->dir, N, 1));
	for (k = 0; k < 2; k++) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", p.fd[k]);
		ASSERT_EQ(0, fchmod(p.fd[k], 0444));
		ro[k] = open(path, O_RDONLY | O_CLOEXEC);
		ASSERT_LE(0, ro[k]);
	}
	ASSERT_EQ(0, setresuid(1000, 1000, 1000));
	EXPECT_EQ(-EPERM, dedupe_pages(p.fd[0], ro[1], N));
	/* The page of the source gives way as well. */
	EXPECT_EQ(-EPERM, dedupe_pages(ro[0], p.fd[1], N));
	EXPECT_EQ(0, dedupe_pages(p.fd[0], p.fd[1], N));
}

SHARED_TEST(sealed_files)
{
	struct pair p;

	if (self->dir)
		return;
	ASSERT_TRUE(pair_make(&p, self->dir, N, 1));
	ASSERT_EQ(0, fcntl(p.fd[1], F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW));
	/* Its content stays as it is. */
	EXPECT_TRUE(pair_merge(&p));
	EXPECT_TRUE(shared_becomes(N, 2 * N));
	ASSERT_EQ(0, fcntl(p.fd[0], F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SEAL));
	EXPECT_TRUE(pair_holds(&p));
	EXPECT_EQ(-1, pwrite(p.fd[1], "", 1, 0));
	EXPECT_EQ(EPERM, errno);
}

/* In use: by a pipe that refers to a page, or locked in memory. */
SHARED_TEST(in_use)
{
	struct pair p;
	int pipes[2];
	loff_t at = pagesize;
	char *map;

	ASSERT_TRUE(pair_make(&p, self->dir, N, 1));
	ASSERT_EQ(0, pipe(pipes));
	ASSERT_EQ(pagesize, splice(p.fd[0], &at, pipes[1], NULL, pagesize, 0));
	EXPECT_EQ(-EBUSY, dedupe_pages(p.fd[0], p.fd[1], N));
	/* The others are merged, and nothing is kept of that one. */
	EXPECT_TRUE(shared_becomes(N - 1, 2 * N - 2));
	close(pipes[0]);
	close(pipes[1]);
	EXPECT_TRUE(pair_merge(&p));
	EXPECT_TRUE(shared_becomes(N, 2 * N));
	map = map_file(p.fd[1], N, MAP_SHARED);
	ASSERT_NE(NULL, map);
	ASSERT_EQ(0, mlock(map, 2 * pagesize));
	EXPECT_EQ(-EBUSY, dedupe_pages(p.fd[0], p.fd[1], N));
	EXPECT_TRUE(shared_becomes(N, 2 * N - 2));
	ASSERT_EQ(0, munlock(map, 2 * pagesize));
	EXPECT_TRUE(pair_merge(&p));
	EXPECT_TRUE(shared_becomes(N, 2 * N));
	EXPECT_TRUE(pair_holds(&p));
}

/* Where userfaultfd looks at the page, merging would be an event. */
SHARED_TEST(watched)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	int uffd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	struct pair p;
	char *map;

	ASSERT_TRUE(pair_make(&p, self->dir, N, 1));
	map = map_file(p.fd[1], N, MAP_SHARED);
	ASSERT_NE(NULL, map);
	reg.range.start = (unsigned long)map;
	reg.range.len = N * pagesize;
	ASSERT_LE(0, uffd);
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_API, &api));
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_REGISTER, &reg));
	/* One page is mapped, the others are only in the file. */
	ASSERT_EQ(p.model[1][pagesize], map[pagesize]);
	ASSERT_EQ(0, madvise(map + 2 * pagesize, pagesize, MADV_DONTNEED));
	EXPECT_EQ(-EBUSY, dedupe(p.fd[0], pagesize, p.fd[1], pagesize, pagesize));
	EXPECT_EQ(0, dedupe(p.fd[0], 2 * pagesize, p.fd[1], 2 * pagesize, pagesize));
	EXPECT_TRUE(shared_becomes(1, 2));
	/* It is there: nothing is missing. */
	EXPECT_TRUE(same_bytes("watched", map, p.model[1], N * pagesize));
	close(uffd);
	EXPECT_TRUE(pair_merge(&p));
	EXPECT_TRUE(pair_holds(&p));
}

/* Each with a file system of its own. */
FIXTURE(file_system) {
};

FIXTURE_SETUP(file_system)
{
	NEED_MERGING();
}

FIXTURE_TEARDOWN(file_system)
{
}

#define SYSTEM_TEST(name)	TEST_F_TIMEOUT(file_system, name, TEST_SECONDS)

SYSTEM_TEST(immutable_files)
{
	int flags = FS_IMMUTABLE_FL;
	char mount[32];
	struct pair p;

	ASSERT_TRUE(shared_mount(mount, 0, ""));
	ASSERT_TRUE(pair_make(&p, mount, N, 1));
	ASSERT_EQ(0, ioctl(p.fd[1], FS_IOC_SETFLAGS, &flags));
	EXPECT_EQ(-EPERM, dedupe_pages(p.fd[0], p.fd[1], N));
	EXPECT_EQ(0, dedupe_pages(p.fd[1], p.fd[0], N));
	EXPECT_TRUE(shared_becomes(N, 2 * N));
	pair_free(&p);
	shared_unmount(mount);
}

SYSTEM_TEST(what_must_not_go_to_swap)
{
	char mount[32];
	struct pair p;

	ASSERT_TRUE(shared_mount(mount, 0, "noswap"));
	ASSERT_TRUE(pair_make(&p, mount, N, 1));
	EXPECT_EQ(-EOPNOTSUPP, dedupe_pages(p.fd[0], p.fd[1], N));
	EXPECT_TRUE(shared_becomes(0, 0));
	pair_free(&p);
	shared_unmount(mount);
}

static long blocks_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? -1 : st.st_blocks;
}

static long free_blocks(int fd)
{
	struct statfs st;

	return fstatfs(fd, &st) ? -1 : st.f_bfree;
}

/* A file has the blocks that it had; the system has more memory. */
SHARED_TEST(blocks_stay)
{
	struct pair p;
	long blocks, bfree, shmem;

	ASSERT_TRUE(pair_make(&p, self->dir, N, 1));
	blocks = blocks_of(p.fd[0]);
	bfree = free_blocks(p.fd[0]);
	ASSERT_EQ(N * pagesize / 512, blocks);
	shmem = shmem_at_rest();
	ASSERT_TRUE(pair_merge(&p));
	EXPECT_TRUE(shmem_becomes(shmem - N));
	EXPECT_EQ(blocks, blocks_of(p.fd[0]));
	EXPECT_EQ(blocks, blocks_of(p.fd[1]));
	EXPECT_EQ(bfree, free_blocks(p.fd[0]));
	/* One page given back, and one cut off. */
	ASSERT_TRUE(take_back(p.fd[0], 0, 1));
	EXPECT_EQ(blocks, blocks_of(p.fd[0]));
	EXPECT_TRUE(shmem_becomes(shmem - N + 1));
	ASSERT_EQ(0, ftruncate(p.fd[1], (N - 1) * pagesize));
	EXPECT_EQ(blocks - (long)pagesize / 512, blocks_of(p.fd[1]));
	if (self->dir)
		EXPECT_EQ(bfree + 1, free_blocks(p.fd[0]));
	ASSERT_TRUE(shared_becomes(N, 2 * N - 2));
	EXPECT_TRUE(shmem_becomes(shmem - N + 1));
	ASSERT_EQ(0, ftruncate(p.fd[0], 0));
	ASSERT_EQ(0, ftruncate(p.fd[1], 0));
	EXPECT_EQ(0, blocks_of(p.fd[0]));
	EXPECT_EQ(0, blocks_of(p.fd[1]));
	ASSERT_TRUE(shared_becomes(0, 0));
	EXPECT_TRUE(shmem_becomes(shmem - 2 * N));
}

/* What is in memory, and where there is data: the same answers before and after. */
SHARED_TEST(nobody_can_tell)
{
	struct cachestat_range { __u64 off, len; } range = { 0, N * pagesize };
	struct { __u64 cache, dirty, writeback, evicted, recently; } before, after;
	unsigned char core[2][N];
	off_t hole, data;
	struct pair p;
	char *map;
	int i;

	ASSERT_TRUE(pair_make(&p, self->dir, N, 1));
	ASSERT_EQ(0, fallocate(p.fd[0], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       2 * pagesize, pagesize));
	memset(p.model[0] + 2 * pagesize, 0, pagesize);
	map = map_file(p.fd[0], N, MAP_SHARED);
	ASSERT_NE(NULL, map);
	ASSERT_EQ(0, mincore(map, N * pagesize, core[0]));
	ASSERT_EQ(0, syscall(SYS_cachestat, p.fd[0], &range, &before, 0));
	ASSERT_EQ(N - 1, before.cache);
	ASSERT_EQ(0, dedupe(p.fd[1], 0, p.fd[0], 0, 2 * pagesize));
	ASSERT_EQ(0, dedupe(p.fd[1], 3 * pagesize, p.fd[0], 3 * pagesize, (N - 3) * pagesize));
	ASSERT_TRUE(shared_becomes(N - 1, 2 * N - 2));

	ASSERT_EQ(0, syscall(SYS_cachestat, p.fd[0], &range, &after, 0));
	EXPECT_EQ(0, memcmp(&before, &after, sizeof(before)));
	ASSERT_EQ(0, mincore(map, N * pagesize, core[1]));
	for (i = 0; i < N; i++) {
		EXPECT_EQ(i != 2, core[0][i] & 1);
		EXPECT_EQ(i != 2, core[1][i] & 1);
	}
	hole = lseek(p.fd[0], 0, SEEK_HOLE);
	EXPECT_EQ(2 * pagesize, hole);
	data = lseek(p.fd[0], hole, SEEK_DATA);
	EXPECT_EQ(3 * pagesize, data);
	/* Nothing of this was a look at the content. */
	EXPECT_TRUE(shared_becomes(N - 1, 2 * N - 2));
	EXPECT_TRUE(pair_holds(&p));
}

/* A file system that is full: what was merged can still be written, and no more than that. */
SYSTEM_TEST(full_file_system)
{
	char mount[32], *page = malloc(4096);
	int third, i, k;
	struct pair p;

	ASSERT_TRUE(shared_mount(mount, 2 * N, ""));
	ASSERT_TRUE(pair_make(&p, mount, N, 1));
	ASSERT_TRUE(pair_merge(&p));
	ASSERT_TRUE(shared_becomes(N, 2 * N));
	third = shared_file(mount);
	ASSERT_LE(0, third);
	EXPECT_EQ(-1, pwrite(third, page, pagesize, 0));
	EXPECT_EQ(ENOSPC, errno);
	for (k = 0; k < 2; k++) {
		for (i = 0; i < N; i++) {
			fill(page, 50 + 10 * k + i);
			ASSERT_EQ(pagesize, pwrite(p.fd[k], page, pagesize, i * pagesize));
			memcpy(p.model[k] + i * pagesize, page, pagesize);
		}
	}
	EXPECT_TRUE(pair_holds(&p));
	EXPECT_EQ(-1, pwrite(third, page, pagesize, 0));
	EXPECT_EQ(ENOSPC, errno);
	EXPECT_TRUE(shared_becomes(0, 0));
	pair_free(&p);
	shared_unmount(mount);
}

/* It cannot be made smaller than what was put there. */
SYSTEM_TEST(smaller_file_system)
{
	char mnt[32], size[32];
	struct pair p;

	ASSERT_TRUE(shared_mount(mnt, 4 * N, ""));
	ASSERT_TRUE(pair_make(&p, mnt, N, 1));
	ASSERT_TRUE(pair_merge(&p));
	snprintf(size, sizeof(size), "size=%zu", (2 * N - 1) * pagesize);
	EXPECT_EQ(-1, mount("shared", mnt, "tmpfs", MS_REMOUNT, size));
	EXPECT_EQ(EINVAL, errno);
	snprintf(size, sizeof(size), "size=%zu", 2 * N * pagesize);
	EXPECT_EQ(0, mount("shared", mnt, "tmpfs", MS_REMOUNT, size));
	ASSERT_EQ(1, pwrite(p.fd[0], p.model[0], 1, 0));
	EXPECT_TRUE(pair_holds(&p));
	pair_free(&p);
	shared_unmount(mnt);
}

/* Unmounted with everything in it. */
SYSTEM_TEST(unmounted)
{
	char mount[32], path[64];
	struct pair p;
	long shmem;
	int k, fd;

	shmem = shmem_at_rest();
	ASSERT_TRUE(shared_mount(mount, 0, ""));
	for (k = 0; k < 2; k++) {
		snprintf(path, sizeof(path), "%s/%d", mount, k);
		fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
		ASSERT_LE(0, fd);
		ASSERT_TRUE(shared_fill(fd, N, 1));
		p.fd[k] = fd;
	}
	ASSERT_EQ(0, dedupe_pages(p.fd[0], p.fd[1], N));
	ASSERT_TRUE(shared_becomes(N, 2 * N));
	close(p.fd[0]);
	close(p.fd[1]);
	snprintf(path, sizeof(path), "%s/0", mount);
	ASSERT_EQ(0, unlink(path));
	EXPECT_TRUE(shared_becomes(N, N));
	ASSERT_EQ(0, umount(mount));
	rmdir(mount);
	EXPECT_TRUE(shared_becomes(0, 0));
	EXPECT_TRUE(shmem_becomes(shmem));
}

/* A quota counts what was written, whatever was merged. */
SYSTEM_TEST(quota)
{
	char mnt[32], *page = malloc(4096);
	struct dqblk dq;
	struct pair p;
	int dir;

	ASSERT_TRUE(shared_mount(mnt, 0, "usrquota"));
	ASSERT_EQ(0, chmod(mnt, 0777));
	dir = open(mnt, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, dir);
	memset(&dq, 0, sizeof(dq));
	dq.dqb_bhardlimit = 2 * N * pagesize / 1024;
	dq.dqb_valid = QIF_BLIMITS;
	ASSERT_EQ(0, syscall(SYS_quotactl_fd, dir, QCMD(Q_SETQUOTA, USRQUOTA), 1000, &dq));
	/* Who may exceed it is no use here. */
	ASSERT_EQ(0, seteuid(1000));
	ASSERT_TRUE(pair_make(&p, mnt, N, 1));
	ASSERT_TRUE(pair_merge(&p));
	EXPECT_EQ(-1, pwrite(p.fd[0], page, pagesize, N * pagesize));
	EXPECT_EQ(EDQUOT, errno);
	ASSERT_EQ(1, pwrite(p.fd[0], p.model[0], 1, 0));
	ASSERT_EQ(0, seteuid(0));
	ASSERT_EQ(0, syscall(SYS_quotactl_fd, dir, QCMD(Q_GETQUOTA, USRQUOTA), 1000, &dq));
	EXPECT_EQ(2 * N * pagesize, dq.dqb_curspace);
	ASSERT_EQ(0, ftruncate(p.fd[1], pagesize));
	ASSERT_EQ(0, syscall(SYS_quotactl_fd, dir, QCMD(Q_GETQUOTA, USRQUOTA), 1000, &dq));
	EXPECT_EQ((N + 1) * pagesize, dq.dqb_curspace);
	pair_free(&p);
	ASSERT_EQ(0, syscall(SYS_quotactl_fd, dir, QCMD(Q_GETQUOTA, USRQUOTA), 1000, &dq));
	EXPECT_EQ(0, dq.dqb_curspace);
	close(dir);
	shared_unmount(mnt);
}

TEST_HARNESS_MAIN

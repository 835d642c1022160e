// SPDX-License-Identifier: GPL-2.0
/* Whatever is done with a mapping of a merged page does not make it writable. */
#define _GNU_SOURCE
#include <sys/syscall.h>

#include "shared_protect.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL	102
#define MADV_GUARD_REMOVE	103
#endif

/* The bit of /proc/PID/pagemap. */
#define PM_SOFT_DIRTY_BIT	(1ULL << 55)

PROTECT_TEST(nothing_done)
{
	EXPECT_MERGED();
	EXPECT_PROTECTED(self->map);
}

PROTECT_TEST(forbidden_and_allowed)
{
	int prot, k;

	for (k = 0; k < 4; k++) {
		prot = k % 2 ? PROT_READ : PROT_NONE;
		ASSERT_EQ(0, mprotect(self->map, N * pagesize, prot));
		if (prot)
			look_at(self->map, N);
		ASSERT_EQ(0, mprotect(self->map, N * pagesize, PROT_READ | PROT_WRITE));
	}
	EXPECT_MERGED();
	EXPECT_PROTECTED(self->map);
}

/* One page, in the middle of the mapping, which is two for so long. */
PROTECT_TEST(forbidden_in_the_middle)
{
	char *middle = self->map + 3 * pagesize;

	ASSERT_EQ(0, mprotect(middle, pagesize, PROT_READ));
	look_at(self->map, N);
	ASSERT_EQ(0, mprotect(middle, pagesize, PROT_READ | PROT_WRITE));
	EXPECT_MERGED();
	EXPECT_PROTECTED(self->map);
}

/* Never writable until now. */
PROTECT_TEST(allowed_later)
{
	char *map = mmap(NULL, N * pagesize, PROT_READ, MAP_SHARED, self->p.fd[0], 0);

	ASSERT_NE(MAP_FAILED, map);
	look_at(map, N / 2);
	ASSERT_EQ(0, mprotect(map, N * pagesize, PROT_READ | PROT_WRITE));
	EXPECT_MERGED();
	EXPECT_PROTECTED(map);
	EXPECT_TRUE(same_bytes("old", self->map, self->p.model[0], N * pagesize));
}

/* The soft-dirty bit, and the accessed one. */
PROTECT_TEST(references_cleared)
{
	ASSERT_EQ(0, file_write("/proc/self/clear_refs", "4"));
	if (variant->read)
		look_at(self->map, N);
	ASSERT_EQ(0, file_write("/proc/self/clear_refs", "4"));
	ASSERT_EQ(0, file_write("/proc/self/clear_refs", "1"));
	EXPECT_MERGED();
	EXPECT_PROTECTED(self->map);
}

/* Where the kernel can tell, what was written is known to be. */
PROTECT_TEST(soft_dirty)
{
	int i;

	/* A mapping that is new counts as written. */
	if (!(pagemap_of(0, map_pages(1)) & PM_SOFT_DIRTY_BIT))
		SKIP(return, "no soft-dirty bit");
	ASSERT_EQ(0, file_write("/proc/self/clear_refs", "4"));
	look_at(self->map, N);
	EXPECT_FALSE(pagemap_of(0, self->map) & PM_SOFT_DIRTY_BIT);
	EXPECT_PROTECTED(self->map);
	for (i = 0; i < N; i++)
		EXPECT_TRUE(pagemap_of(0, self->map + i * pagesize) & PM_SOFT_DIRTY_BIT);
}

PROTECT_TEST(moved)
{
	char *to = mmap(NULL, 2 * N * pagesize, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *map = self->map;

	ASSERT_NE(MAP_FAILED, to);
	/* All of it, and then a part, from the middle of it. */
	ASSERT_EQ(to, mremap(map, N * pagesize, N * pagesize, MREMAP_MAYMOVE | MREMAP_FIXED, to));
	EXPECT_MERGED();
	ASSERT_EQ(to + N * pagesize, mremap(to + 2 * pagesize, 3 * pagesize, 3 * pagesize,
					    MREMAP_MAYMOVE | MREMAP_FIXED, to + N * pagesize));
	EXPECT_MERGED();
	ASSERT_EQ(to + 2 * pagesize, mremap(to + N * pagesize, 3 * pagesize, 3 * pagesize,
					    MREMAP_MAYMOVE | MREMAP_FIXED, to + 2 * pagesize));
	EXPECT_PROTECTED(to);
}

/* A second mapping of the same pages, by mremap(), and a larger one. */
PROTECT_TEST(mapped_twice)
{
	char *twin = mremap(self->map, 0, N * pagesize, MREMAP_MAYMOVE);

	ASSERT_NE(MAP_FAILED, twin);
	look_at(twin, N / 2);
	EXPECT_MERGED();
	EXPECT_PROTECTED(twin);
	EXPECT_TRUE(same_bytes("first", self->map, self->p.model[0], N * pagesize));
}

PROTECT_TEST(forked)
{
	pid_t pid = fork_child();

	ASSERT_LE(0, pid);
	if (pid == 0)
		_exit(!write_shows_here_only(&self->p, self->other, self->map, N / 2));
	EXPECT_EQ(0, wait_child(pid));
	memcpy(self->p.model[0], self->map, N / 2 * pagesize);
	EXPECT_TRUE(pair_holds(&self->p));
	EXPECT_TRUE(shared_is("by the child", N, 2 * N - N / 2));
	EXPECT_PROTECTED(self->map);
}

/* Who has the file open for reading only maps it so for ever, and may not write by force. */
PROTECT_TEST(read_only_file)
{
	char path[32], *map;
	int fd, mem;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->p.fd[0]);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	map = mmap(NULL, N * pagesize, PROT_READ, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	look_at(map, N);
	EXPECT_EQ(-1, mprotect(map, N * pagesize, PROT_READ | PROT_WRITE));
	mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, mem);
	EXPECT_EQ(-1, pwrite(mem, "x", 1, (off_t)map));
	close(mem);
	EXPECT_MERGED();
	EXPECT_PROTECTED(self->map);
	EXPECT_TRUE(same_bytes("read only", map, self->p.model[0], N * pagesize));
}

/* A debugger writes where a process may not: a copy of its own. */
PROTECT_TEST(private_by_force)
{
	char *map = mmap(NULL, N * pagesize, PROT_READ, MAP_PRIVATE, self->p.fd[0], 0);
	int mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC);

	ASSERT_NE(MAP_FAILED, map);
	look_at(map, N / 2);
	ASSERT_EQ(1, pwrite(mem, "x", 1, (off_t)map + pagesize));
	ASSERT_EQ(1, pwrite(mem, "x", 1, (off_t)map + (N - 1) * pagesize));
	EXPECT_EQ('x', map[pagesize]);
	EXPECT_EQ('x', map[(N - 1) * pagesize]);
	ASSERT_EQ(0, mprotect(map, N * pagesize, PROT_READ | PROT_WRITE));
	map[2 * pagesize]++;
	EXPECT_MERGED();
	EXPECT_PROTECTED(self->map);
	close(mem);
}

PROTECT_TEST(locked)
{
	ASSERT_EQ(0, mlock(self->map, N * pagesize));
	/* What it had mapped it keeps; else it has what it will need. */
	EXPECT_TRUE(shared_is("locked", N, variant->read ? 2 * N : N));
	EXPECT_PROTECTED(self->map);
	ASSERT_EQ(0, munlock(self->map, N * pagesize));
	ASSERT_EQ(0, madvise(self->map, N * pagesize, MADV_DONTNEED));
	EXPECT_PROTECTED(self->map);
}

PROTECT_TEST(advised)
{
	ASSERT_EQ(0, madvise(self->map, N * pagesize, MADV_DONTNEED));
	look_at(self->map, N / 2);
	ASSERT_EQ(0, madvise(self->map, N * pagesize, MADV_COLD));
	ASSERT_EQ(0, madvise(self->map, N * pagesize, MADV_WILLNEED));
	EXPECT_MERGED();
	EXPECT_PROTECTED(self->map);
}

PROTECT_TEST(guarded)
{
	char *page = self->map + pagesize;

	if (madvise(page, pagesize, MADV_GUARD_INSTALL) && errno == EINVAL)
		SKIP(return, "no guard regions");
	ASSERT_EQ(0, madvise(page, pagesize, MADV_GUARD_REMOVE));
	look_at(page, 1);
	EXPECT_MERGED();
	EXPECT_PROTECTED(self->map);
}

/* Another page of the file at this address. */
PROTECT_TEST(in_another_order)
{
	char *map = self->map, *model = self->p.model[0];

	ASSERT_EQ(0, syscall(SYS_remap_file_pages, map + pagesize, pagesize, 0, 5, 0));
	look_at(map, N);
	EXPECT_MERGED();
	map[pagesize + 9]++;
	model[5 * pagesize + 9]++;
	EXPECT_TRUE(same_bytes("moved", map + pagesize, model + 5 * pagesize, pagesize));
	EXPECT_TRUE(same_bytes("in place", map + 5 * pagesize, model + 5 * pagesize, pagesize));
	ASSERT_EQ(0, syscall(SYS_remap_file_pages, map + pagesize, pagesize, 0, 1, 0));
	EXPECT_PROTECTED(map);
}

/* A hole in the mapping, and the same file again. */
PROTECT_TEST(mapped_over)
{
	char *middle = self->map + 2 * pagesize;

	ASSERT_EQ(0, munmap(middle, 3 * pagesize));
	look_at(self->map, 2);
	look_at(self->map + 5 * pagesize, N - 5);
	ASSERT_EQ(middle, mmap(middle, 3 * pagesize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
			       self->p.fd[0], 2 * pagesize));
	look_at(middle, 1);
	EXPECT_MERGED();
	EXPECT_PROTECTED(self->map);
}

/* Sealed against new mappings that write: those that there are go on. */
PROTECT_TEST(sealed_against_new_writers)
{
	char *map;

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE	0x0010
#endif
	ASSERT_EQ(0, fcntl(self->p.fd[0], F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
	map = mmap(NULL, N * pagesize, PROT_READ, MAP_SHARED, self->p.fd[0], 0);
	ASSERT_NE(MAP_FAILED, map);
	look_at(map, N);
	EXPECT_EQ(-1, mprotect(map, N * pagesize, PROT_READ | PROT_WRITE));
	EXPECT_MERGED();
	EXPECT_PROTECTED(self->map);
	EXPECT_TRUE(same_bytes("read only", map, self->p.model[0], N * pagesize));
}

/* Merged for the second time: the file is known by then. */
PROTECT_TEST(merged_again)
{
	char *later;
	int k;

	for (k = 0; k < 3; k++) {
		EXPECT_TRUE(write_shows_here_only(&self->p, self->other, self->map, N));
		/* What is written now can be until it is merged. */
		memcpy(self->map, self->p.model[1], N * pagesize);
		memcpy(self->p.model[0], self->p.model[1], N * pagesize);
		later = map_file(self->p.fd[0], N, MAP_SHARED);
		ASSERT_NE(NULL, later);
		*(volatile char *)later = *(volatile char *)later;
		ASSERT_TRUE(pair_merge(&self->p));
		look_at(self->map, N);
		look_at(later, N);
		EXPECT_MERGED();
		EXPECT_TRUE(write_shows_here_only(&self->p, self->other, later, N));
		EXPECT_TRUE(same_bytes("map", self->map, self->p.model[0], N * pagesize));
		memcpy(later, self->p.model[1], N * pagesize);
		memcpy(self->p.model[0], self->p.model[1], N * pagesize);
		ASSERT_TRUE(pair_merge(&self->p));
	}
	EXPECT_PROTECTED(self->map);
}

TEST_HARNESS_MAIN

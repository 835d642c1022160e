// SPDX-License-Identifier: GPL-2.0
/* Merged memory that is moved, protected, locked, watched or written from outside. */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>

#include "ksm_fixture.h"

#define PM_UFFD_WP_BIT	(1ULL << 57)

KSM_TEST(mremap_moves)
{
	char *map = MERGED_PAGES(8, 1), *target = map_pages(8), *moved;

	ASSERT_NE(NULL, target);
	ASSERT_TRUE(scanner_stop());
	moved = mremap(map, 8 * pagesize, 8 * pagesize,
		       MREMAP_MAYMOVE | MREMAP_FIXED, target);
	ASSERT_EQ(target, moved);
	/* No merged page moves: its reverse map would not find it there. */
	EXPECT_TRUE(no_two_share(moved, 8));
	EXPECT_FALSE(is_ksm(moved));
	EXPECT_TRUE(all_hold(moved, 8, 1));
	/* The advice moved with the memory. */
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, 7));
	EXPECT_EQ(1, distinct_pfns(moved, 8));
	fill(moved, 2);
	EXPECT_TRUE(holds(moved, 2));
	EXPECT_TRUE(all_hold(page_of(moved, 1), 7, 1));
	ASSERT_EQ(0, knob_set("run", 2));
	EXPECT_TRUE(no_two_share(moved, 8));
}

/* A part moves away, and something else takes its old place. */
KSM_TEST(mremap_part)
{
	char *map = MERGED_PAGES(8, 3), *target = map_pages(4), *again;

	ASSERT_NE(NULL, target);
	ASSERT_EQ(target, mremap(page_of(map, 2), 4 * pagesize, 4 * pagesize,
				 MREMAP_MAYMOVE | MREMAP_FIXED, target));
	again = mmap(page_of(map, 2), 4 * pagesize, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	ASSERT_EQ(page_of(map, 2), again);
	madvise(again, 4 * pagesize, MADV_NOHUGEPAGE);
	fill_all(again, 4, 4);
	ASSERT_EQ(0, madvise(again, 4 * pagesize, MADV_MERGEABLE));
	ASSERT_TRUE(ksm_settles(2, 10));
	EXPECT_TRUE(all_hold(map, 2, 3));
	EXPECT_TRUE(all_hold(again, 4, 4));
	EXPECT_TRUE(all_hold(page_of(map, 6), 2, 3));
	EXPECT_TRUE(all_hold(target, 4, 3));
	EXPECT_EQ(pfn_of(0, map), pfn_of(0, target));
}

KSM_TEST(mremap_grows_and_shrinks)
{
	char *map = MERGED_PAGES(4, 5);

	map = mremap(map, 4 * pagesize, 10 * pagesize, MREMAP_MAYMOVE);
	ASSERT_NE(MAP_FAILED, map);
	EXPECT_TRUE(all_hold(map, 4, 5));
	fill_all(page_of(map, 4), 6, 5);
	ASSERT_TRUE(ksm_settles(1, 9));
	map = mremap(map, 10 * pagesize, 3 * pagesize, 0);
	ASSERT_NE(MAP_FAILED, map);
	ASSERT_TRUE(ksm_settles(1, 2));
	EXPECT_TRUE(all_hold(map, 3, 5));
}

/* Moves to and fro, in parent and child, while the scanner works on them. */
KSM_TEST(mremap_under_scanner)
{
	char *place[2] = { map_pages(8), MERGEABLE_PAGES(8, 6) };
	char *still = MERGEABLE_PAGES(2, 6);
	int i;

	ASSERT_NE(NULL, place[0]);
	ASSERT_EQ(0, knob_set("run", 1));
	for (i = 0; i < 60; i++) {
		char *from = place[(i + 1) % 2], *to = place[i % 2];
		pid_t pid = -1;

		if (i % 4 == 0) {
			pid = fork_child();
			if (pid == 0)
				_exit(!all_hold(from, 8, 6));
		}
		ASSERT_EQ(to, mremap(from, 8 * pagesize, 8 * pagesize,
				     MREMAP_MAYMOVE | MREMAP_FIXED, to));
		ASSERT_TRUE(all_hold(to, 8, 6));
		if (i % 3 == 0) {
			fill(page_of(to, i % 8), 6);
		}
		ASSERT_TRUE(i % 10 || ksm_passes(2));
		ASSERT_TRUE(pid < 0 || wait_child(pid) == 0);
	}
	ASSERT_TRUE(ksm_settles(1, 9));
	EXPECT_TRUE(all_hold(place[1], 8, 6));
	EXPECT_EQ(pfn_of(0, place[1]), pfn_of(0, still));
}

static void unmerge_protected(struct __test_metadata *_metadata, int prot)
{
	char *map = MERGED_PAGES(8, 7);

	ASSERT_EQ(0, mprotect(map, 8 * pagesize, prot));
	EXPECT_EQ(1, distinct_pfns(map, 8));
	ASSERT_EQ(0, madvise(map, 4 * pagesize, MADV_UNMERGEABLE));
	EXPECT_TRUE(no_two_share(map, 4));
	ASSERT_EQ(0, knob_set("run", 2));
	EXPECT_TRUE(no_two_share(map, 8));
	ASSERT_EQ(0, mprotect(map, 8 * pagesize, PROT_READ | PROT_WRITE));
	EXPECT_TRUE(all_hold(map, 8, 7));
}

KSM_TEST(unmerge_read_only)
{
	unmerge_protected(_metadata, PROT_READ);
}

KSM_TEST(unmerge_no_access)
{
	unmerge_protected(_metadata, PROT_NONE);
}

/* Memory that is read-only when the scanner comes. */
KSM_TEST(merge_read_only)
{
	char *map = MERGEABLE_PAGES(6, 8);

	ASSERT_EQ(0, mprotect(map, 3 * pagesize, PROT_READ));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, 5));
	ASSERT_EQ(0, mprotect(map, 3 * pagesize, PROT_READ | PROT_WRITE));
	fill(map, 9);
	EXPECT_TRUE(holds(map, 9));
	EXPECT_TRUE(all_hold(page_of(map, 1), 5, 8));
}

/* Unmerging is no write: it succeeds without anyone to answer, and stays watched. */
KSM_TEST(unmerge_watched)
{
	char *map = MERGED_PAGES(8, 10);
	int fd = watch_writes(map, 8 * pagesize), i;

	if (fd == -ENOSYS)
		SKIP(return, "no userfaultfd");
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, madvise(map, 4 * pagesize, MADV_UNMERGEABLE));
	EXPECT_TRUE(no_two_share(map, 4));
	ASSERT_EQ(0, knob_set("run", 2));
	EXPECT_TRUE(no_two_share(map, 8));
	for (i = 0; i < 8; i++) {
		EXPECT_NE(0, pagemap_of(0, page_of(map, i)) & PM_UFFD_WP_BIT);
	}
	EXPECT_TRUE(all_hold(map, 8, 10));
	close(fd);
}

/*
 * A page whose next access somebody waits for cannot be unmerged. That ends the wait after ten seconds,
 * most of which are slept.
 */
KSM_TEST(unmerge_where_accesses_are_watched)
{
	char *map = MERGED_PAGES(8, 11);
	struct timespec begin, end;
	int fd = watch_accesses(map, 4 * pagesize);

	if (fd == -ENOSYS)
		SKIP(return, "no userfaultfd");
	ASSERT_LE(0, fd);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
	EXPECT_EQ(-EBUSY, knob_set("run", 2));
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
	EXPECT_GT(5, end.tv_sec - begin.tv_sec);
	close(fd);
	ASSERT_EQ(0, knob_set("run", 2));
	EXPECT_TRUE(no_two_share(map, 8));
	EXPECT_TRUE(all_hold(map, 8, 11));
}

/* A page whose next write somebody waits for is not merged until he lets go. */
KSM_TEST(watched_not_merged)
{
	char *map = MERGEABLE_PAGES(8, 16);
	int fd = watch_writes(map, 4 * pagesize), i;

	if (fd == -ENOSYS)
		SKIP(return, "no userfaultfd");
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, 3));
	ASSERT_TRUE(ksm_passes(4));
	for (i = 0; i < 4; i++) {
		EXPECT_FALSE(is_ksm(page_of(map, i)));
		EXPECT_NE(0, pagemap_of(0, page_of(map, i)) & PM_UFFD_WP_BIT);
	}
	close(fd);
	ASSERT_TRUE(ksm_settles(1, 7));
	EXPECT_TRUE(all_hold(map, 8, 16));
}

KSM_TEST(locked_memory)
{
	char *map = MERGED_PAGES(4, 11), *more = map_pages(4);

	ASSERT_NE(NULL, more);
	ASSERT_EQ(0, mlock(map, 4 * pagesize));
	ASSERT_EQ(0, mlock(more, 4 * pagesize));
	fill_all(more, 4, 11);
	ASSERT_EQ(0, madvise(more, 4 * pagesize, MADV_MERGEABLE));
	ASSERT_TRUE(ksm_settles(1, 7));
	fill(more, 12);
	EXPECT_TRUE(holds(more, 12));
	EXPECT_TRUE(all_hold(map, 4, 11));
	ASSERT_EQ(0, munlock(more, 4 * pagesize));
	ASSERT_EQ(0, knob_set("run", 2));
	EXPECT_TRUE(no_two_share(map, 4));
}

static int peer_is_written(struct peer *p, void *arg)
{
	char *map = map_pages(4);

	CHECK(map);
	fill_all(map, 4, 13);
	CHECK(!madvise(map, 4 * pagesize, MADV_MERGEABLE));
	CHECK(peer_swap(p, (long)map) == 0);
	CHECK(peer_meet(p));
	CHECK(holds(map, 13));
	CHECK(all_hold(page_of(map, 1), 2, 14));
	CHECK(holds(page_of(map, 3), 13));
	CHECK(is_ksm(map) && !is_ksm(page_of(map, 1)));
	return 0;
}

KSM_TEST(process_vm_writev)
{
	char *mine = map_pages(2), *theirs;
	struct iovec local, remote;
	struct peer p;

	ASSERT_NE(NULL, mine);
	fill_all(mine, 2, 14);
	ASSERT_TRUE(peer_start(&p, peer_is_written, NULL));
	theirs = (char *)peer_swap(&p, 0);
	ASSERT_NE((char *)-1, theirs);
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, 3));
	ASSERT_TRUE(scanner_stop());
	local = (struct iovec){ mine, 2 * pagesize };
	remote = (struct iovec){ page_of(theirs, 1), 2 * pagesize };
	ASSERT_EQ(2 * pagesize, process_vm_writev(p.pid, &local, 1, &remote, 1, 0));
	ASSERT_TRUE(peer_meet(&p));
	EXPECT_EQ(0, peer_end(&p));
}

TEST_HARNESS_MAIN

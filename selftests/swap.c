// SPDX-License-Identifier: GPL-2.0
/* Merged pages that are pushed out to swap, and come back. */
#include <fcntl.h>
#include <signal.h>
#include <sys/uio.h>

#include "swap_fixture.h"

#define N	16

#define ZRAM_TEST(name)							\
	static void name##_on_zram(struct __test_metadata *_metadata);	\
	SWAP_TEST(name)							\
	{								\
		ASSERT_TRUE(swap_on_zram());				\
		name##_on_zram(_metadata);				\
	}								\
	static void name##_on_zram(struct __test_metadata *_metadata)

ZRAM_TEST(out_and_in)
{
	char *map = MERGED_PAGES(N, 1);
	pid_t pid;

	ASSERT_TRUE(scanner_stop());
	/* A child that no pass has come to: its mappings have to go as well. */
	pid = fork_child();
	if (pid == 0) {
		for (;;)
			pause();
	}
	ASSERT_TRUE(push_out(map, N));
	EXPECT_NE(0, pagemap_of(pid, map) & PM_SWAP_BIT);
	EXPECT_TRUE(all_hold(map, N, 1));
	kill(pid, SIGKILL);
	wait_child(pid);
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, N - 1));
	EXPECT_TRUE(all_ksm(map, N));
	EXPECT_TRUE(all_hold(map, N, 1));
}

/* Out, in by a read, written, merged anew, and out again: nothing old returns. */
ZRAM_TEST(changed_in_between)
{
	char *map = MERGED_PAGES(N, 2);
	int i, round;

	for (round = 0; round < 4; round++) {
		ASSERT_TRUE(scanner_stop());
		ASSERT_TRUE(push_out(map, N));
		EXPECT_TRUE(all_hold(map, N, 2 + round));
		for (i = 0; i < N; i++)
			fill(page_of(map, i), 3 + round);
		ASSERT_EQ(0, knob_set("run", 1));
		ASSERT_TRUE(ksm_settles(1, N - 1));
	}
	ASSERT_TRUE(push_out(map, N));
	EXPECT_TRUE(all_hold(map, N, 6));
}

/* run=2 while the pages are out: they come back as ordinary ones. */
ZRAM_TEST(unmerged_while_out)
{
	char *map = MERGED_PAGES(N, 7);

	ASSERT_TRUE(scanner_stop());
	ASSERT_TRUE(push_out(map, N));
	ASSERT_EQ(0, knob_set("run", 2));
	EXPECT_EQ(0, knob("pages_shared"));
	EXPECT_EQ(0, knob("pages_sharing"));
	EXPECT_TRUE(all_hold(map, N, 7));
	EXPECT_TRUE(no_two_share(map, N));
	EXPECT_FALSE(is_ksm(map));
}

/* Advice withdrawn while the pages are out: merged pages that come back are nobody's to be shared. */
ZRAM_TEST(unadvised_while_out)
{
	char *map = MERGED_PAGES(N, 13), *still = page_of(map, N / 2);
	int pipes[2];

	ASSERT_TRUE(scanner_stop());
	/* The merged page is still there, in the swap cache: somebody refers to it. */
	ASSERT_TRUE(put_in_pipe(map, pipes));
	ASSERT_TRUE(push_out(map, N));
	ASSERT_EQ(0, madvise(map, N / 2 * pagesize, MADV_UNMERGEABLE));
	EXPECT_TRUE(all_hold(map, N, 13));
	EXPECT_TRUE(none_ksm(map, N / 2));
	EXPECT_TRUE(all_ksm(still, N / 2));
	close(pipes[0]);
	close(pipes[1]);
	/* Those that are still advised are merged once more; the others never. */
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, N / 2 - 1));
	EXPECT_TRUE(all_ksm(still, N / 2));
	EXPECT_TRUE(none_ksm(map, N / 2));
	EXPECT_TRUE(no_two_share(map, N / 2));
	/* Nothing is left that could not be found. */
	ASSERT_EQ(0, knob_set("run", 2));
	EXPECT_EQ(0, knob_set("max_page_sharing", 99));
	EXPECT_TRUE(none_ksm(map, N));
	EXPECT_TRUE(all_hold(map, N, 13));
}

static int peer_swapped(struct peer *p, void *arg)
{
	char *map;

	CHECK(!mlockall(MCL_CURRENT));
	map = map_pages(N);
	CHECK(map);
	fill_all(map, N, 8);
	CHECK(!madvise(map, N * pagesize, MADV_MERGEABLE));
	CHECK(peer_meet(p));
	CHECK(peer_meet(p));	/* merged: push out what both have */
	CHECK(peer_meet(p));
	CHECK(swapped(map, N) == N);
	CHECK(peer_meet(p));	/* the other side has it back in */
	CHECK(all_hold(map, N, 8));
	fill(map, 9);
	CHECK(peer_meet(p));
	CHECK(peer_meet(p));
	CHECK(holds(map, 9));
	CHECK(all_hold(page_of(map, 1), N - 1, 8));
	return 0;
}

/* Both processes' mappings go, and both come back. */
ZRAM_TEST(two_processes)
{
	struct peer p;
	char *map;

	ASSERT_TRUE(peer_start(&p, peer_swapped, NULL));
	map = MERGEABLE_PAGES(N, 8);
	ASSERT_TRUE(peer_meet(&p));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, 2 * N - 1));
	ASSERT_TRUE(scanner_stop());
	ASSERT_TRUE(peer_meet(&p));
	ASSERT_TRUE(push_out(map, N));
	ASSERT_TRUE(peer_meet(&p));
	EXPECT_TRUE(all_hold(map, N, 8));
	fill(page_of(map, 1), 10);
	ASSERT_TRUE(peer_meet(&p));
	ASSERT_TRUE(peer_meet(&p));
	EXPECT_TRUE(holds(map, 8));
	EXPECT_TRUE(holds(page_of(map, 1), 10));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, 2 * N - 3));
	ASSERT_TRUE(peer_meet(&p));
	EXPECT_EQ(0, peer_end(&p));
}

/* Page by page, with fork and scanner: some are out, some in, some half. */
ZRAM_TEST(fork_and_scan)
{
	char *map = MERGED_PAGES(N, 11);
	int i;

	for (i = 0; i < 20; i++) {
		pid_t pid = fork_child();

		if (pid == 0) {
			reclaim("64K swappiness=max");
			fill(page_of(map, i % N), 12);
			EXPECT_TRUE(holds(page_of(map, (i + 1) % N), 11));
			_exit(!holds(page_of(map, i % N), 12));
		}
		reclaim("64K swappiness=max");
		fill(page_of(map, (i * 3) % N), 11);
		ASSERT_TRUE(all_hold(map, N, 11));
		ASSERT_EQ(0, wait_child(pid));
	}
	/* What is out is not merged. */
	EXPECT_TRUE(all_hold(map, N, 11));
	EXPECT_TRUE(ksm_settles(1, N - 1));
}

/* swapoff brings everything in at once, into VMAs of several anon_vmas. */
ZRAM_TEST(swapoff)
{
	char *map[4];
	pid_t pid;
	int i;

	for (i = 0; i < 4; i++)
		map[i] = MERGEABLE_PAGES(4, 13);
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, 15));
	ASSERT_TRUE(scanner_stop());
	pid = fork_child();
	if (pid == 0) {
		for (;;)
			pause();
	}
	for (i = 0; i < 4; i++) {
		ASSERT_TRUE(push_out(map[i], 4));
	}
	ASSERT_EQ(0, swapoff("/dev/zram0"));
	for (i = 0; i < 4; i++) {
		EXPECT_EQ(0, swapped(map[i], 4));
		EXPECT_TRUE(all_hold(map[i], 4, 13));
		EXPECT_NE(0, pfn_of(pid, map[i]));
	}
	ASSERT_EQ(0, knob_set("run", 1));
	EXPECT_TRUE(ksm_settles(1, 31));
	kill(pid, SIGKILL);
	wait_child(pid);
	for (i = 0; i < 4; i++) {
		EXPECT_TRUE(all_hold(map[i], 4, 13));
	}
}

/* Who swaps it in second, at another place, gets a copy; that is counted. */
ZRAM_TEST(copies_are_counted)
{
	char *a = MERGEABLE_PAGES(1, 14), *gap = map_pages(1);
	char *b = MERGEABLE_PAGES(1, 14);
	long copies = vm_event("ksm_swpin_copy");

	ASSERT_NE(NULL, gap);
	ASSERT_LE(0, copies);
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, 1));
	ASSERT_TRUE(scanner_stop());
	ASSERT_TRUE(push_out(a, 1) && push_out(b, 1));
	EXPECT_TRUE(holds(a, 14) && holds(b, 14));
	EXPECT_LT(copies, vm_event("ksm_swpin_copy"));
	EXPECT_NE(pfn_of(0, a), pfn_of(0, b));
	fill(a, 15);
	EXPECT_TRUE(holds(b, 14));
}

/*
 * The last owner of a merged page needs it no more. Reclaim may drop the page
 * then, unless another one shares it meanwhile, who never said so.
 */
ZRAM_TEST(freed_then_shared)
{
	char *map = MERGED_PAGES(2, 10), *late, *freed = map_pages(1);
	int tries;

	ASSERT_NE(NULL, freed);

	fill(page_of(map, 1), 11);
	ASSERT_TRUE(ksm_settles(1, 0));
	ASSERT_EQ(0, madvise(map, pagesize, MADV_FREE));
	late = MERGEABLE_PAGES(1, 10);
	ASSERT_TRUE(ksm_settles(1, 1));
	ASSERT_EQ(pfn_of(0, map), pfn_of(0, late));
	ASSERT_TRUE(scanner_stop());
	/*
	 * Pages that were freed so are reclaimed along with files, the oldest ones first: when one that
	 * was freed last is gone, reclaim has come by the others.
	 */
	fill(freed, 12);
	ASSERT_EQ(0, madvise(freed, pagesize, MADV_FREE));
	file_write("/proc/sys/vm/compact_memory", "1");
	for (tries = 0; tries < 10000 && pfn_of(0, freed); tries++)
		reclaim("128K swappiness=0");
	ASSERT_EQ(0, pfn_of(0, freed));
	EXPECT_TRUE(holds(late, 10));
	EXPECT_TRUE(is_zero(map) || holds(map, 10));
}

/* A child frees its mapping of these, which says nothing of its parent's: they go, and come back. */
static void freed_by_child(struct __test_metadata *_metadata, char *map, uint64_t seed)
{
	int tries, i;
	pid_t pid = fork_child();

	if (pid == 0)
		_exit(madvise(map, N * pagesize, MADV_FREE) != 0);
	ASSERT_EQ(0, wait_child(pid));
	/* Freed pages wait in a list of the CPU; this empties it. */
	file_write("/proc/sys/vm/compact_memory", "1");
	for (i = 0; i < N; i++) {
		for (tries = 0; tries < 10000 && pfn_of(0, page_of(map, i)); tries++)
			madvise(map, N * pagesize, MADV_PAGEOUT);
		ASSERT_EQ(0, pfn_of(0, page_of(map, i)));
	}
	EXPECT_TRUE(all_hold(map, N, seed));
}

/* Unmerging makes copies, which are nobody's to drop. */
ZRAM_TEST(unmerged_then_freed_by_child)
{
	char *map = MERGED_PAGES(N, 12);

	ASSERT_EQ(0, madvise(map, N * pagesize, MADV_UNMERGEABLE));
	ASSERT_TRUE(no_two_share(map, N));
	freed_by_child(_metadata, map, 12);
}

/*
 * The same without merging: whoever reads memory by its process gets a page of which
 * there is a copy in a child, and the owner another copy.
 */
ZRAM_TEST(read_then_freed_by_child)
{
	char *map = map_pages(N), buffer[64];
	struct iovec to = { buffer, sizeof(buffer) };
	int i;
	pid_t pid;

	ASSERT_NE(NULL, map);
	fill_all(map, N, 15);
	pid = fork_child();
	if (pid == 0) {
		for (;;)
			pause();
	}
	for (i = 0; i < N; i++) {
		struct iovec from = { page_of(map, i), sizeof(buffer) };

		ASSERT_EQ(sizeof(buffer),
			  process_vm_readv(getpid(), &to, 1, &from, 1, 0));
	}
	kill(pid, SIGKILL);
	wait_child(pid);
	freed_by_child(_metadata, map, 15);
}

/*
 * Memory moves while its merged pages are in swap, so that nothing is unmerged. They
 * come back at the new place, and reclaim finds them there.
 */
ZRAM_TEST(moved_while_out)
{
	char *map = MERGED_PAGES(N, 13), *target = map_pages(N);
	int pipes[2];

	ASSERT_NE(NULL, target);
	ASSERT_TRUE(scanner_stop());
	/* Somebody refers to the page: it stays in the swap cache. */
	ASSERT_TRUE(put_in_pipe(map, pipes));
	ASSERT_TRUE(push_out(map, N));
	ASSERT_EQ(target, mremap(map, N * pagesize, N * pagesize,
				 MREMAP_MAYMOVE | MREMAP_FIXED, target));
	ASSERT_EQ(N, swapped(target, N));
	ASSERT_TRUE(all_hold(target, N, 13));
	ASSERT_TRUE(all_ksm(target, N));
	EXPECT_TRUE(push_out(target, N));
	EXPECT_TRUE(all_hold(target, N, 13));
	close(pipes[0]);
	close(pipes[1]);
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, N - 1));
	EXPECT_TRUE(all_hold(target, N, 13));
}

static bool merged_and_out(char *map)
{
	return knob_set("run", 1) == 0 && gets_merged(map, N) &&
	       scanner_stop() && push_out(map, N);
}

/*
 * Pages that nobody asked to be merged come back from swap as they went, and are not
 * copied for each who shares them; unless they are not to be merged any more.
 */
ZRAM_TEST(unasked)
{
	char *map = equal_pages(N, 14);
	int pipes[2];

	NEEDS_KNOB("scope", "this provider has no scope");
	ASSERT_NE(NULL, map);
	ASSERT_EQ(0, knob_write("scope", "all"));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(gets_merged(map, N));
	/* Somebody refers to the page: it stays in the swap cache. */
	ASSERT_TRUE(put_in_pipe(map, pipes));
	ASSERT_TRUE(merged_and_out(map));
	ASSERT_TRUE(all_hold(map, N, 14));
	EXPECT_TRUE(all_ksm(map, N));
	EXPECT_EQ(1, distinct_pfns(map, N));
	/* Who comes to want none of it meanwhile gets copies. */
	ASSERT_TRUE(merged_and_out(map));
	ASSERT_EQ(0, madvise(map, pagesize, MADV_UNMERGEABLE));
	ASSERT_TRUE(all_hold(map, N, 14));
	EXPECT_FALSE(is_ksm(map));
	EXPECT_TRUE(all_ksm(page_of(map, 1), N - 1));
	/* And so does everybody when the scope is narrower again. */
	ASSERT_TRUE(push_out(map, N));
	ASSERT_EQ(0, knob_write("scope", "madvise"));
	ASSERT_TRUE(all_hold(map, N, 14));
	EXPECT_TRUE(none_ksm(map, N));
	/* Nothing stays behind that cannot be unmerged. */
	close(pipes[0]);
	close(pipes[1]);
	ASSERT_EQ(0, knob_set("run", 2));
	EXPECT_EQ(0, knob("pages_shared"));
	EXPECT_TRUE(all_hold(map, N, 14));
}

static int peer_of_another_user(struct peer *p, void *arg)
{
	char *map = equal_pages(N, 11);

	CHECK(map);
	CHECK(!madvise(map, N * pagesize, MADV_MERGEABLE));
	CHECK(peer_swap(p, (long)map) >= 0);
	CHECK(peer_meet(p));	/* merged with the other's, and in swap */
	CHECK(!setresuid(1000, 1000, 1000));
	CHECK(peer_meet(p));
	CHECK(peer_meet(p));	/* the scanner came by; the other has its own back */
	CHECK(all_hold(map, N, 11));
	CHECK(peer_meet(p));
	CHECK(peer_meet(p));	/* looked at */
	return 0;
}

/*
 * What was merged, and is in swap when its owner goes to another domain, comes back as
 * its own, although the merged page is still there: somebody refers to it.
 */
ZRAM_TEST(other_domain)
{
	int i, pipes[2];
	struct peer p;
	char *map, *other;

	NEEDS_KNOB("domain", "this provider has no domains");
	ASSERT_EQ(0, knob_write("domain", "user"));
	ASSERT_TRUE(peer_start(&p, peer_of_another_user, NULL));
	other = (char *)peer_swap(&p, 0);
	ASSERT_NE(NULL, other);
	map = MERGEABLE_PAGES(N, 11);
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, 2 * N - 1));
	ASSERT_TRUE(scanner_stop());
	ASSERT_TRUE(put_in_pipe(map, pipes));
	ASSERT_TRUE(push_out(map, N));
	for (i = 0; i < N; i++)
		ASSERT_NE(0, pagemap_of(p.pid, page_of(other, i)) & PM_SWAP_BIT);
	ASSERT_TRUE(peer_meet(&p) && peer_meet(&p));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_passes(3));
	ASSERT_TRUE(scanner_stop());
	/* For whoever stays it is what it was. */
	ASSERT_TRUE(all_hold(map, N, 11));
	EXPECT_TRUE(all_ksm(map, N));
	EXPECT_EQ(1, distinct_pfns(map, N));
	ASSERT_TRUE(peer_meet(&p) && peer_meet(&p));
	for (i = 0; i < N; i++) {
		EXPECT_NE(0, pfn_of(p.pid, page_of(other, i)));
		EXPECT_NE(pfn_of(0, map), pfn_of(p.pid, page_of(other, i)));
	}
	ASSERT_TRUE(peer_meet(&p));
	EXPECT_EQ(0, peer_end(&p));
	close(pipes[0]);
	close(pipes[1]);
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, N - 1));
	EXPECT_TRUE(all_hold(map, N, 11));
}

TEST_HARNESS_MAIN

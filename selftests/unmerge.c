// SPDX-License-Identifier: GPL-2.0
/* Every way in which a merged page is given back. */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include "ksm_fixture.h"

#ifndef SYS_mseal
#define SYS_mseal	462
#endif

KSM_TEST(by_write)
{
	char *map = MERGED_PAGES(3, 1);
	uint64_t pfn = pfn_of(0, map);

	page_of(map, 1)[100] ^= 0x55;
	EXPECT_NE(pfn, pfn_of(0, page_of(map, 1)));
	EXPECT_FALSE(is_ksm(page_of(map, 1)));
	page_of(map, 1)[100] ^= 0x55;
	EXPECT_TRUE(all_hold(map, 3, 1));
	fill(page_of(map, 1), 2);

	EXPECT_EQ(pfn, pfn_of(0, map));
	EXPECT_EQ(pfn, pfn_of(0, page_of(map, 2)));
	EXPECT_TRUE(holds(map, 1));
	EXPECT_TRUE(holds(page_of(map, 1), 2));
	EXPECT_TRUE(holds(page_of(map, 2), 1));
	EXPECT_TRUE(ksm_settles(1, 1));
	EXPECT_EQ(2, merging_pages(0));
}

/* /proc/vmstat says how often a write had to copy; other ways back are no writes. */
KSM_TEST(copies_are_counted)
{
	char *map = MERGED_PAGES(8, 15);
	long copies;
	int i;

	ASSERT_TRUE(scanner_stop());
	copies = vm_event("cow_ksm");
	ASSERT_LE(0, copies);
	for (i = 0; i < 5; i++)
		*page_of(map, i) ^= 1;
	EXPECT_EQ(copies + 5, vm_event("cow_ksm"));
	ASSERT_EQ(0, madvise(map, 8 * pagesize, MADV_DONTNEED));
	EXPECT_EQ(copies + 5, vm_event("cow_ksm"));
}

/* Two mappings, then one: the last one is still a merged page, not a private one. */
KSM_TEST(sole_mapping_is_copied)
{
	char *map = MERGED_PAGES(2, 3);
	uint64_t pfn = pfn_of(0, map);

	fill(map, 4);
	EXPECT_EQ(pfn, pfn_of(0, page_of(map, 1)));
	ASSERT_TRUE(ksm_settles(1, 0));
	EXPECT_TRUE(is_ksm(page_of(map, 1)));
	*page_of(map, 1) ^= 1;
	EXPECT_NE(pfn, pfn_of(0, page_of(map, 1)));
	EXPECT_FALSE(is_ksm(page_of(map, 1)));
	*page_of(map, 1) ^= 1;
	EXPECT_TRUE(holds(page_of(map, 1), 3));
	EXPECT_TRUE(holds(map, 4));
	EXPECT_TRUE(ksm_settles(0, 0));
}

/* Its last mapping is left of a merged page, and unmerging begins. */
static char *last_mapping(struct __test_metadata *_metadata, uint64_t seed)
{
	char *map = MERGED_PAGES(2, seed);

	fill(map, seed + 1);
	ASSERT_TRUE(ksm_settles(1, 0));
	ASSERT_TRUE(scanner_stop());
	return page_of(map, 1);
}

/* Unmerged, that needs no copy: the page is its owner's again, and is written to where it is. */
KSM_TEST(last_mapping_keeps_its_frame)
{
	char *page;
	uint64_t pfn;

	NEEDS_KNOB("scope", "this provider copies the last mapping");
	page = last_mapping(_metadata, 16);
	pfn = pfn_of(0, page);
	ASSERT_EQ(0, knob_set("run", 2));
	EXPECT_EQ(pfn, pfn_of(0, page));
	EXPECT_EQ(KPF_ANON_BIT, kflags_of(0, page) & (KPF_ANON_BIT | KPF_KSM_BIT));
	EXPECT_TRUE(holds(page, 16));
	fill(page, 18);
	EXPECT_EQ(pfn, pfn_of(0, page));
	EXPECT_TRUE(holds(page, 18));
	/* It can be merged like any other. */
	fill(page - pagesize, 18);
	ASSERT_EQ(0, knob_set("run", 1));
	EXPECT_TRUE(ksm_settles(1, 1));
	EXPECT_TRUE(holds(page, 18));
}

/* Where a pipe has the page as well, it is not the owner's to write to. */
KSM_TEST(last_mapping_of_a_page_in_a_pipe)
{
	char *page, *seen = map_pages(1);
	uint64_t pfn;
	int fd[2];

	ASSERT_NE(NULL, seen);
	page = last_mapping(_metadata, 19);
	pfn = pfn_of(0, page);
	ASSERT_TRUE(put_in_pipe(page, fd));
	ASSERT_EQ(0, knob_set("run", 2));
	EXPECT_NE(pfn, pfn_of(0, page));
	EXPECT_FALSE(is_ksm(page));
	fill(page, 21);
	ASSERT_EQ(pagesize, read(fd[0], seen, pagesize));
	EXPECT_TRUE(holds(seen, 19));
	EXPECT_TRUE(holds(page, 21));
}

KSM_TEST(by_madvise)
{
	char *map = MERGED_PAGES(8, 5);

	ASSERT_EQ(0, madvise(map, 8 * pagesize, MADV_UNMERGEABLE));
	EXPECT_TRUE(no_two_share(map, 8));
	EXPECT_FALSE(is_ksm(map));
	EXPECT_TRUE(all_hold(map, 8, 5));
	/* The memory is out of it for good. */
	EXPECT_EQ(0, knob_set("run", 2));
	EXPECT_EQ(0, knob("pages_shared"));
	EXPECT_EQ(0, ksm_stat(0, "ksm_rmap_items"));
}

KSM_TEST(by_madvise_part)
{
	char *map = MERGED_PAGES(8, 6);
	uint64_t pfn = pfn_of(0, map);

	/* Three from the middle. */
	ASSERT_EQ(0, madvise(page_of(map, 3), 3 * pagesize, MADV_UNMERGEABLE));
	EXPECT_TRUE(no_two_share(page_of(map, 3), 3));
	EXPECT_EQ(pfn, pfn_of(0, page_of(map, 2)));
	EXPECT_EQ(pfn, pfn_of(0, page_of(map, 6)));
	EXPECT_TRUE(all_hold(map, 8, 6));
	EXPECT_TRUE(ksm_settles(1, 4));
	ASSERT_EQ(0, madvise(map, 8 * pagesize, MADV_MERGEABLE));
	EXPECT_TRUE(ksm_settles(1, 7));
	EXPECT_TRUE(all_hold(map, 8, 6));
}

static int peer_unmerged(struct peer *p, void *arg)
{
	char *map = map_pages(16);
	int i;

	CHECK(map);
	for (i = 0; i < 16; i++)
		fill(page_of(map, i), i % 2 ? 7 : 8);
	CHECK(!madvise(map, 16 * pagesize, MADV_MERGEABLE));
	CHECK(peer_meet(p));
	CHECK(peer_meet(p));
	CHECK(no_two_share(map, 16));
	for (i = 0; i < 16; i++) {
		CHECK(holds(page_of(map, i), i % 2 ? 7 : 8));
		CHECK(!is_ksm(page_of(map, i)));
	}
	return 0;
}

/* run=2 gives back everything of every process before write() returns. */
KSM_TEST(by_run_2)
{
	struct peer p;
	char *map;

	ASSERT_TRUE(peer_start(&p, peer_unmerged, NULL));
	map = MERGEABLE_PAGES(16, 7);
	ASSERT_TRUE(peer_meet(&p));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(2, 30));

	ASSERT_EQ(0, knob_set("run", 2));
	EXPECT_EQ(2, knob("run"));
	EXPECT_EQ(0, knob("pages_shared"));
	EXPECT_EQ(0, knob("pages_sharing"));
	EXPECT_EQ(0, knob("pages_unshared"));
	EXPECT_EQ(0, knob("pages_volatile"));
	EXPECT_EQ(0, merging_pages(0));
	EXPECT_EQ(0, merging_pages(p.pid));
	EXPECT_TRUE(no_two_share(map, 16));
	EXPECT_TRUE(all_hold(map, 16, 7));
	EXPECT_TRUE(peer_meet(&p));
	EXPECT_EQ(0, peer_end(&p));
}

/* The memory stays registered: run=1 merges it again, without new advice. */
KSM_TEST(run_2_then_run_1)
{
	char *map = MERGED_PAGES(6, 9);
	int i;

	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, knob_set("run", 2));
		ASSERT_TRUE(no_two_share(map, 6));
		ASSERT_EQ(0, knob_set("run", 1));
		ASSERT_TRUE(ksm_settles(1, 5));
		ASSERT_EQ(1, distinct_pfns(map, 6));
	}
	EXPECT_TRUE(all_hold(map, 6, 9));
}

KSM_TEST(by_munmap)
{
	char *map = MERGED_PAGES(6, 10);

	ASSERT_EQ(0, munmap(page_of(map, 4), 2 * pagesize));
	EXPECT_TRUE(ksm_settles(1, 3));
	EXPECT_TRUE(all_hold(map, 4, 10));
	ASSERT_EQ(0, munmap(map, 3 * pagesize));
	EXPECT_TRUE(ksm_settles(1, 0));
	EXPECT_TRUE(holds(page_of(map, 3), 10));
	ASSERT_EQ(0, munmap(page_of(map, 3), pagesize));
	/* No mergeable memory is left, so there may be no further pass. */
	ASSERT_EQ(0, knob_set("run", 2));
	EXPECT_EQ(0, knob("pages_shared"));
}

KSM_TEST(by_dontneed)
{
	char *map = MERGED_PAGES(6, 11);

	ASSERT_EQ(0, madvise(page_of(map, 1), 4 * pagesize, MADV_DONTNEED));
	EXPECT_TRUE(is_zero(page_of(map, 1)));
	EXPECT_TRUE(ksm_settles(1, 1));
	EXPECT_TRUE(holds(map, 11));
	EXPECT_TRUE(holds(page_of(map, 5), 11));
	/* What comes back there is merged again. */
	fill_all(page_of(map, 1), 4, 11);
	EXPECT_TRUE(ksm_settles(1, 5));
	EXPECT_TRUE(all_hold(map, 6, 11));
}

KSM_TEST(by_exit)
{
	uint64_t seed = 12;
	struct peer p;
	char *map;

	ASSERT_TRUE(peer_start(&p, peer_unmerged, &seed));
	map = MERGEABLE_PAGES(4, 7);
	ASSERT_TRUE(peer_meet(&p));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(2, 18));
	ASSERT_EQ(0, kill(p.pid, SIGKILL));
	ASSERT_EQ(128 + SIGKILL, peer_end(&p));
	EXPECT_TRUE(ksm_settles(1, 3));
	EXPECT_TRUE(all_hold(map, 4, 7));
}

static int peer_with_ballast(struct peer *p, void *arg)
{
	enum { BALLAST = 16384 };
	char *ballast = map_pages(BALLAST + 2), *map;
	int i;

	CHECK(ballast);
	for (i = 0; i < BALLAST; i++)
		*page_of(ballast, i) = 1;
	/* An exit unmaps from the lowest address on, and comes to these last. */
	map = page_of(ballast, BALLAST);
	fill_all(map, 2, 15);
	CHECK(!madvise(map, 2 * pagesize, MADV_MERGEABLE));
	CHECK(!sched_setscheduler(0, SCHED_IDLE, &(struct sched_param){ 0 }));
	CHECK(peer_meet(p));
	CHECK(peer_meet(p));
	return 0;
}

/*
 * A process on its way out still maps merged pages that nothing counts any
 * more: run=2 waits for them. A knob that may not change while there is a
 * merged page shows whether one is left. The process goes slowly, as it has
 * the CPU only while the others sleep.
 */
KSM_TEST(waits_for_exit)
{
	cpu_set_t one;
	int round;

	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(one), &one));
	for (round = 0; round < 5; round++) {
		struct peer p;

		ASSERT_TRUE(peer_start(&p, peer_with_ballast, NULL));
		ASSERT_TRUE(peer_meet(&p));
		ASSERT_EQ(0, knob_set("run", 1));
		ASSERT_TRUE(ksm_settles(1, 1));
		ASSERT_TRUE(scanner_stop());
		ASSERT_EQ(0, kill(p.pid, SIGKILL));
		while (knob("pages_shared"))
			usleep(100);
		ASSERT_EQ(0, knob_set("run", 2));
		EXPECT_EQ(0, knob_set("max_page_sharing", 100 + round));
		EXPECT_EQ(128 + SIGKILL, peer_end(&p));
	}
}

static int peer_without_access(struct peer *p, void *arg)
{
	char *map = map_pages(4);

	CHECK(map);
	fill_all(map, 4, 13);
	CHECK(!madvise(map, 4 * pagesize, MADV_MERGEABLE));
	CHECK(!mprotect(map, 4 * pagesize, PROT_NONE));
	CHECK(peer_swap(p, (long)map) == 0);
	CHECK(peer_meet(p));	/* merged and written */
	CHECK(!is_ksm(page_of(map, 1)));
	CHECK(is_ksm(map));
	CHECK(pfn_of(0, map) == pfn_of(0, page_of(map, 3)));
	CHECK(!mprotect(map, 4 * pagesize, PROT_READ | PROT_WRITE));
	CHECK(*(long *)page_of(map, 1) == 0x6d736b72);
	fill(page_of(map, 1), 13);
	CHECK(all_hold(map, 4, 13));
	return 0;
}

/* A debugger writes into merged memory that its owner may not even read. */
KSM_TEST(by_ptrace)
{
	struct peer p;
	char *map;

	ASSERT_TRUE(peer_start(&p, peer_without_access, NULL));
	map = (char *)peer_swap(&p, 0);
	ASSERT_NE((char *)-1, map);
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, 3));
	ASSERT_TRUE(scanner_stop());

	ASSERT_EQ(0, ptrace(PTRACE_ATTACH, p.pid, 0, 0));
	ASSERT_EQ(p.pid, waitpid(p.pid, NULL, 0));
	ASSERT_EQ(0, ptrace(PTRACE_POKEDATA, p.pid, page_of(map, 1), 0x6d736b72));
	ASSERT_EQ(0, ptrace(PTRACE_DETACH, p.pid, 0, 0));
	ASSERT_TRUE(peer_meet(&p));
	EXPECT_EQ(0, peer_end(&p));
}

/* Advice and its withdrawal leave every other flag of the VMA alone, but for the mark of a provider. */
KSM_TEST(vma_flags_are_kept)
{
	char before[256], with[256], after[256];
	char *map = map_pages(4), *mark;

	ASSERT_NE(NULL, map);
	fill_all(map, 4, 14);
	ASSERT_EQ(0, madvise(map, 4 * pagesize, MADV_DONTFORK));
	ASSERT_EQ(0, madvise(map, 4 * pagesize, MADV_DONTDUMP));
	/* One of the flags that do not fit into 32 bits. */
	ASSERT_EQ(0, syscall(SYS_mseal, map, 4 * pagesize, 0));
	vma_flags(map, before, sizeof(before));
	ASSERT_NE(NULL, strstr(before, " dd"));
	ASSERT_NE(NULL, strstr(before, " sl"));
	ASSERT_EQ(0, madvise(map, 4 * pagesize, MADV_MERGEABLE));
	vma_flags(map, with, sizeof(with));
	EXPECT_NE(NULL, strstr(with, " mg"));
	ASSERT_EQ(0, madvise(map, 4 * pagesize, MADV_UNMERGEABLE));
	vma_flags(map, after, sizeof(after));
	mark = strstr(after, "?? ");
	if (mark)
		memmove(mark, mark + 3, strlen(mark + 3) + 1);
	EXPECT_STREQ(before, after);
}

TEST_HARNESS_MAIN

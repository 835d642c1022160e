// SPDX-License-Identifier: GPL-2.0
/* What scope=all leaves alone: memory that its owner keeps to himself, as far as one can see. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>

#include "scope_fixture.h"

#define N	8

#ifndef MLOCK_ONFAULT
#define MLOCK_ONFAULT	1
#endif

/* Ways to keep memory to oneself, and back. */
static int lock(char *map, size_t size)
{
	return mlock(map, size);
}

/* This one does not touch the pages. */
static int lock_on_fault(char *map, size_t size)
{
	return mlock2(map, size, MLOCK_ONFAULT);
}

static int unlock(char *map, size_t size)
{
	return munlock(map, size);
}

static int no_dump(char *map, size_t size)
{
	return madvise(map, size, MADV_DONTDUMP);
}

static int dump(char *map, size_t size)
{
	return madvise(map, size, MADV_DODUMP);
}

static int wipe(char *map, size_t size)
{
	return madvise(map, size, MADV_WIPEONFORK);
}

static int keep(char *map, size_t size)
{
	return madvise(map, size, MADV_KEEPONFORK);
}

static int unmergeable(char *map, size_t size)
{
	return madvise(map, size, MADV_UNMERGEABLE);
}

static int mergeable(char *map, size_t size)
{
	return madvise(map, size, MADV_MERGEABLE);
}

static int undumpable(char *map, size_t size)
{
	return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

static int dumpable(char *map, size_t size)
{
	return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

static const struct way {
	const char *name;
	int (*hide)(char *map, size_t size);
	int (*show)(char *map, size_t size);
	bool whole;	/* of the process */
} ways[] = {
	{ "mlock", lock, unlock, false },
	{ "mlock on fault", lock_on_fault, unlock, false },
	{ "MADV_DONTDUMP", no_dump, dump, false },
	{ "MADV_WIPEONFORK", wipe, keep, false },
	{ "MADV_UNMERGEABLE", unmergeable, mergeable, false },
	{ "PR_SET_DUMPABLE", undumpable, dumpable, true },
};

#define EACH_WAY(way)	for (const struct way *way = ways; way < ways + sizeof(ways) / sizeof(*ways); way++)

static bool merge_all(void)
{
	return !knob_set("run", 1) && !knob_write("scope", "all");
}

/* A few passes leave it alone. */
static bool stays_apart(char *map)
{
	return ksm_passes(4) && none_ksm(map, N);
}

SCOPE_TEST(leaves_alone)
{
	ASSERT_TRUE(merge_all());
	EACH_WAY(way) {
		char *beside = equal_pages(N, 1), *map = equal_pages(N, 1);

		ASSERT_TRUE(map && beside);
		ASSERT_EQ(0, way->hide(map, N * pagesize));
		if (!way->whole)
			EXPECT_TRUE(gets_merged(beside, N)) TH_LOG("%s", way->name);
		EXPECT_TRUE(stays_apart(map)) TH_LOG("%s", way->name);
		ASSERT_EQ(0, way->show(map, N * pagesize));
		EXPECT_TRUE(gets_merged(map, N)) TH_LOG("%s", way->name);
		munmap(map, N * pagesize);
		munmap(beside, N * pagesize);
	}
}

/* What was merged before is given back, in a part of a mapping as well. */
SCOPE_TEST(gives_back)
{
	ASSERT_TRUE(merge_all());
	EACH_WAY(way) {
		char *map = equal_pages(3 * N, 2), *part = page_of(map, N);

		ASSERT_NE(NULL, map);
		ASSERT_TRUE(gets_merged(map, 3 * N)) TH_LOG("%s", way->name);
		ASSERT_EQ(0, way->hide(part, N * pagesize));
		ASSERT_TRUE(ksm_passes(1));
		EXPECT_TRUE(none_ksm(part, N)) TH_LOG("%s", way->name);
		EXPECT_EQ(way->whole, none_ksm(map, N)) TH_LOG("%s", way->name);
		EXPECT_EQ(way->whole, none_ksm(page_of(map, 2 * N), N)) TH_LOG("%s", way->name);
		/* There is more of the process that is merged. */
		if (way->whole)
			EXPECT_EQ(0, merging_pages(0));
		EXPECT_TRUE(all_hold(map, 3 * N, 2));
		ASSERT_EQ(0, way->show(part, N * pagesize));
		EXPECT_TRUE(gets_merged(map, 3 * N)) TH_LOG("%s", way->name);
		munmap(map, 3 * N * pagesize);
	}
}

static bool is_zero_page(char *page)
{
	return kflags_of(0, page) & KPF_ZERO_BIT;
}

/* Zero pages too. */
SCOPE_TEST(gives_back_zero_pages)
{
	char *map = equal_pages(N, 3);
	int i;

	ASSERT_NE(NULL, map);
	memset(map, 0, N * pagesize);
	ASSERT_EQ(0, knob_set("use_zero_pages", 1));
	ASSERT_TRUE(merge_all());
	ASSERT_TRUE(ksm_passes(4));
	for (i = 0; i < N; i++)
		EXPECT_TRUE(is_zero_page(page_of(map, i)));
	ASSERT_EQ(0, madvise(map, N * pagesize, MADV_DONTDUMP));
	ASSERT_TRUE(ksm_passes(1));
	for (i = 0; i < N; i++)
		EXPECT_FALSE(is_zero_page(page_of(map, i)));
	EXPECT_TRUE(is_zero(map));
	ASSERT_EQ(0, prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
	ASSERT_TRUE(ksm_passes(1));
	EXPECT_EQ(0, ksm_stat(0, "ksm_zero_pages"));
}

/* What was asked for is merged as ever. */
SCOPE_TEST(advice_holds)
{
	ASSERT_TRUE(merge_all());
	EACH_WAY(way) {
		char *map = equal_pages(N, 4);

		ASSERT_NE(NULL, map);
		ASSERT_EQ(0, way->hide(map, N * pagesize));
		ASSERT_EQ(0, madvise(map, N * pagesize, MADV_MERGEABLE));
		EXPECT_TRUE(gets_merged(map, N)) TH_LOG("%s", way->name);
		ASSERT_TRUE(ksm_passes(2));
		EXPECT_TRUE(all_ksm(map, N)) TH_LOG("%s", way->name);
		munmap(map, N * pagesize);
		ASSERT_EQ(0, dumpable(NULL, 0));
	}
	EACH_WAY(way) {
		char *map = equal_pages(N, 5);

		ASSERT_NE(NULL, map);
		ASSERT_EQ(0, way->hide(map, N * pagesize));
		ASSERT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0));
		EXPECT_TRUE(gets_merged(map, N)) TH_LOG("%s", way->name);
		munmap(map, N * pagesize);
		ASSERT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0));
		ASSERT_EQ(0, dumpable(NULL, 0));
	}
}

static pid_t exec_self(const char *what)
{
	pid_t pid = fork_child();

	if (pid == 0) {
		execl("/proc/self/exe", "tact", what, NULL);
		_exit(1);
	}
	return pid;
}

static int is_found(void)
{
	char *map = equal_pages(N, 6);

	CHECK(map && gets_merged(map, N) && all_hold(map, N, 6));
	return 0;
}

static int is_left_alone(char *map)
{
	CHECK(stays_apart(map));
	CHECK(all_hold(map, N, 7));
	return 0;
}

/* A child inherits what the kernel has it inherit; what is executed begins anew. */
SCOPE_TEST(fork_and_exec)
{
	static int (* const inherited[])(char *map, size_t size) = { no_dump, unmergeable, undumpable };
	size_t i;

	ASSERT_TRUE(merge_all());
	for (i = 0; i < sizeof(inherited) / sizeof(*inherited); i++) {
		char *map = equal_pages(N, 7);
		pid_t pid;

		ASSERT_NE(NULL, map);
		ASSERT_EQ(0, inherited[i](map, N * pagesize));
		pid = fork_child();
		if (pid == 0) {
			/* Its own pages, and not those of two. */
			fill_all(map, N, 7);
			_exit(is_left_alone(map));
		}
		EXPECT_EQ(0, wait_child(pid)) TH_LOG("%zu", i);
		EXPECT_EQ(0, wait_child(exec_self("found"))) TH_LOG("%zu", i);
		munmap(map, N * pagesize);
	}
}

/* A child maps what its parent has merged, and there are no records of that. */
SCOPE_TEST(child_gives_back)
{
	static int (* const later[])(char *map, size_t size) = { lock_on_fault, no_dump, undumpable };
	char *map = equal_pages(N, 8);
	size_t i;

	ASSERT_NE(NULL, map);
	ASSERT_TRUE(merge_all());
	ASSERT_TRUE(gets_merged(map, N));
	for (i = 0; i < sizeof(later) / sizeof(*later); i++) {
		pid_t pid;

		ASSERT_TRUE(scanner_stop());
		pid = fork_child();
		if (pid == 0)
			_exit(!(all_ksm(map, N) && !later[i](map, N * pagesize) &&
				!knob_set("run", 1) && ksm_passes(1) &&
				none_ksm(map, N) && all_hold(map, N, 8)));
		EXPECT_EQ(0, wait_child(pid)) TH_LOG("%zu", i);
		EXPECT_TRUE(all_ksm(map, N));
	}
}

static int becomes_user(struct peer *p, void *arg)
{
	char *map = equal_pages(N, 9);

	CHECK(map);
	CHECK(!setresuid(1000, 1000, 1000));
	CHECK(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == (long)arg);
	CHECK(peer_swap(p, (long)map) == 0);
	CHECK(peer_meet(p));	/* it was looked at */
	CHECK(!prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
	CHECK(peer_meet(p));
	CHECK(peer_meet(p));	/* and again */
	CHECK(all_hold(map, N, 9));
	return 0;
}

static bool is_merged(pid_t pid, char *map)
{
	return kflags_of(pid, map) & KPF_KSM_BIT;
}

/* Who has been somebody else is not dumpable, until he says so; whichever way the system has that. */
SCOPE_TEST(not_dumpable_by_its_user)
{
	static const char file[] = "/proc/sys/fs/suid_dumpable";
	const long before = file_long(file);
	long how;

	ASSERT_TRUE(merge_all());
	for (how = 0; how <= 2; how += 2) {
		struct peer p;
		char *map;

		ASSERT_EQ(0, file_write(file, how ? "2" : "0"));
		ASSERT_TRUE(peer_start(&p, becomes_user, (void *)how));
		map = (char *)peer_swap(&p, 0);
		ASSERT_TRUE(ksm_passes(4));
		EXPECT_FALSE(is_merged(p.pid, map));
		ASSERT_TRUE(peer_meet(&p));
		ASSERT_TRUE(peer_meet(&p));
		ASSERT_TRUE(ksm_passes(4));
		EXPECT_TRUE(is_merged(p.pid, map));
		ASSERT_TRUE(peer_meet(&p));
		EXPECT_EQ(0, peer_end(&p));
	}
	EXPECT_EQ(0, file_write(file, before == 2 ? "2" : before == 1 ? "1" : "0"));
}

/* The advice holds whenever it was given, and until other advice is given or the memory is unmapped. */
SCOPE_TEST(unmergeable_holds)
{
	char *map = equal_pages(N, 10), *to = map_pages(N), *other;
	int i;

	ASSERT_TRUE(map && to);
	/* While nobody is merged unasked, nor known. */
	ASSERT_EQ(0, madvise(map, N * pagesize, MADV_UNMERGEABLE));
	for (i = 0; i < 2; i++) {
		ASSERT_TRUE(merge_all());
		EXPECT_TRUE(stays_apart(map));
		ASSERT_EQ(0, knob_set("run", 2));
		ASSERT_EQ(0, knob_write("scope", "madvise"));
	}
	/* It goes with the memory. */
	ASSERT_TRUE(merge_all());
	ASSERT_EQ(to, mremap(map, N * pagesize, N * pagesize, MREMAP_MAYMOVE | MREMAP_FIXED, to));
	EXPECT_TRUE(stays_apart(to));
	other = mmap(map, N * pagesize, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	ASSERT_EQ(map, other);
	fill_all(other, N, 10);
	EXPECT_TRUE(gets_merged(other, N));
	EXPECT_TRUE(none_ksm(to, N));
	/* Advice for a part is for that part. */
	ASSERT_EQ(0, madvise(to, N / 2 * pagesize, MADV_MERGEABLE));
	EXPECT_TRUE(gets_merged(to, N / 2));
	EXPECT_TRUE(none_ksm(page_of(to, N / 2), N / 2));
	ASSERT_EQ(0, madvise(to, N * pagesize, MADV_UNMERGEABLE));
	EXPECT_TRUE(stays_apart(to));
	EXPECT_TRUE(all_hold(to, N, 10));
}

static bool is_marked(const char *map)
{
	char flags[256];

	vma_flags(map, flags, sizeof(flags));
	return strstr(flags, " ??");
}

/* What can never be merged is not marked, and advice takes the mark away. */
SCOPE_TEST(mark)
{
	char *map = map_pages(2), *shared;

	shared = mmap(NULL, pagesize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_TRUE(map && shared != MAP_FAILED);
	EXPECT_FALSE(is_marked(map));
	ASSERT_EQ(0, madvise(map, 2 * pagesize, MADV_UNMERGEABLE));
	EXPECT_TRUE(is_marked(map));
	ASSERT_EQ(0, madvise(page_of(map, 1), pagesize, MADV_MERGEABLE));
	EXPECT_TRUE(is_marked(map));
	EXPECT_FALSE(is_marked(page_of(map, 1)));
	ASSERT_EQ(0, madvise(shared, pagesize, MADV_UNMERGEABLE));
	EXPECT_FALSE(is_marked(shared));
}

/* What moves is not meant by that, though the same is asked of the provider then. */
SCOPE_TEST(moving_is_no_advice)
{
	char *map = equal_pages(N, 11), *to = map_pages(N);

	ASSERT_TRUE(map && to);
	ASSERT_TRUE(merge_all());
	ASSERT_TRUE(gets_merged(map, N));
	ASSERT_EQ(to, mremap(map, N * pagesize, N * pagesize, MREMAP_MAYMOVE | MREMAP_FIXED, to));
	EXPECT_FALSE(is_marked(to));
	EXPECT_TRUE(gets_merged(to, N));
}

/* What cannot be given back now stays on record until it can be. */
SCOPE_TEST(left_for_later)
{
	char *map = equal_pages(N, 12);
	int fd;

	ASSERT_NE(NULL, map);
	ASSERT_TRUE(merge_all());
	ASSERT_TRUE(gets_merged(map, N));
	fd = watch_accesses(map, N / 2 * pagesize);
	if (fd < 0)
		SKIP(return, "no userfaultfd that keeps all access to itself");
	ASSERT_EQ(0, madvise(map, N * pagesize, MADV_DONTDUMP));
	ASSERT_TRUE(ksm_passes(2));
	EXPECT_TRUE(all_ksm(map, N / 2));
	EXPECT_TRUE(none_ksm(page_of(map, N / 2), N / 2));
	close(fd);
	ASSERT_TRUE(ksm_passes(1));
	EXPECT_TRUE(none_ksm(map, N));
	EXPECT_TRUE(all_hold(map, N, 12));
}

/* Once it is given back, memory that is left alone is not looked through. */
SCOPE_TEST(takes_no_time)
{
	char *map = equal_pages(N, 13), *asks = map_pages(1);
	char mm[64];

	ASSERT_TRUE(map && asks);
	ASSERT_TRUE(trace_on("rksm/rksm_enter"));
	ASSERT_EQ(0, madvise(asks, pagesize, MADV_MERGEABLE));
	ASSERT_EQ(0, munmap(asks, pagesize));
	ASSERT_TRUE(trace_mm(getpid(), mm, sizeof(mm)));
	ASSERT_TRUE(merge_all());
	ASSERT_TRUE(gets_merged(map, N));
	ASSERT_TRUE(trace_on("rksm/rksm_unmerge"));
	ASSERT_EQ(0, prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
	ASSERT_TRUE(ksm_passes(2));
	EXPECT_LE(1, trace_count("rksm_unmerge", mm));
	ASSERT_TRUE(trace_on("rksm/rksm_look"));
	ASSERT_TRUE(ksm_passes(2));
	EXPECT_EQ(0, trace_count("rksm_unmerge", mm));
	EXPECT_LE(2, trace_count("rksm_look", mm));
	EXPECT_EQ(0, trace_sum("rksm_look", mm, "tables"));
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "found"))
		return is_found();
	return test_harness_run(argc, argv);
}

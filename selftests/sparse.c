// SPDX-License-Identifier: GPL-2.0
/*
 * Work goes by pages and page tables, never by addresses or mappings, and what is walked
 * is charged. Counted are page tables (by rksm's events) and mmap locks taken (by the kernel's).
 */
#include "beside_fixture.h"

#define SPARSE		(64UL << 40)
/* For a process with a page: its path of page tables, and locks, with room. */
#define A_FEW		64
#define MAPPINGS	5000
#define TABLES		1024
/* What a page table covers. */
#define SPAN		(512 * pagesize)
#define LOCKS		"mmap_lock/mmap_lock_acquire_returned"

static char *reserve(size_t size)
{
	char *map = mmap(NULL, size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (map == MAP_FAILED)
		return NULL;
	madvise(map, size, MADV_NOHUGEPAGE);
	return map;
}

/* One page in the midst of a lot of nothing. */
static char *sparse(bool advised)
{
	char *map = reserve(SPARSE);

	if (!map)
		return NULL;
	map[SPARSE / 2] = 1;
	return advised && madvise(map, SPARSE, MADV_MERGEABLE) ? NULL : map;
}

/* Kernels with three levels of page tables have not so much room. */
#define NEEDS_ROOM() do {						\
	char *_map = reserve(SPARSE);					\
									\
	if (!_map)							\
		SKIP(return, "no 64 TiB of address space");		\
	munmap(_map, SPARSE);						\
} while (0)

/* How often the scanner takes an mmap lock in a pass. */
static long locks_of_a_pass(void)
{
	long locks;

	/* Those that it got: it looks out for one that is taken. */
	if (!trace_filter(LOCKS, "success == 1") || !trace_only(scanner()) ||
	    !trace_on(LOCKS) || !ksm_step())
		return -1;
	locks = trace_total();
	trace_filter(LOCKS, "0");
	return locks;
}

static bool knob_long_sleep(void)
{
	/* As ksm_step() likes it: a pass is a batch. */
	return !knob_set("pages_to_scan", 4000000000L);
}

#define NEEDS_LOCK_EVENTS() do {					\
	if (access(EVENTS LOCKS, F_OK))					\
		SKIP(return, "no events of mmap locks");		\
} while (0)

BESIDE_TEST(locks_of_a_pass_over_one_page)
{
	NEEDS_ROOM();
	NEEDS_LOCK_EVENTS();
	ASSERT_NE(NULL, sparse(true));
	ASSERT_TRUE(knob_long_sleep() && ksm_step());
	EXPECT_GT(A_FEW, locks_of_a_pass());
}

BESIDE_TEST(tables_of_a_pass_over_one_page)
{
	NEEDS_ROOM();
	ASSERT_NE(NULL, sparse(true));
	ASSERT_TRUE(knob_long_sleep() && ksm_step());
	ASSERT_TRUE(trace_on("rksm/rksm_look"));
	ASSERT_TRUE(ksm_step());
	EXPECT_LE(1, trace_sum("rksm_look", NULL, "pages"));
	EXPECT_LE(1, trace_sum("rksm_look", NULL, "tables"));
	EXPECT_GT(A_FEW, trace_sum("rksm_look", NULL, "tables"));
	EXPECT_GT(A_FEW, trace_count("rksm_look", NULL));
}

/* Writes a knob, and says how often that takes an mmap lock; -1: it failed. */
static long locks_of_writing(const char *name, const char *value)
{
	long locks = -1;
	int go[2], err;
	pid_t pid;
	char c = 0;

	if (pipe(go))
		return -1;
	pid = fork_child();
	if (pid == 0)
		_exit(read(go[0], &c, 1) != 1 || knob_write(name, value));
	if (trace_only(pid) && trace_on(LOCKS) && write(go[1], &c, 1) == 1) {
		err = writer_result(pid, 60000);
		if (err == -ETIME) {
			kill(pid, SIGKILL);
			writer_result(pid, 60000);
		}
		locks = err ? -1 : trace_total();
		if (err)
			dprintf(2, "# %s %s: %s after %ld locks\n", name, value,
				strerror(-err), trace_total());
	}
	close(go[0]);
	close(go[1]);
	trace_off();
	return locks;
}

BESIDE_TEST(unmerging_of_many_processes)
{
	pid_t pids[20];
	char *map;
	long locks;

	NEEDS_ROOM();
	NEEDS_LOCK_EVENTS();
	map = sparse(true);
	ASSERT_NE(NULL, map);
	ASSERT_NE(NULL, different_pages(1, 1));
	ASSERT_TRUE(knob_long_sleep());
	ASSERT_TRUE(fork_sleepers(pids, 20));
	ASSERT_TRUE(ksm_step() && ksm_step());
	locks = locks_of_writing("run", "2");
	EXPECT_LE(0, locks);
	EXPECT_GT(21 * A_FEW, locks);
	kill_all(pids, 20);
}

BESIDE_TEST(tables_of_unmerging)
{
	pid_t pids[20];

	NEEDS_ROOM();
	ASSERT_NE(NULL, sparse(true));
	ASSERT_TRUE(knob_long_sleep());
	ASSERT_TRUE(fork_sleepers(pids, 20));
	ASSERT_TRUE(ksm_step() && ksm_step());
	ASSERT_TRUE(trace_on("rksm/rksm_unmerge"));
	EXPECT_EQ(0, knob_write_within("run", "2", 60000));
	EXPECT_GT(21 * A_FEW, trace_sum("rksm_unmerge", NULL, "tables"));
	EXPECT_GT(21 * A_FEW, trace_count("rksm_unmerge", NULL));
	kill_all(pids, 20);
}

BESIDE_TEST(narrowing_the_scope)
{
	long locks;
	char *map;

	NEEDS_ROOM();
	NEEDS_LOCK_EVENTS();
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_EQ(0, knob_write("scope", "all"));
	map = sparse(false);
	ASSERT_NE(NULL, map);
	ASSERT_TRUE(ksm_passes(3));
	EXPECT_LT(0, ksm_stat(0, "ksm_rmap_items"));
	ASSERT_TRUE(scanner_stop());
	locks = locks_of_writing("scope", "madvise");
	EXPECT_LE(0, locks);
	/* There are other processes, and it comes to them as well. */
	EXPECT_GT(10000, locks);
	EXPECT_EQ(0, ksm_stat(0, "ksm_rmap_items"));
}

/* Mappings of a page each that have none: they had before they were one by one. */
BESIDE_TEST(mappings_without_pages)
{
	char *map = reserve(MAPPINGS * pagesize);
	long locks;
	int i;

	NEEDS_LOCK_EVENTS();
	ASSERT_NE(NULL, map);
	*map = 1;
	ASSERT_EQ(0, madvise(map, MAPPINGS * pagesize, MADV_MERGEABLE));
	for (i = 1; i < MAPPINGS; i += 2) {
		ASSERT_EQ(0, mprotect(page_of(map, i), pagesize, PROT_READ));
	}
	ASSERT_TRUE(knob_long_sleep() && ksm_step());
	locks = locks_of_a_pass();
	EXPECT_LE(1, locks);
	EXPECT_GT(MAPPINGS / 16, locks);
	trace_off();
	locks = locks_of_writing("run", "2");
	EXPECT_LE(1, locks);
	EXPECT_GT(MAPPINGS / 16, locks);
}

/* Page tables with nothing in them that could be merged. */
static char *tables_of_zero_pages(void)
{
	char *map = reserve(TABLES * SPAN);
	volatile char sum = 0;
	int i;

	if (!map)
		return NULL;
	*map = 1;
	for (i = 0; i < TABLES; i++)
		sum += map[i * SPAN + pagesize];
	return madvise(map, TABLES * SPAN, MADV_MERGEABLE) ? NULL : map;
}

/* They are charged: so there is a sleep each so many of them. */
BESIDE_TEST(tables_are_charged)
{
	long before;

	ASSERT_NE(NULL, tables_of_zero_pages());
	ASSERT_EQ(0, knob_set("sleep_millisecs", 1));
	ASSERT_EQ(0, knob_set("pages_to_scan", 8));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_passes(1));
	before = scanner_switches();
	ASSERT_TRUE(ksm_passes(1));
	/* A step may be more than is left: it goes over sixteen full tables. */
	EXPECT_LE(TABLES / 16 / 2, scanner_switches() - before);
}

BESIDE_TEST(steps_say_what_they_charge)
{
	long tables;

	ASSERT_NE(NULL, tables_of_zero_pages());
	ASSERT_TRUE(knob_long_sleep() && ksm_step());
	ASSERT_TRUE(trace_on("rksm/rksm_look") && trace_on("rksm/rksm_step"));
	ASSERT_TRUE(ksm_step());
	tables = trace_sum("rksm_look", NULL, "tables");
	EXPECT_LE(TABLES, tables);
	EXPECT_LE(TABLES - 1, trace_sum("rksm_step", NULL, "units"));
}

TEST_HARNESS_MAIN

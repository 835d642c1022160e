// SPDX-License-Identifier: GPL-2.0
/*
 * Writes that come at any moment of a merge. Each test writes to pages that
 * the scanner is about to merge, has just merged or is merging, and insists
 * that every write is there afterwards. Rounds, not time, decide how long.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "ksm_fixture.h"

#define N	64

/* The last word of a page: where a compare gets last. */
static uint64_t *last_word(char *page)
{
	return (uint64_t *)(page + pagesize) - 1;
}

/*
 * All pages alike but for the last word, which goes to and fro between two
 * values. So there is always something to merge with, and now and then the
 * write comes after the scanner has found the page equal and before it has
 * replaced it. Such a write must not be lost.
 */
KSM_TEST(write_under_merge)
{
	char *map = MERGEABLE_PAGES(N, 1);
	uint64_t value[N] = {};
	long last;
	int i;

	for (i = 0; i < N; i++)
		*last_word(page_of(map, i)) = 0;
	ASSERT_EQ(0, knob_set("run", 1));
	last = knob("full_scans") + rounds(400);
	while (knob("full_scans") < last) {
		for (i = 0; i < N; i++) {
			volatile uint64_t *word = last_word(page_of(map, i));

			ASSERT_EQ(value[i], *word);
			/* Each page at a rate of its own: some rest for many passes. */
			if (rand() % (i + 1))
				continue;
			value[i] ^= 1;
			*word = value[i];
			ASSERT_EQ(value[i], *word);
		}
	}
	for (i = 0; i < N; i++) {
		EXPECT_EQ(value[i], *last_word(page_of(map, i)));
	}
}

struct writers {
	char *map;
	atomic_bool stop;
	atomic_ulong lost, written;
};

/* Counts up a word of its own in each page; no other thread writes there. */
static void *count_up(void *arg)
{
	static atomic_int threads;
	struct writers *w = arg;
	int me = atomic_fetch_add(&threads, 1), i;
	uint64_t expect[N] = {};

	while (!atomic_load(&w->stop)) {
		for (i = 0; i < N; i++) {
			volatile uint64_t *word = (uint64_t *)page_of(w->map, i) + me;

			if (*word != expect[i])
				atomic_fetch_add(&w->lost, 1);
			*word = ++expect[i];
			atomic_fetch_add(&w->written, 1);
		}
		/* Back to equal pages, for the scanner to find. */
		for (i = 0; i < N; i++) {
			volatile uint64_t *word = (uint64_t *)page_of(w->map, i) + me;

			if (*word != expect[i])
				atomic_fetch_add(&w->lost, 1);
			*word = expect[i] = 0;
		}
		usleep(rand() % 3000);
	}
	return NULL;
}

/* Threads that write to the same pages: one's write breaks COW beneath another. */
KSM_TEST(threads)
{
	struct writers w = { .map = MERGEABLE_PAGES(N, 2) };
	pthread_t thread[3];
	int i;

	for (i = 0; i < N; i++)
		memset(page_of(w.map, i), 0, 64);
	ASSERT_EQ(0, knob_set("run", 1));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, count_up, &w));
	}
	for (i = 0; i < rounds(10); i++) {
		ASSERT_TRUE(ksm_passes(20));
		ASSERT_EQ(0, knob_set("run", 2));
		ASSERT_EQ(0, knob_set("run", 1));
	}
	atomic_store(&w.stop, true);
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, pthread_join(thread[i], NULL));
	}
	EXPECT_LT(0, atomic_load(&w.written));
	EXPECT_EQ(0, atomic_load(&w.lost));
	ASSERT_TRUE(ksm_settles(1, N - 1));
}

/* Advice, protection and mappings change in one thread, content in another. */
KSM_TEST(threads_and_madvise)
{
	struct writers w = { .map = MERGEABLE_PAGES(N, 3) };
	pthread_t thread[2];
	int i;

	for (i = 0; i < N; i++)
		memset(page_of(w.map, i), 0, 64);
	ASSERT_EQ(0, knob_set("run", 1));
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, count_up, &w));
	}
	for (i = 0; i < rounds(100); i++) {
		char *part = page_of(w.map, i % (N - 8)), *extra;

		ASSERT_EQ(0, madvise(part, 8 * pagesize, MADV_UNMERGEABLE));
		extra = MERGEABLE_PAGES(4, 3);
		ASSERT_TRUE(i % 10 || ksm_passes(2));
		ASSERT_EQ(0, madvise(part, 8 * pagesize, MADV_MERGEABLE));
		ASSERT_TRUE(all_hold(extra, 4, 3));
		ASSERT_EQ(0, munmap(extra, 4 * pagesize));
	}
	atomic_store(&w.stop, true);
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, pthread_join(thread[i], NULL));
	}
	EXPECT_EQ(0, atomic_load(&w.lost));
	ASSERT_TRUE(ksm_settles(1, N - 1));
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/* More pages of one content than may have one page in common. */
#define _GNU_SOURCE
#include "shared_fixture.h"
#include "shared_maps.h"

#define N	512
#define MOST	256

/* Each with the first one, as a program does that goes by content. */
static bool merge_all(struct pair *p)
{
	size_t i;

	for (i = 1; i < 2 * N; i++)
		if (dedupe(p->fd[0], 0, p->fd[i / N], i % N * pagesize, pagesize))
			return false;
	return true;
}

static void frames_of(char **map, uint64_t *frames)
{
	size_t i;

	for (i = 0; i < 2 * N; i++) {
		look_at(map[i / N] + i % N * pagesize, 1);
		frames[i] = pfn_of(0, map[i / N] + i % N * pagesize);
	}
}

/* Whoever is merged with as many as may be stays so: another round finds nothing to do. */
SHARED_TEST(nothing_is_left_to_do)
{
	uint64_t frames[2][2 * N];
	struct shared_counts now;
	size_t i, moved = 0;
	char *map[2];
	struct pair p;
	int k;

	ASSERT_TRUE(pair_make(&p, self->dir, N, 1));
	for (k = 0; k < 2; k++) {
		for (i = 1; i < N; i++)
			memcpy(p.model[k] + i * pagesize, p.model[k], pagesize);
		ASSERT_EQ(N * pagesize, pwrite(p.fd[k], p.model[k], N * pagesize, 0));
		map[k] = map_file(p.fd[k], N, MAP_SHARED);
		ASSERT_NE(NULL, map[k]);
	}
	/* The first one goes from one to the next, and once more to where there is room. */
	ASSERT_TRUE(merge_all(&p));
	ASSERT_TRUE(merge_all(&p));
	now = shared_now();
	EXPECT_EQ(2 * N, now.slots);
	/* As few as can be, and one that is not full. */
	EXPECT_GE(2 * N / MOST + 1, now.pages);
	frames_of(map, frames[0]);
	for (k = 0; k < 2; k++) {
		ASSERT_TRUE(merge_all(&p));
		EXPECT_TRUE(shared_is("again", now.pages, 2 * N));
	}
	frames_of(map, frames[1]);
	for (i = 0; i < 2 * N; i++)
		moved += frames[0][i] != frames[1][i];
	EXPECT_EQ(0, moved);
	/* One of them is written: that is one of so many. */
	map[1][7 * pagesize]++;
	p.model[1][7 * pagesize]++;
	EXPECT_TRUE(shared_is("written", now.pages, 2 * N - 1));
	EXPECT_TRUE(pair_holds(&p));
	EXPECT_TRUE(shared_adds_up());
	pair_free(&p);
}

TEST_HARNESS_MAIN

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A mapping of a file that is merged with another one. Something is done with the mapping;
 * what is written to it afterwards must not get into the common page.
 */
#ifndef SHARED_PROTECT_H
#define SHARED_PROTECT_H

#include "ksm_harness.h"
#include "shared_maps.h"

#define N	8

FIXTURE(protect) {
	struct pair p;
	char *map, *other;
};

FIXTURE_VARIANT(protect) {
	bool before, read;
};

/* Mapped before they are merged, and written; or afterwards, and read or not. */
FIXTURE_VARIANT_ADD(protect, mapped_before) {
	.before = true,
};

FIXTURE_VARIANT_ADD(protect, mapped_before_and_read) {
	.before = true,
	.read = true,
};

FIXTURE_VARIANT_ADD(protect, mapped_after) {
};

FIXTURE_VARIANT_ADD(protect, mapped_after_and_read) {
	.read = true,
};

FIXTURE_SETUP(protect)
{
	struct pair *p = &self->p;

	if (access(SHARED_DEBUGFS, F_OK))
		SKIP(return, "this kernel merges no pages of files");
	ASSERT_TRUE(shared_becomes(0, 0));
	ASSERT_TRUE(pair_make(p, NULL, N, 1));
	if (variant->before) {
		self->map = map_file(p->fd[0], N, MAP_SHARED);
		ASSERT_NE(NULL, self->map);
		memcpy(self->map, p->model[0], N * pagesize);
	}
	ASSERT_TRUE(pair_merge(p));
	if (!variant->before) {
		self->map = map_file(p->fd[0], N, MAP_SHARED);
		ASSERT_NE(NULL, self->map);
	}
	if (variant->read)
		look_at(self->map, N);
	self->other = map_file(p->fd[1], N, MAP_SHARED);
	ASSERT_NE(NULL, self->other);
	look_at(self->other, N);
}

FIXTURE_TEARDOWN(protect)
{
}

#define PROTECT_TEST(name)	TEST_F_TIMEOUT(protect, name, TEST_SECONDS)

/* Written through this mapping, page by page; nobody who has the other file sees it. */
static inline bool write_shows_here_only(struct pair *p, const char *other, char *map, size_t n)
{
	bool ok = true;
	size_t i;

	for (i = 0; i < n; i++) {
		size_t at = i * pagesize + 64 * i + 7;

		map[at]++;
		p->model[0][at]++;
		ok &= same_bytes("the other mapping", other, p->model[1], N * pagesize);
	}
	ok &= same_bytes("the mapping", map, p->model[0], n * pagesize);
	return pair_holds(p) && ok;
}

/* As it was; then written in all pages. */
#define EXPECT_PROTECTED(map) do {							\
	char *_map = map;								\
											\
	EXPECT_TRUE(same_bytes("before", _map, self->p.model[0], N * pagesize));	\
	EXPECT_TRUE(write_shows_here_only(&self->p, self->other, _map, N));		\
	EXPECT_TRUE(shared_is("written", N, N));					\
	EXPECT_TRUE(shared_adds_up());							\
} while (0)

/* What is done leaves it merged: it is no write. */
#define EXPECT_MERGED()	EXPECT_TRUE(shared_is("not written", N, 2 * N))

#endif

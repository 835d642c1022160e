/* SPDX-License-Identifier: GPL-2.0 */
/* Tests of merging in tmpfs files and in memfds: once with each. */
#ifndef SHARED_FIXTURE_H
#define SHARED_FIXTURE_H

#include "ksm_harness.h"
#include "shared_lib.h"

FIXTURE(shared) {
	char mount[32];
	const char *dir;	/* NULL: memfds */
};

FIXTURE_VARIANT(shared) {
	bool tmpfs;
};

FIXTURE_VARIANT_ADD(shared, memfd) {
	.tmpfs = false,
};

FIXTURE_VARIANT_ADD(shared, tmpfs) {
	.tmpfs = true,
};

FIXTURE_SETUP(shared)
{
	if (access(SHARED_DEBUGFS, F_OK))
		SKIP(return, "this kernel merges no pages of files");
	if (variant->tmpfs) {
		ASSERT_TRUE(shared_mount(self->mount, 1 << 15, ""));
		self->dir = self->mount;
	}
	/* Of an earlier test nothing is left. */
	ASSERT_TRUE(shared_becomes(0, 0));
}

FIXTURE_TEARDOWN(shared)
{
	if (self->dir)
		shared_unmount(self->dir);
}

#define SHARED_TEST(name)	TEST_F_TIMEOUT(shared, name, TEST_SECONDS)

/* n pages, merged; the files and what they hold. */
#define MERGED_PAIR(n, seed) ({							\
	struct pair _p;								\
										\
	ASSERT_TRUE(pair_make(&_p, self->dir, n, seed));			\
	ASSERT_TRUE(pair_merge(&_p));						\
	ASSERT_TRUE(shared_becomes(n, 2 * (n)));				\
	ASSERT_TRUE(shared_adds_up());						\
	_p;									\
})

#endif

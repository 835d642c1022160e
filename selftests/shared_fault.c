// SPDX-License-Identifier: GPL-2.0
/* Out of memory at every single allocation: no content of a file is lost, and nothing is kept. */
#define _GNU_SOURCE
#include <linux/falloc.h>

#include "fault.h"
#include "ksm_harness.h"
#include "shared_lib.h"

#define N	2

FIXTURE(nth) {
	int fd;
};

FIXTURE_SETUP(nth)
{
	if (access(SHARED_DEBUGFS, F_OK))
		SKIP(return, "this kernel merges no pages of files");
	if (access(FAILSLAB, F_OK) || access(FAIL_PAGE, F_OK))
		SKIP(return, "this kernel has no fault injection");
	ASSERT_TRUE(shared_becomes(0, 0));
	ASSERT_TRUE(fail_percent(0));
	ASSERT_TRUE(any_allocation_may_fail());
	self->fd = open_fail_nth(0);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(nth)
{
}

#define NTH_TEST(name)	TEST_F_TIMEOUT(nth, name, TEST_SECONDS)

NTH_TEST(merge)
{
	int n, err, failed = 0;

	for (n = 1;; n++) {
		struct pair p;
		bool hit;

		ASSERT_TRUE(pair_make(&p, NULL, N, n));
		set_nth(self->fd, n);
		err = dedupe_pages(p.fd[0], p.fd[1], N);
		hit = nth_failed(self->fd);
		ASSERT_TRUE(err == 0 || (hit && (err == -ENOMEM || err == -EBUSY))) {
			TH_LOG("allocation %d: %d", n, err);
		}
		failed += err != 0;
		ASSERT_TRUE(pair_holds(&p));
		ASSERT_TRUE(pair_merge(&p));
		ASSERT_TRUE(shared_becomes(N, 2 * N));
		ASSERT_TRUE(pair_holds(&p));
		pair_free(&p);
		ASSERT_TRUE(shared_becomes(0, 0));
		if (!hit)
			break;
	}
	EXPECT_LE(2 * N, failed);
}

static bool read_page(struct pair *p)
{
	char page[64];

	return pread(p->fd[0], page, sizeof(page), 0) == sizeof(page) &&
	       same_bytes("read", page, p->model[0], sizeof(page));
}

static bool write_page(struct pair *p)
{
	if (pwrite(p->fd[0], "x", 1, 5) != 1)
		return false;
	p->model[0][5] = 'x';
	return true;
}

static bool store_page(struct pair *p)
{
	char *map = map_file(p->fd[0], N, MAP_SHARED);

	if (!map)
		return false;
	/* A fault for which there is no memory is tried again. */
	map[9] = 'y';
	p->model[0][9] = 'y';
	return !munmap(map, N * pagesize);
}

/* These two cannot fail: what is cut off has to be zero. */
static bool cut_page(struct pair *p)
{
	if (ftruncate(p->fd[0], pagesize + 99) || ftruncate(p->fd[0], N * pagesize))
		return false;
	memset(p->model[0] + pagesize + 99, 0, (N - 1) * pagesize - 99);
	return true;
}

static bool punch_page(struct pair *p)
{
	if (fallocate(p->fd[0], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 10, pagesize + 10))
		return false;
	memset(p->model[0] + 10, 0, pagesize + 10);
	return true;
}

static const struct {
	const char *name;
	bool (*act)(struct pair *p);
	bool may_fail;
} acts[] = {
	{ "read", read_page, false }, { "write", write_page, true }, { "store", store_page, true },
	{ "truncate", cut_page, false }, { "hole", punch_page, false },
};

NTH_TEST(give_back)
{
	int k, n;

	for (k = 0; k < sizeof(acts) / sizeof(*acts); k++) {
		for (n = 1;; n++) {
			struct pair p;
			bool hit, ok;

			ASSERT_TRUE(pair_make(&p, NULL, N, 1));
			ASSERT_TRUE(pair_merge(&p));
			set_nth(self->fd, n);
			ok = acts[k].act(&p);
			hit = nth_failed(self->fd);
			ASSERT_TRUE(ok || (hit && acts[k].may_fail)) {
				TH_LOG("%s, allocation %d: %s", acts[k].name, n, strerror(errno));
			}
			ASSERT_TRUE(pair_holds(&p)) {
				TH_LOG("%s, allocation %d", acts[k].name, n);
			}
			pair_free(&p);
			ASSERT_TRUE(shared_becomes(0, 0));
			if (!hit)
				break;
		}
		/* The page itself was one of them, where it may fail. */
		if (acts[k].may_fail)
			EXPECT_LT(1, n);
	}
}

TEST_HARNESS_MAIN

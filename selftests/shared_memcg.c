// SPDX-License-Identifier: GPL-2.0
/* Merging files in a memory cgroup that is full, and giving them pages of their own there. */
#define _GNU_SOURCE
#include <signal.h>

#include "cgroup.h"
#include "ksm_harness.h"
#include "shared_lib.h"

/* 4 MiB in each of two files. */
#define N	1024
#define GROUP	"shared"

FIXTURE(full) {
};

FIXTURE_SETUP(full)
{
	NEED_MERGING();
	ASSERT_TRUE(cgroups_mount() && cgroup_make(GROUP));
}

FIXTURE_TEARDOWN_PARENT(full)
{
	cgroups_remove();
}

static long group_pages(void)
{
	return file_long(cgroup_file(GROUP, "memory.current")) / (long)pagesize;
}

static bool limit(long pages)
{
	char text[32];

	snprintf(text, sizeof(text), "%ld", pages * (long)pagesize);
	return !file_write(cgroup_file(GROUP, "memory.max"), text);
}

/* The files are made in the group; the caller is not in it. */
static int make_files(struct peer *peer, void *arg)
{
	int *fds = arg;

	CHECK(cgroup_enter(GROUP));
	CHECK(shared_fill(fds[0], N, 1) && shared_fill(fds[1], N, 1));
	CHECK(peer_meet(peer));
	/* Now there is no room left. */
	CHECK(peer_meet(peer));
	CHECK(dedupe_pages(fds[0], fds[1], N) == 0);
	CHECK(peer_meet(peer));
	/* Room for little: this cannot come to its end. */
	CHECK(peer_meet(peer));
	for (;;) {
		char *page = malloc(pagesize);
		size_t i;

		for (i = 0; i < 2 * N; i++)
			if (pread(fds[i / N], page, pagesize, i % N * pagesize) != pagesize ||
			    pwrite(fds[i / N], page, 1, i % N * pagesize) != 1)
				return 77;
		return 78;
	}
}

TEST_F_TIMEOUT(full, merged_and_given_back, TEST_SECONDS)
{
	struct pair p = { .n = N };
	struct peer peer;
	int k, status;

	for (k = 0; k < 2; k++) {
		p.fd[k] = shared_file(NULL);
		p.model[k] = malloc(N * pagesize);
		ASSERT_LE(0, p.fd[k]);
		for (status = 0; status < N; status++)
			fill(p.model[k] + status * pagesize, 1 + status);
	}
	ASSERT_TRUE(peer_start(&peer, make_files, p.fd));
	ASSERT_TRUE(peer_meet(&peer));
	EXPECT_LE(2 * N, group_pages());
	ASSERT_TRUE(limit(group_pages()));
	ASSERT_TRUE(peer_meet(&peer));
	/* Merged, though there was no room for a single page more. */
	ASSERT_TRUE(peer_meet(&peer));
	EXPECT_TRUE(shared_becomes(N, 2 * N));
	for (k = 0; k < 20000 && group_pages() > N + N / 2; k++)
		usleep(1000);
	EXPECT_GE(N + N / 2, group_pages());
	ASSERT_TRUE(limit(N + N / 2));
	ASSERT_TRUE(peer_meet(&peer));
	/* It was told that there is no memory, or was killed for it; nobody else was. */
	status = peer_end(&peer);
	EXPECT_TRUE(status == 77 || status == 128 + SIGKILL) {
		TH_LOG("it ended with %d", status);
	}
	/* What it held is there, for one whose memory is not limited. */
	EXPECT_TRUE(pair_holds(&p));
	pair_free(&p);
	EXPECT_TRUE(shared_becomes(0, 0));
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/* The module comes and goes while other processes are busy. */
#include <dirent.h>
#include <signal.h>

#include "module_fixture.h"

/* Reads whatever is there, all the time, by both names. */
static void __attribute__((noreturn)) read_for_ever(void)
{
	static const char * const dirs[] = { KSM_DIR, RKSM_DIR };
	char path[512], buf[64];
	struct dirent *e;
	int i;

	for (i = 0;; i ^= 1) {
		DIR *dir = opendir(dirs[i]);

		if (!dir)
			continue;
		while ((e = readdir(dir))) {
			snprintf(path, sizeof(path), "%s/%s", dirs[i], e->d_name);
			file_read(path, buf, sizeof(buf));
		}
		closedir(dir);
	}
}

static void __attribute__((noreturn)) fork_for_ever(char *map, size_t n)
{
	unsigned int i;

	for (i = 0;; i++) {
		pid_t pid = fork_child();

		if (pid == 0) {
			if (i % 3)
				fill(page_of(map, i % n), 7);
			if (i % 5 == 0)
				madvise(map, n * pagesize, MADV_UNMERGEABLE);
			_exit(!all_hold(map, n, 7));
		}
		if (pid < 0 || wait_child(pid))
			_exit(1);
	}
}

/*
 * Rounds among processes that fork, exit, and read the knobs. When 2 is
 * written to run, a child may be about to map merged pages, or to exit with some: none is
 * left afterwards, so that the module goes when it is first asked to.
 */
MODULE_TEST(load_and_unload)
{
	char *map = MERGEABLE_PAGES(8, 7);
	int held = open(KSM_DIR "/pages_shared", O_RDONLY), held2, i;
	pid_t pid[2];
	char buf[64];

	ASSERT_LE(0, held);
	ASSERT_EQ(0, knob_set("run", 1));
	pid[0] = fork_child();
	if (pid[0] == 0)
		fork_for_ever(map, 8);
	pid[1] = fork_child();
	if (pid[1] == 0)
		read_for_ever();

	for (i = 0; i < rounds(20); i++) {
		LOAD();
		held2 = open(RKSM_DIR "/full_scans", O_RDONLY);
		ASSERT_LE(0, held2);
		ASSERT_EQ(0, knob_set("run", 1));
		ASSERT_TRUE(ksm_passes(i % 4));
		ASSERT_EQ(0, knob_set("run", 2));
		ASSERT_EQ(0, unload());
		ASSERT_FALSE(loaded());
		/* The module's files are gone, and say so; the kernel's stay. */
		EXPECT_EQ(-1, pread(held2, buf, sizeof(buf), 0));
		EXPECT_EQ(ENODEV, errno);
		EXPECT_LT(0, pread(held, buf, sizeof(buf), 0));
		close(held2);
		ASSERT_TRUE(all_hold(map, 8, 7));
		ASSERT_EQ(0, knob_set("run", 1));
		if (i % 5 == 0) {
			ASSERT_TRUE(ksm_passes(3));
		}
	}
	for (i = 0; i < 2; i++) {
		int status;

		/* They live, so none of their checks has failed. */
		ASSERT_EQ(0, waitpid(pid[i], &status, WNOHANG));
		kill(pid[i], SIGKILL);
		wait_child(pid[i]);
	}
	EXPECT_TRUE(all_hold(map, 8, 7));
	EXPECT_TRUE(ksm_settles(1, 7));
}

/* A hundred times on Debian's kernel, where half of the rounds are done. */
MODULE_TEST(many_times)
{
	char *map = MERGEABLE_PAGES(8, 8);
	int i;

	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, 7));
	for (i = 0; i < rounds(200); i++) {
		ASSERT_EQ(0, load_stopped());
		ASSERT_EQ(0, unload());
		ASSERT_EQ(0, knob_set("run", 1));
	}
	EXPECT_TRUE(ksm_settles(1, 7));
	EXPECT_TRUE(all_hold(map, 8, 8));
}

/* In-tree KSM that lets go of its mutex for a moment at a time, after much work. */
MODULE_TEST(beside_a_ksmd_that_never_rests)
{
	char *map = different_pages(rounds(20000), 9);
	int i;

	ASSERT_NE(NULL, map);
	ASSERT_EQ(0, knob_set("sleep_millisecs", 0));
	ASSERT_EQ(0, knob_set("pages_to_scan", 1000000));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, knob_set("run", 1));
		ASSERT_TRUE(ksm_passes(1));
		ASSERT_EQ(0, load_stopped());
		EXPECT_EQ(0, knob("run"));
		ASSERT_EQ(0, unload());
	}
}

TEST_HARNESS_MAIN

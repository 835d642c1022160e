// SPDX-License-Identifier: GPL-2.0
/* The files in /sys/kernel/mm/ksm while the module comes and goes: they are there all the time. */
#include <dirent.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "module_fixture.h"

#define MOST	40
#define HAMMERS	100

/* What is in the directory, by path, as find -type f sees it. */
struct entries {
	int n;
	char name[MOST][64];
	ino_t inode[MOST];
	mode_t mode[MOST];
};

static bool list(struct entries *all)
{
	DIR *dir = opendir(KSM_DIR);
	struct dirent *e;
	struct stat st;

	memset(all, 0, sizeof(*all));
	while (dir && (e = readdir(dir)) && all->n < MOST) {
		if (e->d_name[0] == '.')
			continue;
		if (fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW))
			return false;
		snprintf(all->name[all->n], sizeof(all->name[0]), "%s", e->d_name);
		all->inode[all->n] = st.st_ino;
		all->mode[all->n++] = st.st_mode;
	}
	return dir && !closedir(dir) && all->n > 20;
}

MODULE_TEST(are_the_same)
{
	struct entries before, now;
	struct stat st;
	int i;

	ASSERT_TRUE(list(&before));
	LOAD();
	ASSERT_TRUE(list(&now));
	EXPECT_EQ(0, memcmp(&before, &now, sizeof(now)));
	EXPECT_TRUE(!lstat(KSM_DIR, &st) && S_ISDIR(st.st_mode));
	EXPECT_TRUE(!lstat(RKSM_DIR, &st) && S_ISDIR(st.st_mode));
	for (i = 0; i < now.n; i++) {
		EXPECT_TRUE(S_ISREG(now.mode[i]));
	}
	ASSERT_EQ(0, unload());
	ASSERT_TRUE(list(&now));
	EXPECT_EQ(0, memcmp(&before, &now, sizeof(now)));
	EXPECT_EQ(-1, access(RKSM_DIR, F_OK));
}

/* Both directories have the same knobs. */
MODULE_TEST(show_the_modules_values)
{
	char path[512], a[64], b[64];
	struct entries all;
	int i;

	LOAD();
	ASSERT_TRUE(list(&all));
	for (i = 0; i < all.n; i++) {
		snprintf(path, sizeof(path), RKSM_DIR "/%s", all.name[i]);
		ASSERT_LT(0, file_read(path, a, sizeof(a)));
		ASSERT_LT(0, knob_text(all.name[i], b, sizeof(b)));
		EXPECT_STREQ(a, b);
	}
	ASSERT_EQ(0, file_write(KSM_DIR "/pages_to_scan", "321"));
	EXPECT_EQ(321, file_long(RKSM_DIR "/pages_to_scan"));
	ASSERT_EQ(0, file_write(RKSM_DIR "/pages_to_scan", "123"));
	EXPECT_EQ(123, file_long(KSM_DIR "/pages_to_scan"));
	ASSERT_EQ(0, unload());
	EXPECT_EQ(123, knob("pages_to_scan"));
}

static bool reads(int fd, const char *text)
{
	char buf[64];
	ssize_t n = pread(fd, buf, sizeof(buf) - 1, 0);

	buf[n > 0 ? n : 0] = 0;
	return !strcmp(buf, text);
}

/* Who has a file open goes on with it, whoever provides. */
MODULE_TEST(stay_open)
{
	int early = open(KSM_DIR "/pages_to_scan", O_RDWR), late, gone;
	char buf[64];

	ASSERT_LE(0, early);
	ASSERT_EQ(0, file_write(KSM_DIR "/pages_to_scan", "111"));
	ASSERT_TRUE(reads(early, "111\n"));
	ASSERT_EQ(0, load());
	EXPECT_TRUE(reads(early, "111\n"));
	ASSERT_EQ(3, pwrite(early, "222", 3, 0));
	EXPECT_EQ(222, file_long(RKSM_DIR "/pages_to_scan"));
	late = open(KSM_DIR "/pages_to_scan", O_RDWR);
	ASSERT_LE(0, late);
	gone = open(RKSM_DIR "/pages_to_scan", O_RDWR);
	ASSERT_LE(0, gone);
	ASSERT_EQ(0, unload());
	EXPECT_TRUE(reads(early, "222\n"));
	EXPECT_TRUE(reads(late, "222\n"));
	ASSERT_EQ(3, pwrite(late, "333", 3, 0));
	EXPECT_EQ(333, knob("pages_to_scan"));
	/* The module's own directory is gone. */
	EXPECT_EQ(-1, pread(gone, buf, sizeof(buf), 0));
	EXPECT_EQ(ENODEV, errno);
	EXPECT_EQ(-1, pwrite(gone, "444", 3, 0));
	EXPECT_EQ(ENODEV, errno);
	ASSERT_EQ(0, load());
	EXPECT_TRUE(reads(early, "333\n"));
	ASSERT_EQ(0, unload());
	close(early);
	close(late);
	close(gone);
}

static bool writes(const char *path, int flags, const char *text)
{
	int fd = open(path, O_WRONLY | flags);
	ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));

	return n == (ssize_t)strlen(text) && !close(fd) &&
	       file_long(RKSM_DIR "/sleep_millisecs") == strtol(text, NULL, 10);
}

/* Root of a container, whose user 0 is ours. */
static int in_container(void)
{
	pid_t pid;

	CHECK(!unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID));
	CHECK(!file_write("/proc/self/setgroups", "deny"));
	CHECK(!file_write("/proc/self/uid_map", "0 0 1"));
	CHECK(!file_write("/proc/self/gid_map", "0 0 1"));
	/* It does not see its parent. */
	pid = fork();
	if (pid == 0)
		_exit(!writes(KSM_DIR "/sleep_millisecs", O_TRUNC, "16\n"));
	return wait_child(pid);
}

MODULE_TEST(can_be_written_in_many_ways)
{
	pid_t pid;

	LOAD();
	EXPECT_TRUE(writes(KSM_DIR "/sleep_millisecs", 0, "11\n"));
	EXPECT_TRUE(writes(KSM_DIR "/sleep_millisecs", 0, "12"));
	EXPECT_TRUE(writes(KSM_DIR "/sleep_millisecs", O_TRUNC, "13"));
	EXPECT_TRUE(writes(KSM_DIR "/sleep_millisecs", O_TRUNC | O_CREAT, "14\n"));
	EXPECT_TRUE(writes("/proc/1/root" KSM_DIR "/sleep_millisecs", O_TRUNC, "15"));
	if (access("/proc/self/ns/user", F_OK))
		SKIP(return, "no user namespaces");
	pid = fork_child();
	if (pid == 0)
		_exit(in_container());
	EXPECT_EQ(0, wait_child(pid));
}

/* The directory, and a file, bound elsewhere before the module comes. */
static int bound(char *dir)
{
	char path[256], file[256];

	snprintf(path, sizeof(path), "%s/dir", dir);
	snprintf(file, sizeof(file), "%s/file", dir);
	CHECK(!unshare(CLONE_NEWNS));
	CHECK(!mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL));
	CHECK(!mount("none", dir, "tmpfs", 0, NULL));
	CHECK(!mkdir(path, 0700) && !close(open(file, O_CREAT | O_WRONLY, 0600)));
	CHECK(!mount(KSM_DIR, path, NULL, MS_BIND, NULL));
	CHECK(!mount(KSM_DIR "/sleep_millisecs", file, NULL, MS_BIND, NULL));
	CHECK(!load());
	CHECK(!file_write(file, "31"));
	CHECK(file_long(RKSM_DIR "/sleep_millisecs") == 31);
	strcat(path, "/sleep_millisecs");
	CHECK(!file_write(path, "32"));
	CHECK(file_long(RKSM_DIR "/sleep_millisecs") == 32);
	CHECK(file_long(file) == 32);
	CHECK(!unload());
	CHECK(file_long(path) == 32 && file_long(file) == 32);
	CHECK(!file_write(path, "33") && knob("sleep_millisecs") == 33);
	return 0;
}

MODULE_TEST(stay_bound)
{
	char dir[] = "/tmp/ksm-XXXXXX";
	pid_t pid;

	ASSERT_NE(NULL, mkdtemp(dir));
	pid = fork_child();
	if (pid == 0)
		_exit(bound(dir));
	EXPECT_EQ(0, wait_child(pid));
	EXPECT_EQ(0, rmdir(dir));
}

/* So much that taking over takes a while. */
#define MUCH	4000

struct watched {
	struct entries all;
	/* 1: go on; 0: end. */
	volatile int go;
	volatile long reads, errors, written, busy, wrong;
};

static void __attribute__((noreturn)) read_all(struct watched *w)
{
	char text[64];
	int i;

	while (w->go) {
		for (i = 0; i < w->all.n; i++) {
			int n = knob_text(w->all.name[i], text, sizeof(text));

			if (n <= 0 || (!strcmp(w->all.name[i], "run") &&
				       (text[0] < '0' || text[0] > '2'))) {
				dprintf(2, "# %s: %d, \"%s\"\n", w->all.name[i], n,
					n > 0 ? text : "");
				w->errors++;
			}
			w->reads++;
		}
	}
	_exit(0);
}

/* What was taken is there, whoever provides then; and all else is "busy". */
static void __attribute__((noreturn)) write_one(struct watched *w)
{
	long value = 1000, was = knob("stable_node_chains_prune_millisecs"), now;

	while (w->go) {
		int err = knob_set("stable_node_chains_prune_millisecs", ++value);

		if (!err) {
			w->written++;
			was = value;
		} else if (err == -EBUSY) {
			w->busy++;
		} else {
			w->wrong++;
		}
		now = knob("stable_node_chains_prune_millisecs");
		if (now != was) {
			dprintf(2, "# %ld was written (%d), and now it is %ld\n", was, err, now);
			w->wrong++;
		}
	}
	_exit(0);
}

MODULE_TEST(are_there_at_each_moment)
{
	struct watched *w = mmap(NULL, sizeof(*w), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t reader, writer;
	char *map;
	int i;

	ASSERT_NE(MAP_FAILED, w);
	ASSERT_TRUE(list(&w->all));
	ASSERT_EQ(0, knob_set("max_page_sharing", MUCH));
	w->go = 1;
	reader = fork_child();
	if (reader == 0)
		read_all(w);
	writer = fork_child();
	if (writer == 0)
		write_one(w);
	map = MERGEABLE_PAGES(MUCH, 5);
	for (i = 0; i < rounds(8); i++) {
		ASSERT_EQ(0, knob_set("run", 1));
		ASSERT_TRUE(ksm_settles(1, MUCH - 1));
		ASSERT_EQ(0, load_stopped());
		EXPECT_TRUE(none_ksm(map, MUCH));
		ASSERT_EQ(0, unload());
	}
	w->go = 0;
	EXPECT_EQ(0, wait_child(reader));
	EXPECT_EQ(0, wait_child(writer));
	EXPECT_EQ(0, w->errors);
	EXPECT_EQ(0, w->wrong);
	EXPECT_LT(0, w->busy);
	EXPECT_LT(0, w->written);
	TH_LOG("%ld reads; %ld writes, and %ld that were refused", w->reads, w->written, w->busy);
	EXPECT_TRUE(all_hold(map, MUCH, 5));
	munmap(w, sizeof(*w));
}

static void __attribute__((noreturn)) read_run(atomic_long *reads)
{
	int fd = open(KSM_DIR "/run", O_RDONLY);
	char c;

	while (pread(fd, &c, 1, 0) == 1)
		++*reads;
	_exit(1);
}

/* Anybody may read, as often as he likes, and keeps nobody from loading the module. */
MODULE_TEST(hammered_by_readers)
{
	atomic_long *reads = mmap(NULL, pagesize, PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pids[HAMMERS];
	int i;

	ASSERT_NE(MAP_FAILED, reads);
	for (i = 0; i < HAMMERS; i++) {
		pids[i] = fork_child();
		if (pids[i] == 0)
			read_run(reads);
	}
	while (*reads < HAMMERS)
		usleep(1000);
	EXPECT_EQ(0, load());
	EXPECT_EQ(0, unload());
	EXPECT_LT(HAMMERS, (long)*reads);
	kill_all(pids, HAMMERS);
}

/*
 * Whatever a knob takes, by both names. But for merge_across_nodes: where that changes
 * in the midst of a pass, in-tree KSM goes on in a tree of records that it has freed.
 */
static void __attribute__((noreturn)) write_all(struct watched *w, unsigned int n)
{
	static const struct {
		const char *name, *value[3];
	} knobs[] = {
		{ "run", { "0", "1", "2" } },
		{ "max_page_sharing", { "2", "256", "9" } },
		{ "advisor_mode", { "none", "scan-time", "pressure" } },
		{ "pages_to_scan", { "100", "1", "10000" } },
		{ "sleep_millisecs", { "0", "1", "20" } },
		{ "use_zero_pages", { "0", "1", "0" } },
		{ "smart_scan", { "0", "1", "0" } },
	};
	char path[256];

	for (; w->go; n++) {
		const char *dir = n / 3 % 4 ? KSM_DIR : RKSM_DIR;
		size_t k = n * 2654435761u / 65536 % ARRAY_SIZE(knobs);
		int err;

		snprintf(path, sizeof(path), "%s/%s", dir, knobs[k].name);
		err = file_write(path, knobs[k].value[n % 3]);
		w->written += !err;
		/* The advisor is in charge of pages_to_scan; in-tree KSM may lack one. */
		if (err && err != -EBUSY && err != -EINVAL && err != -ENOENT && err != -ENODEV) {
			dprintf(2, "# %s to %s: %d\n", knobs[k].value[n % 3], path, err);
			w->wrong++;
		}
	}
	_exit(0);
}

MODULE_TEST(change_hands_among_readers_and_writers)
{
	struct watched *w = mmap(NULL, sizeof(*w), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int i, tries, err;
	pid_t pid[4];
	char *map;

	ASSERT_NE(MAP_FAILED, w);
	ASSERT_TRUE(list(&w->all));
	w->go = 1;
	for (i = 0; i < 4; i++) {
		pid[i] = fork_child();
		if (pid[i] == 0 && i < 2)
			read_all(w);
		if (pid[i] == 0)
			write_all(w, 1000 * i);
	}
	/* Something to scan, and nothing to merge. */
	map = map_pages(16);
	ASSERT_NE(NULL, map);
	for (i = 0; i < 16; i++)
		fill(page_of(map, i), i);
	ASSERT_EQ(0, madvise(map, 16 * pagesize, MADV_MERGEABLE));
	for (i = 0; i < rounds(20); i++) {
		ASSERT_EQ(0, load());
		for (tries = 0; tries < 1000; tries++) {
			err = unload();
			if (!err)
				break;
			usleep(1000);
		}
		ASSERT_EQ(0, err);
	}
	w->go = 0;
	for (i = 0; i < 4; i++) {
		EXPECT_EQ(0, wait_child(pid[i]));
	}
	EXPECT_EQ(0, w->errors);
	EXPECT_EQ(0, w->wrong);
	EXPECT_LT(0, w->written);
	for (i = 0; i < 16; i++) {
		EXPECT_TRUE(holds(page_of(map, i), i));
	}
	EXPECT_TRUE(knobs_for_test());
	munmap(w, sizeof(*w));
}

TEST_HARNESS_MAIN

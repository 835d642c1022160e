// SPDX-License-Identifier: GPL-2.0
/* The file `domains`: how much is merged within which domain. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "cgroup.h"
#include "ksm_harness.h"

#define N		8
#define DOMAINS		"/sys/kernel/mm/rksm/domains"
#define LINE		128

#ifndef NS_GET_ID
#define NS_GET_ID	_IOR(0xb7, 13, __u64)
#endif

FIXTURE(census) {
	struct knob_values before;
};

FIXTURE_SETUP(census)
{
	NEEDS_KNOB("domain", "this provider has no domains");
	ASSERT_TRUE(knobs_save(&self->before));
	ASSERT_TRUE(unmerge_everything());
	ASSERT_TRUE(knobs_for_test());
	ASSERT_EQ(0, knob_set("use_zero_pages", 1));
	ASSERT_TRUE(cgroups_mount());
}

FIXTURE_TEARDOWN_PARENT(census)
{
	EXPECT_TRUE(unmerge_everything());
	EXPECT_TRUE(knobs_restore(&self->before));
	cgroups_remove();
}

#define CENSUS_TEST(name)	TEST_F_TIMEOUT(census, name, TEST_SECONDS)

struct counts {
	long processes, shared, sharing, zero;
};

/* Of one domain; of all of them with NULL. False: there is none. */
static bool counted(const char *domain, struct counts *all)
{
	char line[256], name[128];
	FILE *file = fopen(DOMAINS, "r");
	struct counts one;
	bool found = false;

	memset(all, 0, sizeof(*all));
	if (!file || !fgets(line, sizeof(line), file))
		return false;
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%ld %ld %ld %ld %127s", &one.processes, &one.shared,
			   &one.sharing, &one.zero, name) != 5)
			return false;
		if (domain && strcmp(domain, name))
			continue;
		found = true;
		all->processes += one.processes;
		all->shared += one.shared;
		all->sharing += one.sharing;
		all->zero += one.zero;
	}
	fclose(file);
	return found;
}

#define EXPECT_COUNTED(name, a, b, c, d) do {			\
	struct counts all;					\
								\
	EXPECT_TRUE(counted(name, &all));			\
	EXPECT_EQ(a, all.processes);				\
	EXPECT_EQ(b, all.shared);				\
	EXPECT_EQ(c, all.sharing);				\
	EXPECT_EQ(d, all.zero);					\
} while (0)

/* All domains together are what the counters of all say. */
#define EXPECT_ADDS_UP() do {					\
	struct counts all;					\
								\
	EXPECT_TRUE(counted(NULL, &all));			\
	EXPECT_EQ(knob("pages_shared"), all.shared);		\
	EXPECT_EQ(knob("pages_sharing"), all.sharing);		\
	EXPECT_EQ(knob("ksm_zero_pages"), all.zero);		\
} while (0)

struct who {
	uid_t uid;
	const char *cgroup;
	/* Where it goes at the second meeting. */
	const struct who *next;
};

static bool become(const struct who *who)
{
	return (!who->cgroup || cgroup_enter(who->cgroup)) &&
	       (!who->uid || !setresuid(who->uid, who->uid, who->uid)) &&
	       !prctl(PR_SET_DUMPABLE, 1);
}

/* N pages of one content, and one of zeroes. */
static int peer_of(struct peer *p, void *arg)
{
	const struct who *who = arg;
	char *map;

	CHECK(become(who));
	map = map_pages(N + 1);
	CHECK(map);
	fill_all(map, N, 1);
	memset(page_of(map, N), 0, pagesize);
	CHECK(!madvise(map, (N + 1) * pagesize, MADV_MERGEABLE));
	CHECK(peer_meet(p));
	CHECK(peer_meet(p));
	if (who->next) {
		CHECK(become(who->next));
		CHECK(peer_meet(p));
		CHECK(peer_meet(p));
	}
	CHECK(all_hold(map, N, 1) && is_zero(page_of(map, N)));
	return 0;
}

static bool merge_all(void)
{
	return !knob_set("run", 1) && ksm_passes(6) && scanner_stop();
}

static void begin(struct __test_metadata *_metadata, struct peer *peers, const struct who *who, int n)
{
	int i;

	for (i = 0; i < n; i++) {
		ASSERT_TRUE(peer_start(&peers[i], peer_of, (void *)&who[i]));
		ASSERT_TRUE(peer_meet(&peers[i]));
	}
	ASSERT_TRUE(merge_all());
}

static void end(struct __test_metadata *_metadata, struct peer *peers, int n)
{
	int i;

	for (i = 0; i < n; i++) {
		ASSERT_TRUE(peer_meet(&peers[i]));
		EXPECT_EQ(0, peer_end(&peers[i]));
	}
}

static unsigned long long own_user_namespace(void)
{
	unsigned long long id = 0;
	int fd = open("/proc/self/ns/user", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || ioctl(fd, NS_GET_ID, &id))
		id = 0;
	close(fd);
	return id;
}

CENSUS_TEST(everybody)
{
	static const struct who who[3] = { { .uid = 1000 }, { .uid = 1001 }, {} };
	struct peer peers[3];

	begin(_metadata, peers, who, 3);
	EXPECT_COUNTED("all", 3, 1, 3 * N - 1, 3);
	EXPECT_ADDS_UP();
	end(_metadata, peers, 3);
	EXPECT_TRUE(counter_reaches("pages_shared", 0));
	EXPECT_EQ(0, knob("ksm_zero_pages"));
}

CENSUS_TEST(users)
{
	static const struct who who[3] = { { .uid = 1000 }, { .uid = 1001 }, { .uid = 1000 } };
	struct peer peers[3];
	struct counts none;
	char a[64], b[64];

	snprintf(a, sizeof(a), "user:1000:%llu", own_user_namespace());
	snprintf(b, sizeof(b), "user:1001:%llu", own_user_namespace());
	ASSERT_EQ(0, knob_write("domain", "user"));
	begin(_metadata, peers, who, 3);
	EXPECT_COUNTED(a, 2, 1, 2 * N - 1, 2);
	EXPECT_COUNTED(b, 1, 1, N - 1, 1);
	EXPECT_ADDS_UP();
	/* The one goes that merged first; what the other has stays counted. */
	end(_metadata, peers, 1);
	ASSERT_TRUE(merge_all());
	EXPECT_COUNTED(a, 1, 1, N - 1, 1);
	EXPECT_ADDS_UP();
	end(_metadata, peers + 2, 1);
	ASSERT_TRUE(merge_all());
	EXPECT_FALSE(counted(a, &none));
	EXPECT_COUNTED(b, 1, 1, N - 1, 1);
	end(_metadata, peers + 1, 1);
}

CENSUS_TEST(cgroups)
{
	static const struct who who[2] = { { .cgroup = "a" }, { .cgroup = "b" } };
	struct peer peers[2];
	struct stat st;
	char a[64];

	ASSERT_TRUE(cgroup_make("a") && cgroup_make("b"));
	ASSERT_EQ(0, stat(cgroup_file("a", ""), &st));
	snprintf(a, sizeof(a), "cgroup:%llu", (unsigned long long)st.st_ino);
	ASSERT_EQ(0, knob_write("domain", "cgroup"));
	begin(_metadata, peers, who, 2);
	EXPECT_COUNTED(a, 1, 1, N - 1, 1);
	EXPECT_ADDS_UP();
	end(_metadata, peers, 2);
}

CENSUS_TEST(processes)
{
	static const struct who who[2] = {};
	struct peer peers[2];
	char a[64];
	int i;

	ASSERT_EQ(0, knob_write("domain", "process"));
	begin(_metadata, peers, who, 2);
	for (i = 0; i < 2; i++) {
		snprintf(a, sizeof(a), "process:%d", peers[i].pid);
		EXPECT_COUNTED(a, 1, 1, N - 1, 1);
	}
	EXPECT_ADDS_UP();
	end(_metadata, peers, 2);
}

/* Who leaves a domain is counted there until he has given back what he has, and in the other one then. */
CENSUS_TEST(moves_with_the_process)
{
	static const struct who b = { .uid = 1001 }, who[2] = { {}, { .next = &b } };
	struct peer peers[2];
	char from[64], to[64];

	snprintf(from, sizeof(from), "user:0:%llu", own_user_namespace());
	snprintf(to, sizeof(to), "user:1001:%llu", own_user_namespace());
	ASSERT_EQ(0, knob_write("domain", "user"));
	begin(_metadata, peers, who, 2);
	EXPECT_COUNTED(from, 2, 1, 2 * N - 1, 2);
	ASSERT_TRUE(peer_meet(&peers[1]));
	ASSERT_TRUE(peer_meet(&peers[1]));
	EXPECT_COUNTED(from, 2, 1, 2 * N - 1, 2);
	ASSERT_TRUE(merge_all());
	EXPECT_COUNTED(from, 1, 1, N - 1, 1);
	EXPECT_COUNTED(to, 1, 1, N - 1, 1);
	EXPECT_ADDS_UP();
	ASSERT_EQ(0, knob_set("run", 2));
	EXPECT_COUNTED(from, 1, 0, 0, 0);
	EXPECT_COUNTED(to, 1, 0, 0, 0);
	end(_metadata, peers, 2);
}

/* Many lines, of which each is whole however little is read at a time. */
CENSUS_TEST(is_read_in_pieces)
{
	static const size_t sizes[] = { 1, 100, LINE, 1000, 1 << 20 };
	static const struct who who[100];
	static char whole[200 * LINE], again[(200 * LINE) + (1 << 20)];
	struct peer peers[100];
	struct counts all;
	ssize_t len = 0, got, n;
	int fd, i;

	ASSERT_EQ(0, knob_write("domain", "process"));
	begin(_metadata, peers, who, 100);
	EXPECT_TRUE(counted(NULL, &all));
	EXPECT_EQ(100, all.processes);
	EXPECT_EQ(100, all.shared);
	for (i = 0; i < 5; i++) {
		fd = open(DOMAINS, O_RDONLY | O_CLOEXEC);
		ASSERT_LE(0, fd);
		for (got = 0; (n = read(fd, again + got, sizes[i])) > 0; )
			got += n;
		close(fd);
		EXPECT_EQ(0, n);
		EXPECT_EQ(101 * LINE, got);
		if (!i)
			memcpy(whole, again, len = got);
		EXPECT_EQ(0, memcmp(whole, again, len));
	}
	for (i = 1; i <= 101; i++)
		EXPECT_EQ('\n', whole[i * LINE - 1]);
	end(_metadata, peers, 100);
}

/* What others have merged is nobody's business but root's. */
CENSUS_TEST(is_for_root)
{
	struct stat st;

	ASSERT_EQ(0, stat(DOMAINS, &st));
	EXPECT_EQ(S_IFREG | 0400, st.st_mode);
	EXPECT_EQ(0, st.st_uid);
	ASSERT_EQ(0, seteuid(1000));
	EXPECT_EQ(-1, open(DOMAINS, O_RDONLY));
	EXPECT_EQ(EACCES, errno);
	ASSERT_EQ(0, seteuid(0));
}

TEST_HARNESS_MAIN

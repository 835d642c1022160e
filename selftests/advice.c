// SPDX-License-Identifier: GPL-2.0
/* What madvise() takes and refuses, which memory it is for, and other advice on it. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>

#include "ksm_fixture.h"

#define SYSCTL	"/proc/sys/vm/max_map_count"
#include "sysctl_fixture.h"

#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE		0x08
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL	102
#define MADV_GUARD_REMOVE	103
#endif

/* Whether the mapping that begins here is marked as mergeable, as smaps has it. */
static bool is_marked(const void *map)
{
	char line[512], start[32];
	bool here = false, marked = false;
	FILE *f = fopen("/proc/self/smaps", "r");

	snprintf(start, sizeof(start), "%lx-", (unsigned long)map);
	while (f && fgets(line, sizeof(line), f)) {
		here = here || !strncmp(line, start, strlen(start));
		if (here && !strncmp(line, "VmFlags:", 8)) {
			marked = strstr(line, " mg");
			break;
		}
	}
	if (f)
		fclose(f);
	return marked;
}

/* The start of the mapping with this name, and its size. */
static char *named(const char *name, size_t *size)
{
	unsigned long start, end;
	char line[512], *found = NULL;
	FILE *f = fopen("/proc/self/maps", "r");

	while (f && !found && fgets(line, sizeof(line), f))
		if (strstr(line, name) && sscanf(line, "%lx-%lx", &start, &end) == 2) {
			found = (char *)start;
			*size = end - start;
		}
	if (f)
		fclose(f);
	return found;
}

/* The advice is taken, with effect or without. */
static void advise(struct __test_metadata *_metadata, char *map, size_t size, bool effect)
{
	ASSERT_EQ(0, madvise(map, size, MADV_MERGEABLE));
	EXPECT_EQ(effect, is_marked(map));
	EXPECT_EQ(0, madvise(map, size, MADV_UNMERGEABLE));
	EXPECT_FALSE(is_marked(map));
}

static char *map_kind(int prot, int flags, int fd, size_t size)
{
	return mmap(NULL, size, prot, flags, fd, 0);
}

KSM_TEST(kinds_of_memory)
{
	static const char * const special[] = { "[vdso]", "[vvar]" };
	int rw = PROT_READ | PROT_WRITE, fd = memfd_create("ksm", 0), zero;
	size_t size = 4 * pagesize, i;
	char *map;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, size));
	zero = open("/dev/zero", O_RDWR);
	ASSERT_LE(0, zero);
	/* Private memory, whatever is behind it and whatever may be done with it. */
	advise(_metadata, map_kind(rw, MAP_PRIVATE | MAP_ANONYMOUS, -1, size), size, true);
	advise(_metadata, map_kind(PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, size), size, true);
	advise(_metadata, map_kind(PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, size), size, true);
	advise(_metadata, map_kind(rw, MAP_PRIVATE, fd, size), size, true);
	advise(_metadata, map_kind(rw, MAP_PRIVATE, zero, size), size, true);
	advise(_metadata, map_kind(rw, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, size),
	       size, true);
	/* Shared memory. */
	advise(_metadata, map_kind(rw, MAP_SHARED | MAP_ANONYMOUS, -1, size), size, false);
	advise(_metadata, map_kind(rw, MAP_SHARED, fd, size), size, false);
	advise(_metadata, map_kind(PROT_READ, MAP_SHARED, fd, size), size, false);
	/* What the kernel may drop. */
	map = map_kind(rw, MAP_DROPPABLE | MAP_ANONYMOUS, -1, size);
	if (map != MAP_FAILED)
		advise(_metadata, map, size, false);
	/* What the kernel maps, and what is no ordinary memory. */
	for (i = 0; i < ARRAY_SIZE(special); i++) {
		map = named(special[i], &size);
		if (map)
			advise(_metadata, map, size, false);
	}
	map = named("[stack]", &size);
	ASSERT_NE(NULL, map);
	advise(_metadata, map, size, true);
	close(fd);
	close(zero);
}

/* With prctl() memory is marked as it is mapped, where it is suited. */
KSM_TEST(prctl_marks)
{
	char *before = map_pages(4), *after, *shared;

	ASSERT_NE(NULL, before);
	ASSERT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0));
	EXPECT_TRUE(is_marked(before));
	after = mmap(NULL, 4 * pagesize, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	shared = mmap(NULL, 4 * pagesize, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_TRUE(after != MAP_FAILED && shared != MAP_FAILED);
	EXPECT_TRUE(is_marked(after));
	EXPECT_FALSE(is_marked(shared));
	/* One mapping can be left out. */
	ASSERT_EQ(0, madvise(before, 4 * pagesize, MADV_UNMERGEABLE));
	EXPECT_FALSE(is_marked(before));
	EXPECT_EQ(1, prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0));
	ASSERT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0));
	EXPECT_FALSE(is_marked(after));
}

KSM_TEST(errors)
{
	char *map = map_pages(8);

	ASSERT_NE(NULL, map);
	fill_all(map, 8, 1);
	/* Advice that is none, or was never given. */
	EXPECT_EQ(0, madvise(map, 8 * pagesize, MADV_UNMERGEABLE));
	EXPECT_EQ(0, madvise(map, 0, MADV_MERGEABLE));
	EXPECT_EQ(-1, madvise(map + 1, pagesize, MADV_MERGEABLE));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, madvise(map, -pagesize, MADV_MERGEABLE));
	EXPECT_EQ(EINVAL, errno);
	/* A gap is an error; what lies around it is advised. */
	ASSERT_EQ(0, munmap(page_of(map, 3), 2 * pagesize));
	EXPECT_EQ(-1, madvise(map, 8 * pagesize, MADV_MERGEABLE));
	EXPECT_EQ(ENOMEM, errno);
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, 5));
	EXPECT_EQ(-1, madvise(map, 8 * pagesize, MADV_UNMERGEABLE));
	EXPECT_EQ(ENOMEM, errno);
	EXPECT_TRUE(no_two_share(map, 3) && no_two_share(page_of(map, 5), 3));
	EXPECT_TRUE(all_hold(map, 3, 1) && all_hold(page_of(map, 5), 3, 1));
}

/* No more mappings than the process may have: the advice fails, the memory is well. */
SYSCTL_TEST(too_many_mappings)
{
	char *map = map_pages(2048);
	int i, err = 0;

	ASSERT_NE(NULL, map);
	fill_all(map, 2048, 2);
	ASSERT_EQ(0, sysctl_set(1000));
	for (i = 0; i < 2048 && !err; i += 2)
		err = madvise(page_of(map, i), pagesize, MADV_MERGEABLE) ? errno : 0;
	ASSERT_EQ(0, sysctl_set(self->value));
	EXPECT_EQ(EAGAIN, err);
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_passes(3));
	EXPECT_TRUE(all_hold(map, 2048, 2));
}

/*
 * MADV_FREE on merged pages: each reads as it was or as zeroes, from then on
 * for good, and a write keeps it.
 */
KSM_TEST(freed_lazily)
{
	char *map = MERGED_PAGES(8, 3);
	int i;

	ASSERT_EQ(0, madvise(map, 4 * pagesize, MADV_FREE));
	fill(map, 4);
	ASSERT_TRUE(ksm_passes(3));
	EXPECT_TRUE(holds(map, 4));
	for (i = 1; i < 4; i++) {
		EXPECT_TRUE(is_zero(page_of(map, i)) || holds(page_of(map, i), 3));
	}
	EXPECT_TRUE(all_hold(page_of(map, 4), 4, 3));
	fill_all(map, 4, 3);
	ASSERT_TRUE(ksm_settles(1, 7));
	EXPECT_TRUE(all_hold(map, 8, 3));
}

/*
 * Before they are merged: once the scanner has merged such pages, they are
 * as they were for whoever still uses one.
 */
KSM_TEST(freed_before_merging)
{
	char *map = MERGEABLE_PAGES(8, 5), *keep = MERGEABLE_PAGES(2, 5);
	int i;

	ASSERT_EQ(0, madvise(map, 8 * pagesize, MADV_FREE));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_passes(5));
	EXPECT_TRUE(all_ksm(keep, 2));
	EXPECT_TRUE(all_hold(keep, 2, 5));
	for (i = 0; i < 8; i++) {
		EXPECT_TRUE(is_zero(page_of(map, i)) || holds(page_of(map, i), 5));
	}
	ASSERT_EQ(0, knob_set("run", 2));
	EXPECT_TRUE(all_hold(keep, 2, 5));
}

/* A child that reads a page, and lives if it may. */
static int touch_status(char *page)
{
	pid_t pid = fork_child();

	if (pid == 0) {
		*(volatile char *)page;
		_exit(0);
	}
	return wait_child(pid);
}

/* Guard regions where pages were merged, and where the scanner walks. */
KSM_TEST(guard_regions)
{
	char *map = MERGED_PAGES(8, 6);

	if (madvise(page_of(map, 2), 2 * pagesize, MADV_GUARD_INSTALL) && errno == EINVAL)
		SKIP(return, "no guard regions in this kernel");
	ASSERT_TRUE(ksm_settles(1, 5));
	EXPECT_EQ(128 + SIGSEGV, touch_status(page_of(map, 2)));
	EXPECT_EQ(0, touch_status(page_of(map, 4)));
	EXPECT_TRUE(all_hold(map, 2, 6) && all_hold(page_of(map, 4), 4, 6));
	/* Neither a pass nor unmerging takes them away. */
	ASSERT_EQ(0, knob_set("run", 2));
	EXPECT_EQ(128 + SIGSEGV, touch_status(page_of(map, 3)));
	ASSERT_EQ(0, madvise(map, 8 * pagesize, MADV_UNMERGEABLE));
	EXPECT_EQ(128 + SIGSEGV, touch_status(page_of(map, 3)));
	ASSERT_EQ(0, madvise(map, 8 * pagesize, MADV_MERGEABLE));
	ASSERT_EQ(0, madvise(page_of(map, 2), 2 * pagesize, MADV_GUARD_REMOVE));
	EXPECT_TRUE(is_zero(page_of(map, 2)) && is_zero(page_of(map, 3)));
	fill_all(page_of(map, 2), 2, 6);
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_settles(1, 7));
	EXPECT_TRUE(all_hold(map, 8, 6));
}

TEST_HARNESS_MAIN

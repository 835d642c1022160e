// SPDX-License-Identifier: GPL-2.0
/* The tracepoints of the group rksm. */
#include <fcntl.h>

#include "ksm_harness.h"

#define TRACING	"/sys/kernel/tracing/"
#define GROUP	TRACING "events/rksm/"
#define N	8

static char text[1 << 20];

FIXTURE(trace) {
	struct knob_values before;
};

/* What was traced goes when the file is truncated. */
static void forget_trace(void)
{
	close(open(TRACING "trace", O_WRONLY | O_TRUNC));
}

FIXTURE_SETUP(trace)
{
	if (access("/sys/module/rksm", F_OK))
		SKIP(return, "these are rksm's");
	ASSERT_TRUE(knobs_save(&self->before));
	ASSERT_TRUE(unmerge_everything());
	ASSERT_TRUE(knobs_for_test());
	forget_trace();
	ASSERT_EQ(0, file_write(GROUP "enable", "1"));
}

FIXTURE_TEARDOWN_PARENT(trace)
{
	EXPECT_EQ(0, file_write(GROUP "enable", "0"));
	EXPECT_TRUE(unmerge_everything());
	EXPECT_TRUE(knobs_restore(&self->before));
}

#define TRACE_TEST(name)	TEST_F_TIMEOUT(trace, name, TEST_SECONDS)

/* All that was traced so far. */
static bool traced(void)
{
	int fd = open(TRACING "trace", O_RDONLY);
	size_t n = 0;
	ssize_t got;

	while (fd >= 0 && n < sizeof(text) - 1 &&
	       (got = read(fd, text + n, sizeof(text) - 1 - n)) > 0)
		n += got;
	text[n] = 0;
	close(fd);
	return n > 0;
}

static int count(const char *what)
{
	const char *at = text;
	int n = 0;

	while ((at = strstr(at, what))) {
		at += strlen(what);
		n++;
	}
	return n;
}

/* An event, and the end of what it says. */
static int count_with(const char *event, const char *end)
{
	char line[512];
	const char *at = text;
	int n = 0;

	while ((at = strstr(at, event))) {
		size_t len = strcspn(at, "\n");

		snprintf(line, sizeof(line), "%.*s\n", (int)len, at);
		n += !!strstr(line, end);
		at += len;
	}
	return n;
}

TRACE_TEST(a_merge)
{
	char *map = MERGED_PAGES(N, 1), want[64];
	uint64_t pfn = pfn_of(0, map);
	int i;

	ASSERT_EQ(0, knob_set("run", 0));
	ASSERT_TRUE(traced());
	EXPECT_EQ(1, count("rksm_enter: mm "));
	EXPECT_LE(3, count("rksm_start_scan: pass "));
	EXPECT_LE(3, count("rksm_stop_scan: pass "));
	EXPECT_EQ(1, count_with("rksm_merge_one_page:", " error 0\n"));
	EXPECT_EQ(N - 1, count_with("rksm_merge_with_ksm_page:", " error 0\n"));
	snprintf(want, sizeof(want), "ksm pfn %lu error 0\n", pfn);
	EXPECT_EQ(N - 1, count_with("rksm_merge_with_ksm_page:", want));
	for (i = 0; i < N; i++) {
		snprintf(want, sizeof(want), "address 0x%lx pfn ", (long)page_of(map, i));
		EXPECT_LE(1, count(want));
	}

	forget_trace();
	ASSERT_EQ(0, knob_set("run", 2));
	ASSERT_TRUE(traced());
	snprintf(want, sizeof(want), " pfn %lu\n", pfn);
	EXPECT_LE(N, count_with("rksm_remove_rmap_item:", want));
	EXPECT_EQ(1, count_with("rksm_remove_ksm_page:", want));
}

TRACE_TEST(an_exit)
{
	pid_t pid = fork_child();

	if (pid == 0) {
		char *map = map_pages(1);

		_exit(!map || madvise(map, pagesize, MADV_MERGEABLE));
	}
	EXPECT_EQ(0, wait_child(pid));
	ASSERT_TRUE(traced());
	EXPECT_EQ(1, count("rksm_enter: mm "));
	EXPECT_EQ(1, count("rksm_exit: mm "));
}

TRACE_TEST(the_advisor)
{
	char *map = MERGEABLE_PAGES(N, 2);

	ASSERT_NE(NULL, map);
	ASSERT_EQ(0, knob_write("advisor_mode", "scan-time"));
	ASSERT_EQ(0, knob_set("run", 1));
	ASSERT_TRUE(ksm_passes(2));
	ASSERT_TRUE(traced());
	EXPECT_LE(1, count("rksm_advisor: scan time "));
	EXPECT_LE(1, count_with("rksm_advisor:", " ms pages_to_scan 500 cpu percent "));
}

TEST_HARNESS_MAIN

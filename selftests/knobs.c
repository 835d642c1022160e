// SPDX-License-Identifier: GPL-2.0
/* The files in sysfs: formats, bad input, permissions. */
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/stat.h>

#include "ksm_fixture.h"

static bool writes_as(const char *name, const char *text, const char *shown)
{
	char buf[64];
	int err = knob_write(name, text);

	if (err) {
		dprintf(2, "# \"%s\" to %s: error %d\n", text, name, err);
		return false;
	}
	if (knob_text(name, buf, sizeof(buf)) < 0 || strcmp(buf, shown)) {
		dprintf(2, "# \"%s\" to %s reads as \"%s\"\n", text, name, buf);
		return false;
	}
	return true;
}

KSM_TEST(run_values)
{
	EXPECT_TRUE(writes_as("run", "1", "1\n"));
	EXPECT_TRUE(writes_as("run", "2\n", "2\n"));
	EXPECT_TRUE(writes_as("run", "0", "0\n"));
	EXPECT_TRUE(writes_as("run", "+1", "1\n"));
	EXPECT_TRUE(writes_as("run", "002", "2\n"));
	/* The same again is no error. */
	EXPECT_TRUE(writes_as("run", "2", "2\n"));
}

KSM_TEST(pages_to_scan_values)
{
	EXPECT_TRUE(writes_as("pages_to_scan", "1", "1\n"));
	EXPECT_TRUE(writes_as("pages_to_scan", "100\n", "100\n"));
	EXPECT_TRUE(writes_as("pages_to_scan", "0", "0\n"));
	EXPECT_TRUE(writes_as("pages_to_scan", "4294967295", "4294967295\n"));
	EXPECT_TRUE(writes_as("pages_to_scan", "0100", "100\n"));
}

KSM_TEST(sleep_millisecs_values)
{
	EXPECT_TRUE(writes_as("sleep_millisecs", "0", "0\n"));
	EXPECT_TRUE(writes_as("sleep_millisecs", "20\n", "20\n"));
	EXPECT_TRUE(writes_as("sleep_millisecs", "4294967295", "4294967295\n"));
}

KSM_TEST(use_zero_pages_values)
{
	EXPECT_TRUE(writes_as("use_zero_pages", "1", "1\n"));
	EXPECT_TRUE(writes_as("use_zero_pages", "0\n", "0\n"));
	EXPECT_TRUE(writes_as("use_zero_pages", "y", "1\n"));
	EXPECT_TRUE(writes_as("use_zero_pages", "N", "0\n"));
	EXPECT_TRUE(writes_as("use_zero_pages", "on", "1\n"));
	EXPECT_TRUE(writes_as("use_zero_pages", "off", "0\n"));
	EXPECT_TRUE(writes_as("use_zero_pages", "true", "1\n"));
	EXPECT_TRUE(writes_as("use_zero_pages", "F", "0\n"));
}

/* What no knob takes. */
static const char * const never[] = {
	"\n", " ", "-1", "-0", "+", "-", "++1", "x", "?", "1x", "1 1", "1 ", " 1",
	"1,", "1.0", "0x1", "1e3", "1\n\n", "\n1", "18446744073709551616",
	"99999999999999999999999999999999999999999999",
	"\xff\xff", "\xc2\xb2", "NULL",
};

/* What only those take that hold a long. */
static const char * const only_long[] = { "4294967296", "18446744073709551615" };

static const char * const never_a_number[] = { "y", "on", "true", "yes" };

static const struct {
	const char *name, *good;
	enum { NUMBER, LONG, YES_NO } type;
	const char *bad[4];	/* what this knob in particular does not take */
} bad_input[] = {
	{ "run", "0\n", NUMBER, { "3", "4", "256", "4294967295" } },
	{ "pages_to_scan", "777\n", NUMBER, {} },
	{ "sleep_millisecs", "555\n", NUMBER, {} },
	{ "use_zero_pages", "1\n", YES_NO, { "2", "o", "maybe", "3" } },
	{ "smart_scan", "1\n", YES_NO, { "2", "o", "maybe", "3" } },
	{ "merge_across_nodes", "0\n", NUMBER, { "2", "4294967295" } },
	{ "max_page_sharing", "32\n", NUMBER, { "0", "1", "2147483648" } },
	{ "stable_node_chains_prune_millisecs", "33\n", NUMBER, {} },
	{ "advisor_max_cpu", "34\n", NUMBER, {} },
	{ "advisor_min_pages_to_scan", "35\n", LONG, {} },
	{ "advisor_max_pages_to_scan", "36\n", LONG, {} },
	{ "advisor_target_scan_time", "37\n", LONG, { "0" } },
};

static bool refuses_n(const char *name, const char *text, size_t n,
		      const char *good)
{
	char buf[64];
	int err = file_write_n(knob_path(name), text, n);

	knob_text(name, buf, sizeof(buf));
	if (err == -EINVAL && !strcmp(buf, good))
		return true;
	dprintf(2, "# \"%s\" to %s: error %d, now \"%s\"\n", text, name, err, buf);
	return false;
}

/*
 * kstrtobool() looks at the first characters only, so a knob that says yes or
 * no takes some of what a number does not. That is the ABI.
 */
static bool bool_takes(const char *text)
{
	return strchr("yYtTnNfF01", text[0]) && text[0];
}

KSM_TEST(bad_values)
{
	size_t k, i;

	for (k = 0; k < ARRAY_SIZE(bad_input); k++) {
		const char *name = bad_input[k].name, *good = bad_input[k].good;
		bool is_bool = bad_input[k].type == YES_NO;

		ASSERT_EQ(0, knob_write(name, good));
		for (i = 0; i < ARRAY_SIZE(never); i++) {
			if (is_bool && bool_takes(never[i]))
				continue;
			EXPECT_TRUE(refuses_n(name, never[i], strlen(never[i]), good));
		}
		for (i = 0; i < ARRAY_SIZE(only_long) && bad_input[k].type == NUMBER; i++) {
			EXPECT_TRUE(refuses_n(name, only_long[i], strlen(only_long[i]), good));
		}
		for (i = 0; i < ARRAY_SIZE(never_a_number) && !is_bool; i++) {
			EXPECT_TRUE(refuses_n(name, never_a_number[i],
					      strlen(never_a_number[i]), good));
		}
		for (i = 0; i < 4 && bad_input[k].bad[i]; i++) {
			EXPECT_TRUE(refuses_n(name, bad_input[k].bad[i],
					      strlen(bad_input[k].bad[i]), good));
		}
	}
}

/* A page full of digits, and more than a page. */
KSM_TEST(long_input)
{
	static char text[3 * 4096];
	size_t k;

	memset(text, '9', sizeof(text) - 1);
	for (k = 0; k < ARRAY_SIZE(bad_input); k++) {
		const char *good = bad_input[k].good;
		size_t n;

		ASSERT_EQ(0, knob_write(bad_input[k].name, good));
		for (n = 20; n < sizeof(text); n = n * 2 + 1) {
			EXPECT_TRUE(refuses_n(bad_input[k].name, text, n, good));
		}
	}
}

/* An empty write reaches no store function and changes nothing. */
KSM_TEST(empty_write)
{
	size_t k;
	char buf[64];

	for (k = 0; k < ARRAY_SIZE(bad_input); k++) {
		ASSERT_EQ(0, knob_write(bad_input[k].name, bad_input[k].good));
		knob_write(bad_input[k].name, "");
		ASSERT_LT(0, knob_text(bad_input[k].name, buf, sizeof(buf)));
		EXPECT_STREQ(bad_input[k].good, buf);
	}
}

static const char * const counters[] = {
	"pages_shared", "pages_sharing", "pages_unshared", "pages_volatile",
	"pages_scanned", "pages_skipped", "full_scans", "ksm_zero_pages",
	"general_profit", "stable_node_chains", "stable_node_dups",
};

static const char * const knobs[] = {
	"run", "pages_to_scan", "sleep_millisecs", "use_zero_pages", "smart_scan",
	"merge_across_nodes", "max_page_sharing",
	"stable_node_chains_prune_millisecs", "advisor_max_cpu",
	"advisor_min_pages_to_scan", "advisor_max_pages_to_scan",
	"advisor_target_scan_time",
};

static mode_t mode_of(const char *name)
{
	struct stat st;

	return stat(knob_path(name), &st) ? 0 : st.st_mode & 07777;
}

/* One number and a newline. */
static bool one_number(const char *name)
{
	char buf[64], *end;
	int n = knob_text(name, buf, sizeof(buf));

	if (n < 2)
		return false;
	strtol(buf, &end, 10);
	return end > buf && *end == '\n' && end + 1 == buf + n;
}

KSM_TEST(formats_and_modes)
{
	size_t i;

	MERGED_PAGES(4, 1);
	for (i = 0; i < ARRAY_SIZE(counters); i++) {
		EXPECT_EQ(0444, mode_of(counters[i])) {
			TH_LOG("%s", counters[i]);
		}
		EXPECT_TRUE(one_number(counters[i]));
	}
	for (i = 0; i < ARRAY_SIZE(knobs); i++) {
		EXPECT_EQ(0644, mode_of(knobs[i]));
		EXPECT_TRUE(one_number(knobs[i]));
	}
}

/* Even root cannot write a counter: it has no store function. */
KSM_TEST(counters_read_only)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(counters); i++) {
		int err = knob_write(counters[i], "1");

		EXPECT_TRUE(err == -EACCES || err == -EIO) {
			TH_LOG("%s: %d", counters[i], err);
		}
	}
}

KSM_TEST(others_may_only_read)
{
	pid_t pid = fork_child();
	size_t i;

	if (pid == 0) {
		ASSERT_EQ(0, setgroups(0, NULL));
		ASSERT_EQ(0, setgid(65534));
		ASSERT_EQ(0, setuid(65534));
		for (i = 0; i < ARRAY_SIZE(knobs); i++) {
			EXPECT_EQ(-EACCES, knob_write(knobs[i], "1"));
			EXPECT_TRUE(one_number(knobs[i]));
		}
		for (i = 0; i < ARRAY_SIZE(counters); i++) {
			EXPECT_EQ(-EACCES, knob_write(counters[i], "1"));
			EXPECT_TRUE(one_number(counters[i]));
		}
		_exit(0);
	}
	EXPECT_EQ(0, wait_child(pid));
	EXPECT_EQ(2, knob("run"));
}

/* A file read byte by byte, and again from its start. */
KSM_TEST(partial_reads)
{
	char whole[64], buf[64] = "";
	int fd, n = 0;

	ASSERT_EQ(0, knob_write("pages_to_scan", "123456"));
	ASSERT_LT(0, knob_text("pages_to_scan", whole, sizeof(whole)));
	EXPECT_STREQ("123456\n", whole);
	fd = open(knob_path("pages_to_scan"), O_RDONLY);
	ASSERT_LE(0, fd);
	while (n < 60 && read(fd, buf + n, 1) == 1)
		n++;
	EXPECT_STREQ(whole, buf);
	ASSERT_EQ(0, lseek(fd, 0, SEEK_SET));
	EXPECT_EQ(7, read(fd, buf, sizeof(buf)));
	close(fd);
}

/* Writers of every knob at once, over merging and unmerging. */
KSM_TEST(concurrent_writers)
{
	char *map = MERGEABLE_PAGES(16, 2);
	pid_t pid[4];
	int i, j;

	for (i = 0; i < 4; i++) {
		pid[i] = fork_child();
		if (pid[i])
			continue;
		for (j = 0; j < 60; j++) {
			EXPECT_EQ(0, knob_set("run", (i + j) % 3));
			EXPECT_EQ(0, knob_set("sleep_millisecs", j % 2));
			EXPECT_EQ(0, knob_set("pages_to_scan", 1 + j));
			EXPECT_EQ(0, knob_set("use_zero_pages", (i + j) % 2));
			EXPECT_TRUE(all_hold(map, 16, 2));
		}
		_exit(0);
	}
	for (i = 0; i < 4; i++) {
		EXPECT_EQ(0, wait_child(pid[i]));
	}
	ASSERT_EQ(0, knob_set("sleep_millisecs", 0));
	ASSERT_EQ(0, knob_set("run", 1));
	EXPECT_TRUE(ksm_settles(1, 15));
	EXPECT_TRUE(all_hold(map, 16, 2));
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/* The same done to in-tree KSM and to the module, in one boot: files, answers, effects. */
#include <dirent.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "module_fixture.h"

struct file {
	char name[64];
	mode_t mode;
};

struct listing {
	struct file file[40];
	int n;
};

static void list(struct listing *l, const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *e;
	struct stat st;

	l->n = 0;
	while (dir && (e = readdir(dir)) && l->n < 40) {
		if (e->d_name[0] == '.' || fstatat(dirfd(dir), e->d_name, &st, 0))
			continue;
		snprintf(l->file[l->n].name, sizeof(l->file[0].name), "%s", e->d_name);
		l->file[l->n++].mode = st.st_mode;
	}
	if (dir)
		closedir(dir);
}

static const struct file *in_listing(const struct listing *l, const char *name)
{
	int i;

	for (i = 0; i < l->n; i++)
		if (!strcmp(l->file[i].name, name))
			return &l->file[i];
	return NULL;
}

/* What only the module has; merge_across_nodes in-tree is for NUMA only. */
static bool may_be_more(const char *name)
{
	static const char * const more[] = {
		"domains", "scope", "domain", "domain_depth", "content", "huge_pages", "fresh_frames", "scanners", "enrol",
		"release", "merge_across_nodes", "advisor_free_high", "advisor_free_low",
		"pass_millisecs", "last_pass_millisecs", "last_pass_cpu_millisecs",
	};
	size_t i;

	for (i = 0; i < sizeof(more) / sizeof(*more); i++)
		if (!strcmp(name, more[i]))
			return true;
	return false;
}

MODULE_TEST(same_files)
{
	struct listing in_tree, ours, meanwhile;
	int i;

	list(&in_tree, KSM_DIR);
	ASSERT_EQ(access(KSM_DIR "/merge_across_nodes", F_OK) ? 23 : 24, in_tree.n);
	LOAD();
	list(&ours, RKSM_DIR);
	list(&meanwhile, KSM_DIR);
	EXPECT_EQ(in_tree.n, meanwhile.n);
	for (i = 0; i < in_tree.n; i++) {
		const struct file *f = in_listing(&ours, in_tree.file[i].name);

		EXPECT_NE(NULL, f) {
			TH_LOG("no %s", in_tree.file[i].name);
		}
		EXPECT_TRUE(!f || f->mode == in_tree.file[i].mode) {
			TH_LOG("the mode of %s", f->name);
		}
		EXPECT_NE(NULL, in_listing(&meanwhile, in_tree.file[i].name));
	}
	for (i = 0; i < ours.n; i++) {
		const char *name = ours.file[i].name;

		EXPECT_TRUE(in_listing(&in_tree, name) || may_be_more(name)) {
			TH_LOG("%s is new", name);
		}
	}
}

/* What Documentation/admin-guide/mm/ksm.rst gives as defaults, and mm/ksm.c beside. */
MODULE_TEST(defaults)
{
	static const struct {
		const char *name, *text;
	} defaults[] = {
		{ "run", "0\n" },
		{ "pages_to_scan", "100\n" },
		{ "sleep_millisecs", "20\n" },
		{ "merge_across_nodes", "1\n" },
		{ "max_page_sharing", "256\n" },
		{ "use_zero_pages", "0\n" },
		{ "smart_scan", "1\n" },
		{ "stable_node_chains_prune_millisecs", "2000\n" },
		{ "advisor_mode", "[none] scan-time pressure\n" },
		{ "advisor_max_cpu", "70\n" },
		{ "advisor_min_pages_to_scan", "500\n" },
		{ "advisor_max_pages_to_scan", "30000\n" },
		{ "advisor_target_scan_time", "200\n" },
		{ "pages_shared", "0\n" },
		{ "pages_sharing", "0\n" },
		{ "pages_unshared", "0\n" },
		{ "pages_volatile", "0\n" },
		{ "pages_scanned", "0\n" },
		{ "pages_skipped", "0\n" },
		{ "full_scans", "0\n" },
		{ "ksm_zero_pages", "0\n" },
		{ "general_profit", "0\n" },
		{ "stable_node_chains", "0\n" },
		{ "stable_node_dups", "0\n" },
	};
	/* Of these, the tests have other values. */
	static const struct {
		const char *name, *text;
	} changed[] = {
		{ "run", "0" },
		{ "pages_to_scan", "100" },
		{ "sleep_millisecs", "20" },
		{ "smart_scan", "1" },
		{ "stable_node_chains_prune_millisecs", "2000" },
	};
	char text[64];
	size_t i;

	/* In-tree KSM's are carried over, and so make no difference. */
	for (i = 0; i < ARRAY_SIZE(changed); i++) {
		ASSERT_EQ(0, knob_write(changed[i].name, changed[i].text));
	}
	ASSERT_EQ(0, load());
	for (i = 0; i < ARRAY_SIZE(defaults); i++) {
		ASSERT_LT(0, knob_text(defaults[i].name, text, sizeof(text)));
		EXPECT_STREQ(defaults[i].text, text) {
			TH_LOG("%s", defaults[i].name);
		}
	}
}

static const struct {
	const char *name, *good;
} knobs[] = {
	{ "run", "0" },
	{ "pages_to_scan", "101" },
	{ "sleep_millisecs", "102" },
	{ "merge_across_nodes", "1" },
	{ "max_page_sharing", "103" },
	{ "use_zero_pages", "0" },
	{ "smart_scan", "0" },
	{ "stable_node_chains_prune_millisecs", "104" },
	{ "advisor_mode", "none" },
	{ "advisor_max_cpu", "105" },
	{ "advisor_min_pages_to_scan", "106" },
	{ "advisor_max_pages_to_scan", "107" },
	{ "advisor_target_scan_time", "108" },
};

static const char * const inputs[] = {
	"0", "1", "2", "3", "4", "17\n", "+5", "007", "-0", "-1", "+", "-", "",
	"\n", "1\n\n", " 1", "1 ", "1 1", "0x1", "1e3", "1.5", "x", "y", "N", "on",
	"of", "off\n", "o", "true", "F", "2147483647", "2147483648", "4294967295",
	"4294967296", "4294967297", "9223372036854775808", "18446744073709551615",
	"18446744073709551616", "99999999999999999999999999", "none", "none\n",
	"none ", "None", "scan-time", "scan-time\n", "scan_time", "[none]",
};

struct answer {
	int err;
	char text[32];
};

typedef struct answer answers[ARRAY_SIZE(knobs)][ARRAY_SIZE(inputs)];

/* What each input does to each knob, which had a good value before. */
static bool ask(answers all)
{
	size_t k, i;

	for (k = 0; k < ARRAY_SIZE(knobs); k++) {
		const char *name = knobs[k].name;

		for (i = 0; i < ARRAY_SIZE(inputs); i++) {
			struct answer *a = &all[k][i];

			if (access(ksm_dir(), F_OK) || knob_write(name, knobs[k].good) == -ENOENT)
				continue;
			a->err = knob_write(name, inputs[i]);
			if (knob_text(name, a->text, sizeof(a->text)) < 0)
				return false;
		}
		knob_write(name, knobs[k].good);
	}
	return true;
}

/* Both say the same, but that rksm has one more to choose from. */
static bool same_text(const char *in_tree, const char *ours)
{
	size_t n = strcspn(in_tree, "\n");

	return !strcmp(in_tree, ours) ||
	       (!strncmp(in_tree, ours, n) && !strcmp(ours + n, " pressure\n"));
}

/*
 * A number that is too large is EINVAL in all knobs. In-tree, two of them say
 * ERANGE, and one takes it, without its upper 32 bits.
 */
static bool by_design(const char *name, const struct answer *in_tree,
		      const struct answer *ours)
{
	if (ours->err != -EINVAL)
		return false;
	if (!strcmp(name, "merge_across_nodes") || !strcmp(name, "max_page_sharing"))
		return in_tree->err == -ERANGE && !strcmp(in_tree->text, ours->text);
	return !strcmp(name, "advisor_max_cpu") && in_tree->err == 0;
}

MODULE_TEST(same_answers)
{
	static answers in_tree, ours;
	size_t k, i;

	ASSERT_TRUE(ask(in_tree));
	LOAD();
	ASSERT_TRUE(ask(ours));
	for (k = 0; k < ARRAY_SIZE(knobs); k++) {
		for (i = 0; i < ARRAY_SIZE(inputs); i++) {
			const struct answer *a = &in_tree[k][i], *b = &ours[k][i];

			if (!*a->text || by_design(knobs[k].name, a, b))
				continue;
			EXPECT_TRUE(a->err == b->err && same_text(a->text, b->text)) {
				TH_LOG("\"%s\" to %s: in-tree %d, %s here %d, %s", inputs[i],
				       knobs[k].name, a->err, a->text, b->err, b->text);
			}
		}
	}
}

/* With merged pages, or the advisor in charge. Seven answers. */
static void ask_when_merged(struct __test_metadata *_metadata, int *err)
{
	char *map = MERGED_PAGES(6, 1);

	err[0] = knob_set("max_page_sharing", 8);
	err[1] = knob_set("max_page_sharing", 256);
	err[2] = knob_set("max_page_sharing", 1);
	err[3] = knob("max_page_sharing");
	err[4] = knob_set("merge_across_nodes", 0);
	err[5] = knob_set("merge_across_nodes", 1);
	ASSERT_EQ(0, knob_write("advisor_mode", "scan-time"));
	err[6] = knob_set("pages_to_scan", knob("pages_to_scan"));
	ASSERT_EQ(0, knob_write("advisor_mode", "none"));
	ASSERT_TRUE(unmerge_everything());
	ASSERT_EQ(0, munmap(map, 6 * pagesize));
}

MODULE_TEST(same_answers_when_merged)
{
	static const int expected[] = { -EBUSY, 0, -EINVAL, 256, -EBUSY, 0, -EINVAL };
	bool numa = !access(KSM_DIR "/merge_across_nodes", F_OK);
	int in_tree[7], ours[7], i;

	ask_when_merged(_metadata, in_tree);
	LOAD();
	ask_when_merged(_metadata, ours);
	for (i = 0; i < 7; i++) {
		EXPECT_EQ(expected[i], ours[i]);
		EXPECT_TRUE(in_tree[i] == ours[i] || (!numa && (i == 4 || i == 5)));
	}
}

enum { UNIQUE = 64, TWINS = 32, RESTLESS = 8, ZEROES = 4,
       ALL = UNIQUE + TWINS + RESTLESS + ZEROES };

/* Pages that stay alone, that have equals, that change all the time, that are zero. */
static char *workload(void)
{
	char *map = map_pages(ALL);
	int i;

	for (i = 0; map && i < ALL; i++) {
		if (i < UNIQUE)
			fill(page_of(map, i), 100 + i);
		else if (i < ALL - ZEROES)
			fill(page_of(map, i), i % 2);
		else
			memset(page_of(map, i), 0, pagesize);
	}
	if (!map || madvise(map, ALL * pagesize, MADV_MERGEABLE))
		return NULL;
	return map;
}

static void stir(char *map, unsigned int pass)
{
	int i;

	for (i = 0; i < RESTLESS; i++)
		fill(page_of(map, UNIQUE + TWINS + i), 1000 + pass);
}

struct effect {
	struct counters c;
	long scanned, skipped, chains, dups;
};

/* So many passes over the workload, and what the counters say after each. */
static void run_passes(struct __test_metadata *_metadata, struct effect *after,
		       unsigned int passes)
{
	long scanned = knob("pages_scanned"), skipped = knob("pages_skipped");
	char *map = workload();
	unsigned int i;

	ASSERT_NE(NULL, map);
	for (i = 0; i < passes; i++) {
		stir(map, i);
		ASSERT_TRUE(ksm_step());
		after[i] = (struct effect){
			.c = counters_now(),
			.scanned = knob("pages_scanned") - scanned,
			.skipped = knob("pages_skipped") - skipped,
			.chains = knob("stable_node_chains"),
			.dups = knob("stable_node_dups"),
		};
	}
	ASSERT_TRUE(unmerge_everything());
	ASSERT_EQ(0, munmap(map, ALL * pagesize));
}

/*
 * After each pass both have got as far, but for the first: in it only rksm
 * merges.
 */
MODULE_TEST(same_counters)
{
	enum { PASSES = 8 };
	struct effect in_tree[PASSES], ours[PASSES];
	int i;

	ASSERT_EQ(0, knob_set("max_page_sharing", 8));
	run_passes(_metadata, in_tree, PASSES);
	LOAD();
	ASSERT_EQ(0, knob_set("max_page_sharing", 8));
	run_passes(_metadata, ours, PASSES);
	EXPECT_EQ(0, in_tree[0].c.sharing);
	EXPECT_LE(in_tree[1].c.sharing, ours[0].c.sharing);
	for (i = 1; i < PASSES; i++) {
		EXPECT_EQ(in_tree[i].c.shared, ours[i].c.shared);
		EXPECT_EQ(in_tree[i].c.sharing, ours[i].c.sharing);
		EXPECT_EQ(in_tree[i].c.unshared, ours[i].c.unshared);
		EXPECT_EQ(in_tree[i].c.volatiles, ours[i].c.volatiles);
		EXPECT_EQ(in_tree[i].c.zero, ours[i].c.zero);
		EXPECT_EQ(in_tree[i].scanned, ours[i].scanned);
		EXPECT_EQ(in_tree[i].chains, ours[i].chains);
		EXPECT_EQ(in_tree[i].dups, ours[i].dups) {
			TH_LOG("after pass %d", i + 1);
		}
	}
}

/*
 * Smart scan passes over at least as much, and merges as much. But pages that
 * change all the time are merged once, and begin anew a pass later.
 */
MODULE_TEST(smart_scan)
{
	enum { PASSES = 60 };
	static struct effect in_tree[PASSES], ours[PASSES];
	struct effect *a = &in_tree[PASSES - 1], *b = &ours[PASSES - 1];

	ASSERT_EQ(0, knob_set("smart_scan", 1));
	ASSERT_EQ(0, knob_set("use_zero_pages", 1));
	run_passes(_metadata, in_tree, PASSES);
	LOAD();
	ASSERT_EQ(0, knob_set("smart_scan", 1));
	ASSERT_EQ(0, knob_set("use_zero_pages", 1));
	run_passes(_metadata, ours, PASSES);
	TH_LOG("%ld skipped and %ld scanned in-tree, %ld and %ld here",
	       a->skipped, a->scanned, b->skipped, b->scanned);
	EXPECT_LT(0, a->skipped);
	EXPECT_LE(a->skipped, b->skipped + RESTLESS);
	EXPECT_GE(a->scanned + RESTLESS, b->scanned);
	EXPECT_EQ(a->c.shared, b->c.shared);
	EXPECT_EQ(a->c.sharing, b->c.sharing);
	EXPECT_EQ(a->c.zero, b->c.zero);
}

TEST_HARNESS_MAIN

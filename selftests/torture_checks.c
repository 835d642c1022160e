// SPDX-License-Identifier: GPL-2.0
/* What must hold of the counters while everybody rests and the scanner stands between two passes. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "torture.h"

/* The sums of what each process is told. */
struct sums {
	long items, merging, zero;
};

/* What the page tables say. */
struct truth {
	long merged, frames, tracked;
	long across;	/* merged pages that two domains have */
};

static struct sums sums_of(const pid_t *pids, int n)
{
	struct sums sums = {};

	while (n--) {
		sums.items += ksm_stat(pids[n], "ksm_rmap_items");
		sums.merging += merging_pages(pids[n]);
		sums.zero += ksm_stat(pids[n], "ksm_zero_pages");
	}
	return sums;
}

/* The frames of merged pages, as often as they are mapped, and in which domain. */
struct frames {
	struct frame {
		uint64_t pfn, domain;
	} *frame;
	size_t n, room;
	uint64_t domain;	/* of the process that is looked at */
};

static void look_at(struct truth *truth, struct frames *frames, uint64_t entry, int kpageflags)
{
	uint64_t pfn = entry & ((1ULL << 55) - 1), flags = 0;

	if (!(entry & PM_PRESENT_BIT) || !pfn ||
	    pread(kpageflags, &flags, sizeof(flags), pfn * sizeof(flags)) != sizeof(flags))
		return;
	truth->tracked += !!(flags & KPF_ANON_BIT);
	if (!(flags & KPF_KSM_BIT))
		return;
	if (frames->n == frames->room) {
		frames->room = 2 * frames->room + 1024;
		frames->frame = realloc(frames->frame, frames->room * sizeof(*frames->frame));
	}
	frames->frame[frames->n++] = (struct frame){ pfn, frames->domain };
}

/*
 * All are of one user, and the cgroups are no deeper than domain_depth, or lie side by side: 0 where everybody is
 * in one domain.
 */
static uint64_t domain_of(pid_t pid)
{
	char path[64], text[4096] = "";
	uint64_t hash = 14695981039346656037ULL;
	const char *c;

	knob_text("domain", text, sizeof(text));
	if (strstr(text, "[process]"))
		return pid;
	if (!strstr(text, "[cgroup]"))
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/cgroup", pid);
	if (file_read(path, text, sizeof(text)) <= 0)
		return 0;
	for (c = text; *c; c++)
		hash = (hash ^ (unsigned char)*c) * 1099511628211ULL;
	return hash;
}

/* All pages in the mergeable mappings of a process. */
static void look_at_process(pid_t pid, struct truth *truth, struct frames *frames)
{
	int kpageflags = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC), pagemap;
	unsigned long start, end, first = 0, last = 0;
	char path[64], line[4096];
	uint64_t entries[512];
	FILE *smaps;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	pagemap = open(path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/%d/smaps", pid);
	smaps = fopen(path, "r");
	while (smaps && fgets(line, sizeof(line), smaps)) {
		char perms[8];

		if (sscanf(line, "%lx-%lx %7s ", &start, &end, perms) == 3) {
			first = start;
			last = end;
			continue;
		}
		if (strncmp(line, "VmFlags:", 8) || !strstr(line, " mg"))
			continue;
		while (first < last) {
			size_t n = (last - first) / pagesize, i;

			n = n < 512 ? n : 512;
			if (pread(pagemap, entries, n * 8, first / pagesize * 8) != (ssize_t)n * 8)
				break;
			for (i = 0; i < n; i++)
				look_at(truth, frames, entries[i], kpageflags);
			first += n * pagesize;
		}
	}
	if (smaps)
		fclose(smaps);
	close(pagemap);
	close(kpageflags);
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = ((const struct frame *)a)->pfn, y = ((const struct frame *)b)->pfn;

	return x < y ? -1 : x > y;
}

static struct truth truth_of(const pid_t *pids, int n)
{
	struct frames frames = {};
	struct truth truth = {};
	size_t i;

	while (n--) {
		frames.domain = domain_of(pids[n]);
		look_at_process(pids[n], &truth, &frames);
	}
	truth.merged = frames.n;
	if (frames.n)
		qsort(frames.frame, frames.n, sizeof(*frames.frame), by_value);
	for (i = 0; i < frames.n; i++) {
		const struct frame *this = &frames.frame[i];

		if (i == 0 || this[0].pfn != this[-1].pfn)
			truth.frames++;
		else
			truth.across += this[0].domain != this[-1].domain;
	}
	free(frames.frame);
	return truth;
}

struct equation {
	const char *what;
	long left, right;
};

static bool holds_all(const struct equation *eq, size_t n, bool print)
{
	bool good = true;
	size_t i;

	for (i = 0; i < n; i++) {
		if (eq[i].left == eq[i].right)
			continue;
		good = false;
		if (print)
			dprintf(2, "# does not add up: %s: %ld, %ld\n", eq[i].what, eq[i].left,
				eq[i].right);
	}
	return good;
}

/* Of pages that are not zero, or lie in huge pages, there is no record then. */
static bool leaves_some_out(void)
{
	char text[64] = "";

	knob_text("content", text, sizeof(text));
	return strstr(text, "[zero]") || knob("huge_pages") == 0;
}

static bool add_up(const pid_t *pids, int processes, bool print)
{
	struct counters c = counters_now();
	struct sums sums = sums_of(pids, processes);
	struct truth truth = truth_of(pids, processes);
	long tracked = c.shared + c.sharing + c.unshared + c.volatiles;
	struct equation equations[] = {
		/* In-tree KSM has no records of zero pages. */
		{ "ksm_rmap_items of all, and tracked pages", sums.items,
		  tracked + (is_rksm() ? c.zero : 0) },
		{ "ksm_merging_pages of all, and shared + sharing", sums.merging,
		  c.shared + c.sharing },
		{ "ksm_zero_pages of all, and of the system", sums.zero, c.zero },
		{ "mappings of merged pages, and shared + sharing", truth.merged,
		  c.shared + c.sharing },
		{ "merged pages, and shared", truth.frames, c.shared },
		{ "mappings of merged pages of another domain", truth.across, 0 },
		{ "anonymous pages that are mergeable, and tracked pages", truth.tracked, tracked },
	};
	size_t n = sizeof(equations) / sizeof(*equations);

	return holds_all(equations, leaves_some_out() ? n - 1 : n, print);
}

#define HUGE_PAGES	"/sys/kernel/mm/transparent_hugepage/enabled"

/* What it is set to stands in brackets. */
static bool huge_pages_are(char *when, size_t size)
{
	char text[64], *from, *to;

	if (file_read(HUGE_PAGES, text, sizeof(text)) <= 0)
		return false;
	from = strchr(text, '[');
	to = from ? strchr(from, ']') : NULL;
	if (!to)
		return false;
	snprintf(when, size, "%.*s", (int)(to - from - 1), from + 1);
	return true;
}

static bool settle(const pid_t *pids, int n)
{
	int tries, good = 0;

	/*
	 * A page that was locked when the scanner came by is recorded in a later pass. Once they agree,
	 * nothing is left that could part them.
	 */
	for (tries = 0; tries < 10; tries++) {
		if (knob_set("run", 1) || !ksm_passes(2) || !scanner_stop())
			return false;
		good = add_up(pids, n, good) ? good + 1 : good ? -1 : 0;
		if (good < 0 || good == 2)
			break;
	}
	if (good == 2)
		return true;
	counters_print("at rest");
	add_up(pids, n, true);
	return false;
}

bool counters_add_up(const pid_t *pids, int n)
{
	char when[16];
	bool huge = huge_pages_are(when, sizeof(when)), good;

	/* khugepaged takes merged pages, and has come to its end when this returns. */
	if (huge && file_write(HUGE_PAGES, "never"))
		return false;
	good = settle(pids, n);
	return (!huge || !file_write(HUGE_PAGES, when)) && good;
}

bool nothing_is_left(const pid_t *pids, int n)
{
	struct counters c = counters_now();
	struct sums sums = sums_of(pids, n);
	struct truth truth = truth_of(pids, n);
	struct equation equations[] = {
		{ "pages_shared after run=2", c.shared, 0 },
		{ "pages_sharing after run=2", c.sharing, 0 },
		{ "pages_unshared after run=2", c.unshared, 0 },
		{ "pages_volatile after run=2", c.volatiles, 0 },
		{ "ksm_zero_pages after run=2", c.zero, 0 },
		{ "ksm_rmap_items of all after run=2", sums.items, 0 },
		{ "ksm_merging_pages of all after run=2", sums.merging, 0 },
		{ "ksm_zero_pages of all after run=2", sums.zero, 0 },
		{ "mappings of merged pages after run=2", truth.merged, 0 },
	};

	return holds_all(equations, sizeof(equations) / sizeof(*equations), true);
}

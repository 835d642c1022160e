// SPDX-License-Identifier: GPL-2.0
/*
 * What happens to the provider meanwhile: knobs change, it stops, unmerges,
 * goes and comes back. From time to time everybody rests and the counters must add up.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fault.h"
#include "module_lib.h"
#include "swap_lib.h"
#include "torture.h"

/* No worker does anything for this long, and they are taken to hang. */
#define STALL_SECONDS	300

static struct worker **workers;
static pid_t *pids;
static const struct options *options;
static struct totals *totals;
static uint64_t choices;

static time_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

static void note(const char *format, ...)
{
	unsigned int i = atomic_load(&control->logged);
	va_list args;

	va_start(args, format);
	vsnprintf(control->log[i % 32], sizeof(control->log[0]), format, args);
	va_end(args);
	atomic_store(&control->logged, i + 1);
}

static long choose(long from, long to)
{
	return from + (long)(draw(&choices) % (uint64_t)(to - from + 1));
}

static int set(const char *name, long value)
{
	int err = knob_set(name, value);

	note("%s = %ld: %s", name, value, err ? strerror(-err) : "ok");
	return err;
}

/* What can only fail because of a fault. */
static bool must(bool good, const char *what)
{
	if (!good)
		fault("%s", what);
	return good;
}

static void set_run(long run)
{
	int err = set("run", run);

	if (err)
		fault("run = %ld: %s", run, strerror(-err));
}

/* As fast as it can, and a pass in one go. */
static void flat_out(void)
{
	knob_write("advisor_mode", "none");
	set("sleep_millisecs", 0);
	set("pages_to_scan", 100000000);
}

/* Of everybody's memory, that of the workers is all that is known. */
static void pick_scope(bool all)
{
	const char *scope = all ? "all" : "madvise";
	time_t begun = now();
	int err;

	do {
		err = knob_write("scope", scope);
		note("scope = %s: %s", scope, err ? strerror(-err) : "ok");
		/* A process may be busy with its address space, but not for ever. */
	} while (err == -EBUSY && now() - begun < STALL_SECONDS);
	if (err)
		fault("scope = %s: %s", scope, strerror(-err));
}

/* False: it was refused because pages are merged. */
static bool pick_domain(void)
{
	static const char *domains[] = { "auto", "all", "user", "cgroup", "process" };
	const char *domain = domains[choose(0, 4)];
	int err = knob_write("domain", domain);

	note("domain = %s: %s", domain, err ? strerror(-err) : "ok");
	if (err && err != -EBUSY)
		fault("domain = %s: %s", domain, strerror(-err));
	/* The cgroups lie at the first. */
	set("domain_depth", choose(0, 3));
	return !err;
}

/* The same. */
static bool pick_content(void)
{
	const char *content = choose(0, 4) ? "all" : "zero";
	int err = knob_write("content", content);

	note("content = %s: %s", content, err ? strerror(-err) : "ok");
	if (err && err != -EBUSY)
		fault("content = %s: %s", content, strerror(-err));
	return !err;
}

/* Its children stay where they are. */
static void move_a_process(void)
{
	int i = choose(0, control->processes - 1);
	const char *group = choose(0, 1) ? GROUP : OTHER_GROUP;
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", pids[i]);
	note("process %d goes to cgroup %s", i, group);
	file_write(cgroup_file(group, "cgroup.procs"), pid);
}

static void pick_advisor(void)
{
	const char *mode = loaded() && choose(0, 1) ? "pressure" : "scan-time";

	if (loaded()) {
		/* EINVAL where they would not be one above the other. */
		set("advisor_free_low", choose(0, 99));
		set("advisor_free_high", choose(20, 100));
	}
	note("advisor_mode = %s", mode);
	knob_write("advisor_mode", mode);
}

/* Allocations of the scanner fail now and then. */
static void pick_faults(int percent)
{
	pid_t threads[MOST_SCANNERS];
	int n = scanners(threads, MOST_SCANNERS);

	note("%d %% of the scanner's allocations fail", percent);
	must(n, "there is no scanner");
	while (n--)
		make_fail(threads[n], true);
	must(fail_percent(percent), "no fault injection");
}

static void change_a_knob(void)
{
	static const long batches[] = { 1, 10, 100, 1000, 10000, 100000000 };

	totals->knobs++;
	switch (choose(0, 13)) {
	case 0:
		set("sleep_millisecs", choose(0, 3) ? 0 : choose(1, 20));
		break;
	case 1:
		set("smart_scan", choose(0, 1));
		break;
	case 2:
		set("use_zero_pages", choose(0, 1));
		if (loaded())
			set("huge_pages", choose(0, 2) ? choose(0, 20) : 1);
		break;
	case 3:
		set("stable_node_chains_prune_millisecs", choose(0, 1) ? 0 : choose(0, 2000));
		break;
	case 4:
		set("advisor_max_cpu", choose(1, 100));
		set("advisor_target_scan_time", choose(1, 200));
		pick_advisor();
		break;
	case 5:
		/* EBUSY where pages are merged, and right where not. */
		set("max_page_sharing", choose(2, 300));
		set("merge_across_nodes", choose(0, 1));
		if (loaded()) {
			pick_domain();
			pick_content();
		}
		break;
	case 6:
		/* Refused while the advisor decides. */
		set("pages_to_scan", batches[choose(0, 5)]);
		break;
	case 7:
		if (loaded())
			pick_scope(choose(0, 1));
		break;
	case 8:
		if (options->faults)
			pick_faults(choose(0, 20));
		break;
	case 9:
		/* In-tree KSM has one. */
		if (knob("scanners") > 0)
			set("scanners", choose(1, 4));
		break;
	case 10:
		if (options->reclaim)
			move_a_process();
		break;
	default:
		flat_out();
	}
}

/* Nothing is merged now, and nothing becomes so. */
static bool unmerge(void)
{
	struct counters c;

	set_run(2);
	c = counters_now();
	totals->unmerges++;
	if (!c.shared && !c.sharing)
		return true;
	counters_print("after run=2");
	totals->unmerged = false;
	return must(false, "pages are merged after run=2");
}

/*
 * With nothing merged it cannot be refused; but in-tree KSM keeps nodes of pages
 * that are gone for longer.
 */
static void set_unmerged(const char *name, long value)
{
	int err = set(name, value);

	if (err && (loaded() || err != -EBUSY))
		fault("%s is refused with nothing merged", name);
}

static void pick_structure(void)
{
	set_unmerged("max_page_sharing", choose(0, 1) ? choose(2, 8) : choose(9, 300));
	if (access("/sys/devices/system/node/node1", F_OK) == 0)
		set_unmerged("merge_across_nodes", choose(0, 1));
	if (loaded() && !pick_domain())
		fault("domain is refused with nothing merged");
	if (loaded() && !pick_content())
		fault("content is refused with nothing merged");
}

static void toggle(void)
{
	switch (choose(0, 2)) {
	case 0:
		set_run(0);
		usleep(choose(0, 5000));
		break;
	case 1:
		if (unmerge() && choose(0, 1))
			pick_structure();
		break;
	}
	set_run(1);
}

/* In between, the in-tree code has the same memory. */
static void reload(void)
{
	int err, tries;

	if (!unmerge())
		return;
	err = unload();
	note("unload: %s", err ? strerror(-err) : "ok");
	if (!must(!err, "the module does not unload with nothing merged")) {
		totals->reloaded = false;
		return;
	}
	set("sleep_millisecs", 0);
	set("pages_to_scan", 100000);
	set("use_zero_pages", choose(0, 1));
	set("run", choose(0, 1));
	usleep(choose(0, 200000));
	/* With in-tree run at 1, it is to take over merged pages. */
	if (choose(0, 1))
		set("run", choose(0, 2));
	knob_write("sleep_millisecs", "20");
	knob_write("pages_to_scan", "100");
	/* It is refused where a process keeps its mmap lock for ten seconds: few of an emulated CPU's. */
	for (tries = 0; tries < 6; tries++) {
		err = load();
		note("load: %s", err ? strerror(-err) : "ok");
		if (err != -EBUSY)
			break;
	}
	if (!must(!err, "the module does not load")) {
		totals->reloaded = false;
		return;
	}
	totals->reloads++;
	flat_out();
	set("use_zero_pages", 1);
	set_run(1);
}

/* Push out some of what the workers have; reclaim finds all mappings of a page. */
static void push_some_out(void)
{
	/* With 0, only what MADV_FREE gave up. */
	static const char *amounts[] = { "128K swappiness=max", "1M swappiness=max",
					 "8M swappiness=max", "1M", "1M swappiness=0" };
	int i = choose(0, 4);

	note("reclaim %s", amounts[i]);
	reclaim(amounts[i]);
}

static void swap_off_and_on(void)
{
	note("swap off and on");
	swap_off();
	reset_zram();
	if (!swap_on_zram())
		note("swap does not come back");
}

static void compact(void)
{
	note("compact");
	file_write("/proc/sys/vm/compact_memory", "1");
}

static bool alive(void)
{
	int i, status;

	for (i = 0; i < control->processes; i++) {
		if (pids[i] < 0 || waitpid(pids[i], &status, WNOHANG) != pids[i])
			continue;
		fault("process %d ended by itself: %s %d", i,
		      WIFEXITED(status) ? "status" : "signal",
		      WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
		pids[i] = -1;
	}
	return !atomic_load(&control->failed);
}

static uint64_t steps_of_all(void)
{
	uint64_t steps = 0;
	int i;

	for (i = 0; i < control->processes * control->threads; i++)
		steps += workers[i]->steps;
	return steps;
}

static void hang(uint32_t quiet)
{
	int i;

	for (i = 0; i < control->processes * control->threads; i++) {
		struct worker *w = workers[i];

		if (atomic_load(&w->quiet) != quiet)
			dprintf(2, "# process %d thread %d hangs in step %llu: %s\n", w->process,
				w->thread, (unsigned long long)w->steps,
				operation_name(w->history[w->steps % HISTORY].operation));
	}
	file_write("/proc/sysrq-trigger", "w");
	fault("the workers do not come to rest");
}

static bool at_rest(uint32_t quiet)
{
	int i;

	for (i = 0; i < control->processes * control->threads; i++)
		if (atomic_load(&workers[i]->quiet) != quiet)
			return false;
	return true;
}

/* Everybody verifies all memory, and stops. False: a fault was found. */
static bool stop_workers(void)
{
	static uint32_t quiet;
	uint64_t steps = steps_of_all(), next;
	time_t start = now();

	atomic_store(&control->quiet, ++quiet);
	while (!at_rest(quiet)) {
		if (!alive())
			return false;
		usleep(1000);
		next = steps_of_all();
		if (next != steps)
			start = now();
		steps = next;
		if (now() - start > STALL_SECONDS) {
			hang(quiet);
			return false;
		}
	}
	return true;
}

/* They verify all memory once more, and go on. */
static void start_workers(void)
{
	atomic_store(&control->quiet, 0);
	syscall(SYS_futex, &control->quiet, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static void quiet_point(bool unmerged)
{
	long sharing, zero;

	note("quiet point");
	if (!stop_workers())
		return;
	flat_out();
	if (loaded())
		pick_scope(false);
	if (options->faults)
		pick_faults(0);
	if (!counters_add_up(pids, control->processes)) {
		totals->counters_right = false;
		fault("the counters do not add up");
	}
	sharing = knob("pages_sharing");
	zero = knob("ksm_zero_pages");
	totals->most_sharing = sharing > totals->most_sharing ? sharing : totals->most_sharing;
	totals->most_zero = zero > totals->most_zero ? zero : totals->most_zero;
	if (unmerged) {
		unmerge();
		if (!nothing_is_left(pids, control->processes)) {
			totals->unmerged = false;
			fault("something is left after run=2");
		}
		pick_structure();
	}
	totals->quiet_points++;
	start_workers();
	set_run(1);
}

static void something(void)
{
	int what = choose(0, 99);

	if (what < 60)
		change_a_knob();
	else if (what < 75)
		toggle();
	else if (what < 79 && options->reload)
		reload();
	else if (what < 88 && options->reclaim)
		push_some_out();
	else if (what < 90 && options->reclaim)
		swap_off_and_on();
	else if (what < 95)
		compact();
	else
		quiet_point(choose(0, 1));
}

void direct(struct worker **all, pid_t *processes, const struct options *opts, struct totals *sum)
{
	time_t end = now() + opts->seconds;

	workers = all;
	pids = processes;
	options = opts;
	totals = sum;
	choices = control->seed;
	flat_out();
	set("use_zero_pages", 1);
	set_run(1);
	while (alive() && now() < end) {
		something();
		usleep(choose(0, 50000));
	}
	/* Whatever was drawn, each is done once at least. */
	if (alive() && options->reload)
		reload();
	if (alive())
		quiet_point(true);
}

// SPDX-License-Identifier: GPL-2.0
/*
 * Knobs, waiting, and processes for the tests; ksm_pages.c has the memory side,
 * ksm_threads.c that of the scanner.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ksm_lib.h"

/* No pass at all for this long, and the scanner is taken to be stuck. */
#define STALL_SECONDS	100
/* A state that has not come about after this many passes will not. */
#define MANY_PASSES	300

size_t pagesize;

static void __attribute__((constructor)) init_pagesize(void)
{
	pagesize = sysconf(_SC_PAGESIZE);
}

int rounds(int n)
{
	const char *percent = getenv("KSM_ROUNDS");
	long r = percent && *percent ? n * strtol(percent, NULL, 10) / 100 : n;

	return r > 1 ? r : 1;
}

/* NULL: none was given. */
static const char *given_dir(void)
{
	const char *dir = getenv("KSM_SYSFS");

	return dir && *dir ? dir : NULL;
}

const char *ksm_dir(void)
{
	return given_dir() ?: "/sys/kernel/mm/ksm";
}

int file_read(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, buf, size - 1);
	if (n < 0)
		n = -errno;
	else
		buf[n] = 0;
	close(fd);
	return n;
}

int file_write_n(const char *path, const void *buf, size_t len)
{
	int fd = open(path, O_WRONLY);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = write(fd, buf, len);
	if (n < 0)
		n = -errno;
	close(fd);
	if (n < 0)
		return n;
	return (size_t)n == len ? 0 : -EIO;
}

int file_write(const char *path, const char *text)
{
	return file_write_n(path, text, strlen(text));
}

long file_long(const char *path)
{
	char buf[64];
	int n = file_read(path, buf, sizeof(buf));

	return n < 0 ? n : strtol(buf, NULL, 10);
}

const char *knob_path(const char *name)
{
	static char path[512];

	snprintf(path, sizeof(path), "%s/%s", ksm_dir(), name);
	/* rksm has some that in-tree KSM has not. */
	if (!given_dir() && access(path, F_OK))
		snprintf(path, sizeof(path), "/sys/kernel/mm/rksm/%s", name);
	return path;
}

int knob_text(const char *name, char *buf, size_t size)
{
	return file_read(knob_path(name), buf, size);
}

long knob(const char *name)
{
	return file_long(knob_path(name));
}

int knob_write(const char *name, const char *text)
{
	return file_write(knob_path(name), text);
}

int knob_set(const char *name, long value)
{
	char buf[32];

	snprintf(buf, sizeof(buf), "%ld\n", value);
	return knob_write(name, buf);
}

/* Scope and scanners are rksm's; in-tree, merge_across_nodes is there for NUMA only. */
static bool knob_exists(const char *name)
{
	return access(knob_path(name), F_OK) == 0;
}

bool is_rksm(void)
{
	return knob_exists("scope");
}

static const struct {
	const char *name, *for_test;
} knobs[NR_KNOBS] = {
	/* First: it may be in charge of the others. */
	{ "advisor_mode", "none" },
	{ "scanners", "1" },
	{ "sleep_millisecs", "0" },
	{ "pages_to_scan", "10000" },
	{ "scope", "madvise" },
	{ "domain", "all" },
	{ "domain_depth", "0" },
	{ "content", "all" },
	{ "huge_pages", "1" },
	{ "fresh_frames", "0" },
	{ "use_zero_pages", "0" },
	{ "smart_scan", "0" },
	{ "max_page_sharing", "256" },
	{ "merge_across_nodes", "1" },
	{ "stable_node_chains_prune_millisecs", "0" },
	{ "advisor_max_cpu", "70" },
	{ "advisor_min_pages_to_scan", "500" },
	{ "advisor_max_pages_to_scan", "30000" },
	{ "advisor_target_scan_time", "200" },
	/* The second one is always above the first: tests have it above 10. */
	{ "advisor_free_low", "10" },
	{ "advisor_free_high", "20" },
	/* Last, because it may set things going. */
	{ "run", "2" },
};

bool knobs_save(struct knob_values *v)
{
	int i;

	for (i = 0; i < NR_KNOBS; i++) {
		v->text[i][0] = 0;
		if (knob_exists(knobs[i].name) &&
		    knob_text(knobs[i].name, v->text[i], sizeof(v->text[i])) <= 0)
			return false;
	}
	return true;
}

bool knobs_restore(const struct knob_values *v)
{
	char text[sizeof(v->text[0])];
	int i;

	for (i = 0; i < NR_KNOBS; i++) {
		/* Some show all values there are, and the one they have in brackets. */
		if (sscanf(v->text[i], "%*[^[][%31[^]]", text) != 1 &&
		    sscanf(v->text[i], "[%31[^]]", text) != 1)
			strcpy(text, v->text[i]);
		if (text[0] && knob_write(knobs[i].name, text))
			return false;
	}
	return true;
}

bool knobs_for_test(void)
{
	int i;

	for (i = 0; i < NR_KNOBS; i++)
		if (knob_exists(knobs[i].name) &&
		    knob_write(knobs[i].name, knobs[i].for_test))
			return false;
	return true;
}

bool unmerge_everything(void)
{
	/* run is 2 already, perhaps, and then 2 changes nothing. */
	if (knob_set("run", 0) || knob_set("run", 2))
		return false;
	if (!knob("pages_shared") && !knob("pages_sharing") &&
	    !knob("ksm_zero_pages"))
		return true;
	counters_print("still merged after run=2");
	return false;
}

struct counters counters_now(void)
{
	struct counters c = {
		.shared = knob("pages_shared"),
		.sharing = knob("pages_sharing"),
		.unshared = knob("pages_unshared"),
		.volatiles = knob("pages_volatile"),
		.zero = knob("ksm_zero_pages"),
		.profit = knob("general_profit"),
	};
	return c;
}

struct counters counters_at_rest(void)
{
	long run = knob("run");
	struct counters c;

	scanner_stop();
	c = counters_now();
	if (run == 1)
		knob_set("run", 1);
	return c;
}

void counters_print(const char *what)
{
	struct counters c = counters_now();

	dprintf(2, "# %s: run %ld full_scans %ld shared %ld sharing %ld unshared %ld volatile %ld zero %ld\n",
		what, knob("run"), knob("full_scans"), c.shared, c.sharing,
		c.unshared, c.volatiles, c.zero);
}

long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Wait until full_scans leaves the given value; the new one, or -1. */
static long next_pass(long last)
{
	long start = now_ms();
	long scans;

	while ((scans = knob("full_scans")) == last) {
		if (now_ms() - start > 1000 * STALL_SECONDS) {
			counters_print("the scanner stands still");
			return -1;
		}
		usleep(500);
	}
	return scans;
}

bool ksm_passes(unsigned int n)
{
	long scans = knob("full_scans");
	/* The pass under way does not count: it may be past our memory. */
	long end = scans + n + 1;

	while (scans >= 0 && scans < end)
		scans = next_pass(scans);
	return scans >= end;
}

/* It may come with a pass, or where nobody scans, as when what is dead is forgotten. */
bool ksm_until(bool (*cond)(void *arg), void *arg)
{
	long scans = knob("full_scans");
	long start = now_ms();
	int passes = 0;

	while (!cond(arg)) {
		long now = knob("full_scans");

		if (scans < 0 || passes > MANY_PASSES || now_ms() - start > 1000 * STALL_SECONDS) {
			counters_print("not reached");
			return false;
		}
		/* By how much does not count: another provider has a count of its own. */
		if (now != scans) {
			start = now_ms();
			passes++;
		}
		scans = now;
		usleep(500);
	}
	return true;
}

/*
 * With pages_to_scan above what there is, and a sleep that does not end,
 * setting run to 1 makes one pass. The scanner may still be in the sleep after
 * the pass before; a change of sleep_millisecs ends it, and while run is 0
 * nothing else comes of that.
 */
bool ksm_step(void)
{
	static long sleep_ms = 3600000;
	long start = now_ms();
	long scans;
	int polls;

	scanner_stop();
	scans = knob("full_scans");
	while (knob("full_scans") == scans) {
		if (now_ms() - start > 1000 * STALL_SECONDS) {
			counters_print("no single pass");
			return false;
		}
		sleep_ms ^= 1;
		knob_set("sleep_millisecs", sleep_ms);
		knob_set("run", 1);
		for (polls = 0; polls < 40 && knob("full_scans") == scans; polls++)
			usleep(500);
		scanner_stop();
	}
	return knob("full_scans") == scans + 1;
}

static bool counters_are(void *arg)
{
	struct counters *want = arg, c = counters_now();

	return c.shared == want->shared && c.sharing == want->sharing;
}

bool ksm_settles(long shared, long sharing)
{
	struct counters want = { .shared = shared, .sharing = sharing };
	int tries;

	/* A value may be passed through on the way to another one. */
	for (tries = 0; tries < 20; tries++) {
		if (!ksm_until(counters_are, &want) || !ksm_passes(2))
			return false;
		if (counters_are(&want))
			return true;
	}
	counters_print("does not settle");
	return false;
}

bool gets_merged(char *map, size_t n)
{
	int i;

	for (i = 0; i < 20 && !all_ksm(map, n); i++)
		if (!ksm_passes(1))
			return false;
	return all_ksm(map, n) && distinct_pfns(map, n) == 1;
}

struct counter_value {
	const char *name;
	long value;
};

static bool counter_is(void *arg)
{
	struct counter_value *want = arg;

	return knob(want->name) == want->value;
}

bool counter_reaches(const char *name, long value)
{
	struct counter_value want = { name, value };

	return ksm_until(counter_is, &want);
}

/* A test whose peer died shall say so, not die of it. */
static void __attribute__((constructor)) no_sigpipe(void)
{
	signal(SIGPIPE, SIG_IGN);
}

pid_t fork_child(void)
{
	pid_t parent = getpid(), pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
	}
	return pid;
}

int wait_child(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

bool fork_sleepers(pid_t *pids, int n)
{
	int i;

	for (i = 0; i < n; i++) {
		pids[i] = fork_child();
		if (pids[i] == 0) {
			for (;;)
				pause();
		}
		if (pids[i] < 0)
			return false;
	}
	return true;
}

void kill_all(pid_t *pids, int n)
{
	int i;

	for (i = 0; i < n; i++)
		kill(pids[i], SIGKILL);
	for (i = 0; i < n; i++)
		wait_child(pids[i]);
}

bool peer_start(struct peer *p, int (*fn)(struct peer *p, void *arg), void *arg)
{
	int to[2], from[2];

	if (pipe2(to, O_CLOEXEC) || pipe2(from, O_CLOEXEC))
		return false;
	p->pid = fork_child();
	if (p->pid == 0) {
		close(to[1]);
		close(from[0]);
		p->rd = to[0];
		p->wr = from[1];
		_exit(fn(p, arg));
	}
	close(to[0]);
	close(from[1]);
	p->rd = from[0];
	p->wr = to[1];
	return p->pid > 0;
}

long peer_swap(struct peer *p, long value)
{
	if (write(p->wr, &value, sizeof(value)) != sizeof(value) ||
	    read(p->rd, &value, sizeof(value)) != sizeof(value))
		return -1;
	return value;
}

bool peer_meet(struct peer *p)
{
	return peer_swap(p, 0) == 0;
}

int peer_end(struct peer *p)
{
	close(p->rd);
	close(p->wr);
	return wait_child(p->pid);
}

// SPDX-License-Identifier: GPL-2.0
/*
 * Integrity torture: processes and threads do at random what can be done with
 * mergeable memory, and know what each byte of it must be, while the scanner
 * runs flat out, its knobs change, and the module goes and comes back.
 */
#define _GNU_SOURCE
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "fault.h"
#include "kselftest.h"
#include "module_lib.h"
#include "swap_lib.h"
#include "torture.h"

struct control *control;
const char *replay;

static const char usage[] =
	"usage: torture [option ...]\n"
	"  --seconds N      how long it runs ($TORTURE_SECONDS, or 60)\n"
	"  --seed N         the same seed, processes and threads: the same steps of each worker\n"
	"  --processes N    (3)\n"
	"  --threads N      in each process (2)\n"
	"  --no-reload      leaves the module loaded\n"
	"  --no-swap        pushes nothing out\n"
	"  --no-faults      no allocation of the scanner is made to fail\n"
	"  --skip OPERATION draws it, but does not do it (can be given again)\n";

static void *shared(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		ksft_exit_fail_perror("mmap");
	return p;
}

static long number(const char *text, long least, long most)
{
	char *end;
	long n = strtol(text, &end, 0);

	if (*end || n < least || n > most) {
		fprintf(stderr, "torture: %s is not between %ld and %ld\n", text, least, most);
		exit(KSFT_FAIL);
	}
	return n;
}

static void parse(int argc, char **argv, struct options *options)
{
	static const struct option names[] = {
		{ "seconds", required_argument, NULL, 's' },
		{ "seed", required_argument, NULL, 'r' },
		{ "processes", required_argument, NULL, 'p' },
		{ "threads", required_argument, NULL, 't' },
		{ "no-reload", no_argument, NULL, 'l' },
		{ "no-swap", no_argument, NULL, 'w' },
		{ "no-faults", no_argument, NULL, 'f' },
		{ "skip", required_argument, NULL, 'o' },
		{ "help", no_argument, NULL, 'h' },
		{}
	};
	int option;

	while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
		switch (option) {
		case 's':
			options->seconds = number(optarg, 0, 1000000);
			break;
		case 'r':
			control->seed = strtoull(optarg, NULL, 0);
			break;
		case 'p':
			control->processes = number(optarg, 1, MAX_WORKERS);
			break;
		case 't':
			control->threads = number(optarg, 1, MAX_WORKERS);
			break;
		case 'l':
			options->reload = false;
			break;
		case 'w':
			options->reclaim = false;
			break;
		case 'f':
			options->faults = false;
			break;
		case 'o':
			if (operation_skip(optarg))
				break;
			fprintf(stderr, "torture: no operation %s\n", optarg);
			exit(KSFT_FAIL);
		default:
			fputs(usage, option == 'h' ? stdout : stderr);
			exit(option == 'h' ? KSFT_PASS : KSFT_FAIL);
		}
	}
	number(optind < argc ? argv[optind] : "0", 0, 0);
	if (control->processes * control->threads > MAX_WORKERS) {
		fprintf(stderr, "torture: more than %d workers\n", MAX_WORKERS);
		exit(KSFT_FAIL);
	}
}

static void *thread(void *w)
{
	worker_run(w);
	return NULL;
}

static int process(struct worker **workers)
{
	pthread_t threads[MAX_WORKERS];
	int i;

	for (i = 0; i < control->threads; i++)
		if (pthread_create(&threads[i], NULL, thread, workers[i]))
			return 1;
	for (i = 0; i < control->threads; i++)
		pthread_join(threads[i], NULL);
	return 0;
}

static struct worker *new_worker(int process, int thread)
{
	struct worker *w = shared(worker_size());
	uint64_t random = control->seed + process * MAX_WORKERS + thread + 1;

	w->process = process;
	w->thread = thread;
	w->random = draw(&random);
	return w;
}

/* An operation that was tried so often must have succeeded once, or it tests nothing. */
#define TRIED_ENOUGH	300

static bool print_operations(struct worker **workers, int n)
{
	uint64_t steps = 0;
	bool all = true;
	size_t op;
	int i;

	for (op = 0; op < nr_operations; op++) {
		unsigned long done = 0, failed = 0;

		for (i = 0; i < n; i++) {
			done += workers[i]->done[op];
			failed += workers[i]->failed[op];
		}
		steps += done + failed;
		ksft_print_msg("%-16s %8lu done %8lu not\n", operation_name(op), done, failed);
		all &= done || failed < TRIED_ENOUGH || operation_skipped(op);
	}
	ksft_print_msg("%llu steps\n", (unsigned long long)steps);
	return all;
}

/* Nobody's memory is anybody's concern after a fault. */
static void end_workers(pid_t *pids)
{
	int i;

	atomic_store(&control->stop, true);
	for (i = 0; i < control->processes; i++) {
		if (pids[i] < 0)
			continue;
		if (atomic_load(&control->failed))
			kill(pids[i], SIGKILL);
		if (wait_child(pids[i]) && !atomic_exchange(&control->failed, true))
			ksft_print_msg("process %d failed at its end\n", i);
	}
}

static void results(const struct totals *t, const struct options *options)
{
	ksft_print_msg("%lu quiet points, %lu times run=2, %lu reloads, %lu knobs changed\n",
		       t->quiet_points, t->unmerges, t->reloads, t->knobs);
	ksft_print_msg("at most %ld pages saved and %ld zero pages at a quiet point\n",
		       t->most_sharing, t->most_zero);
	ksft_test_result(!atomic_load(&control->failed), "every byte is what it must be\n");
	ksft_test_result(t->counters_right && t->quiet_points && t->most_sharing,
			 "counters add up\n");
	ksft_test_result(t->unmerged && t->unmerges, "nothing is left after run=2\n");
	if (options->reload)
		ksft_test_result(t->reloaded && t->reloads, "the module goes and comes back\n");
	else
		ksft_test_result_skip("the module goes and comes back: not asked for\n");
}

int main(int argc, char **argv)
{
	struct totals totals = { .counters_right = true, .unmerged = true, .reloaded = true };
	struct options options = { .seconds = 60, .reclaim = true, .faults = true };
	const char *ko = getenv("RKSM_KO"), *seconds = getenv("TORTURE_SECONDS");
	struct worker *workers[MAX_WORKERS];
	pid_t pids[MAX_WORKERS];
	struct knob_values before;
	bool was_loaded = loaded(), operations;
	int i, n;

	control = shared(sizeof(*control));
	control->processes = 3;
	control->threads = 2;
	options.reload = ko && *ko;
	if (getrandom(&control->seed, sizeof(control->seed), 0) < 0)
		control->seed = getpid();
	control->seed %= 1000000000;
	if (seconds)
		options.seconds = number(seconds, 0, 1000000);
	parse(argc, argv, &options);
	options.reload = options.reload && ko && *ko;
	n = control->processes * control->threads;

	ksft_print_header();
	ksft_set_plan(5);
	if (asprintf((char **)&replay, "torture --seed %llu --processes %d --threads %d",
		     (unsigned long long)control->seed, control->processes, control->threads) < 0)
		ksft_exit_fail_perror("asprintf");
	ksft_print_msg("%s --seconds %ld\n", replay, options.seconds);
	if (options.reload) {
		/* The knobs are those of the one that is there. */
		unsetenv("KSM_SYSFS");
		kunit_suites("none");
		if (!was_loaded && load())
			ksft_exit_fail_msg("the module does not load\n");
	}
	if (!knobs_save(&before) || !unmerge_everything() || !knobs_for_test())
		ksft_exit_fail_msg("the knobs cannot be set\n");
	swap_off();
	reset_zram();
	options.reclaim = options.reclaim && access(ZRAM, F_OK) == 0;
	if (!options.reclaim)
		ksft_print_msg("nothing is pushed out\n");
	else if (!swap_on_zram() || !enter_swap_group() || !cgroup_make(OTHER_GROUP))
		ksft_exit_fail_msg("there is a RAM disk, but no swap on it\n");
	options.faults = options.faults && access(FAILSLAB, F_OK) == 0 && any_allocation_may_fail();
	if (!options.faults)
		ksft_print_msg("no allocation fails\n");
	operations_probe(options.reclaim);

	for (i = 0; i < n; i++)
		workers[i] = new_worker(i / control->threads, i % control->threads);
	for (i = 0; i < control->processes; i++) {
		pids[i] = fork_child();
		if (pids[i] == 0)
			_exit(process(workers + i * control->threads));
	}
	direct(workers, pids, &options, &totals);
	end_workers(pids);

	operations = print_operations(workers, n);
	results(&totals, &options);
	ksft_test_result(operations, "each operation succeeds at times\n");
	if (options.faults)
		fail_percent(0);
	if (!unmerge_everything() || !knobs_restore(&before))
		ksft_print_msg("the knobs are not as they were\n");
	swap_off();
	reset_zram();
	file_write("/sys/fs/cgroup/cgroup.procs", "0");
	cgroups_remove();
	if (options.reload) {
		if (!was_loaded)
			unload();
		kunit_suites("*");
	}
	ksft_finished();
}

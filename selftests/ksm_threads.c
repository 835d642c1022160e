// SPDX-License-Identifier: GPL-2.0
/* The scanner's threads, and what they cost. */
#define _GNU_SOURCE
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ksm_lib.h"

/* rksm's are called rksmd, rksmd/1 and so on. */
int scanners(pid_t *pids, int most)
{
	const char *name = access("/sys/module/rksm", F_OK) == 0 ? "rksmd" : "ksmd";
	DIR *dir = opendir("/proc");
	char path[300], comm[32];
	struct dirent *e;
	int n = 0;

	while (dir && (e = readdir(dir))) {
		size_t len = strlen(name);

		snprintf(path, sizeof(path), "/proc/%s/comm", e->d_name);
		if (n == most || atoi(e->d_name) <= 0 ||
		    file_read(path, comm, sizeof(comm)) <= 0 || strncmp(comm, name, len))
			continue;
		if (comm[len] == '\n' || comm[len] == '/')
			pids[n++] = atoi(e->d_name);
	}
	if (dir)
		closedir(dir);
	return n;
}

pid_t scanner(void)
{
	pid_t pid;

	return scanners(&pid, 1) ? pid : 0;
}

char state_of(pid_t pid)
{
	char path[64], text[512], *end;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	if (file_read(path, text, sizeof(text)) <= 0)
		return 0;
	end = strrchr(text, ')');
	return end && end[1] ? end[2] : 0;
}

bool scanner_sleeps(void)
{
	pid_t pids[MOST_SCANNERS];
	int n = scanners(pids, MOST_SCANNERS);
	long end = now_ms() + 60000;
	char state;

	if (!n)
		return false;
	while (n--) {
		/* One that has ended scans no more. */
		while ((state = state_of(pids[n])) && state != 'S') {
			if (now_ms() > end) {
				dprintf(2, "# the scanner goes on\n");
				return false;
			}
			usleep(500);
		}
	}
	return true;
}

bool scanner_stop(void)
{
	return !knob_set("run", 0) && scanner_sleeps();
}

/* How often a thread has been switched away from. */
static long switches(pid_t pid)
{
	static const char * const keys[] = { "\nvoluntary_ctxt_switches:", "\nnonvoluntary_ctxt_switches:" };
	char path[64], text[4096];
	long sum = 0;
	int k;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	if (file_read(path, text, sizeof(text)) <= 0)
		return 0;
	for (k = 0; k < 2; k++) {
		const char *at = strstr(text, keys[k]);

		if (at)
			sum += strtol(at + strlen(keys[k]), NULL, 10);
	}
	return sum;
}

long scanner_switches(void)
{
	pid_t pids[MOST_SCANNERS];
	int n = scanners(pids, MOST_SCANNERS);
	long sum = 0;

	while (n--)
		sum += switches(pids[n]);
	return sum;
}

bool all_scanners_run(void)
{
	pid_t pids[MOST_SCANNERS];
	int n = scanners(pids, MOST_SCANNERS), tries;

	while (n--) {
		long before = switches(pids[n]);

		for (tries = 0; tries < 10000 && switches(pids[n]) == before; tries++)
			usleep(1000);
		if (tries == 10000)
			return false;
	}
	return true;
}

bool scanner_rests(unsigned int ms, int attempts)
{
	while (attempts--) {
		long before = scanner_switches();

		usleep(1000 * ms);
		if (scanner_switches() == before)
			return true;
	}
	return false;
}

long long scanner_cpu(void)
{
	char path[64], buf[64];
	pid_t pids[MOST_SCANNERS];
	int n = scanners(pids, MOST_SCANNERS);
	long long sum = 0;

	while (n--) {
		snprintf(path, sizeof(path), "/proc/%d/schedstat", pids[n]);
		if (file_read(path, buf, sizeof(buf)) <= 0)
			return -1;
		sum += strtoll(buf, NULL, 10);
	}
	return sum;
}

long long passes_cpu(unsigned int n)
{
	long long before = scanner_cpu();

	while (n--)
		if (!ksm_step())
			return -1;
	return before < 0 ? -1 : scanner_cpu() - before;
}

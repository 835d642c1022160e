// SPDX-License-Identifier: GPL-2.0
/* Reading tracefs. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ksm_lib.h"
#include "trace_lib.h"

void trace_forget(void)
{
	close(open(TRACING "trace", O_WRONLY | O_TRUNC));
}

bool trace_on(const char *event)
{
	char path[256];

	file_write(TRACING "buffer_size_kb", "8192");
	trace_forget();
	snprintf(path, sizeof(path), EVENTS "%s/enable", event);
	return file_write(path, "1") == 0;
}

bool trace_filter(const char *event, const char *filter)
{
	char path[256];

	snprintf(path, sizeof(path), EVENTS "%s/filter", event);
	return file_write(path, filter) == 0;
}

void trace_off(void)
{
	file_write(EVENTS "enable", "0");
	file_write(TRACING "set_event_pid", " ");
	close(open(TRACING "set_event_pid", O_WRONLY | O_TRUNC));
	trace_forget();
}

bool trace_only(pid_t pid)
{
	char text[16];

	if (!pid) {
		close(open(TRACING "set_event_pid", O_WRONLY | O_TRUNC));
		return true;
	}
	snprintf(text, sizeof(text), "%d", pid);
	return file_write(TRACING "set_event_pid", text) == 0;
}

bool trace_mark(const char *text)
{
	return file_write(TRACING "trace_marker", text) == 0;
}

bool trace_each(const char *event, const char *with, trace_line *each, void *arg)
{
	FILE *f = fopen(TRACING "trace", "r");
	char *line = NULL, name[64];
	size_t size = 0;
	bool ended = false;

	snprintf(name, sizeof(name), " %s:", event ? event : "");
	while (f && !ended && getline(&line, &size, f) > 0) {
		if (*line == '#' || (event && !strstr(line, name)))
			continue;
		/* The last thing in a line ends as words do. */
		line[strcspn(line, "\n")] = ' ';
		if (!with || strstr(line, with))
			ended = each(line, arg);
	}
	free(line);
	if (f)
		fclose(f);
	return ended;
}

struct sum {
	const char *field;
	long n;
};

static bool add(const char *line, void *arg)
{
	struct sum *sum = arg;
	long value = sum->field ? trace_field(line, sum->field) : 1;

	if (value > 0)
		sum->n += value;
	return false;
}

long trace_count(const char *event, const char *with)
{
	struct sum sum = { NULL, 0 };

	trace_each(event, with, add, &sum);
	return sum.n;
}

long trace_sum(const char *event, const char *with, const char *field)
{
	struct sum sum = { field, 0 };

	trace_each(event, with, add, &sum);
	return sum.n;
}

long trace_field(const char *line, const char *name)
{
	size_t len = strlen(name);
	const char *at = line;

	while ((at = strstr(at, name))) {
		if (at > line && at[-1] == ' ' && (at[len] == ' ' || at[len] == '='))
			return strtoul(at + len + 1, NULL, 0);
		at += len;
	}
	return -1;
}

bool trace_between(const char *first, const char *what, const char *last)
{
	FILE *f = fopen(TRACING "trace", "r");
	bool begun = false, seen = false;
	char *line = NULL;
	size_t size = 0;

	while (f && getline(&line, &size, f) > 0) {
		if (*line == '#')
			continue;
		if (strstr(line, last))
			break;
		seen |= begun && strstr(line, what);
		begun |= !!strstr(line, first);
	}
	free(line);
	if (f)
		fclose(f);
	return seen;
}

long trace_total(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_CONF), total = 0, i;
	char path[128], text[1024];

	for (i = 0; i < cpus; i++) {
		static const char * const kinds[] = { "entries: ", "overrun: " };
		int k;

		snprintf(path, sizeof(path), TRACING "per_cpu/cpu%ld/stats", i);
		if (file_read(path, text, sizeof(text)) <= 0)
			continue;
		for (k = 0; k < 2; k++) {
			const char *at = strstr(text, kinds[k]);

			if (at)
				total += strtol(at + strlen(kinds[k]), NULL, 10);
		}
	}
	return total;
}

bool trace_passes(void)
{
	return trace_on("rksm/rksm_start_scan") && trace_on("rksm/rksm_stop_scan");
}

bool trace_pass_begins(void)
{
	int i;

	trace_forget();
	for (i = 0; i < 120000; i++) {
		if (trace_count("rksm_start_scan", NULL))
			return true;
		usleep(500);
	}
	return false;
}

bool trace_pass_goes_on(void)
{
	static int marks;
	char mark[32];

	snprintf(mark, sizeof(mark), "until here %d.", ++marks);
	return trace_mark(mark) && !trace_between("rksm_start_scan:", "rksm_stop_scan:", mark);
}

struct mm_wanted {
	char *mm;
	size_t size;
	char task[16];
};

static bool take_mm(const char *line, void *arg)
{
	struct mm_wanted *want = arg;
	const char *mm = strstr(line, ": mm ");

	if (!mm || !strstr(line, want->task))
		return false;
	mm += 2;
	/* With the space behind, so that it is not the beginning of another. */
	snprintf(want->mm, want->size, "%.*s ", (int)(3 + strcspn(mm + 3, " \n")), mm);
	return true;
}

bool trace_mm(pid_t pid, char *mm, size_t size)
{
	struct mm_wanted want = { mm, size, "" };

	snprintf(want.task, sizeof(want.task), "-%d ", pid);
	return trace_each("rksm_enter", NULL, take_mm, &want);
}

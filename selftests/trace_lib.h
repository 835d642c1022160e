/* SPDX-License-Identifier: GPL-2.0 */
/* Events of the kernel, read back from tracefs. */
#ifndef TRACE_LIB_H
#define TRACE_LIB_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define TRACING		"/sys/kernel/tracing/"
#define EVENTS		TRACING "events/"

/* What was traced so far is dropped. */
void trace_forget(void);
/*
 * Events by group and name ("rksm/rksm_enter"), or all of a group ("rksm"):
 * on from now, with what was traced before dropped. False: there is none.
 */
bool trace_on(const char *event);
/* All events that trace_on() turned on, off. */
void trace_off(void);
/* Only what this task does; 0: everybody. */
bool trace_only(pid_t pid);
/* Only those events for which the filter holds; "0" takes it away. */
bool trace_filter(const char *event, const char *filter);
/* A line of one's own, in order with the events. */
bool trace_mark(const char *text);

/*
 * Lines of an event (NULL: of any), in the order in which they came, that contain
 * a text besides (NULL: all of them). Returning true ends it.
 */
typedef bool trace_line(const char *line, void *arg);
bool trace_each(const char *event, const char *with, trace_line *each, void *arg);
long trace_count(const char *event, const char *with);
/* The number after a name: "tables 3", "tables=3", "tables 0x3". -1: not there. */
long trace_field(const char *line, const char *name);
long trace_sum(const char *event, const char *with, const char *field);
/* Does one come after the first of another, and before the first of a third? */
bool trace_between(const char *first, const char *what, const char *last);
/*
 * How many events there were, whatever is left of them: the ring keeps the
 * last ones.
 */
long trace_total(void);
/*
 * The beginnings and ends of passes are traced; returns while one is under way, at
 * its beginning as far as anybody can tell; it has not come to its end.
 */
bool trace_passes(void);
bool trace_pass_begins(void);
bool trace_pass_goes_on(void);
/* "mm 00000000abcdef01", as events print it, of a process that called madvise(). */
bool trace_mm(pid_t pid, char *mm, size_t size);

#endif

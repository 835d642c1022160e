// SPDX-License-Identifier: GPL-2.0
/* Saying what is wrong, and what led to it. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "torture.h"

static void print_step(const struct step *s)
{
	dprintf(2, "#   step %llu: %s area %d page %d count %d value %llx: %s\n",
		(unsigned long long)s->nr, operation_name(s->operation), s->area, s->page,
		s->count, (unsigned long long)s->value, s->result ? strerror(-s->result) : "done");
}

/* The last steps that concern a page, or all of them. */
static void print_history(struct worker *w, bool all, size_t area, size_t page, size_t most)
{
	uint64_t first = w->steps > HISTORY ? w->steps - HISTORY + 1 : 1, nr;
	size_t skip = 0;
	int round;

	/* Count, then print the last of them in the order in which they came. */
	for (round = 0; round < 2; round++) {
		size_t found = 0;

		for (nr = first; nr <= w->steps; nr++) {
			struct step *s = &w->history[nr % HISTORY];

			if (!all && (s->area != area || page < s->page ||
				     page >= (size_t)s->page + s->count))
				continue;
			if (round && found >= skip)
				print_step(s);
			found++;
		}
		skip = found > most ? found - most : 0;
	}
}

static void print_director(void)
{
	unsigned int end = atomic_load(&control->logged), i = end > 12 ? end - 12 : 0;

	dprintf(2, "# what the director did last:\n");
	for (; i < end; i++)
		dprintf(2, "#   %.80s\n", control->log[i % 32]);
	counters_print("now");
	dprintf(2, "# the same steps again: %s\n", replay);
}

void report_begin(struct worker *w)
{
	/* One report is enough, and the first is the best. */
	if (atomic_exchange(&control->failed, true))
		_exit(1);
	dprintf(2, "# FAULT in process %d (pid %d) thread %d%s, seed %llu, step %llu:\n",
		w->process, getpid(), w->thread, w->depth ? " (a forked child)" : "",
		(unsigned long long)control->seed, (unsigned long long)w->steps);
}

static void print_page(struct worker *w, size_t area, size_t page)
{
	char *map = page_of(w->areas[area].map, page);
	struct page_state *s = &w->areas[area].page[page];
	uint64_t flags = kflags_of(0, map);

	dprintf(2, "# area %zu page %zu at %p: prot %d%s%s, pagemap %llx, %s%s%s\n",
		area, page, map, s->prot, s->guard ? ", guard" : "",
		s->maybe_zero ? ", freed" : "", (unsigned long long)pagemap_of(0, map),
		flags & KPF_KSM_BIT ? "merged" : "not merged",
		flags & KPF_ZERO_BIT ? ", zero page" : "",
		flags & KPF_THP_BIT ? ", huge" : "");
	dprintf(2, "# the page's history:\n");
	print_history(w, false, area, page, 24);
}

void report_end(struct worker *w, size_t area, size_t page)
{
	if (area < AREAS)
		print_page(w, area, page);
	dprintf(2, "# the last steps of all:\n");
	print_history(w, true, 0, 0, 12);
	print_director();
	_exit(1);
}

void report(struct worker *w, size_t area, size_t page, const char *format, ...)
{
	va_list args;

	report_begin(w);
	dprintf(2, "# ");
	va_start(args, format);
	vdprintf(2, format, args);
	va_end(args);
	dprintf(2, "\n");
	report_end(w, area, page);
}

void fault(const char *format, ...)
{
	va_list args;

	if (atomic_exchange(&control->failed, true))
		return;
	dprintf(2, "# FAULT, seed %llu: ", (unsigned long long)control->seed);
	va_start(args, format);
	vdprintf(2, format, args);
	va_end(args);
	dprintf(2, "\n");
	print_director();
}

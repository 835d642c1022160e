// SPDX-License-Identifier: GPL-2.0
/* A process that does one operation after the other. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ksm_lib.h"
#include "shared_fsx.h"

static struct fsx_worker *worker;

static void no_page(int sig)
{
	fsx_fault(worker, "%s: signal %d", worker->now->name, sig);
}

static bool begin(struct fsx_worker *w)
{
	struct fsx *fsx = w->fsx;
	off_t all = fsx->pages * pagesize;
	int i;

	w->self = getpid();
	w->buf = aligned_alloc(pagesize, 16 * pagesize);
	if (!w->buf || pipe(w->pipe))
		return false;
	for (i = 0; i < FSX_FILES; i++) {
		struct fsx_view *v = &w->view[i];

		v->fsx = fsx;
		v->file = &fsx->file[i];
		/* Not at the edge of a page. */
		v->from = w->me ? all * w->me / fsx->processes + 123 * w->me : 0;
		v->end = w->me == fsx->processes - 1;
		v->to = v->end ? all : all * (w->me + 1) / fsx->processes + 123 * (w->me + 1);
		v->shared = mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_SHARED, v->file->fd, 0);
		v->private = mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_PRIVATE, v->file->fd, 0);
		v->copy = malloc(all);
		if (v->shared == MAP_FAILED || v->private == MAP_FAILED || !v->copy)
			return false;
		if (fsx->huge)
			madvise(v->shared, all, MADV_HUGEPAGE);
	}
	return true;
}

static int weight_of(const struct fsx_operation *op)
{
	int sum = 0;

	for (; op->fn; op++)
		sum += op->weight;
	return sum;
}

/* One of either table. What a kernel has not is drawn all the same: then a seed means the same. */
static const struct fsx_operation *choose(struct fsx_worker *w)
{
	const struct fsx_operation *op = fsx_operations;
	int plain = weight_of(fsx_operations), nr = fsx_below(w, plain + weight_of(fsx_merging));

	w->kind = 0;
	if (nr >= plain) {
		nr -= plain;
		op = fsx_merging;
		w->kind = FSX_MERGING;
	}
	for (; nr >= op->weight; op++, w->kind++)
		nr -= op->weight;
	return op;
}

int fsx_run(struct fsx *fsx, int me)
{
	struct fsx_worker *w = calloc(1, sizeof(*w));
	struct sigaction action = { .sa_handler = no_page };
	int i;

	if (!w)
		return 1;
	w->fsx = fsx;
	w->me = me;
	w->random = fsx->seed + me;
	w->now = w->step;
	w->now->name = "start";
	worker = w;
	if (!begin(w))
		fsx_fault(w, "no memory, or no mapping");
	sigaction(SIGBUS, &action, NULL);
	sigaction(SIGSEGV, &action, NULL);
	for (w->nr = 1; w->nr <= fsx->operations && !fsx->failed; w->nr++) {
		const struct fsx_operation *op = choose(w);
		int file = fsx_below(w, FSX_FILES);

		w->now = &w->step[w->nr % (sizeof(w->step) / sizeof(w->step[0]))];
		*w->now = (struct fsx_step){ .name = op->name, .nr = w->nr, .file = file };
		if (w->kind >= FSX_MERGING && !fsx->dedupe)
			continue;
		op->fn(w, &w->view[file]);
		fsx->done[w->kind]++;
	}
	for (i = 0; i < FSX_FILES; i++)
		fsx_verify(w, &w->view[i]);
	return fsx->failed;
}

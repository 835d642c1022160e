// SPDX-License-Identifier: GPL-2.0
/* What the files must hold, and the report of what they do not. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ksm_lib.h"
#include "shared_fsx.h"

uint64_t fsx_draw(struct fsx_worker *w)
{
	uint64_t x = w->random += 0x9e3779b97f4a7c15;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

size_t fsx_below(struct fsx_worker *w, size_t n)
{
	return fsx_draw(w) % n;
}

void fsx_fault(struct fsx_worker *w, const char *format, ...)
{
	size_t kept = sizeof(w->step) / sizeof(w->step[0]), i;
	struct fsx *fsx = w->fsx;
	va_list args;

	/* Whose turn it is to speak. What the others find may come of the same fault. */
	if (atomic_exchange(&fsx->failed, true))
		_exit(1);
	dprintf(2, "# FAULT, SEED=%llu, process %d of %d, operation %ld: ",
		(unsigned long long)fsx->seed, w->me, fsx->processes, w->nr);
	va_start(args, format);
	vdprintf(2, format, args);
	va_end(args);
	dprintf(2, "\n#   size %ld and %ld; its part %#lx to %#lx; the last operations, offsets and lengths in bytes:\n",
		(long)fsx->file[0].size, (long)fsx->file[1].size, (long)w->view[0].from, (long)w->view[0].to);
	for (i = 1; i <= kept; i++) {
		struct fsx_step *s = &w->step[(w->nr + i) % kept];

		if (s->name)
			dprintf(2, "#   %8ld %-16s file %d %#8lx + %#-8lx other %#lx: %ld\n",
				s->nr, s->name, s->file, s->offset, s->length, s->other, s->result);
	}
	_exit(1);
}

off_t fsx_end(struct fsx_view *v)
{
	return v->end ? v->file->size : v->to;
}

void fsx_compare(struct fsx_worker *w, struct fsx_view *v, off_t at, const void *data, size_t n, const char *how)
{
	const unsigned char *is = data, *must = v->file->bytes + at;
	size_t i = 0, wrong = 0, k;

	if (!memcmp(is, must, n))
		return;
	while (is[i] == must[i])
		i++;
	for (k = i; k < n; k++)
		wrong += is[k] != must[k];
	fsx_fault(w, "file %d at %#lx is %#x and must be %#x, the first of %zu such bytes in %#lx + %#zx, by %s",
		  (int)(v - w->view), (long)(at + i), is[i], must[i], wrong, (long)at, n, how);
}

void fsx_pages(struct fsx_view *v, off_t at, size_t n, enum fsx_page state)
{
	size_t page;

	for (page = at / pagesize; n && page <= (at + n - 1) / pagesize; page++) {
		unsigned char old = v->file->page[page];

		/* A neighbour may raise it at the same time. */
		while (old < state && !atomic_compare_exchange_weak(&v->file->page[page], &old, state))
			;
	}
}

void fsx_wrote(struct fsx_view *v, off_t at, const void *data, size_t n)
{
	memcpy(v->file->bytes + at, data, n);
	fsx_pages(v, at, n, FSX_HELD);
	if (v->end && at + (off_t)n > v->file->size)
		v->file->size = at + n;
}

void fsx_hole(struct fsx_view *v, off_t at, off_t to)
{
	size_t page, end = to / pagesize;

	memset(v->file->bytes + at, 0, to - at);
	for (page = (at + pagesize - 1) / pagesize; page < end; page++)
		v->file->page[page] = FSX_HOLE;
}

void fsx_set_size(struct fsx_view *v, off_t size)
{
	size_t page, all = v->fsx->pages;

	if (size <= v->file->size) {
		memset(v->file->bytes + size, 0, all * pagesize - size);
		for (page = (size + pagesize - 1) / pagesize; page < all; page++) {
			v->file->page[page] = FSX_HOLE;
			/* Pages of a private mapping end with the file. */
			v->own[page] = false;
		}
	}
	v->file->size = size;
}

void fsx_verify(struct fsx_worker *w, struct fsx_view *v)
{
	off_t at, end = fsx_end(v);
	ssize_t n;

	for (at = v->from; at < end; at += n) {
		size_t want = end - at < 16 * (off_t)pagesize ? end - at : 16 * pagesize;

		n = pread(v->file->fd, w->buf, want, at);
		if (n <= 0)
			fsx_fault(w, "pread at %#lx of file %d: %s", (long)at, (int)(v - w->view), strerror(errno));
		fsx_compare(w, v, at, w->buf, n, "pread of all");
	}
}

struct fsx *fsx_new(size_t pages, int processes, long operations, uint64_t seed)
{
	size_t size = (sizeof(struct fsx) + pagesize - 1) / pagesize * pagesize;
	struct fsx *fsx;
	int i;

	fsx = mmap(NULL, size + FSX_FILES * pages * pagesize, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (fsx == MAP_FAILED)
		return NULL;
	fsx->pages = pages;
	fsx->processes = processes;
	fsx->operations = operations;
	fsx->seed = seed;
	for (i = 0; i < FSX_FILES; i++)
		fsx->file[i].bytes = (unsigned char *)fsx + size + i * pages * pagesize;
	return fsx;
}

/* As if nothing had been merged; of huge pages only that it is not less. */
static bool blocks_are_right(struct fsx *fsx, int nr, const struct stat *st)
{
	size_t least = 0, most = 0, page, is = st->st_blocks * 512 / pagesize;
	/* What is clean is there if nobody reclaims. */
	enum fsx_page sure = fsx->reclaim ? FSX_RESERVED : FSX_READ;
	struct fsx_file *file = &fsx->file[nr];

	for (page = 0; page < fsx->pages; page++) {
		least += file->page[page] >= sure;
		most += file->page[page] != FSX_HOLE;
	}
	if (fsx->huge) {
		least = 0;
		most = (fsx->pages + 511) / 512 * 512;
		for (page = 0; page < (file->size + pagesize - 1) / pagesize; page++)
			least += file->page[page] >= sure;
	}
	if (is >= least && is <= most)
		return true;
	dprintf(2, "# FAULT, SEED=%llu: file %d has %zu pages by st_blocks, and must have %zu to %zu\n",
		(unsigned long long)fsx->seed, nr, is, least, most);
	return false;
}

/* What is a hole stays one, and what holds data is data. */
static bool holes_are_right(struct fsx *fsx, int nr)
{
	struct fsx_file *file = &fsx->file[nr];
	off_t at;

	for (at = 0; at < file->size && !fsx->huge; at += pagesize) {
		off_t data = lseek(file->fd, at, SEEK_DATA);
		unsigned char state = file->page[at / pagesize];

		if ((state == FSX_HOLE && data == at) || (state == FSX_HELD && data != at)) {
			dprintf(2, "# FAULT, SEED=%llu: file %d at %#lx: SEEK_DATA finds %#lx, state %d\n",
				(unsigned long long)fsx->seed, nr, (long)at, (long)data, state);
			return false;
		}
	}
	return true;
}

bool fsx_is_right(struct fsx *fsx)
{
	bool right = true;
	int i;

	for (i = 0; i < FSX_FILES; i++) {
		struct fsx_file *file = &fsx->file[i];
		off_t size = file->size, at;
		char *is = malloc(size + 1);
		struct stat st;

		if (!is || fstat(file->fd, &st) || pread(file->fd, is, size + 1, 0) != size || st.st_size != size) {
			dprintf(2, "# FAULT, SEED=%llu: file %d cannot be read, or has not %ld bytes\n",
				(unsigned long long)fsx->seed, i, (long)size);
			free(is);
			return false;
		}
		if (memcmp(is, file->bytes, size)) {
			for (at = 0; (unsigned char)is[at] == file->bytes[at]; at++)
				;
			dprintf(2, "# FAULT, SEED=%llu: at the end file %d at %#lx is %#x and must be %#x\n",
				(unsigned long long)fsx->seed, i, (long)at, is[at] & 255, file->bytes[at]);
			right = false;
		}
		free(is);
		right = blocks_are_right(fsx, i, &st) && holes_are_right(fsx, i) && right;
	}
	return right;
}

/* Returns how many there were. */
static long print_operations(struct fsx *fsx, const struct fsx_operation *op, int nr)
{
	long sum = 0;

	for (; op->fn; op++, nr++) {
		sum += fsx->done[nr];
		dprintf(2, " %s %ld", op->name, fsx->done[nr]);
		if (fsx->refused[nr])
			dprintf(2, " (refused %ld)", fsx->refused[nr]);
		dprintf(2, ",");
	}
	return sum;
}

void fsx_print(struct fsx *fsx)
{
	long sum;

	dprintf(2, "# done:");
	sum = print_operations(fsx, fsx_operations, 0);
	if (fsx->dedupe)
		sum += print_operations(fsx, fsx_merging, FSX_MERGING);
	dprintf(2, " all %ld; merged %ld pages, %ld requests with pages that differ\n", sum, fsx->merged, fsx->differed);
}

// SPDX-License-Identifier: GPL-2.0
/* Merging of files by FIDEDUPERANGE: whatever it does, the files stay as they are. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "ksm_lib.h"
#include "shared_fsx.h"

#define MOST_TARGETS	3

/* So many targets, and room for them. */
struct request {
	struct file_dedupe_range range;
	struct file_dedupe_range_info info[MOST_TARGETS];
};

struct place {
	struct fsx_view *view;
	size_t page;
};

static struct place some_page(struct fsx_worker *w)
{
	return (struct place){ &w->view[fsx_below(w, FSX_FILES)], fsx_below(w, w->fsx->pages) };
}

static unsigned char *bytes_of(struct place at)
{
	return at.view->file->bytes + at.page * pagesize;
}

/* By the shadow, which other processes may be about to change. */
static bool are_equal(struct place a, struct place b)
{
	return !memcmp(bytes_of(a), bytes_of(b), pagesize);
}

static size_t pages_behind(struct fsx_worker *w, struct place at)
{
	size_t there = at.view->file->size / pagesize, pages = w->fsx->pages < there ? w->fsx->pages : there;

	return at.page < pages ? pages - at.page : 0;
}

/* A page that is equal to this one, if there is one near a random place. */
static struct place equal_page(struct fsx_worker *w, struct place from)
{
	struct place to = some_page(w);
	int tries;

	for (tries = 0; tries < 24; tries++) {
		if (are_equal(from, to) && pages_behind(w, to) && (to.view != from.view || to.page != from.page))
			break;
		to.page = (to.page + 1) % w->fsx->pages;
	}
	return to;
}

static bool overlap(struct place a, struct place b, size_t n)
{
	return a.view == b.view && a.page < b.page + n && b.page < a.page + n;
}

static void ask(struct fsx_worker *w, struct request *r, struct place from, size_t n)
{
	r->range.src_offset = from.page * pagesize;
	r->range.src_length = n * pagesize;
	w->now->file = from.view - w->view;
	w->now->offset = r->range.src_offset;
	w->now->length = r->range.src_length;
	w->now->other = r->info[0].dest_offset | (r->info[0].dest_fd == w->view[1].file->fd ? 1 : 0);
	w->now->result = 0;
	if (ioctl(from.view->file->fd, FIDEDUPERANGE, &r->range))
		w->now->result = -errno;
	else
		w->now->result = r->info[0].status;
}

static void add_target(struct request *r, struct place to)
{
	struct file_dedupe_range_info *info = &r->info[r->range.dest_count++];

	info->dest_fd = to.view->file->fd;
	info->dest_offset = to.page * pagesize;
}

/* Before somebody is said to have compared them wrongly. */
static void verify_pages(struct fsx_worker *w, struct place at, size_t n)
{
	off_t pos = at.page * pagesize;

	if (pread(at.view->file->fd, w->buf, n * pagesize, pos) != (ssize_t)(n * pagesize))
		fsx_fault(w, "pread at %#lx: %s", (long)pos, strerror(errno));
	fsx_compare(w, at.view, pos, w->buf, n * pagesize, "pread after merging");
}

/* What it may say that it has done. */
static void judge(struct fsx_worker *w, struct file_dedupe_range_info *info, struct place from, struct place to, size_t n)
{
	bool alone = w->fsx->processes == 1, equal = !memcmp(bytes_of(from), bytes_of(to), n * pagesize);

	if (alone && info->status == (equal ? FILE_DEDUPE_RANGE_DIFFERS : FILE_DEDUPE_RANGE_SAME)) {
		verify_pages(w, from, n);
		verify_pages(w, to, n);
		fsx_fault(w, "%zu pages that %s", n, equal ? "are equal are said to differ" : "differ were merged");
	}
	switch (info->status) {
	case FILE_DEDUPE_RANGE_SAME:
		if (info->bytes_deduped > n * pagesize)
			fsx_fault(w, "%llu bytes of %zu were merged", (unsigned long long)info->bytes_deduped, n * pagesize);
		w->fsx->merged += info->bytes_deduped / pagesize;
		break;
	case FILE_DEDUPE_RANGE_DIFFERS:
		w->fsx->differed++;
		break;
	/* Somebody holds a page, or there is no memory: it is tried another time. */
	case -EBUSY:
	case -EAGAIN:
	case -ENOMEM:
		w->fsx->refused[w->kind]++;
		break;
	default:
		/* Others may change the size meanwhile. */
		if (alone || info->status != -EINVAL)
			fsx_fault(w, "FIDEDUPERANGE says %d: %s", info->status, strerror(-info->status));
		w->fsx->refused[w->kind]++;
	}
}

/* Merges some pages; most often such as are equal. */
static void merge(struct fsx_worker *w, int targets)
{
	struct place from = some_page(w), to[MOST_TARGETS];
	size_t n = 1 + fsx_below(w, 8), k;
	bool to_be_equal = fsx_below(w, 8);
	struct request r = {};
	int i;

	n = pages_behind(w, from) < n ? pages_behind(w, from) : n;
	for (i = 0; i < targets; i++) {
		to[i] = to_be_equal ? equal_page(w, from) : some_page(w);
		n = pages_behind(w, to[i]) < n ? pages_behind(w, to[i]) : n;
	}
	for (i = 0; i < targets; i++)
		for (k = 1; k < n && to_be_equal; k++)
			if (!are_equal((struct place){ from.view, from.page + k },
				       (struct place){ to[i].view, to[i].page + k }))
				n = k;
	for (i = 0; i < targets; i++)
		while (n && overlap(from, to[i], n))
			n--;
	if (!n)
		return;
	for (i = 0; i < targets; i++)
		add_target(&r, to[i]);
	ask(w, &r, from, n);
	if (w->now->result < 0 && w->now->result != r.info[0].status) {
		/* Others may have made the file shorter. */
		if (w->fsx->processes == 1 || w->now->result != -EINVAL)
			fsx_fault(w, "FIDEDUPERANGE: %s", strerror(-w->now->result));
		w->fsx->refused[w->kind]++;
		return;
	}
	for (i = 0; i < targets; i++)
		judge(w, &r.info[i], from, to[i], n);
}

static void do_dedupe(struct fsx_worker *w, struct fsx_view *v)
{
	merge(w, 1);
}

static void do_dedupe_many(struct fsx_worker *w, struct fsx_view *v)
{
	merge(w, MOST_TARGETS);
}

/* All of one file with the other, page by page: the state that a scanner leaves. */
static void do_dedupe_all(struct fsx_worker *w, struct fsx_view *v)
{
	struct place from = some_page(w), to = { &w->view[0], 0 };
	size_t tries = 0;

	if (!pages_behind(w, from))
		return;
	for (; to.view < w->view + FSX_FILES; to.view++)
		for (to.page = 0; pages_behind(w, to) && tries < 256; to.page++) {
			struct request r = {};

			if (!are_equal(from, to) || overlap(from, to, 1))
				continue;
			tries++;
			add_target(&r, to);
			ask(w, &r, from, 1);
			if (r.info[0].status || !w->now->result)
				judge(w, &r.info[0], from, to, 1);
		}
}

/* Pages that are in a pipe meanwhile stay what they were. */
static void do_dedupe_held(struct fsx_worker *w, struct fsx_view *v)
{
	off_t end = fsx_end(v), at = (v->from + pagesize - 1) / pagesize * pagesize;
	size_t n = 1 + fsx_below(w, 4);
	struct request r = {};
	struct place from, to;
	loff_t pos;
	ssize_t got, left;
	char *buf = w->buf;

	if (end < at + (off_t)pagesize)
		return;
	at += fsx_below(w, (end - at) / pagesize) * pagesize;
	pos = at;
	n *= pagesize;
	n = end - at < (off_t)n ? end - at : n;
	got = splice(v->file->fd, &pos, w->pipe[1], NULL, n, 0);
	if (got <= 0)
		fsx_fault(w, "splice: %s", strerror(errno));
	from = (struct place){ v, at / pagesize };
	to = equal_page(w, from);
	if (pages_behind(w, from) && pages_behind(w, to) && !overlap(from, to, 1)) {
		/* Whichever of the two is to give way. */
		bool back = fsx_below(w, 2);

		add_target(&r, back ? from : to);
		ask(w, &r, back ? to : from, 1);
		if (r.info[0].status || !w->now->result)
			judge(w, &r.info[0], back ? to : from, back ? from : to, 1);
	}
	for (left = got; left; left -= n, buf += n) {
		n = read(w->pipe[0], buf, left);
		if ((ssize_t)n <= 0)
			fsx_fault(w, "read from the pipe: %s", strerror(errno));
	}
	fsx_compare(w, v, at, w->buf, got, "a pipe that held it while it was merged");
}

/* What makes no sense is refused, with EINVAL, and changes nothing. */
static void do_dedupe_wrong(struct fsx_worker *w, struct fsx_view *v)
{
	struct place from = some_page(w), to = some_page(w);
	struct request r = {};
	int error;

	if (w->fsx->processes > 1)
		return;
	add_target(&r, to);
	r.range.src_offset = from.page * pagesize;
	r.range.src_length = pagesize;
	switch (fsx_below(w, 5)) {
	case 0:
		r.range.src_offset += 1 + fsx_below(w, pagesize - 1);
		break;
	case 1:
		r.info[0].dest_offset += 1 + fsx_below(w, pagesize - 1);
		break;
	case 2:
		r.range.src_offset = from.view->file->size + fsx_below(w, pagesize);
		break;
	case 3:
		r.info[0].dest_offset = to.view->file->size + fsx_below(w, pagesize);
		break;
	default:
		r.info[0].dest_fd = from.view->file->fd;
		r.info[0].dest_offset = r.range.src_offset;
	}
	error = ioctl(from.view->file->fd, FIDEDUPERANGE, &r.range) ? -errno : r.info[0].status;
	w->now->offset = r.range.src_offset;
	w->now->length = r.range.src_length;
	w->now->other = r.info[0].dest_offset;
	w->now->result = error;
	if (error != -EINVAL)
		fsx_fault(w, "what makes no sense is not refused by EINVAL, but %d", error);
	w->fsx->refused[w->kind]++;
}

const struct fsx_operation fsx_merging[] = {
	{ "dedupe", 120, do_dedupe },
	{ "dedupe many", 24, do_dedupe_many },
	{ "dedupe all", 6, do_dedupe_all },
	{ "dedupe held", 12, do_dedupe_held },
	{ "dedupe wrong", 4, do_dedupe_wrong },
	{}
};

int fsx_try_dedupe(int fd)
{
	struct request r = { .range = { .src_length = pagesize, .dest_count = 1 } };

	r.info[0].dest_fd = fd;
	r.info[0].dest_offset = pagesize;
	if (ioctl(fd, FIDEDUPERANGE, &r.range))
		return -errno;
	return r.info[0].status < 0 ? r.info[0].status : 0;
}

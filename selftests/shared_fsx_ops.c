// SPDX-License-Identifier: GPL-2.0
/* The operations on files in memory: each knows what must come of it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shared_fsx.h"
#include "swap_lib.h"

/* At most so many bytes at once, which go into a pipe wherever they begin. */
#define MOST_PAGES	12
#define PATTERNS	4

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#define MADV_POPULATE_WRITE	23
#endif

/* Now it is known what is to be done: for the report. */
static void about_to(struct fsx_worker *w, off_t at, size_t n, off_t other)
{
	w->now->offset = at;
	w->now->length = n;
	w->now->other = other;
}

static void must(struct fsx_worker *w, bool holds, const char *what)
{
	if (!holds)
		fsx_fault(w, "%s: %s (%s)", w->now->name, what, strerror(errno));
}

static void refused(struct fsx_worker *w)
{
	w->now->result = -errno;
	w->fsx->refused[w->kind]++;
}

/* Some bytes of what this process has, before `end`. */
static bool some(struct fsx_worker *w, struct fsx_view *v, off_t end, off_t *at, size_t *n)
{
	size_t most = MOST_PAGES * pagesize, room;

	if (end <= v->from)
		return false;
	*at = v->from + fsx_below(w, end - v->from);
	switch (fsx_below(w, 4)) {
	case 0:
		*n = 1 + fsx_below(w, 64);
		break;
	case 1:
		*n = 1 + fsx_below(w, most);
		break;
	default:
		/* Whole pages, as far as they are its own. */
		if (*at - *at % (off_t)pagesize >= v->from)
			*at -= *at % pagesize;
		*n = pagesize * (1 + fsx_below(w, 4));
	}
	room = end - *at;
	if (*n > room)
		*n = room;
	about_to(w, *at, *n, 0);
	return true;
}

static bool some_there(struct fsx_worker *w, struct fsx_view *v, off_t *at, size_t *n)
{
	return some(w, v, fsx_end(v), at, n);
}

/* Where there may be nothing yet. */
static bool some_anywhere(struct fsx_worker *w, struct fsx_view *v, off_t *at, size_t *n)
{
	return some(w, v, v->to, at, n);
}

/* The pages that these bytes are in. */
static char *pages_of(char *map, off_t at, size_t n, size_t *size)
{
	off_t start = at - at % pagesize;

	*size = (at + n - start + pagesize - 1) / pagesize * pagesize;
	return map + start;
}

/* Only pages of which each byte is its own; none: NULL. */
static char *whole_pages(struct fsx_view *v, char *map, off_t at, size_t n, size_t *size)
{
	off_t start = (at + pagesize - 1) / pagesize * pagesize, end = (at + n) / pagesize * pagesize;

	if (end <= start)
		return NULL;
	*size = end - start;
	return map + start;
}

/* Contents that come again and again, at any page: then there is something to merge. */
static void make_up(struct fsx_worker *w, off_t at, size_t n)
{
	static char pattern[PATTERNS][4096];
	struct fsx_view *from = &w->view[fsx_below(w, FSX_FILES)];
	size_t kind = fsx_below(w, 16), i, in_page = at % pagesize;
	off_t other;

	if (!pattern[0][0])
		for (i = 0; i < PATTERNS; i++)
			fill(pattern[i], 1 + i);
	other = (from->from / pagesize + 1 + fsx_below(w, w->fsx->pages)) * pagesize + in_page;
	if (kind == 0) {
		for (i = 0; i < n; i++)
			w->buf[i] = fsx_draw(w);
	} else if (kind < 4) {
		memset(w->buf, 0, n);
	} else if (kind < 8 && other + (off_t)n <= fsx_end(from)) {
		memcpy(w->buf, from->file->bytes + other, n);
	} else {
		for (i = 0; i < n; i++)
			w->buf[i] = pattern[kind % PATTERNS][(in_page + i) % 4096];
	}
}

/* What is in the pipe by now comes out of it. */
static void drain(struct fsx_worker *w, char *to, size_t n)
{
	ssize_t r;

	for (; n; n -= r, to += r) {
		r = read(w->pipe[0], to, n);
		must(w, r > 0, "read from the pipe");
	}
}

/* Reading. */

static void do_read(struct fsx_worker *w, struct fsx_view *v)
{
	off_t at;
	size_t n;

	if (!some_there(w, v, &at, &n))
		return;
	must(w, pread(v->file->fd, w->buf, n, at) == (ssize_t)n, "is short");
	fsx_compare(w, v, at, w->buf, n, "pread");
}

/* Into two buffers, and past the end. */
static void do_readv(struct fsx_worker *w, struct fsx_view *v)
{
	struct iovec iov[2];
	size_t n, first;
	off_t at;

	if (!some_there(w, v, &at, &n))
		return;
	first = fsx_below(w, n + 1);
	iov[0] = (struct iovec){ w->buf, first };
	iov[1] = (struct iovec){ w->buf + first, n - first };
	if (v->end) {
		/* What is behind the end is not read. */
		iov[1].iov_len += pagesize;
		n = v->file->size - at < (off_t)(n + pagesize) ? v->file->size - at : n + pagesize;
	}
	must(w, preadv(v->file->fd, iov, 2, at) == (ssize_t)n, "has another end");
	fsx_compare(w, v, at, w->buf, n, "preadv");
}

static void do_direct_read(struct fsx_worker *w, struct fsx_view *v)
{
	size_t n, size;
	char *start;
	off_t at;

	if (v->file->direct < 0 || !some_there(w, v, &at, &n))
		return;
	start = whole_pages(v, NULL, at, n, &size);
	if (!start)
		return;
	at = (off_t)(uintptr_t)start;
	must(w, pread(v->file->direct, w->buf, size, at) == (ssize_t)size, "is short");
	fsx_compare(w, v, at, w->buf, size, "O_DIRECT");
}

static void do_mapread(struct fsx_worker *w, struct fsx_view *v)
{
	off_t at;
	size_t n;

	if (!some_there(w, v, &at, &n))
		return;
	fsx_pages(v, at, n, FSX_READ);
	fsx_compare(w, v, at, v->shared + at, n, "the mapping");
}

static void do_vmread(struct fsx_worker *w, struct fsx_view *v)
{
	struct iovec local, remote;
	off_t at;
	size_t n;

	if (!some_there(w, v, &at, &n))
		return;
	local = (struct iovec){ w->buf, n };
	remote = (struct iovec){ v->shared + at, n };
	fsx_pages(v, at, n, FSX_READ);
	must(w, process_vm_readv(w->self, &local, 1, &remote, 1, 0) == (ssize_t)n, "is short");
	fsx_compare(w, v, at, w->buf, n, "process_vm_readv");
}

static void do_splice(struct fsx_worker *w, struct fsx_view *v)
{
	loff_t from;
	ssize_t r;
	off_t at;
	size_t n;

	if (!some_there(w, v, &at, &n))
		return;
	from = at;
	r = splice(v->file->fd, &from, w->pipe[1], NULL, n, 0);
	must(w, r > 0, "is short");
	drain(w, w->buf, r);
	fsx_compare(w, v, at, w->buf, r, "splice");
}

static void do_sendfile(struct fsx_worker *w, struct fsx_view *v)
{
	ssize_t r;
	off_t at, from;
	size_t n;

	if (!some_there(w, v, &at, &n))
		return;
	from = at;
	r = sendfile(w->pipe[1], v->file->fd, &from, n);
	must(w, r > 0, "is short");
	drain(w, w->buf, r);
	fsx_compare(w, v, at, w->buf, r, "sendfile");
}

static void do_vmsplice(struct fsx_worker *w, struct fsx_view *v)
{
	struct iovec iov;
	ssize_t r;
	off_t at;
	size_t n;

	if (!some_there(w, v, &at, &n))
		return;
	iov = (struct iovec){ v->shared + at, n };
	fsx_pages(v, at, n, FSX_READ);
	r = vmsplice(w->pipe[1], &iov, 1, 0);
	must(w, r > 0, "is short");
	drain(w, w->buf, r);
	fsx_compare(w, v, at, w->buf, r, "vmsplice");
}

/* A child has the mapping as well. */
static void do_fork(struct fsx_worker *w, struct fsx_view *v)
{
	pid_t pid;
	off_t at;
	size_t n;

	if (!some_there(w, v, &at, &n))
		return;
	fsx_pages(v, at, n, FSX_READ);
	pid = fork();
	if (!pid) {
		fsx_compare(w, v, at, v->shared + at, n, "the mapping of a child");
		_exit(0);
	}
	must(w, pid > 0 && wait_child(pid) == 0, "a child fails");
}

/* Writing. */

static void do_write(struct fsx_worker *w, struct fsx_view *v)
{
	off_t at;
	size_t n;

	if (!some_anywhere(w, v, &at, &n))
		return;
	make_up(w, at, n);
	must(w, pwrite(v->file->fd, w->buf, n, at) == (ssize_t)n, "is short");
	fsx_wrote(v, at, w->buf, n);
}

static void do_direct_write(struct fsx_worker *w, struct fsx_view *v)
{
	size_t n, size;
	char *start;
	off_t at;

	if (v->file->direct < 0 || !some_anywhere(w, v, &at, &n))
		return;
	start = whole_pages(v, NULL, at, n, &size);
	if (!start)
		return;
	at = (off_t)(uintptr_t)start;
	make_up(w, at, size);
	must(w, pwrite(v->file->direct, w->buf, size, at) == (ssize_t)size, "is short");
	fsx_wrote(v, at, w->buf, size);
}

static void do_mapwrite(struct fsx_worker *w, struct fsx_view *v)
{
	off_t at;
	size_t n;

	if (!some_there(w, v, &at, &n))
		return;
	make_up(w, at, n);
	memcpy(v->shared + at, w->buf, n);
	fsx_wrote(v, at, w->buf, n);
}

static void do_vmwrite(struct fsx_worker *w, struct fsx_view *v)
{
	struct iovec local, remote;
	off_t at;
	size_t n;

	if (!some_there(w, v, &at, &n))
		return;
	make_up(w, at, n);
	local = (struct iovec){ w->buf, n };
	remote = (struct iovec){ v->shared + at, n };
	must(w, process_vm_writev(w->self, &local, 1, &remote, 1, 0) == (ssize_t)n, "is short");
	fsx_wrote(v, at, w->buf, n);
}

static void do_splice_in(struct fsx_worker *w, struct fsx_view *v)
{
	loff_t to;
	ssize_t r;
	off_t at;
	size_t n;

	if (!some_anywhere(w, v, &at, &n))
		return;
	make_up(w, at, n);
	must(w, write(w->pipe[1], w->buf, n) == (ssize_t)n, "write to the pipe");
	to = at;
	r = splice(w->pipe[0], NULL, v->file->fd, &to, n, 0);
	must(w, r > 0, "is short");
	fsx_wrote(v, at, w->buf, r);
	drain(w, w->buf, n - r);
}

static void do_copy_range(struct fsx_worker *w, struct fsx_view *v)
{
	struct fsx_view *from = &w->view[fsx_below(w, FSX_FILES)];
	off_t at, source;
	loff_t in, out;
	size_t n, k;
	ssize_t r;

	if (!some_anywhere(w, v, &at, &n) || !some_there(w, from, &source, &k))
		return;
	/* Whole pages of one place are to become those of another. */
	if (fsx_below(w, 2) && source - source % (off_t)pagesize + at % (off_t)pagesize >= from->from)
		source += at % (off_t)pagesize - source % (off_t)pagesize;
	if (source >= fsx_end(from))
		return;
	k = fsx_end(from) - source;
	n = n < k ? n : k;
	about_to(w, at, n, source);
	if (from == v && source < at + (off_t)n && at < source + (off_t)n)
		return;
	in = source;
	out = at;
	r = copy_file_range(from->file->fd, &in, v->file->fd, &out, n, 0);
	must(w, r > 0, "is short");
	w->now->result = r;
	memcpy(w->buf, from->file->bytes + source, r);
	fsx_wrote(v, at, w->buf, r);
}

/* The private mapping. */

/* Calls fn() for what of these bytes lies in one page. */
static void each_page(off_t at, size_t n, void (*fn)(struct fsx_worker *, struct fsx_view *, off_t, size_t),
		      struct fsx_worker *w, struct fsx_view *v)
{
	while (n) {
		size_t part = pagesize - at % pagesize;

		part = part < n ? part : n;
		fn(w, v, at, part);
		at += part;
		n -= part;
	}
}

static void private_read(struct fsx_worker *w, struct fsx_view *v, off_t at, size_t n)
{
	if (v->own[at / pagesize]) {
		if (memcmp(v->private + at, v->copy + at, n))
			fsx_fault(w, "what the private mapping of file %d has at %#lx + %#zx of its own has changed",
				  (int)(v - w->view), (long)at, n);
		return;
	}
	fsx_pages(v, at, n, FSX_READ);
	fsx_compare(w, v, at, v->private + at, n, "the private mapping");
}

static void private_write(struct fsx_worker *w, struct fsx_view *v, off_t at, size_t n)
{
	size_t page = at / pagesize;

	if (!v->own[page]) {
		memcpy(v->copy + page * pagesize, v->file->bytes + page * pagesize, pagesize);
		fsx_pages(v, at, n, FSX_READ);
		v->own[page] = true;
	}
	make_up(w, at, n);
	memcpy(v->private + at, w->buf, n);
	memcpy(v->copy + at, w->buf, n);
}

static void do_private_read(struct fsx_worker *w, struct fsx_view *v)
{
	off_t at;
	size_t n;

	if (some_there(w, v, &at, &n))
		each_page(at, n, private_read, w, v);
}

static void do_private_write(struct fsx_worker *w, struct fsx_view *v)
{
	off_t at;
	size_t n;

	if (!some_there(w, v, &at, &n))
		return;
	each_page(at, n, private_write, w, v);
	must(w, pread(v->file->fd, w->buf, n, at) == (ssize_t)n, "the file cannot be read");
	fsx_compare(w, v, at, w->buf, n, "pread after a private write");
}

/* Forgets what the private mapping had of its own. */
static void do_private_forget(struct fsx_worker *w, struct fsx_view *v)
{
	char *start;
	size_t n, size, page;
	off_t at;

	if (!some_there(w, v, &at, &n))
		return;
	start = pages_of(v->private, at, n, &size);
	must(w, !madvise(start, size, MADV_DONTNEED), "is refused");
	for (page = (start - v->private) / pagesize; size; size -= pagesize)
		v->own[page++] = false;
	each_page(at, n, private_read, w, v);
}

/* What the file has. */

static void do_truncate(struct fsx_worker *w, struct fsx_view *v)
{
	off_t least = v->from ? v->from + 1 : 0, size = least + fsx_below(w, v->to - least + 1);

	if (!v->end)
		return;
	if (!fsx_below(w, 4) && size - size % (off_t)pagesize >= least)
		size -= size % pagesize;
	about_to(w, size, 0, v->file->size);
	must(w, !ftruncate(v->file->fd, size), "is refused");
	fsx_set_size(v, size);
}

/* Up to its end, so that the other operations have something to do. */
static void do_grow(struct fsx_worker *w, struct fsx_view *v)
{
	if (!v->end)
		return;
	about_to(w, v->to, 0, v->file->size);
	must(w, !ftruncate(v->file->fd, v->to), "is refused");
	fsx_set_size(v, v->to);
}

static void do_punch(struct fsx_worker *w, struct fsx_view *v)
{
	off_t at;
	size_t n;

	if (!some_anywhere(w, v, &at, &n))
		return;
	must(w, !fallocate(v->file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, n), "is refused");
	fsx_hole(v, at, at + n);
}

static void do_madv_remove(struct fsx_worker *w, struct fsx_view *v)
{
	char *start;
	size_t n, size;
	off_t at;

	if (!some_there(w, v, &at, &n))
		return;
	start = whole_pages(v, v->shared, at, n, &size);
	if (!start)
		return;
	must(w, !madvise(start, size, MADV_REMOVE), "is refused");
	fsx_hole(v, start - v->shared, start - v->shared + size);
}

static void do_fallocate(struct fsx_worker *w, struct fsx_view *v)
{
	int keep = fsx_below(w, 2) ? FALLOC_FL_KEEP_SIZE : 0;
	off_t at;
	size_t n;

	if (!some_anywhere(w, v, &at, &n))
		return;
	about_to(w, at, n, keep);
	must(w, !fallocate(v->file->fd, keep, at, n), "is refused");
	fsx_pages(v, at, n, FSX_RESERVED);
	if (v->end && !keep && at + (off_t)n > v->file->size)
		fsx_set_size(v, at + n);
}

static void do_zero_range(struct fsx_worker *w, struct fsx_view *v)
{
	off_t at;
	size_t n;

	if (!some_there(w, v, &at, &n))
		return;
	if (fallocate(v->file->fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, at, n)) {
		must(w, errno == EOPNOTSUPP, "is refused otherwise");
		refused(w);
		return;
	}
	memset(v->file->bytes + at, 0, n);
	fsx_pages(v, at, n, FSX_RESERVED);
}

/* Where the pages are, and how they are mapped. */

static void advise(struct fsx_worker *w, struct fsx_view *v, int advice, enum fsx_page state)
{
	char *start;
	size_t n, size;
	off_t at;

	if (!some_there(w, v, &at, &n))
		return;
	if (state)
		fsx_pages(v, at, n, state);
	start = pages_of(v->shared, at, n, &size);
	if (madvise(start, size, advice))
		refused(w);
	fsx_compare(w, v, at, v->shared + at, n, "the mapping");
	fsx_pages(v, at, n, FSX_READ);
}

static void do_populate_read(struct fsx_worker *w, struct fsx_view *v)
{
	advise(w, v, MADV_POPULATE_READ, FSX_READ);
}

static void do_populate_write(struct fsx_worker *w, struct fsx_view *v)
{
	advise(w, v, MADV_POPULATE_WRITE, FSX_HELD);
}

static void do_willneed(struct fsx_worker *w, struct fsx_view *v)
{
	advise(w, v, MADV_WILLNEED, FSX_HOLE);
}

static void do_dontneed(struct fsx_worker *w, struct fsx_view *v)
{
	advise(w, v, MADV_DONTNEED, FSX_HOLE);
}

static void do_pageout(struct fsx_worker *w, struct fsx_view *v)
{
	size_t n, size, page;
	char *start;
	off_t at;

	if (!some_there(w, v, &at, &n))
		return;
	start = whole_pages(v, v->shared, at, n, &size);
	if (!start)
		return;
	if (madvise(start, size, MADV_PAGEOUT))
		refused(w);
	page = (start - v->shared) / pagesize;
	for (; size; size -= pagesize, page++)
		if (v->file->page[page] == FSX_READ)
			v->file->page[page] = FSX_DROPPED;
}

static void do_reclaim(struct fsx_worker *w, struct fsx_view *v)
{
	static const char * const amounts[] = {
		"32K swappiness=max", "128K swappiness=max", "512K swappiness=max",
	};

	if (w->fsx->reclaim)
		reclaim(amounts[fsx_below(w, 3)]);
}

static void do_collapse(struct fsx_worker *w, struct fsx_view *v)
{
	size_t huge = 512 * pagesize, nr = w->fsx->pages / 512;
	off_t at;

	if (!nr || w->fsx->processes > 1)
		return;
	at = fsx_below(w, nr) * huge;
	about_to(w, at, huge, 0);
	if (madvise(v->shared + at, huge, MADV_COLLAPSE))
		refused(w);
}

/* Read-only for a while: a write after that must still find its own page. */
static void do_protect(struct fsx_worker *w, struct fsx_view *v)
{
	char *start;
	size_t n, size;
	off_t at;

	if (!some_there(w, v, &at, &n))
		return;
	start = pages_of(v->shared, at, n, &size);
	must(w, !mprotect(start, size, PROT_READ), "is refused");
	if (fsx_below(w, 2)) {
		fsx_pages(v, at, n, FSX_READ);
		fsx_compare(w, v, at, v->shared + at, n, "the read-only mapping");
	}
	must(w, !mprotect(start, size, PROT_READ | PROT_WRITE), "writing is refused");
	if (fsx_below(w, 2)) {
		make_up(w, at, n);
		memcpy(v->shared + at, w->buf, n);
		fsx_wrote(v, at, w->buf, n);
	}
}

static void do_lock(struct fsx_worker *w, struct fsx_view *v)
{
	char *start;
	size_t n, size;
	off_t at;

	if (!some_there(w, v, &at, &n))
		return;
	start = pages_of(v->shared, at, n, &size);
	fsx_pages(v, at, n, FSX_READ);
	must(w, !mlock(start, size), "is refused");
	fsx_compare(w, v, at, v->shared + at, n, "the locked mapping");
	must(w, !munlock(start, size), "unlocking is refused");
}

static void do_map_again(struct fsx_worker *w, struct fsx_view *v)
{
	size_t size = w->fsx->pages * pagesize;

	must(w, mmap(v->shared, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, v->file->fd, 0) == v->shared &&
		mmap(v->private, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, v->file->fd, 0) == v->private,
	     "is refused");
	if (w->fsx->huge)
		madvise(v->shared, size, MADV_HUGEPAGE);
	memset(v->own, 0, sizeof(v->own));
}

/* Two files never share what can be written, whoever asks. */
static void do_clone(struct fsx_worker *w, struct fsx_view *v)
{
	struct file_clone_range range = { .src_fd = w->view[fsx_below(w, FSX_FILES)].file->fd };
	off_t at;
	size_t n;

	if (!some_there(w, v, &at, &n))
		return;
	range.src_length = pagesize;
	range.dest_offset = at - at % pagesize;
	must(w, ioctl(v->file->fd, FICLONERANGE, &range) < 0, "is done");
	refused(w);
}

static void do_verify(struct fsx_worker *w, struct fsx_view *v)
{
	off_t end = fsx_end(v);

	fsx_verify(w, v);
	if (w->fsx->processes == 1 && !fsx_is_right(w->fsx))
		fsx_fault(w, "something is wrong with a file as a whole");
	if (end > v->from)
		each_page(v->from, end - v->from, private_read, w, v);
}

const struct fsx_operation fsx_operations[] = {
	{ "pread", 32, do_read },
	{ "preadv", 16, do_readv },
	{ "direct read", 12, do_direct_read },
	{ "mapread", 40, do_mapread },
	{ "vm_readv", 12, do_vmread },
	{ "splice", 12, do_splice },
	{ "sendfile", 12, do_sendfile },
	{ "vmsplice", 8, do_vmsplice },
	{ "fork", 1, do_fork },
	{ "pwrite", 48, do_write },
	{ "direct write", 12, do_direct_write },
	{ "mapwrite", 48, do_mapwrite },
	{ "vm_writev", 12, do_vmwrite },
	{ "splice in", 12, do_splice_in },
	{ "copy_file_range", 16, do_copy_range },
	{ "private read", 24, do_private_read },
	{ "private write", 12, do_private_write },
	{ "private forget", 8, do_private_forget },
	{ "truncate", 12, do_truncate },
	{ "grow", 8, do_grow },
	{ "punch", 20, do_punch },
	{ "MADV_REMOVE", 8, do_madv_remove },
	{ "fallocate", 16, do_fallocate },
	{ "zero range", 2, do_zero_range },
	{ "populate read", 8, do_populate_read },
	{ "populate write", 8, do_populate_write },
	{ "WILLNEED", 8, do_willneed },
	{ "DONTNEED", 8, do_dontneed },
	{ "PAGEOUT", 16, do_pageout },
	{ "reclaim", 8, do_reclaim },
	{ "COLLAPSE", 2, do_collapse },
	{ "mprotect", 16, do_protect },
	{ "mlock", 8, do_lock },
	{ "map again", 4, do_map_again },
	{ "clone", 2, do_clone },
	{ "verify", 3, do_verify },
	{}
};

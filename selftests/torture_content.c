// SPDX-License-Identifier: GPL-2.0
/* Operations that write and read. */
#define _GNU_SOURCE
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "torture_ops.h"

/*
 * Writing, in the ways there are: by the process itself, by the kernel on its
 * behalf, and by a debugger, whom a write protection does not stop.
 */
static int put(struct worker *w, size_t area, size_t page, size_t from, const char *data,
	       size_t len, unsigned int how)
{
	char *to = at(w, area, page) + from;
	struct iovec local = { (char *)data, len }, remote = { to, len };
	ssize_t n = len;

	if (w->areas[area].page[page].guard)
		return -EFAULT;
	if (how % 8 == 0 || !writable(w, area, page))
		n = pwrite(w->mem, data, len, (uintptr_t)to);
	else if (how % 8 == 1)
		n = process_vm_writev(getpid(), &local, 1, &remote, 1, 0);
	else
		memcpy(to, data, len);
	if (n < 0)
		return -errno;
	if ((size_t)n != len)
		report(w, area, page, "%zd bytes of %zu were written", n, len);
	wrote(w, area, page, from, data, len);
	return 0;
}

int write_page(struct worker *w, const struct step *s)
{
	char data[pagesize];

	/* Mostly what others have, too. */
	if (s->value % 8)
		content(data, s->value >> 8);
	else
		fill(data, s->value);
	return put(w, s->area, s->page, 0, data, pagesize, s->value >> 32);
}

int write_word(struct worker *w, const struct step *s)
{
	size_t from = s->value % (pagesize / sizeof(s->value)) * sizeof(s->value);
	/* Often the word that others write, too. */
	uint64_t word = s->value % 2 ? s->value : s->value >> 16 & 3;

	return put(w, s->area, s->page, from, (char *)&word, sizeof(word), s->value >> 32);
}

int write_last(struct worker *w, const struct step *s)
{
	char byte = s->value & 1;

	return put(w, s->area, s->page, pagesize - 1, &byte, 1, s->value >> 32);
}

int fill_range(struct worker *w, const struct step *s)
{
	char data[pagesize];
	size_t i;
	int err = 0;

	content(data, s->value >> 8);
	for (i = 0; i < s->count && !err; i++)
		err = put(w, s->area, s->page + i, 0, data, pagesize, s->value >> 32);
	return err;
}

int fill_mixed(struct worker *w, const struct step *s)
{
	char data[pagesize];
	size_t i;
	int err = 0;

	for (i = 0; i < s->count && !err; i++) {
		content(data, s->value + i);
		err = put(w, s->area, s->page + i, 0, data, pagesize, s->value >> 32);
	}
	return err;
}

int zero_range(struct worker *w, const struct step *s)
{
	char data[pagesize];
	size_t i;
	int err = 0;

	memset(data, 0, pagesize);
	for (i = 0; i < s->count && !err; i++)
		err = put(w, s->area, s->page + i, 0, data, pagesize, s->value >> 32);
	return err;
}

int copy_page(struct worker *w, const struct step *s)
{
	struct area *a = &w->areas[s->area];
	size_t from = s->value % a->pages;
	char data[pagesize];

	if (!readable(w, s->area, from))
		return -EACCES;
	verify(w, s->area, from);
	memcpy(data, shadow(w, s->area, from), pagesize);
	return put(w, s->area, s->page, 0, data, pagesize, s->value >> 32);
}

int verify_range(struct worker *w, const struct step *s)
{
	size_t i;

	for (i = 0; i < s->count; i++)
		verify(w, s->area, s->page + i);
	return 0;
}

/*
 * Pages that others have equals of change and change back, as fast as can be,
 * so that a write comes at each moment of a merge. Mostly that takes longer than
 * a pass: only what was seen with the same content before is merged.
 */
int hammer(struct worker *w, const struct step *s)
{
	size_t n = s->count < 8 ? s->count : 8, at_byte = s->value % 2 ? pagesize - 1 : 0, i;
	unsigned long rounds = 1UL << (12 + (s->value >> 16) % 11), round;
	volatile char *bytes[8];
	char byte[8];
	int err;

	for (i = 0; i < n; i++) {
		char data[pagesize];

		if (!writable(w, s->area, s->page + i))
			return -EACCES;
		content(data, s->value >> 8);
		err = put(w, s->area, s->page + i, 0, data, pagesize, 2);
		if (err)
			return err;
		bytes[i] = at(w, s->area, s->page + i) + at_byte;
		byte[i] = data[at_byte];
	}
	for (round = 0; round < rounds; round++) {
		i = round % n;
		if (*bytes[i] != byte[i])
			break;
		byte[i] ^= 1;
		*bytes[i] = byte[i];
		if (*bytes[i] != byte[i])
			break;
	}
	for (i = 0; i < n; i++) {
		wrote(w, s->area, s->page + i, at_byte, &byte[i], 1);
		verify(w, s->area, s->page + i);
	}
	if (round < rounds)
		report(w, s->area, s->page + round % n, "in round %lu, a byte was not what was written",
		       round);
	return 0;
}

/* The kernel reads the memory for us, and finds the same. */
int read_remote(struct worker *w, const struct step *s)
{
	char buf[pagesize];
	size_t i;

	for (i = 0; i < s->count; i++) {
		struct iovec local = { buf, pagesize };
		struct iovec remote = { at(w, s->area, s->page + i), pagesize };

		if (process_vm_readv(getpid(), &local, 1, &remote, 1, 0) < 0)
			return -errno;
		compare(w, s->area, s->page + i, buf, "by process_vm_readv()");
	}
	return 0;
}

// SPDX-License-Identifier: GPL-2.0
/* What each byte must be. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "torture.h"

uint64_t draw(uint64_t *random)
{
	uint64_t x = *random += 0x9e3779b97f4a7c15ULL;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

static size_t header_size(void)
{
	return (sizeof(struct worker) + pagesize - 1) / pagesize * pagesize;
}

size_t worker_size(void)
{
	return header_size() + AREAS * AREA_PAGES * pagesize;
}

char *shadow(struct worker *w, size_t area, size_t page)
{
	return (char *)w + header_size() + (area * AREA_PAGES + page) * pagesize;
}

/* Every process has the same few, and one of them is zero. */
void content(char *page, uint64_t value)
{
	value %= CONTENTS;
	if (value)
		fill(page, 1000 + value);
	else
		memset(page, 0, pagesize);
}

bool readable(struct worker *w, size_t area, size_t page)
{
	struct page_state *s = &w->areas[area].page[page];

	return s->prot != PROT_NONE && !s->guard;
}

bool writable(struct worker *w, size_t area, size_t page)
{
	struct page_state *s = &w->areas[area].page[page];

	return s->prot == (PROT_READ | PROT_WRITE) && !s->guard;
}

/* The page as the process sees it, or would see it if it were allowed to. */
static const char *content_now(struct worker *w, size_t area, size_t page, char *buf)
{
	char *map = page_of(w->areas[area].map, page);

	if (readable(w, area, page))
		return map;
	if (pread(w->mem, buf, pagesize, (uintptr_t)map) != (ssize_t)pagesize)
		report(w, area, page, "cannot be read through /proc/self/mem: %s", strerror(errno));
	return buf;
}

void wrote(struct worker *w, size_t area, size_t page, size_t from, const char *data, size_t len)
{
	struct page_state *s = &w->areas[area].page[page];
	char *want = shadow(w, area, page), buf[pagesize];
	const char *now;

	memcpy(want + from, data, len);
	if (!s->maybe_zero)
		return;
	/* Now that it was written to, the page stays what it is. */
	s->maybe_zero = false;
	if (len == pagesize)
		return;
	now = content_now(w, area, page, buf);
	if (memcmp(now, want, pagesize)) {
		memset(want, 0, pagesize);
		memcpy(want + from, data, len);
	}
	compare(w, area, page, now, "after a write to a freed page");
}

void is_zero_now(struct worker *w, size_t area, size_t page)
{
	memset(shadow(w, area, page), 0, pagesize);
	w->areas[area].page[page].maybe_zero = false;
}

static void print_bytes(const char *what, const char *p, size_t at)
{
	char text[3 * 16 + 1];
	size_t i;

	at = at / 16 * 16;
	for (i = 0; i < 16; i++)
		snprintf(text + 3 * i, 4, " %02x", (unsigned char)p[at + i]);
	dprintf(2, "#   %s at %03zx:%s\n", what, at, text);
}

/* Whose content the page has instead, if it is one that we know. */
static void print_origin(struct worker *w, const char *data)
{
	char buf[pagesize];
	size_t i, area, page;

	for (i = 0; i < CONTENTS; i++) {
		content(buf, i);
		if (!memcmp(buf, data, pagesize))
			dprintf(2, "#   it has content %zu of those that pages are filled with%s\n",
				i, i ? "" : " (zeroes)");
	}
	for (area = 0; area < AREAS; area++)
		for (page = 0; page < w->areas[area].pages; page++)
			if (!memcmp(shadow(w, area, page), data, pagesize)) {
				dprintf(2, "#   it has what page %zu of area %zu must have\n", page, area);
				return;
			}
}

void compare(struct worker *w, size_t area, size_t page, const char *data, const char *how)
{
	struct page_state *s = &w->areas[area].page[page];
	char *want = shadow(w, area, page), have[pagesize];
	size_t first, i, wrong = 0;

	if (!memcmp(data, want, pagesize))
		return;
	/* What becomes zero stays so until it is written to. */
	if (s->maybe_zero && is_zero(data)) {
		is_zero_now(w, area, page);
		return;
	}
	memcpy(have, data, pagesize);
	for (first = 0; first < pagesize - 1 && have[first] == want[first]; first++)
		;
	for (i = first; i < pagesize; i++)
		wrong += have[i] != want[i];
	report_begin(w);
	dprintf(2, "# read %s: %zu bytes differ, the first at %zx%s%s\n", how, wrong, first,
		s->maybe_zero ? "; it was freed, so zeroes would be right too" : "",
		wrong ? "" : "; it was right when looked at again");
	print_bytes("have", have, first);
	print_bytes("want", want, first);
	print_origin(w, have);
	report_end(w, area, page);
}

void verify(struct worker *w, size_t area, size_t page)
{
	struct page_state *s = &w->areas[area].page[page];
	char *map = page_of(w->areas[area].map, page);
	char buf[pagesize];

	if (!s->guard) {
		compare(w, area, page, content_now(w, area, page, buf),
			readable(w, area, page) ? "in place" : "through /proc/self/mem");
		return;
	}
	if (pread(w->mem, buf, pagesize, (uintptr_t)map) > 0)
		report(w, area, page, "a guard page can be read");
}

void verify_all(struct worker *w)
{
	size_t area, page;

	for (area = 0; area < AREAS; area++)
		for (page = 0; page < w->areas[area].pages; page++)
			verify(w, area, page);
}

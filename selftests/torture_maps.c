// SPDX-License-Identifier: GPL-2.0
/* Operations on mappings: advice, protection, and where things are. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "torture_ops.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE		25
#endif
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC	(1 << 15)
#endif
#define MPOL_MF_MOVE		2
#define MPOL_MF_MOVE_ALL	4

/* Where the areas lie: far from what the kernel hands out by itself. */
#define ARENA			0x1000000000UL
#define ARENA_SIZE		(64UL << 20)
#define AREA_SIZE		(8UL << 20)

char *place(struct worker *w, size_t area, int side)
{
	return (char *)ARENA + (w->process * control->threads + w->thread) * ARENA_SIZE +
	       (2 * area + side) * AREA_SIZE;
}

static int advise(struct worker *w, const struct step *s, int advice)
{
	return result(madvise(at(w, s->area, s->page), s->count * pagesize, advice));
}

/* Advice that changes what a page holds: where it fails for all, page by page. */
static int advise_each(struct worker *w, const struct step *s, int advice,
		       void (*done)(struct worker *w, size_t area, size_t page))
{
	int whole = advise(w, s, advice);
	size_t i;

	for (i = 0; i < s->count; i++)
		if (!whole || !madvise(at(w, s->area, s->page + i), pagesize, advice))
			done(w, s->area, s->page + i);
	return whole;
}

int mergeable(struct worker *w, const struct step *s)
{
	return advise(w, s, MADV_MERGEABLE);
}

int unmergeable(struct worker *w, const struct step *s)
{
	return advise(w, s, MADV_UNMERGEABLE);
}

/* A guard page stays one, and will be zero. */
int dontneed(struct worker *w, const struct step *s)
{
	return advise_each(w, s, MADV_DONTNEED, is_zero_now);
}

static void freed(struct worker *w, size_t area, size_t page)
{
	w->areas[area].page[page].maybe_zero = true;
}

int free_range(struct worker *w, const struct step *s)
{
	return advise_each(w, s, MADV_FREE, freed);
}

int pageout(struct worker *w, const struct step *s)
{
	return advise(w, s, MADV_PAGEOUT);
}

int willneed(struct worker *w, const struct step *s)
{
	return advise(w, s, MADV_WILLNEED);
}

int cold(struct worker *w, const struct step *s)
{
	return advise(w, s, MADV_COLD);
}

int populate(struct worker *w, const struct step *s)
{
	return advise(w, s, s->value % 2 ? MADV_POPULATE_READ : MADV_POPULATE_WRITE);
}

static void guarded(struct worker *w, size_t area, size_t page)
{
	is_zero_now(w, area, page);
	w->areas[area].page[page].guard = true;
}

static void unguarded(struct worker *w, size_t area, size_t page)
{
	w->areas[area].page[page].guard = false;
}

int guard(struct worker *w, const struct step *s)
{
	return advise_each(w, s, MADV_GUARD_INSTALL, guarded);
}

int unguard(struct worker *w, const struct step *s)
{
	return advise_each(w, s, MADV_GUARD_REMOVE, unguarded);
}

int protect(struct worker *w, const struct step *s)
{
	static const uint8_t prots[] = { PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE,
					 PROT_READ | PROT_WRITE };
	uint8_t prot = prots[s->value % 4];
	size_t i;

	if (mprotect(at(w, s->area, s->page), s->count * pagesize, prot))
		report(w, s->area, s->page, "mprotect(): %s", strerror(errno));
	for (i = 0; i < s->count; i++)
		w->areas[s->area].page[s->page + i].prot = prot;
	return 0;
}

int unprotect_all(struct worker *w, const struct step *s)
{
	struct step open = *s;

	open.value = 2;
	return protect(w, &open);
}

int lock_range(struct worker *w, const struct step *s)
{
	return result(mlock(at(w, s->area, s->page), s->count * pagesize));
}

int unlock_all(struct worker *w, const struct step *s)
{
	return result(munlock(at(w, s->area, s->page), s->count * pagesize));
}

/* Nothing of it is merged unasked. */
int dont_dump(struct worker *w, const struct step *s)
{
	return advise(w, s, MADV_DONTDUMP);
}

int dump_all(struct worker *w, const struct step *s)
{
	return advise(w, s, MADV_DODUMP);
}

int dumpable(struct worker *w, const struct step *s)
{
	return result(prctl(PR_SET_DUMPABLE, s->value % 2, 0, 0, 0));
}

void map_fresh(struct worker *w, size_t area, size_t page, size_t count)
{
	struct area *a = &w->areas[area];
	size_t i;

	if (mmap(page_of(a->map, page), count * pagesize, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		report(w, area, page, "mmap(): %s", strerror(errno));
	for (i = page; i < page + count; i++) {
		a->page[i] = (struct page_state) { .prot = PROT_READ | PROT_WRITE };
		is_zero_now(w, area, i);
	}
}

/* Other memory comes in the place of what was there. */
int map_anew(struct worker *w, const struct step *s)
{
	map_fresh(w, s->area, s->page, s->count);
	if (s->value % 4)
		return mergeable(w, s);
	return 0;
}

/* The end goes, or comes back: by growing what is there, or as new memory. */
int resize(struct worker *w, const struct step *s)
{
	struct area *a = &w->areas[s->area];
	size_t half = AREA_PAGES / 2, old = a->pages, i;
	char *last;

	if (old > half) {
		a->pages = half + s->value % (old - half);
		if (munmap(page_of(a->map, a->pages), (old - a->pages) * pagesize))
			report(w, s->area, a->pages, "munmap(): %s", strerror(errno));
		return 0;
	}
	a->pages = AREA_PAGES;
	if (s->value % 2) {
		map_fresh(w, s->area, old, a->pages - old);
		return 0;
	}
	last = page_of(a->map, old - 1);
	if (mremap(last, pagesize, (1 + a->pages - old) * pagesize, 0) == MAP_FAILED) {
		int err = -errno;

		/* Of what may be watched or sealed, it is refused. */
		map_fresh(w, s->area, old, a->pages - old);
		return err;
	}
	for (i = old; i < a->pages; i++) {
		a->page[i] = a->page[old - 1];
		a->page[i].guard = false;
		is_zero_now(w, s->area, i);
	}
	return 0;
}

static bool move_pieces(char *from, char *to, size_t pages, size_t piece)
{
	size_t i, n;

	for (i = 0; i < pages; i += n) {
		char *old = page_of(from, i), *new = page_of(to, i);
		unsigned char in_core;

		n = piece < pages - i ? piece : pages - i;
		if (mremap(old, n * pagesize, n * pagesize, MREMAP_MAYMOVE | MREMAP_FIXED, new) == new)
			continue;
		/* More than one VMA may be refused in the middle of it. */
		if (n == 1 && mincore(new, pagesize, &in_core))
			return false;
		if (n > 1 && !move_pieces(old, new, n, 1))
			return false;
	}
	return true;
}

int move(struct worker *w, const struct step *s)
{
	static const size_t pieces[] = { AREA_PAGES, AREA_PAGES, 64, 5 };
	struct area *a = &w->areas[s->area];
	char *to = place(w, s->area, !a->side);

	if (!move_pieces(a->map, to, a->pages, pieces[s->value % 4]))
		report(w, s->area, 0, "mremap(): %s", strerror(errno));
	a->map = to;
	a->side = !a->side;
	return 0;
}

/* A huge page of many contents, where the kernel has one to give. */
int huge_anew(struct worker *w, const struct step *s)
{
	int err;

	map_fresh(w, s->area, s->page, s->count);
	err = advise(w, s, MADV_HUGEPAGE);
	if (err)
		return err;
	fill_mixed(w, s);
	return mergeable(w, s);
}

int move_to_node(struct worker *w, const struct step *s)
{
	enum { MANY = 64 };
	int nodes[MANY], status[MANY];
	void *pages[MANY];
	size_t i, n = s->count < MANY ? s->count : MANY;

	for (i = 0; i < n; i++) {
		pages[i] = at(w, s->area, s->page + i);
		nodes[i] = (s->value >> (i % 8)) & 1;
	}
	return result(syscall(SYS_move_pages, 0, n, pages, nodes, status,
			      s->value & 256 ? MPOL_MF_MOVE : MPOL_MF_MOVE_ALL));
}

int hugepage(struct worker *w, const struct step *s)
{
	return advise(w, s, MADV_HUGEPAGE);
}

int nohugepage(struct worker *w, const struct step *s)
{
	return advise(w, s, MADV_NOHUGEPAGE);
}

int collapse(struct worker *w, const struct step *s)
{
	return advise(w, s, MADV_COLLAPSE);
}

int soft_offline(struct worker *w, const struct step *s)
{
	if (!w->soft_offlines)
		return -EDQUOT;
	w->soft_offlines--;
	return result(madvise(at(w, s->area, s->page), pagesize, MADV_SOFT_OFFLINE));
}

int merge_any(struct worker *w, const struct step *s)
{
	return result(prctl(PR_SET_MEMORY_MERGE, s->value % 2, 0, 0, 0));
}

/* Writes to what is watched go through, and end the watch for the page. */
int watcher(void)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_WP_ASYNC };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd >= 0 && ioctl(fd, UFFDIO_API, &api)) {
		close(fd);
		return -1;
	}
	return fd;
}

int watch(struct worker *w, const struct step *s)
{
	struct uffdio_range range = { (uintptr_t)at(w, s->area, s->page), s->count * pagesize };
	struct uffdio_register reg = { .range = range, .mode = UFFDIO_REGISTER_MODE_WP };
	struct uffdio_writeprotect wp = { .range = range, .mode = UFFDIO_WRITEPROTECT_MODE_WP };

	if (w->uffd < 0)
		w->uffd = watcher();
	if (w->uffd < 0 || ioctl(w->uffd, UFFDIO_REGISTER, &reg))
		return -errno;
	return result(ioctl(w->uffd, UFFDIO_WRITEPROTECT, &wp));
}

/* Closing it ends all that it watched. */
int unwatch(struct worker *w, const struct step *s)
{
	if (w->uffd < 0)
		return -EBADF;
	close(w->uffd);
	w->uffd = -1;
	return 0;
}

/* SPDX-License-Identifier: GPL-2.0 */
/* Random operations on files in memory, of which it is known what each byte must be. */
#ifndef SHARED_FSX_H
#define SHARED_FSX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define FSX_FILES	2
#define FSX_PROCESSES	8
/* Of the larger kind of files, which has room for huge pages. */
#define FSX_MOST_PAGES	1280
#define FSX_OPERATIONS	64

/* What the file has at a place. */
enum fsx_page {
	FSX_HOLE,
	/* Made by a read through a mapping, so that it is clean; and such a one after reclaim. */
	FSX_DROPPED,
	FSX_READ,
	/* By fallocate(): whether it counts as data depends on what came since. */
	FSX_RESERVED,
	FSX_HELD,
};

/* A file as it must be. It lies in memory that all processes share. */
struct fsx_file {
	int fd;
	/* Opened with O_DIRECT; -1: it cannot be. */
	int direct;
	/* Only who has the end of the file changes it. */
	off_t size;
	/* A process that is near a page's edge shares it with its neighbour. */
	_Atomic unsigned char page[FSX_MOST_PAGES];
	unsigned char *bytes;
};

struct fsx {
	uint64_t seed;
	/* Of each file, and how much of it is used at once. */
	size_t pages;
	int processes;
	long operations;
	/* FIDEDUPERANGE works here. */
	bool dedupe;
	/* Huge pages hold more than what was asked for. */
	bool huge;
	/* It has a memory cgroup of its own, from which pages can be pushed out. */
	bool reclaim;
	struct fsx_file file[FSX_FILES];
	/* Set by the first who finds a fault: the others end. */
	_Atomic bool failed;
	/* What was done, and what the kernel did not do. */
	_Atomic long done[FSX_OPERATIONS], refused[FSX_OPERATIONS];
	_Atomic long merged, differed;
};

/* The files, of this size, are to be in file[].fd; in memory that is shared. */
struct fsx *fsx_new(size_t pages, int processes, long operations, uint64_t seed);
/* What process `me` does, to be called in a child: 0, or 1, and it has said what is wrong. */
int fsx_run(struct fsx *fsx, int me);
/* Nobody is at it any more: each byte, size and number of blocks is right. */
bool fsx_is_right(struct fsx *fsx);
void fsx_print(struct fsx *fsx);

/* Below: between the parts of it. */

/* One process's part of a file, and its mappings of all of it. */
struct fsx_view {
	struct fsx *fsx;
	struct fsx_file *file;
	/* From, and to at most. It owns the end of the file: only then the size may change. */
	off_t from, to;
	bool end;
	char *shared, *private;
	/* Which pages of the private mapping are its own, and what they hold. */
	bool own[FSX_MOST_PAGES];
	unsigned char *copy;
};

/*
 * One operation, for the report. What the other number is goes by the operation: where
 * bytes come from; of a merge the target, plus 1 if that is file 1.
 */
struct fsx_step {
	const char *name;
	long nr, offset, length, other, result;
	int file;
};

struct fsx_worker {
	struct fsx *fsx;
	int me;
	uint64_t random;
	struct fsx_view view[FSX_FILES];
	struct fsx_step step[64], *now;
	/* Of the operation: its number, and its place in the tables. */
	long nr;
	int kind;
	/* Room for one operation. */
	char *buf;
	int pipe[2];
	pid_t self;
};

uint64_t fsx_draw(struct fsx_worker *w);
/* Below n. */
size_t fsx_below(struct fsx_worker *w, size_t n);
/* Says what is wrong and what was done before, and ends the process. */
void fsx_fault(struct fsx_worker *w, const char *format, ...)
	__attribute__((format(printf, 2, 3), noreturn));
/* Where this process's part of the file ends now. */
off_t fsx_end(struct fsx_view *v);
/* These bytes were read from there. */
void fsx_compare(struct fsx_worker *w, struct fsx_view *v, off_t at, const void *data, size_t n, const char *how);
/* The file gets these pages, and keeps better ones. */
void fsx_pages(struct fsx_view *v, off_t at, size_t n, enum fsx_page state);
/* Bytes, and the size if they lie behind it. */
void fsx_wrote(struct fsx_view *v, off_t at, const void *data, size_t n);
void fsx_hole(struct fsx_view *v, off_t at, off_t to);
void fsx_set_size(struct fsx_view *v, off_t size);
/* Reads all that this process has of the file. */
void fsx_verify(struct fsx_worker *w, struct fsx_view *v);

struct fsx_operation {
	const char *name;
	int weight;
	void (*fn)(struct fsx_worker *w, struct fsx_view *v);
};

/* All of them; and those that merge, for kernels that do. */
extern const struct fsx_operation fsx_operations[], fsx_merging[];
#define FSX_MERGING	(FSX_OPERATIONS - 8)

/* Asks for one page of the file to be merged with another one: 0 or -errno. */
int fsx_try_dedupe(int fd);

#endif

/* SPDX-License-Identifier: GPL-2.0 */
/* What the tests share: knobs, waiting for the scanner, page content and page tables. */
#ifndef KSM_LIB_H
#define KSM_LIB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE	67
#define PR_GET_MEMORY_MERGE	68
#endif

/* Bits of /proc/kpageflags. */
#define KPF_ANON_BIT	(1ULL << 12)
#define KPF_KSM_BIT	(1ULL << 21)
#define KPF_THP_BIT	(1ULL << 22)
#define KPF_ZERO_BIT	(1ULL << 24)

/* Bits of /proc/PID/pagemap. */
#define PM_PRESENT_BIT	(1ULL << 63)
#define PM_SWAP_BIT	(1ULL << 62)

extern size_t pagesize;

/* How often to do what one does many times: $KSM_ROUNDS percent of n. */
int rounds(int n);
/* By a clock that only goes on. */
long now_ms(void);

/* The provider's directory: $KSM_SYSFS, or the name every tool uses. */
const char *ksm_dir(void);

/* Knobs and counters. Reads and writes return -errno on failure. */
int file_read(const char *path, char *buf, size_t size);
int file_write(const char *path, const char *text);
int file_write_n(const char *path, const void *buf, size_t n);
long file_long(const char *path);
/* Good until it is called again. */
const char *knob_path(const char *name);
int knob_text(const char *name, char *buf, size_t size);
long knob(const char *name);
int knob_write(const char *name, const char *text);
int knob_set(const char *name, long value);

/*
 * All knobs as they are, to be put back later; and as the tests want them:
 * the scanner off, and a whole pass in one go without a pause.
 */
#define NR_KNOBS	22

struct knob_values {
	char text[NR_KNOBS][40];
};

bool knobs_save(struct knob_values *v);
bool knobs_restore(const struct knob_values *v);
bool knobs_for_test(void);
/* Who provides merging: in-tree KSM has no scope. */
bool is_rksm(void);
/* Nothing of anyone is merged afterwards, or it says what is, and fails. */
bool unmerge_everything(void);

struct counters {
	long shared, sharing, unshared, volatiles, zero, profit;
};

struct counters counters_now(void);
/* The same with the scanner stopped between two passes, so that they agree. */
struct counters counters_at_rest(void);
void counters_print(const char *what);

/*
 * Waiting. All of these go by the number of passes the scanner has finished,
 * so they mean the same on a slow machine; they fail only when the scanner
 * stands still for a long time, or a state is not reached in many passes.
 */
bool ksm_passes(unsigned int n);
bool ksm_until(bool (*cond)(void *arg), void *arg);
/* Both counters reach these values, and keep them for two more passes. */
bool ksm_settles(long shared, long sharing);
/* All of them are merged into one, a few passes from now. */
bool gets_merged(char *map, size_t n);
/* In-tree KSM has not all of them. */
#define NEEDS_KNOB(name, why) do {					\
	char text[64];							\
	if (knob_text(name, text, sizeof(text)) == -ENOENT)		\
		SKIP(return, why);					\
} while (0)
/* Both files that take the number of a process come together. */
#define NEEDS_ENROL()	NEEDS_KNOB("enrol", "this provider enrols nobody from outside")

/* The scanner makes exactly one pass and rests; leaves run at 0. */
bool ksm_step(void);
/* Sets run to 0, which does not wait for long, and waits until nothing is scanned any more. */
bool scanner_stop(void);
/* The batch under way, if there is one, comes to its end. */
bool scanner_sleeps(void);
/* A counter reaches a value. */
bool counter_reaches(const char *name, long value);
/*
 * The scanner's threads, and one of them; how often they went to sleep or were made
 * to; the time in ns that they, and so many passes, have taken of a CPU.
 */
#define MOST_SCANNERS	32
int scanners(pid_t *pids, int most);
pid_t scanner(void);
/* As in /proc/PID/stat; 0: no such thread. */
char state_of(pid_t pid);
long scanner_switches(void);
/* In one of so many times of ms none of them wakes. What they are still about to do may take the first ones. */
bool scanner_rests(unsigned int ms, int attempts);
/* Does each of them do something, within ten seconds? */
bool all_scanners_run(void);
long long scanner_cpu(void);
long long passes_cpu(unsigned int n);

/* Memory: anonymous pages that are never part of a huge page. */
char *map_pages(size_t n);
/* A userfaultfd waits for the next writes, or accesses of any kind: its descriptor, or -errno. */
int watch_writes(char *map, size_t size);
int watch_accesses(char *map, size_t size);
char *page_of(char *map, size_t i);
/* All with this content, and not advised; NULL: it failed. */
char *equal_pages(size_t n, uint64_t seed);
/* Pages with a word in each that no other has, and advised; NULL: it failed. */
char *different_pages(size_t n, uint64_t seed);
/* A pipe refers to the page, which is read from fd[0]. */
bool put_in_pipe(char *page, int fd[2]);
/* 4 KiB that follow from the seed alone, and nothing else has. */
void fill(char *page, uint64_t seed);
bool holds(const char *page, uint64_t seed);
bool is_zero(const char *page);
void fill_all(char *map, size_t n, uint64_t seed);	/* every page the same */
bool all_hold(char *map, size_t n, uint64_t seed);

/* Page tables. pid 0 is the caller. */
uint64_t pagemap_of(pid_t pid, const void *addr);
uint64_t pfn_of(pid_t pid, const void *addr);		/* 0: not present */
uint64_t kflags_of(pid_t pid, const void *addr);
bool is_ksm(const void *addr);
/* How many of them are the kernel's zero page. */
long on_zero_page(char *map, size_t n);
bool all_ksm(char *map, size_t n);
bool none_ksm(char *map, size_t n);
bool no_two_share(char *map, size_t n);
size_t distinct_pfns(char *map, size_t n);
/* The line "VmFlags:" of the mapping that begins there; empty: there is none. */
void vma_flags(const char *map, char *flags, size_t size);

/* A counter of /proc/vmstat; -1: no such line. */
long vm_event(const char *name);
/* Free ones, with those that are kept for a CPU, which MemFree does not count. */
long free_pages(void);

/* /proc/PID files; -1: no such line. */
long ksm_stat(pid_t pid, const char *key);
long merging_pages(pid_t pid);
long status_kb(pid_t pid, const char *key);

/*
 * A second process that takes turns with the test: it runs fn() and the two
 * meet in peer_meet(), which blocks until the other side is there as well.
 */
struct peer {
	pid_t pid;
	int rd, wr;
};

bool peer_start(struct peer *p, int (*fn)(struct peer *p, void *arg), void *arg);
bool peer_meet(struct peer *p);
/* As peer_meet(), and each gets the value the other one gave; -1: it is gone. */
long peer_swap(struct peer *p, long value);
/* Waits for its end: the value fn() returned, or 128 + signal. */
int peer_end(struct peer *p);
/* A child that dies with the test; as fork(). */
pid_t fork_child(void);
int wait_child(pid_t pid);
/* So many that do nothing until they are killed. */
bool fork_sleepers(pid_t *pids, int n);
void kill_all(pid_t *pids, int n);

/* In a child: say what does not hold and return failure. */
#define CHECK(cond) do {						\
	if (!(cond)) {							\
		dprintf(2, "# %s:%d: child: not true: %s\n",		\
			__FILE__, __LINE__, #cond);			\
		return 1;						\
	}								\
} while (0)

#endif

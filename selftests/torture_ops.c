// SPDX-License-Identifier: GPL-2.0
/* The operations there are, how they are drawn, and the workers that do them. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "torture_ops.h"

/* Each page taken offline is lost to the machine. */
#define SOFT_OFFLINES		4

static __thread struct worker *me;

static int step_of(struct worker *w);

static void open_mem(struct worker *w)
{
	/* It stands for the memory of whoever opened it. */
	w->mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	if (w->mem < 0)
		report(w, AREAS, 0, "/proc/self/mem: %s", strerror(errno));
}

static void end_child(struct worker *w)
{
	int status;

	if (!w->child)
		return;
	status = wait_child(w->child);
	w->child = 0;
	if (status)
		report(w, AREAS, 0, "the child ended with %d", status);
}

static void as_child(struct worker *w, uint64_t value)
{
	unsigned int steps = value % 48;

	me = w;
	w->depth++;
	w->child = 0;
	w->uffd = -1;
	w->soft_offlines = 0;
	w->random = value;
	close(w->mem);
	open_mem(w);
	verify_all(w);
	while (steps-- && !atomic_load(&control->failed))
		step_of(w);
	end_child(w);
	verify_all(w);
	_exit(0);
}

/* The child does as the parent does, with a shadow of its own; neither sees what the other writes. */
static int fork_off(struct worker *w, const struct step *s)
{
	struct worker *copy;
	pid_t pid;
	int err;

	if (w->depth == 2)
		return -EPERM;
	end_child(w);
	copy = mmap(NULL, worker_size(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (copy == MAP_FAILED)
		return -errno;
	memcpy(copy, w, worker_size());
	pid = fork_child();
	if (pid == 0)
		as_child(copy, s->value);
	err = result(pid);
	munmap(copy, worker_size());
	if (!err)
		w->child = pid;
	return err;
}

/* What is there, and how often it is done. */
static const struct {
	const char *name;
	int weight;
	enum reach { PAGE, RANGE, AREA } reach;
	operation *run;
} operations[] = {
	{ "write-page", 60, PAGE, write_page },
	{ "write-word", 60, PAGE, write_word },
	{ "write-last-byte", 30, PAGE, write_last },
	{ "fill-range", 40, RANGE, fill_range },
	{ "fill-mixed", 40, RANGE, fill_mixed },
	{ "zero-range", 20, RANGE, zero_range },
	{ "copy-page", 20, PAGE, copy_page },
	{ "hammer", 20, RANGE, hammer },
	{ "verify", 100, RANGE, verify_range },
	{ "read-remote", 10, RANGE, read_remote },
	{ "mergeable", 20, AREA, mergeable },
	{ "mergeable-part", 10, RANGE, mergeable },
	{ "unmergeable", 4, RANGE, unmergeable },
	{ "dontneed", 10, RANGE, dontneed },
	{ "free", 10, RANGE, free_range },
	{ "pageout", 10, RANGE, pageout },
	{ "cold", 2, RANGE, cold },
	{ "willneed", 2, RANGE, willneed },
	{ "populate", 3, RANGE, populate },
	{ "guard", 3, RANGE, guard },
	{ "unguard", 3, RANGE, unguard },
	{ "unguard-all", 4, AREA, unguard },
	{ "protect", 10, RANGE, protect },
	{ "unprotect-all", 8, AREA, unprotect_all },
	{ "lock", 2, RANGE, lock_range },
	{ "unlock-all", 4, AREA, unlock_all },
	{ "dont-dump", 3, RANGE, dont_dump },
	{ "dump-all", 4, AREA, dump_all },
	{ "dumpable", 2, AREA, dumpable },
	{ "map-anew", 4, RANGE, map_anew },
	{ "resize", 3, AREA, resize },
	{ "move", 4, AREA, move },
	{ "move-to-node", 8, RANGE, move_to_node },
	{ "huge-anew", 4, AREA, huge_anew },
	{ "hugepage", 4, AREA, hugepage },
	{ "nohugepage", 3, AREA, nohugepage },
	{ "collapse", 2, AREA, collapse },
	{ "soft-offline", 1, PAGE, soft_offline },
	{ "merge-any", 3, AREA, merge_any },
	{ "watch", 3, RANGE, watch },
	{ "unwatch", 3, AREA, unwatch },
	{ "pipe", 8, RANGE, through_pipe },
	{ "pin", 6, RANGE, pinned },
	{ "direct-read", 8, RANGE, direct_read },
	{ "register", 6, RANGE, registered },
	{ "sparse", 4, PAGE, sparse },
	{ "many-mappings", 3, PAGE, many_mappings },
	{ "hold-lock", 3, PAGE, hold_lock },
	{ "fork-storm", 3, PAGE, fork_storm },
	{ "fork", 8, AREA, fork_off },
};

const size_t nr_operations = sizeof(operations) / sizeof(*operations);
static bool missing[MAX_OPERATIONS];
static int all_weights;

const char *operation_name(size_t operation)
{
	return operations[operation].name;
}

bool operation_skip(const char *name)
{
	size_t i;

	for (i = 0; i < nr_operations; i++)
		if (!strcmp(operations[i].name, name))
			return missing[i] = true;
	return false;
}

bool operation_skipped(size_t operation)
{
	return missing[operation];
}

static void is_missing(const char *name)
{
	operation_skip(name);
	dprintf(2, "# not available on this kernel: %s\n", name);
}

/*
 * What this kernel has. What it has not is drawn all the same, so that a seed
 * means the same everywhere.
 */
void operations_probe(bool swap)
{
	char *page = map_pages(1);
	size_t i;
	int fd;

	for (i = 0; i < nr_operations; i++)
		all_weights += operations[i].weight;
	*page = 1;
	if (!swap)
		is_missing("pageout");
	if (madvise(page, pagesize, MADV_GUARD_INSTALL)) {
		is_missing("guard");
		is_missing("unguard");
		is_missing("unguard-all");
	}
	if (access("/sys/kernel/mm/transparent_hugepage", F_OK)) {
		is_missing("huge-anew");
		is_missing("hugepage");
		is_missing("nohugepage");
		is_missing("collapse");
	}
#ifdef __aarch64__
	/*
	 * A write to what is watched takes the mark from the entry. Where the page
	 * was not accessed, CONFIG_DEBUG_VM warns of that, on this machine only.
	 */
	is_missing("watch");
	is_missing("unwatch");
#endif
	if (access("/sys/devices/system/node/node1", F_OK))
		is_missing("move-to-node");
	/* Of no page at all, it fails only where it is unknown. */
	if (madvise(page, 0, MADV_SOFT_OFFLINE))
		is_missing("soft-offline");
	if (prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0) < 0)
		is_missing("merge-any");
	fd = watcher();
	if (fd < 0) {
		is_missing("watch");
		is_missing("unwatch");
	}
	close(fd);
	if (!pins_probe())
		is_missing("pin");
	if (!direct_probe())
		is_missing("direct-read");
	if (!rings_probe())
		is_missing("register");
	if (!sparse_probe())
		is_missing("sparse");
	munmap(page, pagesize);
}

static void draw_step(struct worker *w, struct step *s)
{
	int weight = draw(&w->random) % all_weights, i = 0;
	struct area *a;
	uint64_t size;

	while (weight >= operations[i].weight)
		weight -= operations[i++].weight;
	s->operation = i;
	s->area = draw(&w->random) % AREAS;
	a = &w->areas[s->area];
	s->page = draw(&w->random) % a->pages;
	size = draw(&w->random);
	s->count = size % 8 ? 1 + size / 8 % 8 : 1 + size / 8 % AREA_PAGES;
	s->value = draw(&w->random);
	if (operations[i].reach == PAGE)
		s->count = 1;
	if (operations[i].reach == AREA) {
		s->page = 0;
		s->count = a->pages;
	}
	if (s->count > a->pages - s->page)
		s->count = a->pages - s->page;
}

static int step_of(struct worker *w)
{
	struct step *s = &w->history[(w->steps + 1) % HISTORY];

	draw_step(w, s);
	s->nr = w->steps + 1;
	s->result = -EINPROGRESS;
	w->steps++;
	if (missing[s->operation])
		s->result = -ENOSYS;
	else
		s->result = operations[s->operation].run(w, s);
	if (s->result)
		w->failed[s->operation]++;
	else
		w->done[s->operation]++;
	return s->result;
}

/* Memory that must be there is not. */
static void on_signal(int signo, siginfo_t *info, void *context)
{
	char *address = info->si_addr;
	struct worker *w = me;
	size_t area;

	for (area = 0; w && area < AREAS; area++) {
		struct area *a = &w->areas[area];

		if (address >= a->map && address < page_of(a->map, a->pages))
			report(w, area, (address - a->map) / pagesize, "signal %d (code %d) at %p",
			       signo, info->si_code, address);
	}
	if (w)
		report(w, AREAS, 0, "signal %d (code %d) at %p", signo, info->si_code, address);
	_exit(128 + signo);
}

static void catch_signals(void)
{
	struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };
	static const int signals[] = { SIGSEGV, SIGBUS, SIGILL };
	size_t i;

	for (i = 0; i < sizeof(signals) / sizeof(*signals); i++)
		sigaction(signals[i], &action, NULL);
}

void worker_run(struct worker *w)
{
	size_t area;

	me = w;
	catch_signals();
	open_mem(w);
	w->uffd = -1;
	w->soft_offlines = SOFT_OFFLINES;
	for (area = 0; area < AREAS; area++) {
		w->areas[area].map = place(w, area, 0);
		w->areas[area].pages = AREA_PAGES;
		map_fresh(w, area, 0, AREA_PAGES);
		madvise(w->areas[area].map, AREA_PAGES * pagesize, MADV_MERGEABLE);
	}
	while (!atomic_load(&control->stop) && !atomic_load(&control->failed)) {
		uint32_t quiet = atomic_load(&control->quiet);

		if (quiet) {
			end_child(w);
			verify_all(w);
			atomic_store(&w->quiet, quiet);
			while (atomic_load(&control->quiet) == quiet)
				syscall(SYS_futex, &control->quiet, FUTEX_WAIT, quiet, NULL, NULL, 0);
			verify_all(w);
			continue;
		}
		step_of(w);
	}
	end_child(w);
	verify_all(w);
}

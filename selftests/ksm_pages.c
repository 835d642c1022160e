// SPDX-License-Identifier: GPL-2.0
/* Memory for the tests: content that can be checked, page tables, /proc/PID. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "ksm_lib.h"

/* Of Linux 7.3; the machine that builds this may have older headers. */
#ifndef UFFD_FEATURE_RWP
#define UFFD_FEATURE_RWP		(1 << 17)
#define UFFDIO_REGISTER_MODE_RWP	(1ULL << 3)
#define UFFDIO_RWPROTECT		_IOWR(UFFDIO, 0x09, struct uffdio_rwprotect)
#define UFFDIO_RWPROTECT_MODE_RWP	(1ULL << 0)

struct uffdio_rwprotect {
	struct uffdio_range range;
	__u64 mode;
};
#endif

bool put_in_pipe(char *page, int fd[2])
{
	struct iovec iov = { page, pagesize };

	return !pipe2(fd, O_CLOEXEC) && vmsplice(fd[1], &iov, 1, 0) == pagesize;
}

char *map_pages(size_t n)
{
	char *map = mmap(NULL, n * pagesize, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (map == MAP_FAILED)
		return NULL;
	/* A kernel without huge pages says EINVAL, and needs no telling. */
	if (madvise(map, n * pagesize, MADV_NOHUGEPAGE) && errno != EINVAL)
		return NULL;
	return map;
}

char *page_of(char *map, size_t i)
{
	return map + i * pagesize;
}

char *different_pages(size_t n, uint64_t seed)
{
	char *map = map_pages(n);
	size_t i;

	for (i = 0; map && i < n; i++)
		*(uint64_t *)page_of(map, i) = (seed << 32) + i + 1;
	return map && !madvise(map, n * pagesize, MADV_MERGEABLE) ? map : NULL;
}

static uint64_t word(uint64_t seed, size_t i)
{
	uint64_t x = seed * 0x9e3779b97f4a7c15ULL + i * 0xd1b54a32d192ed03ULL + 1;

	x ^= x >> 29;
	x *= 0xbf58476d1ce4e5b9ULL;
	return x ^ (x >> 32);
}

void fill(char *page, uint64_t seed)
{
	uint64_t *w = (uint64_t *)page;
	size_t i;

	for (i = 0; i < pagesize / sizeof(*w); i++)
		w[i] = word(seed, i);
}

bool holds(const char *page, uint64_t seed)
{
	const volatile uint64_t *w = (const volatile uint64_t *)page;
	size_t i;

	for (i = 0; i < pagesize / sizeof(*w); i++) {
		if (w[i] == word(seed, i))
			continue;
		dprintf(2, "# page %p differs from seed %llu at word %zu: %llx, not %llx\n",
			page, (unsigned long long)seed, i,
			(unsigned long long)w[i],
			(unsigned long long)word(seed, i));
		return false;
	}
	return true;
}

bool is_zero(const char *page)
{
	const volatile uint64_t *w = (const volatile uint64_t *)page;
	size_t i;

	for (i = 0; i < pagesize / sizeof(*w); i++)
		if (w[i])
			return false;
	return true;
}

void fill_all(char *map, size_t n, uint64_t seed)
{
	while (n--)
		fill(page_of(map, n), seed);
}

char *equal_pages(size_t n, uint64_t seed)
{
	char *map = map_pages(n);

	if (map)
		fill_all(map, n, seed);
	return map;
}

bool all_hold(char *map, size_t n, uint64_t seed)
{
	while (n--)
		if (!holds(page_of(map, n), seed))
			return false;
	return true;
}

static uint64_t entry(const char *path, uint64_t index)
{
	int fd = open(path, O_RDONLY);
	uint64_t value = 0;

	if (fd < 0 || pread(fd, &value, sizeof(value), index * sizeof(value)) !=
	    sizeof(value)) {
		dprintf(2, "# cannot read %s: %s\n", path, strerror(errno));
		abort();
	}
	close(fd);
	return value;
}

static const char *proc_path(pid_t pid, const char *file)
{
	static char path[64];

	if (pid)
		snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
	else
		snprintf(path, sizeof(path), "/proc/thread-self/%s", file);
	return path;
}

uint64_t pagemap_of(pid_t pid, const void *addr)
{
	return entry(proc_path(pid, "pagemap"), (uintptr_t)addr / pagesize);
}

uint64_t pfn_of(pid_t pid, const void *addr)
{
	uint64_t e = pagemap_of(pid, addr);

	return e & PM_PRESENT_BIT ? e & ((1ULL << 55) - 1) : 0;
}

uint64_t kflags_of(pid_t pid, const void *addr)
{
	uint64_t pfn = pfn_of(pid, addr);

	return pfn ? entry("/proc/kpageflags", pfn) : 0;
}

bool is_ksm(const void *addr)
{
	return kflags_of(0, addr) & KPF_KSM_BIT;
}

long on_zero_page(char *map, size_t n)
{
	long found = 0;

	while (n--)
		found += !!(kflags_of(0, page_of(map, n)) & KPF_ZERO_BIT);
	return found;
}

bool all_ksm(char *map, size_t n)
{
	while (n--)
		if (!is_ksm(page_of(map, n)))
			return false;
	return true;
}

bool none_ksm(char *map, size_t n)
{
	while (n--)
		if (is_ksm(page_of(map, n)))
			return false;
	return true;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

size_t distinct_pfns(char *map, size_t n)
{
	uint64_t *pfn = calloc(n, sizeof(*pfn));
	size_t i, found = 0;

	for (i = 0; i < n; i++)
		pfn[i] = pfn_of(0, page_of(map, i));
	qsort(pfn, n, sizeof(*pfn), by_value);
	for (i = 0; i < n; i++)
		if (pfn[i] && (i == 0 || pfn[i] != pfn[i - 1]))
			found++;
	free(pfn);
	return found;
}

bool no_two_share(char *map, size_t n)
{
	return distinct_pfns(map, n) == n;
}

/* The number behind a key at the start of a line. */
static long line_value(pid_t pid, const char *file, const char *key)
{
	char buf[8192], *line, *save;
	size_t len = strlen(key);

	if (file_read(proc_path(pid, file), buf, sizeof(buf)) < 0)
		return -1;
	for (line = strtok_r(buf, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		if (strncmp(line, key, len))
			continue;
		line += len;
		if (*line == ':')
			line++;
		if (*line != ' ' && *line != '\t')
			continue;
		line += strspn(line, " \t");
		if (!strcmp(line, "yes"))
			return 1;
		return strtol(line, NULL, 10);
	}
	return -1;
}

long vm_event(const char *name)
{
	FILE *f = fopen("/proc/vmstat", "r");
	char key[64];
	long value, found = -1;

	while (f && found < 0 && fscanf(f, "%63s %ld", key, &value) == 2)
		if (!strcmp(key, name))
			found = value;
	if (f)
		fclose(f);
	return found;
}

long free_pages(void)
{
	FILE *f = fopen("/proc/zoneinfo", "r");
	char line[256];
	long value, sum = 0;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, " nr_free_pages %ld", &value) == 1 || sscanf(line, " count: %ld", &value) == 1)
			sum += value;
	if (f)
		fclose(f);
	return sum;
}

long ksm_stat(pid_t pid, const char *key)
{
	return line_value(pid, "ksm_stat", key);
}

long status_kb(pid_t pid, const char *key)
{
	return line_value(pid, "status", key);
}

long merging_pages(pid_t pid)
{
	return file_long(proc_path(pid, "ksm_merging_pages"));
}

/* Registers memory with a userfaultfd, which has `protect` done with it by `argument`. */
static int watch(char *map, size_t size, uint64_t features, uint64_t mode,
		 unsigned long protect, void *argument)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	struct uffdio_register reg = { .range = { (uintptr_t)map, size }, .mode = mode };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK), err;

	if (fd < 0)
		return -errno;
	if (ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &reg) ||
	    ioctl(fd, protect, argument)) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

int watch_writes(char *map, size_t size)
{
	struct uffdio_writeprotect protect = {
		.range = { (uintptr_t)map, size },
		.mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};

	return watch(map, size, UFFD_FEATURE_PAGEFAULT_FLAG_WP, UFFDIO_REGISTER_MODE_WP,
		     UFFDIO_WRITEPROTECT, &protect);
}

int watch_accesses(char *map, size_t size)
{
	struct uffdio_rwprotect protect = {
		.range = { (uintptr_t)map, size },
		.mode = UFFDIO_RWPROTECT_MODE_RWP,
	};

	return watch(map, size, UFFD_FEATURE_RWP, UFFDIO_REGISTER_MODE_RWP, UFFDIO_RWPROTECT,
		     &protect);
}

void vma_flags(const char *map, char *flags, size_t size)
{
	char line[256], start[32];
	FILE *f = fopen("/proc/self/smaps", "r");
	bool here = false;

	snprintf(start, sizeof(start), "%lx-", (unsigned long)map);
	*flags = 0;
	while (f && fgets(line, sizeof(line), f)) {
		if (!strncmp(line, start, strlen(start)))
			here = true;
		if (here && !strncmp(line, "VmFlags:", 8)) {
			snprintf(flags, size, "%s", line);
			break;
		}
	}
	if (f)
		fclose(f);
}

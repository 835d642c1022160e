// SPDX-License-Identifier: GPL-2.0
/* A process whose mmap lock is held for ever, or nearly always. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <linux/mount.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stuck_lib.h"

/* How long anything that must happen is waited for. */
#define PATIENCE_MS	60000
#define BUSY_PAGES	16384

bool stuck_possible(void)
{
	return access("/dev/fuse", R_OK | W_OK) == 0;
}

static bool answer(int dev, const struct fuse_in_header *in, int error, void *body, size_t size)
{
	struct fuse_out_header *out;
	char buf[sizeof(*out) + 256];

	out = (void *)buf;
	out->unique = in->unique;
	out->error = error;
	out->len = sizeof(*out) + size;
	if (size)
		memcpy(buf + sizeof(*out), body, size);
	return write(dev, buf, out->len) == out->len;
}

static bool answer_init(int dev, const struct fuse_in_header *in, const struct fuse_init_in *init)
{
	struct fuse_init_out out = {
		.major = FUSE_KERNEL_VERSION,
		.minor = 31,
		.max_readahead = 1 << 16,
		/* So that a read can be begun without waiting for it. */
		.flags = init->flags & FUSE_ASYNC_READ,
		.max_background = 16,
		.congestion_threshold = 12,
		.max_write = 1 << 16,
		.time_gran = 1,
	};

	return answer(dev, in, 0, &out, sizeof(out));
}

/* Every second one that opens the file does so for direct I/O. */
static bool answer_open(int dev, const struct fuse_in_header *in)
{
	static int opens;
	struct fuse_open_out out = {
		.open_flags = opens++ % 2 ? FOPEN_DIRECT_IO : 0,
	};

	return answer(dev, in, 0, &out, sizeof(out));
}

static bool answer_attr(int dev, const struct fuse_in_header *in)
{
	struct fuse_attr_out out = {
		.attr_valid = 3600,
		.attr.ino = FUSE_ROOT_ID,
		.attr.size = pagesize,
		.attr.mode = S_IFREG | 0600,
		.attr.nlink = 1,
		.attr.blksize = pagesize,
	};

	return answer(dev, in, 0, &out, sizeof(out));
}

/* Answers everything but reads. */
static int serve(int dev)
{
	char *buf = malloc(FUSE_MIN_READ_BUFFER + (1 << 16));
	struct fuse_in_header *in = (void *)buf;

	while (buf) {
		ssize_t n = read(dev, buf, FUSE_MIN_READ_BUFFER + (1 << 16));

		if (n < 0 && (errno == EINTR || errno == ENOENT))
			continue;
		if (n < (ssize_t)sizeof(*in))
			break;
		switch (in->opcode) {
		case FUSE_INIT:
			answer_init(dev, in, (void *)(in + 1));
			break;
		case FUSE_OPEN:
			answer_open(dev, in);
			break;
		case FUSE_GETATTR:
			answer_attr(dev, in);
			break;
		case FUSE_READ:
		case FUSE_FORGET:
		case FUSE_BATCH_FORGET:
		case FUSE_INTERRUPT:
			break;
		case FUSE_RELEASE:
		case FUSE_FLUSH:
			answer(dev, in, 0, NULL, 0);
			break;
		default:
			answer(dev, in, -ENOSYS, NULL, 0);
		}
	}
	return 1;
}

/* A file system with one file, which is its root. A descriptor of it, or -errno. */
static int mount_nowhere(int dev)
{
	int fs = syscall(SYS_fsopen, "fuse", FSOPEN_CLOEXEC), mount;
	char fd[16];

	if (fs < 0)
		return -errno;
	snprintf(fd, sizeof(fd), "%d", dev);
	if (syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "fd", fd, 0) ||
	    syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "rootmode", "100000", 0) ||
	    syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "user_id", "0", 0) ||
	    syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "group_id", "0", 0) ||
	    syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		return -errno;
	mount = syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0);
	if (mount < 0)
		return -errno;
	close(fs);
	return mount;
}

static int server(struct peer *p, void *arg)
{
	int dev = open("/dev/fuse", O_RDWR | O_CLOEXEC), mount;

	CHECK(dev >= 0);
	mount = mount_nowhere(dev);
	if (mount < 0)
		dprintf(2, "# mounting FUSE: %s\n", strerror(-mount));
	CHECK(mount >= 0);
	CHECK(peer_swap(p, mount) == 0);
	return serve(dev);
}

/* Returns when the server is gone. */
static bool hang_on(const char *path)
{
	int cached = open(path, O_RDONLY | O_CLOEXEC), direct = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	char *map;

	if (cached < 0 || direct < 0 || fstat(cached, &st) || st.st_size != (off_t)pagesize)
		return false;
	if (readahead(cached, 0, pagesize))
		return false;
	map = mmap(NULL, pagesize, PROT_READ, MAP_PRIVATE, direct, 0);
	if (map != MAP_FAILED)
		munmap(map, pagesize);
	close(cached);
	close(direct);
	return true;
}

struct preparation {
	bool (*prepare)(void *arg);
	void *arg;
};

/* It is told the server's pid and its descriptor, and says when it goes on. */
static int victim(struct peer *p, void *arg)
{
	struct preparation *all = arg;
	long pid, mount;
	char path[64];

	CHECK(all->prepare(all->arg));
	CHECK(peer_meet(p));
	while ((pid = peer_swap(p, 0)) > 0) {
		mount = peer_swap(p, 0);
		snprintf(path, sizeof(path), "/proc/%ld/fd/%ld", pid, mount);
		CHECK(hang_on(path));
		CHECK(peer_meet(p));
	}
	return 0;
}

/* Waits for its lock, which is how it is known to be held: not for long. */
static bool lock_is_held(pid_t pid)
{
	pid_t probe = fork_child();
	int i, status;
	bool held;

	if (probe == 0) {
		char path[64];
		uint64_t entry;
		int fd;

		snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
		fd = open(path, O_RDONLY);
		_exit(pread(fd, &entry, sizeof(entry), (uintptr_t)&pagesize / pagesize * 8) < 0);
	}
	for (i = 0; i < 100; i++) {
		if (waitpid(probe, &status, WNOHANG) == probe)
			return false;
		usleep(1000);
	}
	/* It may not have had a CPU yet. */
	held = state_of(probe) == 'D';
	kill(probe, SIGKILL);
	wait_child(probe);
	return held;
}

bool stuck_start(struct stuck *s, bool (*prepare)(void *arg), void *arg)
{
	struct preparation all = { prepare, arg };

	s->held = false;
	return peer_start(&s->victim, victim, &all) && peer_meet(&s->victim);
}

bool stuck_hold(struct stuck *s)
{
	long mount;
	int i;

	if (!peer_start(&s->server, server, NULL))
		return false;
	mount = peer_swap(&s->server, 0);
	if (mount <= 0 || peer_swap(&s->victim, s->server.pid) ||
	    peer_swap(&s->victim, mount))
		return false;
	s->held = true;
	for (i = 0; i < PATIENCE_MS; i++) {
		if (state_of(s->victim.pid) == 'D' && lock_is_held(s->victim.pid))
			return true;
		usleep(1000);
	}
	dprintf(2, "# the process does not get stuck\n");
	return false;
}

bool stuck_release(struct stuck *s)
{
	if (!s->held)
		return true;
	s->held = false;
	kill(s->server.pid, SIGKILL);
	return peer_end(&s->server) == 128 + SIGKILL && peer_meet(&s->victim);
}

bool stuck_end(struct stuck *s)
{
	return stuck_release(s) && peer_end(&s->victim) == 0;
}

static atomic_bool busy;
static pthread_t busy_thread;
static char *busy_map;

/*
 * The longest calls that take it for writing: all pages of a large mapping change. With
 * two threads there would always be one that waits, and nobody's trylock would succeed.
 */
static void *hold_nearly_always(void *arg)
{
	while (atomic_load(&busy)) {
		mprotect(busy_map, BUSY_PAGES * pagesize, PROT_READ);
		mprotect(busy_map, BUSY_PAGES * pagesize, PROT_READ | PROT_WRITE);
	}
	return NULL;
}

bool busy_begin(void)
{
	size_t i;

	busy_map = map_pages(BUSY_PAGES);
	if (!busy_map)
		return false;
	for (i = 0; i < BUSY_PAGES; i++)
		*page_of(busy_map, i) = 1;
	atomic_store(&busy, true);
	return !pthread_create(&busy_thread, NULL, hold_nearly_always, NULL);
}

void busy_end(void)
{
	atomic_store(&busy, false);
	pthread_join(busy_thread, NULL);
	munmap(busy_map, BUSY_PAGES * pagesize);
}

static void interrupted(int signal)
{
}

pid_t knob_writer(const char *name, const char *text)
{
	const struct sigaction action = { .sa_handler = interrupted };
	pid_t pid = fork_child();

	if (pid == 0) {
		sigaction(SIGINT, &action, NULL);
		_exit(-knob_write(name, text));
	}
	return pid;
}

int writer_result(pid_t pid, unsigned int ms)
{
	long end = now_ms() + ms;
	bool late = false;
	int status;

	/* Once more when the time is over. */
	for (; !late; usleep(1000)) {
		pid_t got;

		late = now_ms() > end;
		got = waitpid(pid, &status, WNOHANG);

		if (got == pid)
			return WIFEXITED(status) ? -WEXITSTATUS(status) : -ECHILD;
		if (got < 0)
			return -errno;
	}
	return -ETIME;
}

int knob_write_within(const char *name, const char *text, unsigned int ms)
{
	pid_t pid = knob_writer(name, text);
	int err = writer_result(pid, ms);

	if (err == -ETIME) {
		kill(pid, SIGKILL);
		writer_result(pid, 0);
	}
	return err;
}

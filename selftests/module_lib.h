/* SPDX-License-Identifier: GPL-2.0 */
/* Loading and unloading the module. */
#ifndef MODULE_LIB_H
#define MODULE_LIB_H

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ksm_lib.h"

#define RKSM_DIR	"/sys/kernel/mm/rksm"
#define KSM_DIR		"/sys/kernel/mm/ksm"

static inline bool loaded(void)
{
	return access("/sys/module/rksm", F_OK) == 0;
}

static inline int load_with(const char *parameters)
{
	int fd = open(getenv("RKSM_KO"), O_RDONLY | O_CLOEXEC), err;

	if (fd < 0)
		return -errno;
	err = syscall(SYS_finit_module, fd, parameters, 0) ? -errno : 0;
	close(fd);
	return err;
}

/* It goes on as in-tree KSM is set. */
static inline int load(void)
{
	return load_with("");
}

/* It merges nothing before it is told to. */
static inline int load_stopped(void)
{
	return load_with("run=0");
}

static inline int unload(void)
{
	return syscall(SYS_delete_module, "rksm", O_NONBLOCK) ? -errno : 0;
}

/*
 * The module's KUnit suites run each time it is loaded, and take longer than
 * all the rest. They have run before; not here.
 */
static inline void kunit_suites(const char *glob)
{
	file_write("/sys/module/kunit/parameters/filter_glob", glob);
}

#endif

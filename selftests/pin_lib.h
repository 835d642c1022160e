/* SPDX-License-Identifier: GPL-2.0 */
/* Pins that last, by the kernel's gup_test. */
#ifndef PIN_LIB_H
#define PIN_LIB_H

#include <fcntl.h>
#include <linux/ioctl.h>
#include <stdint.h>
#include <sys/ioctl.h>

#include "ksm_lib.h"

/* From the kernel's mm/gup_test.h, which user space gets no header for. */
struct pin_longterm {
	uint64_t addr, size;
	uint32_t flags;
};

#define PIN_START	_IOW('g', 7, struct pin_longterm)
#define PIN_STOP	_IO('g', 8)
#define PIN_READ	_IOW('g', 9, uint64_t)
#define PIN_WRITE_FLAG	1
#define PIN_FAST_FLAG	2

#define OPEN_GUP_TEST() ({						\
	int _fd = open("/sys/kernel/debug/gup_test", O_RDWR);		\
									\
	if (_fd < 0)							\
		SKIP(return, "no gup_test in debugfs");			\
	_fd;								\
})

static inline int pin(int fd, char *page, size_t n, int flags)
{
	struct pin_longterm p = { (uintptr_t)page, n * pagesize, flags };

	return ioctl(fd, PIN_START, &p);
}

/* What a device would see that was given these pages. */
static inline int read_pinned(int fd, char *to)
{
	uint64_t addr = (uintptr_t)to;

	return ioctl(fd, PIN_READ, &addr);
}

#endif

/* SPDX-License-Identifier: GPL-2.0 */
/* SIGBUS, and where it came from. */
#ifndef BUS_ERRORS_H
#define BUS_ERRORS_H

#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>

static volatile sig_atomic_t bus_errors;
static siginfo_t bus_error;
static sigjmp_buf after_bus_error;

static inline void on_bus_error(int sig, siginfo_t *info, void *context)
{
	bus_errors++;
	bus_error = *info;
}

static inline void leave_on_bus_error(int sig, siginfo_t *info, void *context)
{
	on_bus_error(sig, info, context);
	siglongjmp(after_bus_error, 1);
}

static inline bool handle_bus_errors(void (*handler)(int sig, siginfo_t *info, void *context))
{
	struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO };

	return !sigaction(SIGBUS, &action, NULL);
}

/* Does a look at this page end in an error, at that place? */
static inline bool is_broken(volatile char *page)
{
	bus_errors = 0;
	if (!handle_bus_errors(leave_on_bus_error))
		return false;
	if (!sigsetjmp(after_bus_error, 1))
		(void)*page;
	return bus_errors == 1 && bus_error.si_addr == page;
}

/* Signals at once, not when the page is touched. */
static inline bool be_told_early(void)
{
	return prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0) == 0;
}

#endif

// SPDX-License-Identifier: GPL-2.0
/*
 * The only program of a guest that attacks another, or is attacked. It does what the second serial port says, a line
 * each, and answers with a line.
 *
 *   own N             -> done   has N pages, which are the same
 *   put PAGE CONTENT  -> done   the page begins with this number
 *   guess BATCH       -> done   each page holds what is guessed of it, 512 guesses for one secret
 *   look              -> done   writes to all of them, and notes how long each took
 *   answer            -> A...   for each secret the guess that stood out in the three looks since it was asked last
 *   all BATCH         -> done   each page holds something else
 *   pairs BATCH       -> done   as the first half of these, with one beside each that nobody has
 *   times             -> T...   writes to all of them: how long each took, in cycles
 *   touch 0|1         -> done   writes to each second page, from that one on
 *   off                         the guest powers off
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <termios.h>
#include <x86intrin.h>

#define PAGE	4096UL
/* Keep in step with try_guests.py. */
#define SECRETS	256
#define GUESSES	(2 * SECRETS)

static char *pages;
static size_t n;
static size_t *order;
/* Of the last looks: what disturbs one of them, or was not merged for it, does not count. */
#define LOOKS	3
static long (*took)[LOOKS];
static int looks;

static bool own(size_t number)
{
	n = number;
	pages = mmap(NULL, n * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	order = calloc(n, sizeof(*order));
	took = calloc(n, sizeof(*took));
	if (pages == MAP_FAILED || !order || !took)
		return false;
	memset(pages, 1, n * PAGE);
	return true;
}

static void put(size_t page, uint64_t content)
{
	*(volatile uint64_t *)(pages + page * PAGE) = content;
}

static uint64_t content(uint64_t batch, uint64_t which, uint64_t secret)
{
	return ((batch << 20) + which + 1) * GUESSES + secret;
}

static long write_to(size_t page)
{
	volatile char *at = pages + page * PAGE;
	uint64_t start;

	/* Other clocks may cost an exit to the host, which hides what is to be seen. */
	_mm_lfence();
	start = __rdtsc();
	_mm_lfence();
	*at ^= 1;
	_mm_lfence();
	return __rdtsc() - start;
}

/* In no order. */
static void look(void)
{
	size_t i;

	for (i = 0; i < n; i++) {
		size_t other = random() % (i + 1);

		order[i] = order[other];
		order[other] = i;
	}
	for (i = 0; i < n; i++)
		took[order[i]][looks % LOOKS] = write_to(order[i]);
	looks++;
}

static long median(const long *t)
{
	long least = t[0] < t[1] ? t[0] : t[1], most = t[0] < t[1] ? t[1] : t[0];

	return t[2] < least ? least : t[2] > most ? most : t[2];
}

/* The guess that is farthest from what nobody has. */
static int answer(const long (*t)[LOOKS])
{
	double usual = 0, most = -1;
	int i, best = 0;

	for (i = SECRETS; i < GUESSES; i++)
		usual += (double)median(t[i]) / SECRETS;
	for (i = 0; i < SECRETS; i++) {
		double apart = fabs(median(t[i]) - usual);

		if (apart > most) {
			most = apart;
			best = i;
		}
	}
	return best;
}

static bool serve(FILE *in, FILE *port)
{
	char line[128], what[16];
	unsigned long a, b;
	int words;
	size_t i;

	if (!fgets(line, sizeof(line), in))
		return false;
	words = sscanf(line, "%15s %lu %lu", what, &a, &b);
	if (words == 2 && !strcmp(what, "own")) {
		if (!own(a))
			return false;
	} else if (words == 3 && !strcmp(what, "put")) {
		put(a, b);
	} else if (words == 2 && !strcmp(what, "guess")) {
		for (i = 0; i < n; i++)
			put(i, content(a, i / GUESSES, i % GUESSES));
	} else if (words == 1 && !strcmp(what, "look")) {
		look();
	} else if (words == 1 && !strcmp(what, "answer")) {
		for (i = 0; i < n / GUESSES; i++)
			fprintf(port, "%d ", answer((const long (*)[LOOKS])took + i * GUESSES));
		looks = 0;
	} else if (words == 2 && !strcmp(what, "all")) {
		for (i = 0; i < n; i++)
			put(i, content(a, i, 0));
	} else if (words == 2 && !strcmp(what, "pairs")) {
		for (i = 0; i < n; i++)
			put(i, content(a, i / 2, i % 2 * SECRETS));
	} else if (words == 1 && !strcmp(what, "times")) {
		look();
		for (i = 0; i < n; i++)
			fprintf(port, "%ld ", took[i][0]);
		looks = 0;
	} else if (words == 2 && !strcmp(what, "touch")) {
		for (i = a; i < n; i += 2)
			write_to(i);
	} else {
		return false;
	}
	fprintf(port, "done\n");
	return fflush(port) == 0;
}

int main(void)
{
	struct termios raw;
	FILE *in, *port;

	mount("dev", "/dev", "devtmpfs", 0, NULL);
	in = fopen("/dev/ttyS1", "r");
	port = fopen("/dev/ttyS1", "w");
	if (!in || !port || tcgetattr(fileno(in), &raw))
		return 1;
	cfmakeraw(&raw);
	tcsetattr(fileno(in), TCSANOW, &raw);
	setvbuf(port, NULL, _IOFBF, 65536);
	fprintf(port, "ready\n");
	fflush(port);
	while (serve(in, port))
		;
	reboot(RB_POWER_OFF);
	return 1;
}

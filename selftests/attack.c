// SPDX-License-Identifier: GPL-2.0
/*
 * Who finds out by merging what others have in memory, and who does not.
 *
 * A victim has a page that holds one of 256 secrets; an attacker has one for each of them, and as many for
 * secrets that nobody has. What he observes when he writes to one tells him whether somebody else has it. With
 * domain=all he finds the secret each time, or what follows would say nothing. With domains he guesses.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>

#include "cgroup.h"
#include "ksm_harness.h"

#define SECRETS		256
#define GUESSES		(2 * SECRETS)	/* the second half: what nobody has */
#define AT_ONCE		16		/* runs that one look of the scanner serves */
#define PAGES		(AT_ONCE * GUESSES)
#define TIMES		3		/* an interrupt does not come at the same page again */
#define FILLERS		8192
#define TIMED		1000		/* pages of each kind for the clock */

enum oracle {
	FAULTS,		/* minor faults of a write */
	MAPS,		/* smaps and pagemap */
	CHARGE,		/* memory.current */
	CLOCK,		/* time of a write */
	ORACLES
};

static const char * const oracles[] = { "faults", "maps", "memory.current", "clock" };

/* What the three have in common. The attacker reads no secret here. */
struct shared {
	unsigned int batch;
	int secret[AT_ONCE];
	int answer[ORACLES][AT_ONCE];
	bool tells[ORACLES];	/* one guess looked other than another */
	double t;
	char counters[2][4096];
	/* Where they have their pages. */
	char *of_victim, *of_attacker;
};

struct party {
	uid_t user;
	const char *cgroup;
	bool unasked;
	struct shared *shared;
};

static uint64_t random_word(void)
{
	static uint64_t state;

	if (!state && getrandom(&state, sizeof(state), 0) != sizeof(state))
		abort();
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

/* What a page of run r holds for a secret; nobody has one from SECRETS on. */
static uint64_t content(unsigned int batch, int r, int secret)
{
	return ((uint64_t)batch * AT_ONCE + r + 1) * 4 * GUESSES + secret;
}

/* All of them begin with a word that tells them apart; the rest is the same, and is there already. */
static void put(char *page, uint64_t content)
{
	*(volatile uint64_t *)page = content;
}

static bool become(const struct party *who)
{
	if (who->cgroup && !cgroup_enter(who->cgroup))
		return false;
	if (who->user && setresuid(who->user, who->user, who->user))
		return false;
	/* As after the exec() of his own program. */
	return prctl(PR_SET_DUMPABLE, 1) == 0;
}

static char *pages_for(const struct party *who, size_t n)
{
	char *map = map_pages(n);

	if (map)
		fill_all(map, n, 1);
	if (map && !who->unasked && madvise(map, n * pagesize, MADV_MERGEABLE))
		return NULL;
	return map;
}

enum order { JOIN, BECOME, NEW_SECRETS, GUESS_ALL, LOOK, HAVE_IT, HAVE_IT_NOT, COUNT, PAGES_TO_TIME, TIME, END };

static bool give(struct peer *p, enum order order)
{
	return peer_swap(p, order) >= 0 && peer_meet(p);
}

static int victim(struct peer *p, void *arg)
{
	const struct party *who = arg;
	struct shared *s = who->shared;
	enum order order;
	char *map = NULL;
	int r;

	while ((order = peer_swap(p, 0)) != END) {
		if (order == JOIN) {
			CHECK(cgroup_enter("attacker"));
		} else if (order == BECOME) {
			CHECK(become(who));
		} else if (order == NEW_SECRETS) {
			if (!map)
				map = pages_for(who, AT_ONCE);
			CHECK(map);
			s->of_victim = map;
			for (r = 0; r < AT_ONCE; r++) {
				s->secret[r] = random_word() % SECRETS;
				put(page_of(map, r), content(s->batch, r, s->secret[r]));
			}
		} else {
			map = pages_for(who, TIMED);
			CHECK(map);
			for (r = 0; r < TIMED; r++)
				put(page_of(map, r), content(s->batch, r, 0));
		}
		CHECK(peer_meet(p));
	}
	return 0;
}

/* What the attacker writes to while he looks is not merged. */
static struct {
	char *map, *fillers;
	size_t filled;
	int smaps, pagemap, current;
	int times;
	long seen[ORACLES][PAGES][TIMES];
} *own;

static long now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

static long minor_faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_minflt;
}

static long charged(void)
{
	char text[32] = "";

	return pread(own->current, text, sizeof(text) - 1, 0) > 0 ? atol(text) : -1;
}

static void charge_one(void)
{
	int table;

	if (own->filled == FILLERS) {
		/* The first page of each stays, and so do the page tables. */
		for (table = 0; table < FILLERS; table += 512)
			madvise(page_of(own->fillers, table + 1), 511 * pagesize, MADV_DONTNEED);
		own->filled = 0;
	}
	if (own->filled % 512 == 0)
		own->filled++;
	*page_of(own->fillers, own->filled++) = 1;
}

/*
 * A memory cgroup is charged for many pages at once, which a CPU then uses up. When that has just come to its end,
 * memory.current shows the next page.
 */
static void use_up_the_charge(void)
{
	long before, step;

	do {
		before = charged();
		charge_one();
		step = charged() - before;
	} while (step <= 0);
	for (step = step / (long)pagesize - 1; step > 0; step--)
		charge_one();
}

static void guess_all(unsigned int batch)
{
	int i;

	for (i = 0; i < PAGES; i++)
		put(page_of(own->map, i), content(batch, i / GUESSES, i % GUESSES));
}

static bool attacker_begins(struct party *who)
{
	cpu_set_t cpus;
	int i;

	own = mmap(NULL, sizeof(*own), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (own == MAP_FAILED)
		return false;
	own->current = open(cgroup_file(who->cgroup, "memory.current"), O_RDONLY);
	if (own->current < 0 || !become(who))
		return false;
	own->smaps = open("/proc/self/smaps", O_RDONLY);
	own->pagemap = open("/proc/self/pagemap", O_RDONLY);
	/* No other VMA is next to them. */
	own->map = pages_for(who, PAGES + 2);
	own->fillers = map_pages(FILLERS);
	if (own->smaps < 0 || own->pagemap < 0 || !own->map || !own->fillers)
		return false;
	own->map = page_of(own->map, 1);
	if (munmap(page_of(own->map, -1), pagesize) || munmap(page_of(own->map, PAGES), pagesize))
		return false;
	/* Each in a VMA of its own, which smaps shows alone. */
	for (i = 0; i < PAGES; i += 2)
		if (mprotect(page_of(own->map, i), pagesize, PROT_READ | PROT_WRITE | PROT_EXEC))
			return false;
	for (i = 0; i < FILLERS; i += 512)
		*page_of(own->fillers, i) = 1;
	guess_all(0);
	CPU_ZERO(&cpus);
	CPU_SET(sched_getcpu(), &cpus);
	return sched_setaffinity(0, sizeof(cpus), &cpus) == 0;
}

static void see(enum oracle oracle, size_t i, long value)
{
	own->seen[oracle][i][own->times] = value;
}

static int by_size(const void *a, const void *b)
{
	return (*(const long *)a > *(const long *)b) - (*(const long *)a < *(const long *)b);
}

/* The median; of times the least, as what disturbs only adds. */
static long seen(enum oracle oracle, size_t i)
{
	long v[TIMES];

	memcpy(v, own->seen[oracle][i], sizeof(v));
	qsort(v, TIMES, sizeof(*v), by_size);
	return v[oracle == CLOCK ? 0 : TIMES / 2];
}

/* What smaps says of each, but for its address and flags. */
static bool look_at_smaps(unsigned long *said)
{
	unsigned long start, end, value;
	FILE *file = fdopen(dup(own->smaps), "r");
	size_t i = PAGES, found = 0;
	char line[256], key[64];

	if (!file)
		return false;
	rewind(file);
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2) {
			i = (start - (unsigned long)own->map) / pagesize;
			found += i < PAGES;
		} else if (i < PAGES && sscanf(line, "%63[^:]: %lu kB", key, &value) == 2) {
			said[i] = said[i] * 31 + value;
		}
	}
	fclose(file);
	return found == PAGES;
}

/* What pagemap says, and smaps in the first runs: it takes long. */
static bool look_at_maps(unsigned int batch)
{
	/* Who is not root is not told the frame. */
	const uint64_t frame = (1ULL << 55) - 1;
	static unsigned long said[PAGES];
	static uint64_t entries[PAGES];
	off_t first = (unsigned long)own->map / pagesize * sizeof(*entries);
	int i;

	memset(said, 0, sizeof(said));
	if (batch <= 4 && !look_at_smaps(said))
		return false;
	if (pread(own->pagemap, entries, sizeof(entries), first) != sizeof(entries))
		return false;
	for (i = 0; i < PAGES; i++)
		see(MAPS, i, (said[i] * 31 + (entries[i] & ~frame) % 1000003) >> 12);
	return true;
}

static void write_to(size_t i)
{
	volatile char *page = page_of(own->map, i);
	long faults, charge = charged(), start, end;

	faults = minor_faults();
	start = now_ns();
	*page ^= 1;
	end = now_ns();
	see(FAULTS, i, minor_faults() - faults);
	see(CLOCK, i, end - start);
	charge = charged() - charge;
	see(CHARGE, i, charge);
	if (charge)
		use_up_the_charge();
}

static void shuffle(int *order, int n)
{
	int i;

	for (i = 0; i < n; i++) {
		int other = random_word() % (i + 1);

		order[i] = order[other];
		order[other] = i;
	}
}

static bool look(unsigned int batch)
{
	static int order[PAGES];
	int i;

	if (!look_at_maps(batch))
		return false;
	shuffle(order, PAGES);
	use_up_the_charge();
	for (i = 0; i < PAGES; i++)
		write_to(order[i]);
	return true;
}

/* The guess that stands out most from what nobody has; of several, any. */
static int answer(enum oracle oracle, int run)
{
	size_t from = run * GUESSES;
	double usual = 0, most = -1;
	int i, best = 0, same = 0;

	for (i = SECRETS; i < GUESSES; i++)
		usual += (double)seen(oracle, from + i) / SECRETS;
	for (i = 0; i < SECRETS; i++) {
		double apart = fabs(seen(oracle, from + i) - usual);

		if (apart > most)
			same = 0;
		if (apart >= most && random_word() % ++same == 0)
			best = i;
		most = fmax(most, apart);
	}
	return best;
}

static void answer_all(struct shared *s)
{
	int oracle, r, i;

	for (oracle = 0; oracle < ORACLES; oracle++) {
		for (r = 0; r < AT_ONCE; r++)
			s->answer[oracle][r] = answer(oracle, r);
		for (i = 1; i < PAGES; i++)
			s->tells[oracle] |= seen(oracle, i) != seen(oracle, 0);
	}
}

/*
 * Welch's t of the times of writes to what the victim has, and to what nobody has. The longest tenth of all is left
 * out: those are interrupts, and a few of them hide the rest.
 */
static double welch(const long *times)
{
	double sum[2] = {}, squares[2] = {}, mean[2], var[2];
	static long sorted[2 * TIMED];
	int i, n[2] = {};

	memcpy(sorted, times, sizeof(sorted));
	qsort(sorted, 2 * TIMED, sizeof(*sorted), by_size);
	for (i = 0; i < 2 * TIMED; i++) {
		if (times[i] > sorted[2 * TIMED * 9 / 10])
			continue;
		n[i % 2]++;
		sum[i % 2] += times[i];
		squares[i % 2] += (double)times[i] * times[i];
	}
	for (i = 0; i < 2; i++) {
		mean[i] = sum[i] / n[i];
		var[i] = (squares[i] - sum[i] * mean[i]) / (n[i] - 1);
	}
	return (mean[0] - mean[1]) / sqrt(var[0] / n[0] + var[1] / n[1]);
}

static double time_writes(char *map)
{
	static int order[2 * TIMED];
	static long times[2 * TIMED];
	int i;

	shuffle(order, 2 * TIMED);
	for (i = 0; i < 2 * TIMED; i++) {
		volatile char *page = page_of(map, order[i]);
		long start = now_ns();

		*page ^= 1;
		times[order[i]] = now_ns() - start;
	}
	return welch(times);
}

static const char * const counters[] = {
	"pages_shared", "pages_sharing", "pages_unshared", "pages_volatile", "ksm_zero_pages", "general_profit",
	"stable_node_chains", "stable_node_dups",
};

/* What counts everything that runs is never twice the same where all of it is merged. */
static bool count(char *text, size_t size, bool for_all)
{
	size_t n = 0, i;

	for (i = 0; for_all && i < sizeof(counters) / sizeof(*counters); i++)
		n += snprintf(text + n, size - n, "%s %ld\n", counters[i], knob(counters[i]));
	return file_read("/proc/self/ksm_stat", text + n, size - n) > 0;
}

static int attacker(struct peer *p, void *arg)
{
	struct party *who = arg;
	struct shared *s = who->shared;
	enum order order;
	char *timed = NULL;
	int i;

	CHECK(attacker_begins(who));
	s->of_attacker = own->map;
	while ((order = peer_swap(p, 0)) != END) {
		if (order == NEW_SECRETS) {
			own->times = 0;
		} else if (order == GUESS_ALL) {
			guess_all(s->batch);
		} else if (order == LOOK) {
			CHECK(look(s->batch));
			if (++own->times == TIMES)
				answer_all(s);
		} else if (order == HAVE_IT || order == HAVE_IT_NOT) {
			for (i = 0; i < AT_ONCE; i++)
				put(page_of(own->map, i), content(s->batch, i, order == HAVE_IT ? s->secret[i] : SECRETS));
		} else if (order == COUNT) {
			strcpy(s->counters[0], s->counters[1]);
			CHECK(count(s->counters[1], sizeof(s->counters[1]), !who->unasked));
		} else if (order == PAGES_TO_TIME) {
			timed = pages_for(who, 2 * TIMED);
			CHECK(timed);
			for (i = 0; i < 2 * TIMED; i++)
				put(page_of(timed, i), content(s->batch, i / 2, i % 2 * SECRETS));
		} else {
			s->t = time_writes(timed);
		}
		CHECK(peer_meet(p));
	}
	return 0;
}

FIXTURE(attack) {
	struct knob_values before;
	struct shared *s;
};

FIXTURE_VARIANT(attack) {
	const char *scope, *domain;
	uid_t victim, attacker;
	const char *victims_group;
	long scanners;
	bool merged_before;	/* the victim was one of the attacker's, and shared pages with him */
	bool finds;
	int runs;
};

/* The test for all others: without domains each oracle finds each secret. */
FIXTURE_VARIANT_ADD(attack, everybody) {
	.domain = "all", .victim = 1000, .attacker = 1001, .finds = true, .runs = 64,
};
FIXTURE_VARIANT_ADD(attack, another_user) {
	.domain = "user", .victim = 1000, .attacker = 1001, .runs = 1000,
};
FIXTURE_VARIANT_ADD(attack, same_user) {
	.domain = "user", .victim = 1000, .attacker = 1000, .finds = true, .runs = 16,
};
FIXTURE_VARIANT_ADD(attack, another_cgroup) {
	.domain = "cgroup", .victims_group = "victim", .attacker = 1000, .victim = 1000, .runs = 64,
};
FIXTURE_VARIANT_ADD(attack, another_process) {
	.domain = "process", .attacker = 1000, .victim = 1000, .runs = 64,
};
FIXTURE_VARIANT_ADD(attack, several_scanners) {
	.domain = "user", .victim = 1000, .attacker = 1001, .scanners = 4, .runs = 64,
};
FIXTURE_VARIANT_ADD(attack, without_being_asked) {
	.scope = "all", .domain = "user", .victim = 1000, .attacker = 1001, .runs = 64,
};
FIXTURE_VARIANT_ADD(attack, after_setuid) {
	.domain = "user", .victim = 1000, .attacker = 0, .merged_before = true, .runs = 64,
};
FIXTURE_VARIANT_ADD(attack, after_a_move) {
	.domain = "cgroup", .victims_group = "victim", .merged_before = true, .runs = 64,
};

/* Not in the fixture: the harness has that in memory that children share. */
static struct peer the_victim, the_attacker;

static bool merge_all(int passes)
{
	return knob_set("run", 1) == 0 && ksm_passes(passes) && scanner_stop();
}

FIXTURE_SETUP(attack)
{
	static struct party victims, attackers;

	NEEDS_KNOB("domain", "this provider has no domains");
	ASSERT_TRUE(knobs_save(&self->before));
	ASSERT_TRUE(unmerge_everything());
	ASSERT_TRUE(knobs_for_test());
	ASSERT_TRUE(cgroups_mount() && cgroup_make("attacker") && cgroup_make("victim"));
	self->s = mmap(NULL, sizeof(*self->s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->s);
	if (variant->scanners)
		ASSERT_EQ(0, knob_set("scanners", variant->scanners));
	if (variant->domain)
		ASSERT_EQ(0, knob_write("domain", variant->domain));
	if (variant->scope)
		ASSERT_EQ(0, knob_write("scope", variant->scope));

	victims = (struct party){ variant->victim, variant->victims_group, variant->scope, self->s };
	attackers = (struct party){ variant->attacker, "attacker", variant->scope, self->s };
	ASSERT_TRUE(peer_start(&the_attacker, attacker, &attackers));
	ASSERT_TRUE(peer_start(&the_victim, victim, &victims));
	if (variant->merged_before) {
		ASSERT_TRUE(give(&the_victim, JOIN));
		ASSERT_TRUE(give(&the_victim, NEW_SECRETS) && give(&the_attacker, GUESS_ALL));
		ASSERT_TRUE(merge_all(3));
		ASSERT_EQ(AT_ONCE, knob("pages_sharing"));
	}
	ASSERT_TRUE(give(&the_victim, BECOME));
}

FIXTURE_TEARDOWN_PARENT(attack)
{
	EXPECT_TRUE(unmerge_everything());
	EXPECT_TRUE(knobs_restore(&self->before));
	cgroups_remove();
}

#define ATTACK(name)	TEST_F_TIMEOUT(attack, name, TEST_SECONDS)

#define BOTH_END() do {							\
	EXPECT_LE(0, peer_swap(&the_victim, END));			\
	EXPECT_LE(0, peer_swap(&the_attacker, END));			\
	EXPECT_EQ(0, peer_end(&the_victim));				\
	EXPECT_EQ(0, peer_end(&the_attacker));			\
} while (0)

/* Who guesses finds more than that once in a million times. */
static int by_chance(int runs)
{
	double mean = (double)runs / SECRETS, exactly = exp(-mean), more = 1 - exactly;
	int found = 0;

	while (more > 1e-6) {
		exactly *= mean / ++found;
		more -= exactly;
	}
	return found;
}

ATTACK(secrets)
{
	int runs = rounds(variant->runs), batches = (runs + AT_ONCE - 1) / AT_ONCE, right[ORACLES] = {}, i, r;

	runs = batches * AT_ONCE;
	while (batches--) {
		self->s->batch++;
		ASSERT_TRUE(give(&the_victim, NEW_SECRETS) && give(&the_attacker, NEW_SECRETS));
		for (i = 0; i < TIMES; i++) {
			ASSERT_TRUE(give(&the_attacker, GUESS_ALL));
			ASSERT_TRUE(merge_all(3));
			ASSERT_TRUE(give(&the_attacker, LOOK));
		}
		for (i = 0; i < ORACLES; i++)
			for (r = 0; r < AT_ONCE; r++)
				right[i] += self->s->answer[i][r] == self->s->secret[r];
	}
	for (i = 0; i < ORACLES; i++) {
		printf("# %s: %d of %d secrets\n", oracles[i], right[i], runs);
		if (variant->finds) {
			EXPECT_EQ(runs, right[i]);
		} else {
			EXPECT_LE(right[i], by_chance(runs));
			EXPECT_TRUE(i == CLOCK || !self->s->tells[i]) {
				TH_LOG("%s tells one from another", oracles[i]);
			}
		}
	}
	BOTH_END();
}

ATTACK(clock)
{
	self->s->batch++;
	ASSERT_TRUE(give(&the_victim, PAGES_TO_TIME) && give(&the_attacker, PAGES_TO_TIME));
	ASSERT_TRUE(merge_all(3));
	ASSERT_TRUE(give(&the_attacker, TIME));
	printf("# t %.1f\n", self->s->t);
	EXPECT_EQ(variant->finds, fabs(self->s->t) > 4.5);
	BOTH_END();
}

/* The attacker's last two counts agree: what runs beside this has come to rest. */
static bool count_at_rest(struct shared *s)
{
	int tries;

	for (tries = 0; tries < 50; tries++)
		if (!merge_all(2) || !give(&the_attacker, COUNT))
			return false;
		else if (!strcmp(s->counters[0], s->counters[1]))
			return true;
	return false;
}

/* What is counted for all, and for the attacker, where he has what the victim has and where not. */
ATTACK(counters)
{
	static const enum order tries[] = { HAVE_IT_NOT, HAVE_IT_NOT, HAVE_IT };
	char before[sizeof(self->s->counters[0])] = "";
	bool same = false;
	int i;

	for (i = 0; i < 3; i++) {
		self->s->batch++;
		strcpy(before, self->s->counters[1]);
		ASSERT_TRUE(give(&the_victim, NEW_SECRETS) && give(&the_attacker, tries[i]));
		ASSERT_TRUE(count_at_rest(self->s));
		same = !strcmp(before, self->s->counters[1]);
	}
	if (same == variant->finds)
		printf("# not:\n%s# and:\n%s", before, self->s->counters[1]);
	EXPECT_NE(variant->finds, same);
	BOTH_END();
}

static uint64_t victims_frame(struct shared *s, int r)
{
	return pfn_of(the_victim.pid, page_of(s->of_victim, r));
}

static uint64_t attackers_frame(struct shared *s, int r, int guess)
{
	return pfn_of(the_attacker.pid, page_of(s->of_attacker, r * GUESSES + guess));
}

/* Which frame the secret is in is not for him who guesses it to say, nor for him who has it. */
ATTACK(frame)
{
	static uint64_t guessed[PAGES];
	uint64_t had[AT_ONCE];
	struct shared *s = self->s;
	int r, i, of_another = 0;

	ASSERT_EQ(0, knob_set("fresh_frames", 1));
	s->batch++;
	ASSERT_TRUE(give(&the_victim, NEW_SECRETS) && give(&the_attacker, GUESS_ALL));
	for (i = 0; i < PAGES; i++)
		guessed[i] = attackers_frame(s, i / GUESSES, i % GUESSES);
	for (r = 0; r < AT_ONCE; r++)
		had[r] = victims_frame(s, r);
	ASSERT_TRUE(merge_all(6));
	for (r = 0; r < AT_ONCE; r++) {
		uint64_t now = victims_frame(s, r);

		EXPECT_NE(0, now);
		EXPECT_EQ(variant->finds, now == attackers_frame(s, r, s->secret[r]));
		EXPECT_EQ(!variant->finds, now == had[r]);
		EXPECT_NE(guessed[r * GUESSES + s->secret[r]], now);
		for (i = 0; i < PAGES; i++)
			of_another += now == guessed[i];
	}
	/* A frame that he has just freed may come to be drawn, one of a thousand. */
	EXPECT_GE(2, of_another);
	BOTH_END();
}

TEST_HARNESS_MAIN

# SPDX-License-Identifier: GPL-2.0
"""A guest finds out by the time of a write what another has in memory; its owner by the faults of QEMU."""

import math
import random
import statistics

import tenants
from machine import expect, number, passes, set_knob

# Keep in step with guest.c.
SECRETS, GUESSES = 256, 512
AT_ONCE = 32
BATCHES = 2
LOOKS = 3
PAIRS = 1000


def content(batch, which, secret):
    return ((batch << 20) + which + 1) * GUESSES + secret


def merge():
    """All that can be: one look at what is not merged yet hides what the others tell."""
    set_knob("run", 1)
    last, same = None, 0
    while same < 3:
        passes(1)
        now = number("pages_shared"), number("pages_sharing")
        same = same + 1 if now == last else 0
        last = now
    set_knob("run", 0)


def by_chance(runs):
    """Who guesses finds more than that once in a million times."""
    exactly, found = math.exp(-runs / SECRETS), 0
    more = 1 - exactly
    while more > 1e-6:
        found += 1
        exactly *= runs / SECRETS / found
        more -= exactly
    return found


def welch(times):
    """Without the longest tenth, which are interrupts."""
    limit = sorted(times)[len(times) * 9 // 10]
    kept = [[t for t in times[half::2] if t <= limit] for half in (0, 1)]
    mean = [statistics.fmean(half) for half in kept]
    error = sum(statistics.variance(half) / len(half) for half in kept)
    return (mean[0] - mean[1]) / math.sqrt(error)


class Attack:
    def __init__(self, victim, attacker):
        self.victim, self.attacker = victim, attacker
        attacker.do(f"own {AT_ONCE * GUESSES}")
        victim.do(f"own {PAIRS}")

    def found(self):
        """How many secrets the attacker finds by the clock."""
        right = 0
        for batch in range(1, BATCHES + 1):
            secrets = [random.randrange(SECRETS) for _ in range(AT_ONCE)]
            for which, secret in enumerate(secrets):
                self.victim.do(f"put {which} {content(batch, which, secret)}")
            for _ in range(LOOKS):
                self.attacker.do(f"guess {batch}")
                merge()
                self.attacker.do("look")
            answers = self.attacker.do("answer")
            right += sum(map(int.__eq__, secrets, answers))
        return right

    def pairs(self, batch):
        """The victim has each second page of the attacker's, as far as it goes."""
        self.victim.do(f"all {batch}")
        self.attacker.do(f"pairs {batch}")
        merge()

    def t(self):
        self.pairs(BATCHES + 1)
        return welch(self.attacker.do("times")[: 2 * PAIRS])

    def faults(self):
        """Those of writes to what the victim has too, and to what nobody has."""
        self.pairs(BATCHES + 2)
        counts = [self.attacker.faults()]
        for first in (0, 1):
            self.attacker.do(f"touch {first}")
            counts.append(self.attacker.faults())
        return counts[1] - counts[0], counts[2] - counts[1]


def attack(domain, finds):
    set_knob("domain", domain)
    set_knob("domain_depth", 2)
    set_knob("smart_scan", 0)
    set_knob("sleep_millisecs", 0)
    set_knob("pages_to_scan", 100000)
    with tenants.guests("victim", "attacker") as guests:
        each = Attack(*guests)
        right, t, (same, other) = each.found(), each.t(), each.faults()
    runs = AT_ONCE * BATCHES
    print(f"# {right} of {runs} secrets, t {t:.1f}, {same} and {other} faults")
    if finds:
        expect(right == runs, f"{right} of {runs} secrets were found")
        expect(abs(t) > 4.5, f"t is {t}")
        expect(same - other >= PAIRS * 9 // 10, f"{same} and {other} faults")
    else:
        expect(right <= by_chance(runs), f"{right} of {runs} secrets were found")
        expect(abs(t) < 4.5, f"t is {t}")
        # QEMU does other things, too.
        expect(abs(same - other) <= PAIRS // 50, f"{same} and {other} faults")


def case_everybody():
    attack("all", finds=True)


def case_slice_of_a_tenant():
    attack("cgroup", finds=False)

# SPDX-License-Identifier: GPL-2.0
"""Which cases may be skipped: a skip that nobody expects is a test that is lost."""

from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

LIST = Path(__file__).with_name("skips.list")


def kind_of(machine):
    """All of Debian's own kernels are tested in the same way."""
    return machine.partition("-")[0]


@cache
def allowed(machine):
    """The cases, as patterns."""
    lines = (line.split() for line in LIST.read_text().splitlines())
    return [line[1] for line in lines if line and line[0] == kind_of(machine)]


def matches(name, pattern):
    """A case is called MACHINE/PROGRAM/CASE."""
    return fnmatchcase(name.partition("/")[2], pattern)


def judge(results):
    """Has what is skipped and may not be fail."""
    for name in list(results.skipped):
        if not any(matches(name, pattern) for pattern in allowed(name.partition("/")[0])):
            results.skipped.remove(name)
            results.failed.append(f"{name} (skipped)")


def outdated(results, machine):
    """What is allowed, though nothing of these suites was skipped by it. Not each machine runs all programs."""
    ran = {name.split("/")[1] for name in results.passed + results.skipped}
    for pattern in allowed(machine):
        if pattern.partition("/")[0] not in ran:
            continue
        if not any(matches(name, pattern) for name in results.skipped):
            yield f"{machine}/{pattern}: not skipped any more"

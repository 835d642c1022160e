# SPDX-License-Identifier: GPL-2.0
"""Judges the kernel's own tests of KSM: each ran against in-tree KSM first, so
that a difference is rksm's."""

import hashlib
import os
import re
from pathlib import Path

import ktap

LIST = Path(__file__).with_name("kernel-tests.list")
RACES = Path(__file__).with_name("kernel-tests.races")


def plan(tests):
    """Against whom they run where that set of tests does, in this order. In-tree
    KSM goes first: where it passes and rksm does not, the fault is ours."""
    return ["in-tree", "rksm"] if tests in ("debian-short", "debian", "plain", "debug") else []


def kept(image, tests):
    """Where what in-tree KSM makes of them is kept: it depends on nothing but these."""
    files = [image, *sorted(tests.glob("*")), LIST, LIST.with_suffix(".sh")]
    key = hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in files)).hexdigest()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rksm"
    return cache / "kernel-tests" / f"{key[:16]}.ktap"


def expected():
    """{command: how many cases it has}"""
    lines = re.findall(r"^(\d+) (.*)$", LIST.read_text(), re.MULTILINE)
    return {command: int(cases) for cases, command in lines}


def judge(text, source, prefix):
    """One run, in which no case may get lost."""
    results = ktap.parse(text, source, prefix)
    names = results.passed + results.failed + results.skipped
    for command, cases in expected().items():
        ended = sum(name.startswith(f"{prefix}/{command}/") for name in names)
        if ended < cases:
            results.failed.append(f"{prefix}/{command}/{cases - ended} of {cases} cases: did not run")
    return results


def compare(rksm, in_tree):
    """What in-tree KSM fails too is marked. By command, since a case may be called
    otherwise when it fails."""
    failed = {command_of(name) for name in in_tree.failed}
    rksm.failed = [
        f"{name} (fails in-tree as well)" if command_of(name) in failed else name
        for name in rksm.failed
    ]


def without_races(in_tree):
    """What in-tree KSM may fail is left out, and is returned."""
    races = {line for line in RACES.read_text().splitlines() if not line.startswith("#")}
    lost = [name for name in in_tree.failed if command_of(name) in races]
    in_tree.failed = [name for name in in_tree.failed if name not in lost]
    return lost


def command_of(name):
    """A case is called KERNEL/PROVIDER/COMMAND/CASE."""
    return name.split("/", 2)[-1].partition("/")[0]

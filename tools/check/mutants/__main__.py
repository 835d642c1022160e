#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""mutants [NAME...]: takes one protection of rksm away after the other, and demands that the
test that stands for it finds out. NAME is a patch's name, the beginning of it, or the number of a row
of docs/known-races.md; without one all are run. Each test must pass first without a mutant.
Prints KTAP."""

import argparse
import fcntl
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPO = HERE.parents[2]
LOGS = REPO / "build/log/mutants"
sys.path.insert(0, str(HERE.parent))

# Only now they are found.
import klog
import mutant as mutants
from copy_of_tree import Copy

# What tools/vm.py exits with.
TIMED_OUT, DIED = 124, 255
CASE = re.compile(r"^(?:# )?(ok|not ok) \d+ (\S+)(.*SKIP)?", re.MULTILINE)
BEGUN = re.compile(r"^#  RUN ", re.MULTILINE)
USER_CASE = re.compile(r"^test (\S+) \.\.\. (ok|FAILED)$", re.MULTILINE)
# Before a case of the host can say that it failed.
USER_DIED = re.compile(r"ERROR: \w+Sanitizer|panicked at")


class Survived(Exception):
    """A mutant, or a test without one, did what it should not; the message says what."""


def new_log(name):
    log = LOGS / f"{name}.log"
    for old in (log, log.with_suffix(".kernel")):
        old.unlink(missing_ok=True)
    return log


def read(path):
    return path.read_text(errors="replace") if path.exists() else ""


def signs_in_user_space(copy, run, log):
    """Which signs of a fault there are, in tests of user space."""
    start = len(read(log))
    status = copy.user_test(run, log)
    text = read(log)[start:]
    cases = USER_CASE.findall(text)
    died = not cases and USER_DIED.search(text)
    if not cases and not died:
        raise Survived(f"no case of {run} has ended (status {status})")
    if status == TIMED_OUT:
        return {"hangs"}
    # ThreadSanitizer has more to say of cases that have one thread.
    return {"fails"} if died or any(how == "FAILED" for _, how in cases) else set()


def signs_in_machine(copy, run, log, seconds):
    """Which there are, in a machine."""
    start = len(read(log))
    status = copy.boot(run, log, seconds)
    text = read(log)[start:]
    cases = CASE.findall(text)
    # A machine that is not up in time says nothing.
    hangs = status == TIMED_OUT and len(BEGUN.findall(text)) > len(cases)
    signs = {"dies"} if status == DIED else {"hangs"} if hangs else set()
    if any(skip for _, _, skip in cases) or (not cases and not signs):
        raise Survived(f"not all cases of {run} ran (status {status})")
    if any(how == "not ok" for how, _, _ in cases):
        signs.add("fails")
    kernel_log = log.with_suffix(".kernel")
    if kernel_log.exists() and klog.findings(kernel_log):
        signs.add("complains")
    return signs


class Runner:
    """Runs mutants of one kernel, in one copy of the tree."""

    def __init__(self, kernel, chosen):
        self.kernel, self.chosen = kernel, chosen
        self.copy = Copy(REPO, kernel)
        self.bad = {}

    def build(self, runs, log):
        if self.kernel != "user" and not self.copy.build(runs, log):
            raise Survived("it does not build")

    def signs(self, run, log, seconds=mutants.SECONDS):
        if self.kernel == "user":
            return signs_in_user_space(self.copy, run, log)
        return signs_in_machine(self.copy, run, log, seconds)

    def without(self):
        """Each test once as the tree is: why not, by what is run. One that has passed in this very tree
        is not run again."""
        passed, state = REPO / "build/mutants/passed", self.copy.state()
        known = read(passed).splitlines()
        lines = {m.run: f"{state} {self.kernel} {m.run}" for m in self.chosen}
        runs = [run for run, line in lines.items() if line not in known]
        if not runs:
            return
        self.copy.lay_out()
        log = new_log(f"without-{self.kernel}")
        try:
            self.build(runs, log)
        except Survived as why:
            self.bad = dict.fromkeys(runs, f"without a mutant {why}: {log}")
            return
        for run in runs:
            log = new_log(f"without-{self.kernel}-{re.sub(r'[^a-z0-9_.]+', '-', run)}")
            try:
                signs = self.signs(run, log)
                why = f"{run} {' and '.join(sorted(signs))}" if signs else None
            except Survived as survived:
                why = survived
            if why:
                self.bad[run] = f"without a mutant {why}: {log}"
                continue
            with passed.open("a") as out:
                out.write(lines[run] + "\n")

    def judge(self, mutant):
        """Why a mutant is not found out as it says, if it is not."""
        if mutant.run in self.bad:
            return self.bad[mutant.run]
        log = new_log(mutant.name)
        try:
            self.copy.lay_out(mutant)
            self.build([mutant.run], log)
            signs = self.signs(mutant.run, log, mutant.seconds)
        except subprocess.CalledProcessError:
            return "it does not apply"
        except Survived as why:
            return f"{why}: {log}"
        if signs & set(mutant.signs):
            return None
        return f"{' and '.join(sorted(signs)) or 'survives'}, and not {' or '.join(mutant.signs)}: {log}"


def commit():
    found = subprocess.run(["git", "-C", REPO, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    return found.stdout.strip()


def main():
    parser = argparse.ArgumentParser(prog="mutants", description=__doc__)
    parser.add_argument("--list", action="store_true", help="says what there is, and runs nothing")
    parser.add_argument("--kernel", action="append", choices=mutants.KERNELS, help="those of this kernel")
    parser.add_argument("--turn", type=int, metavar="N", help="N of them, by turns: others with each commit")
    parser.add_argument("names", nargs="*", metavar="NAME")
    args = parser.parse_args()
    chosen = [m for m in mutants.every() if not args.kernel or m.kernel in args.kernel]
    if args.names:
        chosen = [m for m in chosen if m.is_named(args.names)]
    if args.turn is not None:
        chosen = mutants.by_turns(chosen, commit(), args.turn)
    if not chosen:
        parser.error("there is no such mutant")
    if args.list:
        for m in chosen:
            print(f"{m.name}: {m.kernel}: {m.run}: {' or '.join(m.signs)}")
        return 0
    LOGS.mkdir(parents=True, exist_ok=True)
    return run(chosen, args.turn is not None)


def run(chosen, in_turn):
    """Runs them, and prints what becomes of them."""
    print(f"KTAP version 1\n1..{len(chosen)}", flush=True)
    if in_turn:
        print(f"# by turns, for commit {commit()}", flush=True)
    number, good = 0, True
    for kernel in dict.fromkeys(m.kernel for m in chosen):
        runner = Runner(kernel, [m for m in chosen if m.kernel == kernel])
        with (LOGS / f"{kernel}.lock").open("w") as lock:
            # There is one copy.
            fcntl.flock(lock, fcntl.LOCK_EX)
            runner.without()
            for m in runner.chosen:
                number += 1
                why = runner.judge(m)
                if why:
                    print(f"# {why}", flush=True)
                print(f"{'not ok' if why else 'ok'} {number} {m.name}", flush=True)
                good &= not why
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: GPL-2.0

import contextlib
import os
import subprocess
from pathlib import Path

import machine
from machine import RKSM, Skipped, expect, holder, merged_pages, rksmctl, scan, wait_for

CGROUP = Path("/sys/fs/cgroup/rksm-test")


def needs_the_files():
    if not (RKSM / "enrol").exists():
        raise Skipped("this rksm takes nobody in from outside")
    scan()


@contextlib.contextmanager
def cgroup():
    CGROUP.mkdir()
    try:
        yield lambda: (CGROUP / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")
    finally:
        wait_for(lambda: not (CGROUP / "cgroup.procs").read_text(encoding="ascii"))
        CGROUP.rmdir()


def case_a_process():
    needs_the_files()
    with holder(1000, "equal", "unasked") as process:
        rksmctl("enrol", process.pid)
        wait_for(lambda: merged_pages(process.pid) >= 900)
        rksmctl("release", process.pid)
        # The count in /proc is that of the records, which are forgotten when the scanner comes by.
        wait_for(lambda: merged_pages(process.pid) == 0)


def case_a_cgroup_and_who_joins_it():
    needs_the_files()
    with cgroup() as join, holder(500, "equal", "unasked", preexec_fn=join) as first:
        command = [str(word) for word in (machine.RKSMCTL, "enrol", CGROUP, "--follow", 1)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as follower:
            try:
                wait_for(lambda: merged_pages(first.pid) >= 400)
                with holder(500, "equal", "unasked", preexec_fn=join) as second:
                    wait_for(lambda: merged_pages(second.pid) >= 400)
            finally:
                follower.kill()


def case_what_is_refused():
    needs_the_files()
    expect("a kernel thread" in rksmctl("enrol", 2, status=1), "kthreadd is enrolled")
    expect("no such process" in rksmctl("release", 4194304, status=1), "nobody is released")
    expect("needs root" in rksmctl("enrol", os.getpid(), user="nobody", status=1), "nobody may enrol")

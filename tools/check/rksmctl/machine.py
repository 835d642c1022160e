# SPDX-License-Identifier: GPL-2.0
"""The test machine, for the cases: knobs, processes, and rksmctl itself."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

RKSM = Path("/sys/kernel/mm/rksm")
RKSMCTL = None  # set by __main__


class Skipped(Exception):
    """The machine lacks what a case needs."""


class Unexpected(Exception):
    pass


def expect(good, otherwise):
    if not good:
        raise Unexpected(otherwise)


def rksmctl(*args, status=0, **options):
    """What it prints; it must end with that status."""
    done = subprocess.run([RKSMCTL, *map(str, args)], capture_output=True, text=True, timeout=120, check=False, **options)
    expect(done.returncode == status, f"rksmctl {args}: status {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def chosen(path):
    """What a file in sysfs is set to; of words the one in brackets."""
    text = path.read_text(encoding="ascii").strip()
    return text.split("[")[1].split("]")[0] if "[" in text else text


def knob(name):
    return chosen(RKSM / name)


def number(name):
    return int(knob(name))


def set_knob(name, value):
    (RKSM / name).write_text(f"{value}\n", encoding="ascii")


def knobs():
    """All that can be written again, run last."""
    names = [path.name for path in RKSM.iterdir() if path.stat().st_mode & 0o200 and path.stat().st_mode & 0o400]
    return {name: knob(name) for name in sorted(names, key=lambda name: (name == "run", name))}


def wait_for(condition, seconds=60):
    """Until it holds."""
    end = time.monotonic() + seconds
    while not condition():
        expect(time.monotonic() < end, f"in {seconds} s it did not come to {condition}")
        time.sleep(0.1)


def scan():
    """Fast enough for a test."""
    set_knob("pages_to_scan", 5000)
    set_knob("run", 1)


def scanners():
    """The states of the threads of who merges: where rksm is loaded, in-tree KSM's has nothing to do."""
    name = "rksmd" if Path("/sys/module/rksm").exists() else "ksmd"
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            command, _, fields = stat.read_text(errors="replace").partition(" (")[2].rpartition(") ")
            if command.partition("/")[0] == name:
                yield fields.split()[0]


def stop():
    """Nothing is scanned any more: to write 0 does not wait for long."""
    set_knob("run", 0)
    wait_for(lambda: all(state == "S" for state in scanners()))


def passes(count):
    """Whatever there was when it was called has been looked at so often."""
    first = number("full_scans")
    wait_for(lambda: number("full_scans") > first + count)


def merged_pages(pid):
    """Of one process, those that it has on record."""
    return int(Path(f"/proc/{pid}/ksm_merging_pages").read_text(encoding="ascii"))


def says(pid, line):
    """Whether the process's ksm_stat has this line."""
    return line in Path(f"/proc/{pid}/ksm_stat").read_text(encoding="ascii").splitlines()


@contextlib.contextmanager
def as_it_was():
    """Nothing is merged, and all knobs are as before, when a case is over."""
    before = knobs()
    try:
        yield
    finally:
        set_knob("run", 2)
        set_knob("advisor_mode", "none")
        for name, value in before.items():
            if knob(name) != value:
                set_knob(name, value)


def isolated(case):
    """The case, which leaves all as it was."""

    def run():
        with as_it_was():
            case()

    return run


@contextlib.contextmanager
def unloaded():
    """Without rksm, which is back afterwards."""
    set_knob("run", 2)
    subprocess.run(["rmmod", "rksm"], check=True)
    try:
        yield
    finally:
        subprocess.run(["insmod", os.environ["RKSM_KO"]], check=True)


# Fills memory with pages, asks for merging, and sleeps. The arguments: pages, and
# how they are filled.
HOLDER = """
import ctypes, mmap, sys, time
pages, how = int(sys.argv[1]), sys.argv[2]
memory = mmap.mmap(-1, pages * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.madvise(15)  # MADV_NOHUGEPAGE
for page in range(pages):
    number = {"equal": 1, "zero": 0, "different": page + 1}[how]
    memory[page * mmap.PAGESIZE : (page + 1) * mmap.PAGESIZE] = number.to_bytes(8, "little") * (mmap.PAGESIZE // 8)
if "unasked" not in sys.argv:
    memory.madvise(12)  # MADV_MERGEABLE
print("ready", flush=True)
time.sleep(3600)
"""


@contextlib.contextmanager
def holder(pages, how="equal", *words, **options):
    """A process with so many pages: equal, zero or different ones."""
    command = [sys.executable, "-c", HOLDER, str(pages), how, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options) as process:
        try:
            expect(process.stdout.readline() == "ready\n", "a process with memory does not start")
            yield process
        finally:
            process.kill()

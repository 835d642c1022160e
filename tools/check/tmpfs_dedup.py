#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""tmpfs_dedup.py PROGRAM: what tools/tmpfs-dedup does on a running kernel. Runs in the
test machine, as root; prints KTAP. A kernel whose tmpfs does not merge has to be told
from one that does."""

import errno
import fcntl
import json
import mmap
import os
import signal
import struct
import subprocess
import sys

PROGRAM = sys.argv[1] if len(sys.argv) > 1 else "build/tmpfs-dedup"
PAGE = mmap.PAGESIZE
PAGES = 1024
FIDEDUPERANGE = 0xC0189436


def page(number):
    """Equal for equal numbers alone; 0 is full of zeroes."""
    return struct.pack("<QQ", number, number * 7) * (PAGE // 16)


def memfd(numbers):
    fd = os.memfd_create("check")
    os.write(fd, b"".join(map(page, numbers)))
    return fd


def content(fd):
    return os.pread(fd, os.fstat(fd).st_size, 0)


def can_merge():
    """Asked without the program."""
    fd = memfd([1, 1])
    request = struct.pack("<QQHHIqQQiI", 0, PAGE, 1, 0, 0, fd, PAGE, 0, 0, 0)
    try:
        fcntl.ioctl(fd, FIDEDUPERANGE, request)
    except OSError as error:
        assert error.errno in (errno.EOPNOTSUPP, errno.ENOTTY), error
        return False
    finally:
        os.close(fd)
    return True


def run(*args):
    return subprocess.run([PROGRAM, *args], capture_output=True, text=True, timeout=300, check=False)


def report_of(*args):
    done = run("--json", *args)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def path(fd):
    return f"/proc/{os.getpid()}/fd/{fd}"


def shmem():
    with open("/proc/meminfo", encoding="ascii") as lines:
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("Shmem:"))


def what_cannot_be_merged_is_said():
    """Where the kernel cannot, nothing is claimed; else it is an ordinary run."""
    fd = memfd([1, 1])
    done = run(path(fd))
    if can_merge():
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode == 1 and "CONFIG_SHMEM_DEDUP" in done.stderr, done


def a_dry_run_merges_nothing():
    fd, before = memfd([1] * PAGES), shmem()
    report = report_of("-n", path(fd))
    assert report["equal_pages"] >= PAGES - PAGES // 200 - 1, report
    assert report["merged_pages"] == 0, report
    assert abs(shmem() - before) < PAGES * PAGE // 2


def equal_files_are_merged():
    numbers = list(range(PAGES))
    files = [memfd(numbers) for _ in range(3)]
    blocks = [os.fstat(fd).st_blocks for fd in files]
    must, before = content(files[0]), shmem()
    report = report_of(*map(path, files))
    assert report["merged_pages"] == 2 * PAGES, report
    fallen = before - shmem()
    assert fallen > 1.8 * PAGES * PAGE, f"Shmem fell by {fallen}"
    assert [os.fstat(fd).st_blocks for fd in files] == blocks
    # A write to one of them is not seen in the others.
    os.pwrite(files[1], b"x" * 100, 5 * PAGE + 50)
    assert content(files[0]) == must and content(files[2]) == must
    mine = must[: 5 * PAGE + 50] + b"x" * 100 + must[5 * PAGE + 150 :]
    assert content(files[1]) == mine


def pages_of_one_content():
    """More than may share a page, and zeroes."""
    fd = memfd([7] * 900 + [0] * 700)
    must, before = content(fd), shmem()
    report = report_of(path(fd))
    assert report["merged_pages"] >= 1580, report
    assert before - shmem() > 1400 * PAGE
    assert content(fd) == must


def all_of_two_processes():
    """By their numbers: one has a memfd open, the other one has only mapped it."""
    children = []
    for closes in (False, True):
        ready, child_ready = os.pipe()
        pid = os.fork()
        if not pid:
            fd = memfd(range(100_000, 100_000 + PAGES))
            mapping = mmap.mmap(fd, PAGES * PAGE)
            if closes:
                # Python keeps one of its own.
                os.closerange(3, child_ready)
                os.closerange(child_ready + 1, 64)
            os.write(child_ready, b"1")
            signal.pause()
            mapping.close()
            os._exit(0)
        os.close(child_ready)
        os.read(ready, 1)
        os.close(ready)
        children.append(pid)
    try:
        report = report_of("--pid", str(children[0]), "--pid", str(children[1]))
        assert report["merged_pages"] >= PAGES, report
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def again_until_a_signal_comes():
    files = [memfd(range(PAGES)) for _ in range(2)]
    command = [PROGRAM, "--json", "--every", "0.5", *map(path, files)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            for number in range(1, 6):
                report = json.loads(child.stdout.readline())
                assert report["round"] == number and report["merged_pages"] >= PAGES - 1, report
                # What is written in between is merged by the next one.
                for fd in files:
                    os.pwrite(fd, page(1_000_000 + number), 0)
        finally:
            child.send_signal(signal.SIGINT)
            child.stdout.read()
    assert child.returncode in (0, 130), child.returncode
    assert content(files[0]) == content(files[1])


CASES = [what_cannot_be_merged_is_said, a_dry_run_merges_nothing]
MERGING = [equal_files_are_merged, pages_of_one_content, all_of_two_processes, again_until_a_signal_comes]


def main():
    cases = CASES + (MERGING if can_merge() else [])
    print(f"KTAP version 1\n1..{len(cases)}")
    for number, case in enumerate(cases, 1):
        how = "ok"
        try:
            case()
        except (AssertionError, OSError, ValueError, subprocess.SubprocessError) as error:
            print(f"# {case.__name__}: {error!r}"[:1000])
            how = "not ok"
        print(f"{how} {number} {case.__name__}", flush=True)


if __name__ == "__main__":
    main()

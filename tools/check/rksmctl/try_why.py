# SPDX-License-Identifier: GPL-2.0
"""Each reason is brought about, and is gone when it is remedied."""

import contextlib
import json
import shutil
import subprocess

from guest import guest
from machine import Skipped, expect, holder, number, passes, rksmctl, scan, set_knob, wait_for
from servant import servant
from stuck import stuck

PAGES = 1000
DIFFERENT = (f"memory = private({PAGES})", "fill(memory, lambda page: page + 1)", "ask(memory)")
EQUAL = (f"memory = private({PAGES})", "fill(memory, lambda page: 7)", "ask(memory)")


def found(*args):
    return {finding["reason"] for finding in json.loads(rksmctl("why", "--json", *args))["findings"]}


def applies(reason, *args):
    reasons = found(*args)
    expect(reason in reasons, f"{reason} is not among {reasons}")


def is_gone(reason, *args):
    reasons = found(*args)
    expect(reason not in reasons, f"{reason} is among {reasons}")


def case_nothing_is_wrong():
    scan()
    with servant(*EQUAL):
        wait_for(lambda: number("pages_sharing") >= PAGES * 9 // 10)
        passes(2)
        expect(found() == set(), f"why says {found()}")


def case_stopped():
    set_knob("run", 0)
    applies("stopped")
    set_knob("run", 1)
    is_gone("stopped")


def case_nobody_has_asked():
    scan()
    with servant(f"memory = private({PAGES})", "fill(memory, lambda page: 7)") as process:
        applies("unasked")
        applies("unasked", process.pid)
        process.tell("ask(memory)")
        is_gone("unasked")
        is_gone("unasked", process.pid)


def case_scope_asks_for_all():
    scan()
    with holder(PAGES, "equal", "unasked") as process:
        applies("unasked", process.pid)
        set_knob("scope", "all")
        is_gone("unasked", process.pid)


def case_left_out():
    scan()
    set_knob("scope", "all")
    with servant("ask_for_all(0)") as process:
        passes(2)
        applies("left-out", process.pid)
        process.tell("ask_for_all(1)")
        is_gone("left-out", process.pid)


def case_guests():
    scan()
    with guest("-machine", "q35,mem-merge=off") as process:
        applies("guests")
        applies("unasked", process.pid)
        rksmctl("enrol", process.pid)
        is_gone("guests")
    shared = "memory-backend-memfd,id=m,size=64M,share=on"
    with guest("-machine", "q35,memory-backend=m", "-object", shared) as process:
        applies("guests", process.pid)
    with guest("-machine", "q35,mem-merge=on") as process:
        is_gone("guests")
        is_gone("unasked", process.pid)


def case_shared_memory():
    scan()
    with servant("ask_for_all(1)", "big = mmap.mmap(-1, 64 << 20)", "fill(big, lambda page: 7)") as process:
        applies("unmergeable")
        applies("unmergeable", process.pid)
        process.tell("big.close(); big = private(16384); fill(big, lambda page: 7)")
        is_gone("unmergeable")
        is_gone("unmergeable", process.pid)


def case_asked_for_a_small_part():
    scan()
    with servant("memory = private(10)", "fill(memory, lambda page: 7)", "ask(memory)") as process:
        applies("partly-asked", process.pid)
        process.tell("ask_for_all(1)")
        is_gone("partly-asked", process.pid)


def case_busy():
    scan()
    with stuck(*EQUAL) as process:
        applies("busy")
        applies("busy", process.pid)
        process.let_go()
        wait_for(lambda: "busy" not in found(process.pid))
        is_gone("busy")


def case_first_pass():
    set_knob("run", 2)
    set_knob("pages_to_scan", 1)
    set_knob("run", 1)
    with servant(*DIFFERENT):
        applies("first-pass")
        set_knob("pages_to_scan", 5000)
        passes(1)
        is_gone("first-pass")


def case_slow():
    with servant("memory = private(3000)", "fill(memory, lambda page: page + 1)", "ask(memory)"):
        set_knob("run", 1)
        set_knob("sleep_millisecs", 1000)
        set_knob("pages_to_scan", 1)
        applies("slow")
        set_knob("sleep_millisecs", 20)
        set_knob("pages_to_scan", 1000)
        is_gone("slow")


def case_nodes():
    if not shutil.which("numactl"):
        raise Skipped("no numactl here")
    if subprocess.run(["numactl", "--membind=1", "true"], check=False).returncode:
        raise Skipped("the machine has one NUMA node")
    set_knob("run", 2)
    set_knob("merge_across_nodes", 0)
    scan()
    with contextlib.ExitStack() as stack:
        for node in (0, 1):
            stack.enter_context(servant(*DIFFERENT, command=["numactl", f"--membind={node}"]))
        wait_for(lambda: number("pages_unshared") >= PAGES)
        expect(number("pages_sharing") == 0, "pages of two nodes are merged")
        applies("nodes")
        set_knob("run", 2)
        set_knob("merge_across_nodes", 1)
        set_knob("run", 1)
        wait_for(lambda: number("pages_sharing") >= PAGES * 9 // 10)
        is_gone("nodes")


# io_uring_setup(), and io_uring_register() of buffers.
RING = "parameters = ctypes.create_string_buffer(120); ring = libc.syscall(425, 1, parameters); assert ring >= 0"
PIN = "part = struct.pack('QQ', address(memory), len(memory)); assert libc.syscall(427, ring, 0, part, 1) == 0"


def case_pinned():
    scan()
    with servant(*EQUAL, RING, PIN) as process:
        applies("pinned")
        applies("pinned", process.pid)
        text = rksmctl("why", process.pid)
        expect("io_uring" in text, text)
        process.tell("assert libc.syscall(427, ring, 1, None, 0) == 0")
        wait_for(lambda: "pinned" not in found())


REWRITE = """
def rewrite():
    number = 1 << 32
    while True:
        for page in range(len(memory) // PAGE):
            number += 1
            memory[page * PAGE : page * PAGE + 8] = number.to_bytes(8, "little")
"""


def case_volatile():
    scan()
    with servant("memory = private(200)", "fill(memory, lambda page: 7)") as process:
        process.tell(f"exec({REWRITE!r})")
        process.tell("ask(memory)")
        process.stdin.write("rewrite()\n")
        process.stdin.flush()
        wait_for(lambda: "volatile" in found())
        process.send_signal(19)  # SIGSTOP: it writes no more
        wait_for(lambda: "volatile" not in found())


def case_dear_and_different():
    scan()
    with servant("memory = private(4000)", "fill(memory, lambda page: page + 1)", "ask(memory)") as process:
        wait_for(lambda: number("pages_unshared") >= 3900)
        for reason in ("dear", "different"):
            applies(reason)
            applies(reason, process.pid)
        process.tell("memory.madvise(13)")  # MADV_UNMERGEABLE
        wait_for(lambda: not {"dear", "different"} & found())


def case_says_what_needs_root():
    scan()
    with servant(*EQUAL) as process:
        text = rksmctl("why", user="nobody")
        expect("Only root can see" in text, text)
        expect("asked for merging" in rksmctl("why", process.pid, user="nobody"), "it is seen without root")
    expect("no process" in rksmctl("why", 4194304, status=1), "there is such a process")

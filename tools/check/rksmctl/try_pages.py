# SPDX-License-Identifier: GPL-2.0
"""The map of a process has what the process has done to its memory."""

import json
import os
import tempfile
from pathlib import Path

from machine import expect, number, rksmctl, scan, set_knob, stop, wait_for
from servant import servant
from stuck import stuck

PAGES = 500


def area(process):
    """Where its memory is."""
    start = int(process.value("address(memory)"))
    return f"{start:x}-{start + int(process.value('len(memory)')):x}"


def pages(process, *args):
    return json.loads(rksmctl("pages", process.pid, area(process), "--json", *args))


def counts(process):
    """Of each kind that there is."""
    found = pages(process)
    kinds = {kind: count for kind, count in found["counts"].items() if count}
    return kinds | {kind: count for kind, count in found["never"].items() if count}


def wait_for_counts(process, **wanted):
    try:
        wait_for(lambda: counts(process) == wanted)
    except Exception as error:
        raise AssertionError(f"{counts(process)} instead of {wanted}") from error


def memory(number, pages=PAGES):
    return f"memory = private({pages})", f"fill(memory, lambda page: {number})"


def case_merged_or_not():
    scan()
    with servant(*memory(7)) as process:
        wait_for_counts(process, never=PAGES, unadvised=PAGES)
        process.tell("ask(memory)")
        wait_for_counts(process, merged=PAGES)
        stop()
        process.tell("fill(memoryview(memory)[: 100 * PAGE], lambda page: page + 1000)")
        wait_for_counts(process, merged=PAGES - 100, unmerged=100)
        cells = pages(process)["rows"][0]["cells"]
        expect(cells[0] == "unmerged" and cells[-1] == "merged", cells)


def case_zero_pages():
    set_knob("use_zero_pages", 1)
    scan()
    with servant(*memory(0), "ask(memory)") as process:
        wait_for_counts(process, zero=PAGES)


def case_for_all():
    scan()
    with servant(*memory("page + 1")) as process:
        wait_for_counts(process, never=PAGES, unadvised=PAGES)
        set_knob("scope", "all")
        wait_for_counts(process, unmerged=PAGES)


def case_shared():
    with servant(f"memory = mmap.mmap(-1, {PAGES} * PAGE)", "fill(memory, lambda page: 7)") as process:
        wait_for_counts(process, never=PAGES, shared=PAGES)


def case_hugetlb():
    huge = Path("/proc/sys/vm/nr_hugepages")
    huge.write_text("2\n", encoding="ascii")
    try:
        mapped = "memory = mmap.mmap(-1, 2 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000)"
        with servant("ask_for_all(1)", mapped, "memory[0] = 1") as process:
            wait_for_counts(process, never=512, hugetlb=512)
    finally:
        huge.write_text("0\n", encoding="ascii")


def case_large_and_sparse():
    """64 TiB, of which three pages are there: 128 GiB of pagemap."""
    private = "flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000"  # MAP_NORESERVE
    sparse = f"memory = mmap.mmap(-1, 1 << 46, {private}); memory.madvise(15); ask(memory)"
    with servant(sparse, "for place in (0, 1 << 40, 1 << 45): memory[place] = 1") as process:
        wait_for_counts(process, unmerged=3)
        row = pages(process)["rows"][0]
        expect(len(row["cells"]) == 64, row)
        expect([cell for cell in row["cells"] if cell] == ["unmerged"] * 3, row)


def case_whole_process():
    scan()
    with servant(*memory(7), "ask(memory)") as process:
        wait_for_counts(process, merged=PAGES)
        text = rksmctl("pages", process.pid)
        expect("python3" in text and "[heap]" in text and "#######" in text, text)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "map.svg")
            rksmctl("pages", process.pid, "--svg", file)
            expect(file.read_text(encoding="utf-8").startswith("<svg"), "no picture")


def case_says_what_needs_root():
    scan()
    # Where a part is merged, smaps does not say which.
    with servant(*memory("min(page, 400) + 1"), "ask(memory)", user="nobody") as process:
        wait_for(lambda: number("pages_sharing") >= 90)
        text = rksmctl("pages", process.pid, user="nobody")
        expect("Only root can see which pages" in text, text)
        refused = rksmctl("pages", os.getpid(), status=1, user="nobody")
        expect("needs root" in refused, refused)


def case_busy():
    with stuck(*memory(7)) as process:
        said = rksmctl("pages", process.pid, status=1)
        expect("is busy with its address space" in said, said)
        process.let_go()
        expect("mappings" in rksmctl("pages", process.pid), "it cannot be looked at")


def case_a_file_of_any_name():
    # The kernel gives shared memory of System V names that begin so.
    for name, shown in (("/SYSV", "/SYSV"), ("/tmp/\x1b[2J", "/tmp/\ufffd[2J")):
        path = Path(name)
        path.write_bytes(bytes(4096))
        try:
            file = f"file = open({name!r}, 'r+b')"
            with servant(file, "memory = mmap.mmap(file.fileno(), PAGE)", "memory[0] = 1") as process:
                text = rksmctl("pages", process.pid, area(process))
                expect(f" {shown} " in text and "\x1b" not in text, text)
        finally:
            path.unlink()

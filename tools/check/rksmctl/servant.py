# SPDX-License-Identifier: GPL-2.0
"""A process that does what it is told, one statement of Python after the other."""

import contextlib
import subprocess
import sys

import machine

SERVANT = """
import ctypes, mmap, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
PAGE = mmap.PAGESIZE

def private(pages):
    memory = mmap.mmap(-1, pages * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(15)  # MADV_NOHUGEPAGE
    return memory

def fill(memory, number):
    for page in range(len(memory) // PAGE):
        memory[page * PAGE : (page + 1) * PAGE] = number(page).to_bytes(8, "little") * (PAGE // 8)

def address(memory):
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))

def ask(memory):
    memory.madvise(12)  # MADV_MERGEABLE

def ask_for_all(yes):
    if libc.prctl(67, yes, 0, 0, 0):  # PR_SET_MEMORY_MERGE
        raise OSError(ctypes.get_errno(), "prctl")

for line in sys.stdin:
    exec(line)
    print("done", flush=True)
"""


@contextlib.contextmanager
def servant(*statements, command=(), **options):
    """It has done these statements; `tell()` has it do another,
    and `value()` say what something is."""
    command = [*command, sys.executable, "-c", SERVANT]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options) as process:

        def tell(statement):
            process.stdin.write(statement + "\n")
            process.stdin.flush()
            machine.expect(process.stdout.readline() == "done\n", f"a process cannot do {statement}")

        def value(expression):
            process.stdin.write(f"print({expression})\n")
            process.stdin.flush()
            said = process.stdout.readline().strip()
            machine.expect(process.stdout.readline() == "done\n", f"a process does not say {expression}")
            return said

        process.tell, process.value = tell, value
        try:
            for statement in statements:
                tell(statement)
            yield process
        finally:
            process.kill()

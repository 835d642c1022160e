#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""hooks.py RKSM_HOOKS.KO RKSM.KO: the livepatch comes and goes. Runs in the test
machine with neither module loaded; prints KTAP.

What it believes of the kernel is made wrong, one thing after the other: each time the
kernel must refuse it, say why, and be as it was."""

import ctypes
import errno
import os
import re
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

LIVEPATCHES = Path("/sys/kernel/livepatch")
ENABLED = LIVEPATCHES / "rksm_hooks/enabled"
KNOBS = Path("/sys/kernel/mm/ksm")
OURS = Path("/sys/kernel/mm/rksm")
MODULES = Path(__file__).parent.parent.parent / "dkms/modules"
SYS_FINIT_MODULE, SYS_DELETE_MODULE = {"x86_64": (313, 176), "aarch64": (273, 106)}[os.uname().machine]
ROUNDS = 5

# Waits in do_wp_page(), which is redirected, for a userfaultfd that nobody reads.
WRITER = """
import ctypes, fcntl, mmap, struct
page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
page[0] = 1
address = ctypes.addressof(ctypes.c_char.from_buffer(page))
watch = ctypes.CDLL(None).syscall(323, 0)
for command, words in (
    (0xC018AA3F, (0xAA, 1, 0)),  # UFFDIO_API with UFFD_FEATURE_PAGEFAULT_FLAG_WP
    (0xC020AA00, (address, mmap.PAGESIZE, 2, 0)),  # UFFDIO_REGISTER
    (0xC018AA06, (address, mmap.PAGESIZE, 1)),  # UFFDIO_WRITEPROTECT
):
    fcntl.ioctl(watch, command, struct.pack(f"{len(words)}Q", *words))
print(flush=True)
page[0] = 2
"""


def rename(module, old, new):
    """The string `old`, wherever it is a whole one."""
    assert len(old) == len(new) and b"\0" + old + b"\0" in module, old
    return module.replace(b"\0" + old + b"\0", b"\0" + new + b"\0")


def offset_of(module, symbol):
    """Where in the file the object is that `symbol` names."""
    start, = struct.unpack_from("<Q", module, 0x28)
    size, count = struct.unpack_from("<HH", module, 0x3A)
    # Of each: name, type, flags, address, offset, size, link, ...
    sections = [struct.unpack_from("<IIQQQQI", module, start + index * size) for index in range(count)]
    table = next(section for section in sections if section[1] == 2)
    names = sections[table[6]][4]
    for at in range(table[4], table[4] + table[5], 24):
        name, _, _, index, value, _ = struct.unpack_from("<IBBHQQ", module, at)
        if module[names + name :].split(b"\0", 1)[0] == symbol:
            return sections[index][4] + value
    raise AssertionError(symbol)


def other_entry(module):
    """The first function is believed to begin one byte later."""
    at = offset_of(module, b"redirected") + 16
    before, = struct.unpack_from("<I", module, at)
    return module[:at] + struct.pack("<I", before + 1) + module[at + 4 :]


def copied(length):
    """A function with a name so long, of which the compiler has made a copy."""
    names = Path("/proc/kallsyms").read_text(encoding="ascii").split("\n")
    found = (re.search(r" [tT] ((?!__)\w+)\.(isra|constprop)\.\d+$", line) for line in names)
    return next(match[1] for match in found if match and len(match[1]) == length).encode()


def another(length):
    """A function with a name so long, which calls others, but not do_wp_page()."""
    names = re.findall(r" T (vfs_\w+)$", Path("/proc/kallsyms").read_text(encoding="ascii"), re.MULTILINE)
    return next(name for name in names if len(name) == length).encode()


# What is wrong, how it is made so, and what the kernel's log says of it.
REFUSALS = {
    "entry": (other_entry, rb"ksm_madvise\(\) cannot be redirected, or begins in another way"),
    "copy": (lambda m: rename(m, b"do_wp_page", copied(10)), rb"there is a copy of \w{10}\(\): "),
    "inlined": (
        lambda m: rename(m, b"do_swap_page", another(12)),
        rb"do_wp_page\(\) is not called by \w{12}\(\)",
    ),
    "no_function": (lambda m: rename(m, b"run_store", b"run_stork"), rb"the kernel says nothing of run_stork\(\)"),
    "prototype": (
        lambda m: rename(m, b"int(mm_struct*,mm_struct*)", b"int(mm_struct*,mm_strict*)"),
        rb"dup_mmap\(\) is int\(mm_struct\*,mm_struct\*\), not int\(mm_struct\*,mm_strict\*\)",
    ),
    "file": (
        lambda m: rename(m, b"%s_%s", b"%s-%s"),
        rb"ksm/\w+ is not the file that we think",
    ),
    "member": (lambda m: rename(m, b"mm_node", b"mm_note"), rb"struct mm_slot has mm_note at -2, not at \d+"),
    "vma_flags": (
        lambda m: rename(m, b"VMA_READ_BIT", b"VMA_RAED_BIT"),
        rb"the kernel says nothing of the flags of VMAs",
    ),
    "symbol": (
        lambda m: m.replace(b".klp.sym.vmlinux.break_ksm,", b".klp.sym.vmlinux.break_ksn,"),
        rb"symbol 'break_ksn' not found",
    ),
}


def module_call(number, *args):
    """The error, or 0."""
    libc = ctypes.CDLL(None, use_errno=True)
    return ctypes.get_errno() if libc.syscall(number, *args) else 0


def insmod(module):
    with open(os.memfd_create("module"), "wb") as file:
        file.write(module)
        file.flush()
        return module_call(SYS_FINIT_MODULE, file.fileno(), b"", 0)


def rmmod(name):
    return module_call(SYS_DELETE_MODULE, name, os.O_NONBLOCK)


def is_loaded(name):
    return Path("/sys/module", name).exists()


def is_provided():
    """What is set in rksm's directory is set in that of the kernel's own KSM."""
    theirs, ours = KNOBS / "sleep_millisecs", OURS / "sleep_millisecs"
    if not ours.exists():
        return False
    before = ours.read_text(encoding="ascii")
    ours.write_text("4321", encoding="ascii")
    same = theirs.read_text(encoding="ascii") == "4321\n"
    ours.write_text(before, encoding="ascii")
    return same


def is_refused(module, says):
    subprocess.run(["dmesg", "--clear"], check=True)
    run = (KNOBS / "run").read_text(encoding="ascii")
    error = insmod(module)
    log = subprocess.run(["dmesg"], stdout=subprocess.PIPE, check=True).stdout
    expect(error in (errno.ENOEXEC, errno.EINVAL), f"errno {error}")
    expect(re.search(says, log), f"the log has no {says}")
    expect(not is_loaded("rksm_hooks") and not any(LIVEPATCHES.iterdir()), "it is there all the same")
    expect((KNOBS / "run").read_text(encoding="ascii") == run, "in-tree KSM is not as it was")


def load(hooks, rksm):
    expect(insmod(hooks) == 0 and insmod(rksm) == 0, "a module does not load")
    expect(is_provided(), "rksm does not provide")


def unload():
    subprocess.run([MODULES, "unload"], check=True)
    expect(not is_loaded("rksm_hooks") and not any(LIVEPATCHES.iterdir()), "the livepatch stays")
    expect(not is_provided(), "in-tree KSM is not back")


def cannot_be_disabled(hooks, rksm):
    """While rksm provides, the knob cannot be opened, and the module does not go."""
    load(hooks, rksm)
    try:
        with ENABLED.open("w", encoding="ascii"):
            expect(False, "the knob can be opened")
    except PermissionError:
        pass
    expect(rmmod(b"rksm_hooks") == errno.EWOULDBLOCK, "rksm_hooks can be unloaded")
    unload()


def disabling_waits(hooks, rksm):
    """Who has opened the knob before rksm came waits until it has gone."""
    expect(insmod(hooks) == 0, "the hooks do not load")
    with ENABLED.open("wb", buffering=0) as knob:
        expect(insmod(rksm) == 0, "rksm does not load")
        writer = threading.Thread(target=lambda: knob.write(b"0"))
        writer.start()
        time.sleep(1)
        expect(writer.is_alive() and is_provided(), "nobody waits for rksm")
        expect(rmmod(b"rksm") == 0, "rksm does not unload")
        writer.join()
    unload()


def under_way(hooks, _):
    """Who unloads while the livepatch is being disabled waits until it is."""
    expect(insmod(hooks) == 0, "the hooks do not load")
    while (LIVEPATCHES / "rksm_hooks/transition").read_text(encoding="ascii") != "0\n":
        time.sleep(0.1)
    with subprocess.Popen([sys.executable, "-c", WRITER], stdout=subprocess.PIPE) as writer:
        try:
            writer.stdout.readline()
            while "do_wp_page" not in Path(f"/proc/{writer.pid}/stack").read_text(encoding="ascii"):
                time.sleep(0.1)
            ENABLED.write_text("0", encoding="ascii")
            expect(ENABLED.read_text(encoding="ascii") == "0\n", "the livepatch does not wait for the writer")
            unload()
        finally:
            writer.kill()


def merging_goes_on(hooks, rksm):
    """What rksm is told to do, in-tree KSM does when rksmctl has unloaded it, which writes 2."""
    for run in ("1\n", "0\n"):
        load(hooks, rksm)
        (OURS / "run").write_text(run, encoding="ascii")
        unload()
        expect((KNOBS / "run").read_text(encoding="ascii") == run, f"run was {run}")


def files_are_quiet(hooks, rksm):
    """The hooks come and go while the files that they change are read and written."""
    stop = threading.Event()
    troubles = []

    def use():
        while not stop.is_set():
            for path in sorted(KNOBS.iterdir()):
                try:
                    text = path.read_text(encoding="ascii")
                    # Another than is_provided() writes.
                    if path.name == "pages_to_scan":
                        path.write_text(text, encoding="ascii")
                except OSError as error:
                    if error.errno != errno.EBUSY:
                        troubles.append(f"{path}: {error}")

    users = [threading.Thread(target=use) for _ in range(2)]
    for user in users:
        user.start()
    try:
        come_and_go(hooks, rksm)
    finally:
        stop.set()
        for user in users:
            user.join()
    expect(not troubles, troubles[:3])


def come_and_go(hooks, rksm):
    for _ in range(ROUNDS):
        load(hooks, rksm)
        unload()


class Unexpected(Exception):
    pass


def expect(good, otherwise):
    if not good:
        raise Unexpected(otherwise)


def main():
    hooks, rksm = (Path(path).read_bytes() for path in sys.argv[1:])
    cases = {f"refused: {name}": (is_refused, spoil(hooks), says) for name, (spoil, says) in REFUSALS.items()}
    life = cannot_be_disabled, disabling_waits, under_way, come_and_go, merging_goes_on, files_are_quiet
    cases |= {case.__name__: (case, hooks, rksm) for case in life}
    print(f"TAP version 13\n1..{len(cases)}")
    for number, (name, (case, *args)) in enumerate(cases.items(), 1):
        try:
            case(*args)
            print(f"ok {number} {name}", flush=True)
        except (Unexpected, subprocess.CalledProcessError) as error:
            print(f"# {error}\nnot ok {number} {name}", flush=True)


if __name__ == "__main__":
    main()

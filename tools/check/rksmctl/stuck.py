# SPDX-License-Identifier: GPL-2.0
"""A process that holds its mmap lock for as long as one likes: it maps a file anew of
which it has begun to read a page, and the FUSE server never says what is in it."""

import contextlib
import ctypes
import errno
import os
import stat
import struct
import threading
from pathlib import Path

from machine import Skipped, wait_for
from servant import servant

SYS_FSOPEN, SYS_FSCONFIG, SYS_FSMOUNT = 430, 431, 432
SET_STRING, CREATE = 1, 6
GETATTR, OPEN, READ, RELEASE, FLUSH, INIT = 3, 14, 15, 18, 25, 26
NOT_ANSWERED = (2, READ, 36, 42)  # FORGET, INTERRUPT, BATCH_FORGET
SIZE = os.sysconf("SC_PAGE_SIZE")
LIBC = ctypes.CDLL(None, use_errno=True)

HANG_ON = (
    "cached, direct = os.open({path!r}, os.O_RDONLY), os.open({path!r}, os.O_RDONLY);"
    "libc.readahead(cached, ctypes.c_long(0), ctypes.c_size_t(PAGE))"
)
MAP = "mmap.mmap(direct, PAGE, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)\n"


def call(number, *args):
    result = LIBC.syscall(number, *args)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"system call {number}")
    return result


def mount(device):
    """A file system with one file, which is its root: a descriptor of it."""
    context = call(SYS_FSOPEN, b"fuse", 1)
    for key, value in (("fd", device), ("rootmode", "100000"), ("user_id", 0), ("group_id", 0)):
        call(SYS_FSCONFIG, context, SET_STRING, key.encode(), str(value).encode(), 0)
    call(SYS_FSCONFIG, context, CREATE, None, None, 0)
    root = call(SYS_FSMOUNT, context, 1, 0)
    os.close(context)
    return root


class Server:
    """Answers everything but reads."""

    def __init__(self, device):
        self.device = device
        self.opened = 0

    def serve(self):
        while True:
            try:
                request = os.read(self.device, 1 << 18)
            except OSError as error:
                if error.errno in (errno.EINTR, errno.ENOENT):
                    continue
                return
            _, opcode, unique = struct.unpack_from("<IIQ", request)
            if opcode not in NOT_ANSWERED:
                code, body = self.answer(opcode)
                os.write(self.device, struct.pack("<IiQ", 16 + len(body), code, unique) + body)

    def answer(self, opcode):
        if opcode == INIT:
            # With asynchronous reads, so that one can be begun without waiting for it.
            return 0, struct.pack("<4I2H2I36x", 7, 31, 1 << 16, 1, 16, 12, 1 << 16, 1)
        if opcode == OPEN:
            # Every second one for direct I/O.
            self.opened += 1
            return 0, struct.pack("<QIi", 0, (self.opened + 1) % 2, 0)
        if opcode == GETATTR:
            times = (0,) * 7
            return 0, struct.pack("<QII6Q3I7I", 3600, 0, 0, 1, SIZE, *times, stat.S_IFREG | 0o600, 1, 0, 0, 0, SIZE, 0)
        return (0, b"") if opcode in (RELEASE, FLUSH) else (-errno.ENOSYS, b"")


@contextlib.contextmanager
def stuck(*statements):
    """A process that has done these statements, and holds its lock. `let_go()` ends that."""
    if not Path("/dev/fuse").exists():
        raise Skipped("the kernel has no FUSE")
    device = os.open("/dev/fuse", os.O_RDWR)
    root = mount(device)
    threading.Thread(target=Server(device).serve, daemon=True).start()
    connection = os.minor(os.fstat(root).st_dev)

    path = f"/proc/{os.getpid()}/fd/{root}"
    with servant(*statements, HANG_ON.format(path=path)) as process:
        state = Path(f"/proc/{process.pid}/stat")

        def waits():
            return state.read_text(encoding="ascii").rsplit(")", 1)[1].split()[0] == "D"

        def let_go():
            Path(f"/sys/fs/fuse/connections/{connection}/abort").write_text("1\n", encoding="ascii")
            wait_for(lambda: not waits())

        process.let_go = let_go
        process.stdin.write(MAP)
        process.stdin.flush()
        try:
            wait_for(waits)
            yield process
        finally:
            let_go()
            process.kill()
            os.close(root)
            os.close(device)

# SPDX-License-Identifier: GPL-2.0
"""A disk that a process serves to QEMU over vhost-user. It reads and writes the guest's memory
by itself, so that this must be shared with it: a memfd that both map."""

import subprocess
import time

from failed import Failed

START_SECONDS = 60


class Storage:
    def __init__(self, content, names, logs, run):
        self.log = logs / "storage.log"
        disk = run / "disk"
        disk.write_bytes(content)
        self.sockets = {name: run / f"disk-{name}" for name in names}
        command = ["qemu-storage-daemon"]
        command += ["--blockdev", f"driver=file,node-name=disk,filename={disk},read-only=on"]
        for name, path in self.sockets.items():
            command += ["--export", f"type=vhost-user-blk,id={name},node-name=disk,addr.type=unix,addr.path={path}"]
        with self.log.open("wb") as log:
            self.daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + START_SECONDS
        while not all(path.exists() for path in self.sockets.values()):
            if self.daemon.poll() is not None or time.monotonic() > end:
                raise Failed("the daemon that serves the disk does not listen", self.log)
            time.sleep(0.1)

    def devices(self, name, mib):
        """What QEMU must be told so that this guest has the disk, and memory in a memfd."""
        return [
            *("-object", f"memory-backend-memfd,id=memory,size={mib}M,share=on"),
            *("-machine", "memory-backend=memory"),
            *("-chardev", f"socket,id=disk,path={self.sockets[name]}"),
            *("-device", "vhost-user-blk-pci,chardev=disk"),
        ]

    def stop(self):
        self.daemon.terminate()
        if status := self.daemon.wait(START_SECONDS):
            raise Failed(f"the daemon that serves the disk ended with status {status}", self.log)

    def kill(self):
        self.daemon.kill()
        self.daemon.wait()

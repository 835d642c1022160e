#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""image IMAGE: makes the initramfs of the guests, on the host. Needs gcc, libc6-dev and cpio."""

import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = Path(__file__).resolve().parent / "guest.c"


def main():
    image = Path(sys.argv[1])
    image.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=image.parent) as work:
        root, new = Path(work) / "root", Path(work) / "image"
        (root / "dev").mkdir(parents=True)
        command = ["gcc", "-O2", "-Wall", "-Wextra", "-static", "-o", root / "init", SOURCE, "-lm"]
        subprocess.run(command, check=True)
        with new.open("wb") as file:
            subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], input=b"dev\ninit\n", stdout=file, cwd=root, check=True)
        new.replace(image)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: GPL-2.0
"""Every file of the system, and in what two such lists differ."""

import fnmatch
import hashlib
import json
import os
import stat
from pathlib import Path

# What may differ after the package and all that came with it is gone, and why:
# patterns of whole paths, in which * stands for anything.
EXCEPTIONS = {
    "/var/lib/dpkg/*": "dpkg's book-keeping",
    "/var/lib/apt/*": "apt's book-keeping",
    "/var/cache/apt/*": "apt's book-keeping",
    "/var/cache/debconf/*": "debconf's answers, and where it unpacks questions",
    "/var/cache/ldconfig/aux-cache": "knows libraries by inode and time",
    "/var/lib/dkms": "has the key",
    "/var/lib/dkms/mok.*": "the key DKMS signs with stays: its owner may have enrolled it",
    "/var/lib/systemd/random-seed": "another at each boot",
    "/var/log/*": "logs",
}


def entry(path):
    """What a file is: its kind and mode, its owner, and what is in it."""
    info = os.lstat(path)
    content = ""
    if stat.S_ISREG(info.st_mode):
        with open(path, "rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    elif stat.S_ISLNK(info.st_mode):
        content = os.readlink(path)
    return [oct(info.st_mode), info.st_uid, info.st_gid, content]


def listing():
    """All on the disk itself, and nothing that is mounted over it."""
    device = os.lstat("/").st_dev
    found = {}
    for folder, folders, names in os.walk("/"):
        folders[:] = [name for name in folders if os.lstat(os.path.join(folder, name)).st_dev == device]
        for name in [*folders, *names]:
            path = os.path.join(folder, name)
            if os.lstat(path).st_dev == device:
                found[path] = entry(path)
    return found


def save(path):
    Path(path).write_text(json.dumps(listing(), indent=0, sort_keys=True))


def excused(path):
    return any(fnmatch.fnmatchcase(path, name) for name in EXCEPTIONS)


def differences(before, after):
    """Lines of what is new, gone or changed, but for the exceptions."""
    for path in sorted({*before, *after}):
        if before.get(path) != after.get(path) and not excused(path):
            what = "new" if path not in before else "gone" if path not in after else "changed"
            yield f"{what}: {path}"


def compare(path):
    return list(differences(json.loads(Path(path).read_text()), listing()))

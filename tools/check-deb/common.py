# SPDX-License-Identifier: GPL-2.0
"""What the stages have in common: places, commands, and what must hold."""

import os
import re
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(REPO / "tools/demo"))

from failed import Failed

LOGS = REPO / "build/log/check-deb"
WORK = REPO / "build/check-deb"
VERSION = (REPO / "VERSION").read_text().strip()
STAGE = sys.argv[1]
SERIES = os.environ["DEB_SERIES"]
BACKPORTS = os.environ["DEB_SUITE"]
STABLE = BACKPORTS.removesuffix("-backports")
CONF = Path("/etc/rksm.conf")
os.environ["DEBIAN_FRONTEND"] = "noninteractive"
# What an administrator saves; none of it is what rksm comes with.
SETTINGS = {"run": 1, "pages_to_scan": 2000, "sleep_millisecs": 10, "smart_scan": 0, "use_zero_pages": 1}


def check(holds, why):
    if not holds:
        raise Failed(why)


def call(*command):
    """Its status and what it says, which goes to the stage's log as well."""
    command = [str(word) for word in command]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        status, said = done.returncode, done.stdout.strip()
    except FileNotFoundError:
        status, said = 127, f"there is no {command[0]}"
    # root writes it in the disk; in the machine it may be the user who started that.
    with (LOGS / f"{STAGE}.log").open("a", encoding="utf-8") as log:
        print(f"$ {' '.join(command)}\n{said}\n[{status}]", file=log)
    return status, said


def must(*command):
    status, said = call(*command)
    end = " / ".join(said.splitlines()[-3:])
    check(status == 0, f"`{' '.join(map(str, command))}` ends with {status}: {end}")
    return said


def modules(release):
    """The modules that DKMS has put in place for a kernel."""
    return sorted(Path(f"/lib/modules/{release}/updates/dkms").glob("rksm*"))


def is_built(release):
    """DKMS has both modules in place, and they are for this kernel."""
    status = must("dkms", "status", "-m", "rksm", "-v", VERSION, "-k", release)
    check(status == f"rksm/{VERSION}, {release}, x86_64: installed", f"dkms status of {release}: '{status}'")
    names = [path.name.split(".")[0] for path in modules(release)]
    check(names == ["rksm", "rksm_hooks"], f"{release} has {names}")
    for path in modules(release):
        said = must("modinfo", "-F", "vermagic", path)
        check(said.split()[0] == release, f"{path} is for '{said}'")


def is_not_built(release, pattern):
    """Nothing of it is there for a kernel, and the reason is one sentence."""
    check(not modules(release), f"{release} has {modules(release)}")
    status = must("dkms", "status", "-m", "rksm", "-v", VERSION, "-k", release)
    check(status == f"rksm/{VERSION}: added", f"dkms status of {release}: '{status}'")
    state = Path(f"/var/lib/dkms/rksm/{VERSION}/{release}")
    check(not state.exists(), f"{state} is there")
    refused(release, pattern)


def refused(release, pattern, **env):
    """dkms/check says why, in one sentence that matches the pattern."""
    words = [f"{name}={value}" for name, value in env.items()]
    status, said = call("env", *words, f"/usr/src/rksm-{VERSION}/dkms/check", release)
    check(status == 1, f"dkms/check {release} ends with {status}: {said}")
    check(len(said.splitlines()) == 1, f"it is not one sentence: {said}")
    check(re.fullmatch(pattern, said), f"it says '{said}'")


def in_order():
    """Of no package there is half."""
    said = must("dpkg", "--audit")
    check(said == "", f"dpkg --audit: {said}")


def packages():
    """What is installed, or was and has left something."""
    return set(must("dpkg-query", "-W", "-f", "${db:Status-Abbrev}${Package}\n").splitlines())

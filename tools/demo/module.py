# SPDX-License-Identifier: GPL-2.0
"""Loading and unloading rksm.ko."""

import subprocess
from pathlib import Path

from failed import Failed
from ksm import MM


def call(*command):
    """Run it; returns its status and what it said."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.returncode, done.stdout.strip()


def loaded():
    return Path("/sys/module/rksm").exists()


def insmod(module):
    status, said = call("insmod", module)
    if status:
        raise Failed(f"insmod {module}: {said or status}")


def values(folder):
    """What its files show, of those that stand still while nothing is merged."""
    both = [path for path in (MM / folder).iterdir() if path.stat().st_mode & 0o600 == 0o600]
    return {path.name: path.read_text() for path in both}


def load(module):
    hooks = module.with_name("rksm_hooks.ko")
    # A kernel that was not built for rksm needs them.
    if hooks.exists() and not Path("/sys/module/rksm_hooks").exists():
        insmod(hooks)
    insmod(module)
    if not (MM / "rksm").is_dir() or values("ksm").items() - values("rksm").items():
        raise Failed(f"{MM}/ksm is not what {MM}/rksm is")


def refuse_to_unload():
    """While pages are merged, rmmod must say that the module is in use."""
    status, said = call("rmmod", "rksm")
    if status == 0 or not loaded():
        raise Failed("rmmod unloaded the module while pages were merged")
    if "in use" not in said:
        raise Failed(f"rmmod failed for another reason than use: {said}")


def unload():
    status, said = call("rmmod", "rksm")
    if status or loaded():
        raise Failed(f"rmmod rksm: {said or status}")
    if (MM / "rksm").exists() or not (MM / "ksm").is_dir():
        raise Failed(f"{MM}/ksm was not handed back to the in-tree KSM")

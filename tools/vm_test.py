#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What tools/vm.py does without a machine: a process stands for one, that does not
end by itself."""

import argparse
import contextlib
import io
import os
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from unittest import mock

import vm

NEVER_ENDS = ["sh", "-c", "trap '' TERM; while :; do echo line; sleep 0.01; done"]


class Stand(vm.Machine):
    """A machine that prints for ever; whoever asks it to stop is not heard."""

    def command_line(self, out_fd, _):
        return ["sh", "-c", f"{NEVER_ENDS[2]} >/proc/self/fd/{out_fd}"]


def stand(**settings):
    args = {"log": str(vm.CACHE / "log"), "module": None, "name": "plain", "env": [], "timeout": 60}
    return Stand(argparse.Namespace(**{**args, **settings}), "tcg")


def run(machine, out):
    try:
        return machine.run("true", out=out)
    finally:
        machine.cleanup()


def ends_when_nobody_reads():
    reads, writes = os.pipe()
    with os.fdopen(writes, "wb") as out, mock.patch.object(vm, "STOP_SECONDS", 0.2):
        os.close(reads)
        assert run(stand(), out) == 141


def ends_when_the_disk_is_full():
    said = io.StringIO()
    said.buffer = io.BytesIO()
    with (
        open("/dev/full", "wb") as out,
        mock.patch.object(vm, "STOP_SECONDS", 0.2),
        contextlib.redirect_stderr(said),
    ):
        assert run(stand(), out) == vm.STATUS_DIED
    assert "cannot be written: No space left" in said.getvalue(), said.getvalue()


def ends_in_time_though_it_does_not_listen():
    with open(os.devnull, "wb") as out, mock.patch.object(vm, "STOP_SECONDS", 0.2):
        assert run(stand(timeout=0.3), out) == vm.STATUS_TIMEOUT


class Ends(vm.Machine):
    """A machine whose command has ended with such a status, or that has died before."""

    def __init__(self, status):
        super().__init__(stand().args, "tcg")
        self.status = status

    def command_line(self, _out_fd, _err_fd):
        return ["sh", "-c", 'printf %s "$1" >"$0/ret"', self.run_dir, self.status]


def gives_the_status_of_the_command():
    for status, seen in ("0", 0), ("3", 3), ("", vm.STATUS_DIED):
        with open(os.devnull, "wb") as out:
            assert run(Ends(status), out) == seen


def says_what_is_not_there():
    nowhere = vm.REPO / "build/nowhere"
    command = [sys.executable, vm.__file__, "--virtme", nowhere, "--kernel", nowhere, "--module", nowhere]
    ended = subprocess.run(command, env=os.environ | {"RKSM_RUN": "true"}, stderr=subprocess.PIPE, check=False)
    assert ended.returncode == 125
    assert f"{nowhere} does not exist" in ended.stderr.decode()


def leaves_only_what_is_in_use():
    held, left = stand(), stand()
    os.close(left.in_use)
    for machine in held, left:
        os.utime(machine.run_dir, (0, 0))
    vm.remove_leftovers()
    assert held.run_dir.exists()
    assert not left.run_dir.exists()
    held.cleanup()


def probe(answer, device="/dev/null"):
    """What is used, what is said, and whether it was tried."""
    said = io.StringIO()
    with (
        mock.patch.object(vm, "try_kvm", return_value=answer) as trial,
        mock.patch.object(vm, "KVM", Path(device)),
        contextlib.redirect_stderr(said),
    ):
        return vm.probe_kvm(None), said.getvalue(), trial.called


def forgets_that_kvm_does_not_work():
    memo = vm.CACHE / "accel" / Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    memo.unlink(missing_ok=True)
    assert probe("it is on fire") == ("tcg", mock.ANY, True)
    accel, said, tried = probe(None)
    assert (accel, tried) == ("tcg", False)
    assert "it is on fire" in said
    assert str(memo) in said
    os.utime(memo, (time.time() - vm.DAY - 60,) * 2)
    assert probe(None) == ("kvm", mock.ANY, True)
    assert probe("it is on fire")[::2] == ("kvm", False)
    # It says why not, and asks again when that is mended.
    memo.unlink()
    accel, said, tried = probe(None, "/dev/nowhere")
    assert (accel, tried) == ("tcg", False)
    assert "there is no /dev/nowhere" in said
    assert probe(None)[::2] == ("kvm", True)


def main():
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        vm.CACHE = vm.LOGS = Path(folder)
        cases = (
            ends_when_nobody_reads,
            ends_when_the_disk_is_full,
            ends_in_time_though_it_does_not_listen,
            gives_the_status_of_the_command,
            says_what_is_not_there,
            leaves_only_what_is_in_use,
            forgets_that_kvm_does_not_work,
        )
        for case in cases:
            try:
                case()
            except Exception:  # noqa: BLE001 whatever it is, the other cases have their turn
                failed = True
                print(f"not ok vm/{case.__name__}")
                print("# " + traceback.format_exc().rstrip().replace("\n", "\n# "), flush=True)
            else:
                print(f"ok vm/{case.__name__}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())

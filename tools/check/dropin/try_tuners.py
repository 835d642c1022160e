# SPDX-License-Identifier: GPL-2.0
"""Who sets knobs."""

import time

from daemons import SPARE_MIB, said, systemctl
from machine import expect, knob, number, wait_for
from merging import guest

VIRSH = ("virsh", "-c", "qemu:///system", "node-memory-tune")


def case_ksmtuned(_group):
    """It scans while a guest makes memory scarce. The daemon is the same with all providers."""

    def tune(run):
        # Until it waits again it is deaf.
        def tuned():
            systemctl("reload", "ksmtuned")
            time.sleep(1)
            return number("run") == run

        wait_for(tuned)

    tune(0)
    with guest(2 * SPARE_MIB, "on"):
        tune(1)
        expect(64 <= number("pages_to_scan") <= 1250, knob("pages_to_scan"))
        expect(number("sleep_millisecs") > 20, knob("sleep_millisecs"))
    tune(0)


def case_libvirt(_group):
    before = knob("merge_across_nodes")
    said(*VIRSH, "--shm-pages-to-scan", "777", "--shm-sleep-millisecs", "33", "--shm-merge-across-nodes", "0")
    shown = [knob(name) for name in ("pages_to_scan", "sleep_millisecs", "merge_across_nodes")]
    expect(shown == ["777", "33", "0"] and before == "1", f"{before}, then {shown}")

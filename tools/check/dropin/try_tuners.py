# SPDX-License-Identifier: GPL-2.0
"""Who sets knobs."""

import time

from daemons import SPARE_MIB, available, said, systemctl
from machine import expect, knob, number, rksmctl, wait_for
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


def case_pressure(group):
    """The same by an advisor, which only rksm has."""
    if group != "rksm":
        refused = rksmctl("tune", "pressure", status=2)
        expect("has no advisor_mode=pressure" in refused, refused)
        return
    high = available()
    rksmctl("tune", "pressure", f"advisor_free_low={high - 10}", f"advisor_free_high={high}")
    try:
        for _ in range(2):
            wait_for(lambda: number("pages_to_scan") == 0)
            with guest(2 * SPARE_MIB, "on"):
                wait_for(lambda: number("pages_to_scan") > 0)
                wait_for(lambda: number("pages_sharing") > 1000)
                expect("merging ends at" in rksmctl("status"), "it does not say that memory is short")
        wait_for(lambda: number("pages_to_scan") == 0)
        expect("merging begins at" in rksmctl("status"), "it does not say what it waits for")
    finally:
        rksmctl("tune", "advisor_mode=none", "advisor_free_low=10", "advisor_free_high=20")


def case_libvirt(_group):
    before = knob("merge_across_nodes")
    said(*VIRSH, "--shm-pages-to-scan", "777", "--shm-sleep-millisecs", "33", "--shm-merge-across-nodes", "0")
    shown = [knob(name) for name in ("pages_to_scan", "sleep_millisecs", "merge_across_nodes")]
    expect(shown == ["777", "33", "0"] and before == "1", f"{before}, then {shown}")

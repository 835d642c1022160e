# SPDX-License-Identifier: GPL-2.0
"""Who only looks: the counters shown are those in sysfs."""

import re
import urllib.request

import screen
from daemons import said
from machine import expect, number, scan
from merging import merged

COUNTERS = ("pages_shared", "pages_sharing", "pages_unshared", "pages_volatile", "full_scans", "pages_to_scan")


def numbers(pattern, text):
    return {name: float(value) for name, value in re.findall(pattern, text, re.MULTILINE)}


def compare(shown, other_names):
    """All that is shown; some have other names."""
    names = {name: other_names.get(name, name) for name in (*COUNTERS, *other_names)}
    found = [(name, shown.get(other), number(name)) for name, other in names.items()]
    wrong = [f"{name}: {is_shown}, not {expected}" for name, is_shown, expected in found if is_shown != expected]
    expect(not wrong, wrong)


def case_node_exporter(_group):
    with merged():
        with urllib.request.urlopen("http://localhost:9100/metrics", timeout=60) as answer:
            text = answer.read().decode()
        expect('node_scrape_collector_success{collector="ksmd"} 1\n' in text, "its collector has failed")
        shown = numbers(r"^node_ksmd_(\w+) (\S+)$", text)
        expect(shown["sleep_seconds"] == 0.02, shown)
        compare(shown, {"full_scans": "full_scans_total", "run": "run", "merge_across_nodes": "merge_across_nodes"})


def case_pcp(_group):
    with merged():
        shown = numbers(r"^mem\.ksm\.(\w+)\n +value (\d+)$", said("pminfo", "-f", "mem.ksm"))
        compare(shown, {"run": "run_state", "sleep_millisecs": "sleep_time", "merge_across_nodes": "merge_across_nodes"})


def case_libvirt(_group):
    with merged():
        shown = numbers(r"^\s+shm_(\w+)\s+(\d+)$", said("virsh", "-c", "qemu:///system", "node-memory-tune"))
        compare(shown, {"sleep_millisecs": "sleep_millisecs", "merge_across_nodes": "merge_across_nodes"})


def case_atop(_group):
    """It reads run once, when it starts."""
    with merged():
        scan()

        def is_right(lines):
            line = next((line for line in lines if line.startswith("SWP")), "")
            found = dict(re.findall(r"(ksuse|kssav) +([0-9.]+)M", line))
            sizes = {"ksuse": number("pages_shared"), "kssav": number("pages_sharing")}
            return found and all(abs(float(found[name]) - pages / 256) < 0.1 for name, pages in sizes.items())

        with screen.running("atop 1", columns=200, rows=40):
            screen.shows(is_right)

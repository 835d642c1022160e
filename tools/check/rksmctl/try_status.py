# SPDX-License-Identifier: GPL-2.0

import json

from machine import expect, holder, number, rksmctl, scan, set_knob, wait_for


def case_sees_what_is_merged():
    scan()
    with holder(1000):
        wait_for(lambda: number("pages_sharing") >= 900)
        status = json.loads(rksmctl("status", "--json"))
        expect(status["provider"] == "rksm", status)
        expect(status["saved"] >= 900 * 4096, status)
        expect("scans and merges" in rksmctl("status"), "it does not run")


def case_says_that_nothing_is_scanned():
    set_knob("run", 0)
    expect("run is 0" in rksmctl("status"), "no warning")


def case_needs_no_root():
    expect("Merging by" in rksmctl("status", user="nobody"), "nobody cannot read it")


def case_shows_what_each_domain_saves():
    set_knob("domain", "process")
    scan()
    with holder(1000) as process:
        wait_for(lambda: number("pages_sharing") >= 900)
        domains = json.loads(rksmctl("status", "--json"))["domains"]
        ours = [domain for domain in domains if domain["id"] == f"process:{process.pid}"]
        expect(len(ours) == 1 and ours[0]["pages_sharing"] >= 900, domains)
        expect(f"freed of process {process.pid} " in rksmctl("status"), "it is not shown")
        text = rksmctl("status", user="nobody")
        expect("only root is told" in text, text)
    set_knob("run", 2)
    set_knob("domain", "cgroup")
    scan()
    with holder(1000):
        wait_for(lambda: number("pages_sharing") >= 900)
        domains = json.loads(rksmctl("status", "--json"))["domains"]
        expect(any(domain["name"].startswith("cgroup /") for domain in domains), domains)

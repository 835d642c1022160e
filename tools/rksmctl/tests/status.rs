// SPDX-License-Identifier: GPL-2.0

mod common;

use std::fs;

use common::{rksmctl, system};
use insta::assert_snapshot;

#[test]
fn with_rksm() {
    let root = system(&["machine", "rksm"]);
    assert_snapshot!(rksmctl(root.path(), &["status"]));
}

#[test]
fn as_json() {
    let root = system(&["machine", "rksm"]);
    assert_snapshot!(rksmctl(root.path(), &["status", "--json"]));
}

#[test]
fn with_in_tree_ksm() {
    let root = system(&["machine", "in-tree"]);
    assert_snapshot!(rksmctl(root.path(), &["status"]));
}

#[test]
fn without_ksm() {
    let root = system(&["machine"]);
    assert_snapshot!(rksmctl(root.path(), &["status"]));
}

/// The advisor goes by how much memory is available.
#[test]
fn by_pressure() {
    let root = system(&["machine", "rksm"]);
    let set = |name: &str, to: &str| {
        let path = root.path().join("sys/kernel/mm/rksm").join(name);
        fs::write(path, to).unwrap();
    };
    set("advisor_mode", "none scan-time [pressure]\n");
    set("pages_to_scan", "0\n");
    let first = |said: String| said.lines().take(2).collect::<Vec<_>>().join("\n");
    let waits = first(rksmctl(root.path(), &["status"]));
    set("pages_to_scan", "1234\n");
    let scans = first(rksmctl(root.path(), &["status"]));
    set("run", "0\n");
    let stopped = first(rksmctl(root.path(), &["status"]));
    assert_snapshot!([waits, scans, stopped].join("\n\n"));
}

#[test]
fn in_trouble() {
    let root = system(&["machine", "rksm", "trouble"]);
    assert_snapshot!(rksmctl(root.path(), &["status"]));
}

#[test]
fn nobody_has_asked() {
    let root = system(&["machine", "rksm"]);
    let set = |name: &str, to: &str| {
        let path = root.path().join("sys/kernel/mm/rksm").join(name);
        fs::write(path, to).unwrap();
    };
    for name in ["shared", "sharing", "unshared", "volatile"] {
        set(&format!("pages_{name}"), "0\n");
    }
    let says_so = || rksmctl(root.path(), &["status"]).contains("nobody has asked");
    // Somebody has, whose pages are full of zeroes.
    assert!(!says_so());
    set("ksm_zero_pages", "0\n");
    assert!(says_so());
}

#[test]
fn wrong_usage() {
    let root = system(&["machine"]);
    assert_snapshot!(rksmctl(root.path(), &["status", "--watch", "0"]));
}

/// Users, and processes that are alone; more than are shown.
#[test]
fn with_domains() {
    let root = system(&["machine", "rksm"]);
    let knobs = root.path().join("sys/kernel/mm/rksm");
    fs::write(knobs.join("domain"), "auto all [user] cgroup process\n").unwrap();
    let without = rksmctl(root.path(), &["status"]);
    assert!(without.contains("only root is told what each saves"));
    let mut text = "processes   pages_shared  pages_sharing     zero_pages domain\n".to_owned();
    for (id, saves) in [("user:0:3", 1000), ("user:7654321:9", 500), ("none", 0)] {
        text += &format!("2 10 {saves} 24 {id:<50}\n");
    }
    for pid in 100..110 {
        text += &format!("1 1 {pid} -1 process:{pid}\n");
    }
    fs::write(knobs.join("domains"), &text).unwrap();
    let shown = rksmctl(root.path(), &["status"]);
    let shown = shown.lines().filter(|line| line.contains("freed of"));
    assert_snapshot!(shown.collect::<Vec<_>>().join("\n"));
    let json = rksmctl(root.path(), &["status", "--json"]);
    assert!(json.contains("\"pages_sharing\": 500"));
    fs::write(knobs.join("domains"), text + "garbage\n").unwrap();
    assert!(rksmctl(root.path(), &["status"]).contains("a domain is 'garbage'"));
}

// SPDX-License-Identifier: GPL-2.0

mod common;

use std::{fs, path::Path};

use common::{rksmctl_with_programs, system};
use insta::assert_snapshot;

fn doctor(root: &Path, args: &[&str]) -> String {
    rksmctl_with_programs(root, &[&["doctor"], args].concat())
}

#[test]
fn in_order() {
    let root = system(&["machine", "rksm", "unit", "debian"]);
    assert_snapshot!(doctor(root.path(), &[]));
}

#[test]
fn in_order_as_json() {
    let root = system(&["machine", "rksm", "unit", "debian"]);
    assert_snapshot!(doctor(root.path(), &["--json"]));
}

#[test]
fn not_in_order() {
    let root = system(&["machine", "in-tree", "unit", "debian-trouble"]);
    assert_snapshot!(doctor(root.path(), &[]));
}

/// What is loaded works all the same.
#[test]
fn not_for_the_next_kernel() {
    let root = system(&["machine", "rksm", "unit", "debian", "debian-trouble"]);
    fs::remove_file(root.path().join("proc/900/comm")).unwrap();
    assert_snapshot!(doctor(root.path(), &[]));
}

#[test]
fn another_kernel() {
    let root = system(&["machine", "debian"]);
    let path = root.path().join("proc/sys/kernel/osrelease");
    fs::write(path, "7.30.1-amd64\n").unwrap();
    fs::remove_dir_all(root.path().join("sys")).unwrap();
    assert_snapshot!(doctor(root.path(), &[]));
}

/// What it says of the livepatch, by whether that is enabled and in transition.
#[test]
fn the_livepatch_waits() {
    let root = system(&["machine", "rksm", "unit", "debian"]);
    let folder = root.path().join("sys/kernel/livepatch/rksm_hooks");
    let mut text = String::new();
    for (enabled, transition) in [("1", "1"), ("0", "1"), ("0", "0")] {
        fs::write(folder.join("enabled"), enabled).unwrap();
        fs::write(folder.join("transition"), transition).unwrap();
        let said = doctor(root.path(), &[]);
        let (_, from) = said.split_at(said.find("livepatch ").unwrap());
        text.extend(from.split_inclusive('\n').take(2));
    }
    assert_snapshot!(text);
}

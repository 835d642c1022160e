// SPDX-License-Identifier: GPL-2.0

mod common;

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

#[test]
fn in_trouble() {
    let root = system(&["machine", "rksm", "trouble"]);
    assert_snapshot!(rksmctl(root.path(), &["status"]));
}

#[test]
fn wrong_usage() {
    let root = system(&["machine"]);
    assert_snapshot!(rksmctl(root.path(), &["status", "--watch", "0"]));
}

// SPDX-License-Identifier: GPL-2.0

mod common;

use std::{fs, os::unix::fs::symlink, path::Path};

use common::{rksmctl, system};
use insta::assert_snapshot;
use tempfile::TempDir;

/// A system that prints what it is told to enrol and to release.
fn takes_numbers() -> TempDir {
    let root = system(&["machine", "rksm", "cgroups"]);
    for name in ["enrol", "release"] {
        symlink(
            "/proc/self/fd/1",
            root.path().join("sys/kernel/mm/rksm").join(name),
        )
        .unwrap();
    }
    root
}

fn dropin(root: &Path, place: &str) -> String {
    let path = format!("{place}/systemd/system/nginx.service.d/rksm.conf");
    fs::read_to_string(root.join(path)).unwrap_or_default()
}

#[test]
fn a_process() {
    let root = takes_numbers();
    assert_snapshot!(rksmctl(root.path(), &["enrol", "1201"]));
    assert_snapshot!(
        "release_a_process",
        rksmctl(root.path(), &["release", "1201"])
    );
}

#[test]
fn a_guest() {
    let root = takes_numbers();
    assert_snapshot!(rksmctl(root.path(), &["enrol", "db"]));
}

#[test]
fn a_cgroup() {
    let root = takes_numbers();
    assert_snapshot!(rksmctl(
        root.path(),
        &["enrol", "/sys/fs/cgroup/machine.slice"]
    ));
    assert_snapshot!(
        "no_cgroup",
        rksmctl(root.path(), &["enrol", "/nothing.slice"])
    );
}

#[test]
fn a_service() {
    let root = takes_numbers();
    assert_snapshot!(rksmctl(root.path(), &["enrol", "nginx"]));
    assert!(dropin(root.path(), "run").ends_with("[Service]\nMemoryKSM=yes\n"));

    assert_snapshot!(
        "a_service_for_good",
        rksmctl(root.path(), &["release", "nginx.service", "--save"])
    );
    assert!(dropin(root.path(), "etc").ends_with("[Service]\nMemoryKSM=no\n"));
    assert_eq!(dropin(root.path(), "run"), "");

    // Another file in /run would not count.
    rksmctl(root.path(), &["enrol", "nginx.service"]);
    assert!(dropin(root.path(), "etc").ends_with("MemoryKSM=yes\n"));
    assert_eq!(dropin(root.path(), "run"), "");
}

#[test]
fn a_service_that_does_not_run() {
    let root = takes_numbers();
    assert_snapshot!(rksmctl(root.path(), &["enrol", "idle@1.service"]));
}

#[test]
fn a_service_of_a_user() {
    let root = takes_numbers();
    assert_snapshot!(rksmctl(root.path(), &["enrol", "editor.service"]));
    assert_snapshot!(
        "not_saved",
        rksmctl(root.path(), &["enrol", "editor.service", "--save"])
    );
    assert_snapshot!(
        "of_two_users",
        rksmctl(root.path(), &["enrol", "pipe.service"])
    );
}

#[test]
fn with_in_tree_ksm() {
    let root = system(&["machine", "in-tree", "cgroups"]);
    assert_snapshot!(rksmctl(root.path(), &["enrol", "1201"]));
    assert_snapshot!(
        "a_service_with_in_tree_ksm",
        rksmctl(root.path(), &["enrol", "nginx"])
    );
}

#[test]
fn an_older_rksm() {
    let root = system(&["machine", "rksm", "cgroups"]);
    assert_snapshot!(rksmctl(root.path(), &["enrol", "1201"]));
}

#[test]
fn refused() {
    let root = system(&["machine", "rksm", "cgroups"]);
    symlink(
        "/proc/sys/kernel/ostype",
        root.path().join("sys/kernel/mm/rksm/enrol"),
    )
    .unwrap();
    let said = rksmctl(root.path(), &["enrol", "1201"]);
    assert!(
        said.starts_with("rksmctl: process 1201: ") && said.ends_with("status 1\n"),
        "{said}"
    );
    let said = rksmctl(root.path(), &["enrol", "/machine.slice"]);
    assert!(
        said.contains("2 processes are not, the first of them: process 1201: "),
        "{said}"
    );
    assert!(said.ends_with("status 1\n"), "{said}");
}

#[test]
fn nobody() {
    let root = takes_numbers();
    assert_snapshot!(rksmctl(root.path(), &["enrol", "mail"]));
    assert_snapshot!("no_process", rksmctl(root.path(), &["enrol", "0"]));
    assert_snapshot!("no_unit", rksmctl(root.path(), &["enrol", "mail.service"]));
    assert_snapshot!(
        "not_followed",
        rksmctl(root.path(), &["enrol", "1201", "--follow", "1"])
    );
}

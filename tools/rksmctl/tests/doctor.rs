// SPDX-License-Identifier: GPL-2.0

mod common;

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use common::{rksmctl_with, system};
use insta::assert_snapshot;

/// With the programs that the system has.
fn doctor(root: &Path, args: &[&str]) -> String {
    let programs = root.join("bin");
    for program in fs::read_dir(&programs).into_iter().flatten() {
        let path = program.unwrap().path();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let all = [programs].into_iter().chain(env::split_paths(&path));
    let path = env::join_paths(all.collect::<Vec<PathBuf>>()).unwrap();
    rksmctl_with(root, &[&["doctor"], args].concat(), &[("PATH", &path)])
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

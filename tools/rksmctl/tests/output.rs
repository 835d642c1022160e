// SPDX-License-Identifier: GPL-2.0

//! Where nobody reads what is printed, or it has no place.

mod common;

use std::{
    fs::{self, File},
    io,
    path::Path,
    process::{Command, Stdio},
};

use common::system;

/// The exit status, and what it complains of.
fn run(root: &Path, args: &[&str], stdout: impl Into<Stdio>) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_rksmctl"))
        .arg("--root")
        .arg(root)
        .args(args)
        .stdout(stdout)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap(), said)
}

#[test]
fn no_space() {
    let root = system(&["machine", "rksm", "unit", "debian", "cgroups"]);
    for args in [
        &["doctor"][..],
        &["doctor", "--json"],
        &["tune"],
        &["tune", "gentle"],
        &["tune", "gentle", "--dry-run"],
        &["tune", "--forget"],
        &["enrol", "nginx.service"],
        &["status"],
    ] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let (status, said) = run(root.path(), args, full);
        assert_eq!(status, 1, "{args:?}: {said}");
        assert!(said.contains("No space left"), "{args:?}: {said}");
    }
}

#[test]
fn nobody_reads() {
    let root = system(&["machine", "rksm", "unit", "cgroups"]);
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let (status, said) = run(root.path(), &["tune", "gentle"], writer);
    assert_eq!((status, said.as_str()), (0, ""));
    let knob = root.path().join("sys/kernel/mm/rksm/pages_to_scan");
    assert_eq!(fs::read_to_string(knob).unwrap(), "500\n");
}

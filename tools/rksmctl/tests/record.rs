// SPDX-License-Identifier: GPL-2.0

mod common;

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use common::{rksmctl, system};
use insta::assert_snapshot;
use nix::{
    sys::signal::{kill, Signal},
    unistd::Pid,
};
use serde_json::Value;

/// What was recorded, without the times.
fn recorded(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        for time in ["began", "seconds"] {
            if let Some(value) = line.get_mut(time) {
                assert!(value.is_number());
                *value = Value::Null;
            }
        }
        line.to_string() + "\n"
    });
    lines.collect()
}

#[test]
fn two_samples() {
    let root = system(&["machine", "host", "rksm"]);
    let file = root.path().join("recording");
    let args = ["record", "--interval", "0.2", "--duration", "0.3"];
    let said = rksmctl(
        root.path(),
        &[&args[..], &[file.to_str().unwrap()]].concat(),
    );
    assert_snapshot!(format!("{said}{}", recorded(&file)));
}

#[test]
fn overwrites_only_if_told() {
    let root = system(&["machine", "host", "in-tree"]);
    let file = root.path().join("recording");
    let name = file.to_str().unwrap();
    fs::write(&file, "of value\n").unwrap();
    let args = ["record", "--duration", "0.1", name];
    assert_snapshot!(rksmctl(root.path(), &args));
    assert_eq!(fs::read_to_string(&file).unwrap(), "of value\n");
    let said = rksmctl(root.path(), &[&args[..], &["--force"]].concat());
    assert!(said.ends_with("status 0\n"), "{said}");
    assert!(recorded(&file).contains("\"in-tree\""));
}

#[test]
fn without_ksm_no_file_is_made() {
    let root = system(&["machine", "host"]);
    let file = root.path().join("recording");
    let said = rksmctl(root.path(), &["record", file.to_str().unwrap()]);
    assert!(said.ends_with("status 1\n"), "{said}");
    assert!(!file.exists());
}

/// It records on, with rksm taken away and put back meanwhile, until a signal comes.
fn ended_by(signal: Signal) -> String {
    let root = system(&["machine", "host", "rksm"]);
    let file = root.path().join("recording");
    let child = Command::new(env!("CARGO_BIN_EXE_rksmctl"))
        .arg("--root")
        .arg(root.path())
        .args(["record", "--interval", "0.1"])
        .arg(&file)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let wait_for = |what: &str| {
        while !fs::read_to_string(&file).is_ok_and(|text| text.contains(what)) {
            thread::sleep(Duration::from_millis(10));
        }
    };
    let sys = root.path().join("sys/kernel/mm");
    wait_for("reading");
    fs::rename(&sys, root.path().join("away")).unwrap();
    wait_for("null}\n");
    fs::rename(root.path().join("away"), &sys).unwrap();
    fs::remove_dir_all(sys.join("rksm")).unwrap();
    wait_for("\"reading\":{\"provider\":\"in-tree\"");
    kill(Pid::from_raw(child.id() as i32), signal).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty());
    rksmctl(root.path(), &["report", file.to_str().unwrap()])
}

#[test]
fn ends_in_good_order() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let report = ended_by(signal);
        assert!(
            report.contains("merging by the kernel's own KSM"),
            "{report}"
        );
        assert!(report.contains("nobody merges pages"), "{report}");
    }
}

// SPDX-License-Identifier: GPL-2.0

//! The program with files that are there. Whether they get merged is the kernel's matter; that they
//! hold what they held is not.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    os::{fd::AsRawFd as _, unix::fs::FileExt as _},
    process::{Command, Output, Stdio},
};

use nix::{
    sys::{
        memfd::{memfd_create, MFdFlags},
        signal::{kill, Signal},
    },
    unistd::Pid,
};

const PAGE: usize = 4096;

fn memfd(pages: &[u8]) -> File {
    let file = File::from(memfd_create(c"tool", MFdFlags::MFD_CLOEXEC).unwrap());
    for (index, byte) in pages.iter().enumerate() {
        file.write_all_at(&[*byte; PAGE], (index * PAGE) as u64)
            .unwrap();
    }
    file
}

fn path(file: &File) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd())
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO_BIN_EXE_tmpfs-dedup").unwrap());
    command.args(args);
    command
}

fn run(args: &[&str]) -> (String, String, Option<i32>) {
    let Output {
        stdout,
        stderr,
        status,
    } = command(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(stdout), text(stderr), status.code())
}

#[test]
fn what_could_be_merged() {
    let (a, b) = (memfd(&[1, 2, 3, 0]), memfd(&[3, 1, 2, 0, 0]));
    let (said, wrong, status) = run(&["-n", &path(&a), &path(&b)]);
    let expected = "read 2 files, 9 pages (0.0 MiB)\n5 pages could be merged, 0.0 MiB saved\n";
    assert_eq!(
        (said.as_str(), wrong.as_str(), status),
        (expected, "", Some(0))
    );
}

#[test]
fn as_json() {
    let a = memfd(&[7, 7, 7]);
    let (said, _, status) = run(&["-n", "--json", &path(&a)]);
    let report: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(status, Some(0));
    assert_eq!(report["equal_bytes"], 2 * PAGE);
    assert_eq!(report["complete"], true);
    assert_eq!(report["dry_run"], true);
}

#[test]
fn merging_or_why_not() {
    let (a, b) = (memfd(&[1, 2, 3, 0]), memfd(&[1, 2, 3, 0]));
    let (said, wrong, status) = run(&["--json", &path(&a), &path(&b)]);
    if status == Some(1) {
        assert!(wrong.contains("it needs CONFIG_SHMEM_DEDUP"), "{wrong}");
    } else {
        let report: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!(report["merged_pages"], 4, "{said} {wrong}");
    }
    for file in [a, b] {
        let mut is = [9; 4 * PAGE];
        file.read_exact_at(&mut is, 0).unwrap();
        let must = [1, 2, 3, 0].map(|byte| [byte; PAGE]).concat();
        assert!(is[..] == must[..]);
    }
}

#[test]
fn all_of_a_process() {
    let file = memfd(&[200, 200, 201]);
    let map = memfd(&[200]);
    let me = std::process::id().to_string();
    let (said, _, status) = run(&["-n", "--json", "--pid", &me]);
    let report: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(status, Some(0));
    assert!(report["files"].as_u64().unwrap() >= 2, "{said}");
    assert!(report["equal_pages"].as_u64().unwrap() >= 2, "{said}");
    drop((file, map));
}

#[test]
fn folders() {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    for name in ["a", "b"] {
        fs::write(folder.path().join(name), [5; 2 * PAGE]).unwrap();
    }
    let (said, _, status) = run(&["-n", folder.path().to_str().unwrap()]);
    assert!(said.contains("3 pages could be merged"), "{said}");
    assert_eq!(status, Some(0));
}

#[test]
fn what_is_wrong() {
    let (_, wrong, status) = run(&["-n", "/proc/self/status"]);
    assert!(
        wrong.contains("/proc/self/status: neither a tmpfs file nor a memfd"),
        "{wrong}"
    );
    assert_eq!(status, Some(1));
    // The rest is done all the same.
    let a = memfd(&[7, 7]);
    let (said, wrong, status) = run(&["-n", "/nowhere", &path(&a)]);
    assert!(
        wrong.contains("/nowhere: No such file or directory"),
        "{wrong}"
    );
    assert!(said.contains("1 page could be merged"), "{said}");
    assert_eq!(status, Some(1));
    assert_eq!(run(&[]).2, Some(2));
    assert_eq!(run(&["--every", "x", "/"]).2, Some(2));
}

#[test]
fn again_and_again_until_a_signal_comes() {
    let a = memfd(&[7, 7]);
    let mut child = command(&["-n", "--json", "--every", "0.01", &path(&a)])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for round in 1..=3 {
        let line = lines.next().unwrap().unwrap();
        let report: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(report["round"], round);
    }
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    for line in lines {
        line.unwrap();
    }
    // Between two rounds it is the ordinary end; within one it says so.
    let status = child.wait().unwrap().code();
    assert!(matches!(status, Some(0 | 130)), "{status:?}");
}

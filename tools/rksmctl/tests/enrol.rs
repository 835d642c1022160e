// SPDX-License-Identifier: GPL-2.0

mod common;

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _},
    os::unix::fs::symlink,
    path::Path,
    process::{Child, Command, Stdio},
};

use common::{rksmctl_with_programs as rksmctl, system};
use insta::assert_snapshot;
use nix::{sys::stat::Mode, unistd::mkfifo};
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

const FOR_GOOD: &str = "etc/rksm.conf";
const UNTIL_BOOT: &str = "run/rksm.until-boot.conf";

/// It ends with the test.
struct Follower(Child);

impl Follower {
    fn new(root: &Path, cgroup: &str) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_rksmctl"))
            .arg("--root")
            .arg(root)
            .args(["enrol", cgroup, "--follow", "1"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        Self(child.unwrap())
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Who looks sees all of these, or none.
fn nginx_has(root: &Path, pids: &str) {
    let file = root.join("sys/fs/cgroup/system.slice/nginx.service/cgroup.procs");
    let new = file.with_extension("new");
    fs::write(&new, pids.replace(' ', "\n")).unwrap();
    fs::rename(new, file).unwrap();
}

fn dropin(root: &Path, path: &str) -> String {
    let (place, name) = path.split_once('/').unwrap();
    let path = format!("{place}/systemd/system/nginx.service.d/{name}");
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
    assert!(dropin(root.path(), UNTIL_BOOT).ends_with("[Service]\nMemoryKSM=yes\n"));

    assert_snapshot!(
        "a_service_for_good",
        rksmctl(root.path(), &["release", "nginx.service", "--save"])
    );
    assert!(dropin(root.path(), FOR_GOOD).ends_with("[Service]\nMemoryKSM=no\n"));
    assert_eq!(dropin(root.path(), UNTIL_BOOT), "");

    // What is not saved leaves alone what is, and counts until the next boot: it is later by name.
    rksmctl(root.path(), &["enrol", "nginx.service"]);
    assert!(dropin(root.path(), FOR_GOOD).ends_with("MemoryKSM=no\n"));
    assert!(dropin(root.path(), UNTIL_BOOT).ends_with("MemoryKSM=yes\n"));
    assert!(UNTIL_BOOT.split_once('/').unwrap().1 > FOR_GOOD.split_once('/').unwrap().1);

    assert_snapshot!(
        "a_service_forgotten",
        rksmctl(root.path(), &["release", "nginx", "--forget"])
    );
    for place in ["etc", "run"] {
        let folder = root
            .path()
            .join(place)
            .join("systemd/system/nginx.service.d");
        assert!(!folder.exists());
    }
    assert_snapshot!(
        "nothing_to_forget",
        rksmctl(root.path(), &["enrol", "nginx.service", "--forget"])
    );
}

#[test]
fn a_service_that_does_not_run() {
    let root = takes_numbers();
    assert_snapshot!(rksmctl(root.path(), &["enrol", "idle@1.service"]));
}

/// Users may call theirs what they like.
#[test]
fn a_service_of_a_user() {
    let root = takes_numbers();
    assert_snapshot!(rksmctl(root.path(), &["enrol", "editor.service"]));
    let cgroup = "/user.slice/user-1000.slice/user@1000.service/app.slice/editor.service";
    assert_snapshot!("by_its_cgroup", rksmctl(root.path(), &["enrol", cgroup]));
    assert_snapshot!(
        "not_saved",
        rksmctl(root.path(), &["enrol", cgroup, "--save"])
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
fn only_who_joins_is_asked() {
    let root = takes_numbers();
    let enrol = root.path().join("sys/kernel/mm/rksm/enrol");
    let put = |path: &str| {
        let new = enrol.with_file_name("new");
        symlink(path, &new).unwrap();
        fs::rename(new, &enrol).unwrap();
    };
    let mut follower = Follower::new(root.path(), "/system.slice");
    let mut said = BufReader::new(follower.0.stdout.take().unwrap()).lines();
    let mut next = || said.next().unwrap().unwrap();
    let mut complains = BufReader::new(follower.0.stderr.take().unwrap()).lines();
    assert_eq!([next(), next(), next()], ["300", "301", "302"]);
    let merged = "merged from now on, and so is what it starts.";
    assert_eq!(
        next(),
        format!("/system.slice has 3 processes, each is {merged}")
    );

    // What is refused does not end it.
    put("/proc/sys/kernel/ostype");
    nginx_has(root.path(), "300 301 302 303");
    let complaint = complains.next().unwrap().unwrap();
    assert!(
        complaint.starts_with("rksmctl: process 303: "),
        "{complaint}"
    );
    put("/proc/self/fd/1");
    nginx_has(root.path(), "301 302 303 304");
    assert_eq!(next(), "304");
    assert_eq!(
        next(),
        format!("/system.slice has 1 more process, each is {merged}")
    );

    // The number is that of another process now.
    nginx_has(root.path(), "300 304");
    assert_eq!(next(), "300");
}

/// Who opens a pipe that nobody reads waits.
#[test]
fn who_hangs_is_not_waited_for() {
    let root = takes_numbers();
    let enrol = root.path().join("sys/kernel/mm/rksm/enrol");
    fs::remove_file(&enrol).unwrap();
    mkfifo(&enrol, Mode::S_IRWXU).unwrap();
    nginx_has(root.path(), "300");
    let mut follower = Follower::new(root.path(), "/system.slice");
    let mut complains = BufReader::new(follower.0.stderr.take().unwrap()).lines();
    let complaint = complains.next().unwrap().unwrap();
    assert!(
        complaint.contains("still waiting for process 300"),
        "{complaint}"
    );
    nginx_has(root.path(), "300 301");
    let complaint = complains.next().unwrap().unwrap();
    assert!(
        complaint.contains("still waiting for process 301"),
        "{complaint}"
    );
    let mut said = [0; 8];
    File::open(&enrol).unwrap().read_exact(&mut said).unwrap();
    assert!(said == *b"300\n301\n" || said == *b"301\n300\n");
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

// SPDX-License-Identifier: GPL-2.0

mod common;

use std::{fs, os::unix::fs::symlink, path::Path};

use common::system;
use insta::assert_snapshot;
use nix::{sys::stat::Mode, unistd::mkfifo};
use tempfile::TempDir;

const RKSM: &str = "sys/kernel/mm/rksm";
const MIB: u64 = 1 << 20;

/// Two guests that have merged much, and process 1.
fn healthy() -> TempDir {
    let root = system(&["machine", "rksm"]);
    uses(root.path(), 1, "systemd", &[("RssAnon", 8 * MIB)]);
    for pid in [1201, 1202] {
        uses(
            root.path(),
            pid,
            "qemu-system-x86",
            &[("RssAnon", 800 * MIB)],
        );
    }
    root
}

/// What `/proc/PID/status` says.
fn uses(root: &Path, pid: u32, name: &str, bytes: &[(&str, u64)]) {
    let mut text = format!(
        "Name:\t{name}\nState:\tS (sleeping)\nTgid:\t{pid}\nPid:\t{pid}\nPPid:\t1\nTracerPid:\t0\n\
         Uid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nFDSize:\t64\nGroups:\t\nVmSize:\t 4000000 kB\n"
    );
    for (name, bytes) in bytes {
        text += &format!("{name}:\t{:>8} kB\n", bytes / 1024);
    }
    text += "Threads:\t1\nSigQ:\t0/63000\n";
    for mask in [
        "SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt", "CapInh", "CapPrm", "CapEff",
    ] {
        text += &format!("{mask}:\t0000000000000000\n");
    }
    set(root, &format!("proc/{pid}/status"), &text);
}

fn set(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Knobs and counters of rksm.
fn rksm(root: &Path, values: &[(&str, i64)]) {
    for (name, value) in values {
        set(root, &format!("{RKSM}/{name}"), &format!("{value}\n"));
    }
}

/// `/proc/PID/ksm_stat` of a process that has pages on record, merged ones, and a profit.
fn stat(root: &Path, pid: u32, items: u64, merging: u64, profit: i64, asked: bool) {
    let asked = if asked { "yes" } else { "no" };
    let text = format!(
        "ksm_rmap_items {items}\nksm_zero_pages 0\nksm_merging_pages {merging}\n\
         ksm_process_profit {profit}\nksm_merge_any: no\nksm_mergeable: {asked}\n"
    );
    set(root, &format!("proc/{pid}/ksm_stat"), &text);
}

/// Nobody has asked for merging, and nothing is on record.
fn nobody_asks(root: &Path) {
    for pid in [1201, 1202] {
        stat(root, pid, 0, 0, 0, false);
    }
    let none = [
        "pages_shared",
        "pages_sharing",
        "pages_unshared",
        "pages_volatile",
        "ksm_zero_pages",
        "general_profit",
    ];
    rksm(root, &none.map(|name| (name, 0)));
}

/// A mapping in smaps.
fn mapping(start: u64, size: u64, name: &str, flags: &str) -> String {
    let kib = size / 1024;
    let anonymous = if flags.contains(" sh ") { 0 } else { kib };
    format!(
        "{start:x}-{:x} rw-p 00000000 00:00 0 {name}\nSize: {kib} kB\nRss: {kib} kB\n\
         Anonymous: {anonymous} kB\nVmFlags: {flags} \n",
        start + size
    )
}

fn why(root: &TempDir, args: &[&str]) -> String {
    common::rksmctl(root.path(), &[&["why", "--sample", "0"], args].concat())
}

#[test]
fn nothing_is_wrong() {
    assert_snapshot!(why(&healthy(), &[]));
}

#[test]
fn with_in_tree_ksm() {
    let root = system(&["machine", "in-tree"]);
    set(root.path(), "sys/kernel/mm/ksm/full_scans", "1\n");
    uses(
        root.path(),
        1201,
        "qemu-system-x86",
        &[("RssAnon", 800 * MIB)],
    );
    assert_snapshot!(why(&root, &[]));
}

#[test]
fn stopped() {
    let root = healthy();
    rksm(root.path(), &[("run", 0)]);
    assert_snapshot!(why(&root, &[]));
}

#[test]
fn as_json() {
    let root = healthy();
    rksm(root.path(), &[("run", 2)]);
    assert_snapshot!(why(&root, &["--json"]));
}

#[test]
fn nobody_has_asked() {
    let root = healthy();
    nobody_asks(root.path());
    assert_snapshot!(why(&root, &[]));
}

#[test]
fn the_process_has_not_asked() {
    let root = healthy();
    set(root.path(), &format!("{RKSM}/enrol"), "");
    assert_snapshot!(why(&root, &["1"]));
}

#[test]
fn older_kernels_do_not_say_who_has_asked() {
    let root = system(&["machine", "in-tree"]);
    let older = |pid, items| {
        let text = format!(
            "ksm_rmap_items {items}\nksm_zero_pages 0\nksm_merging_pages 0\nksm_process_profit 0\n"
        );
        set(root.path(), &format!("proc/{pid}/ksm_stat"), &text);
        uses(root.path(), pid, "qemu", &[("RssAnon", 20 * MIB)]);
    };
    older(1, 0);
    older(1201, 0);
    older(1202, 500);
    assert!(why(&root, &[]).contains("None of the known reasons"));

    // Only the flags of its memory say of one.
    let smaps = "proc/1201/smaps";
    let heap = |flags| mapping(0x7000_0000, 20 * MIB, "[heap]", flags);
    set(root.path(), smaps, &heap("rd wr mr mw me ac mg"));
    assert!(!why(&root, &["1201"]).contains("not asked"));
    set(root.path(), smaps, &heap("rd wr mr mw me ac"));
    let said = why(&root, &["1201"]);

    older(1202, 0);
    for name in ["shared", "sharing", "unshared", "volatile"] {
        set(
            root.path(),
            &format!("sys/kernel/mm/ksm/pages_{name}"),
            "0\n",
        );
    }
    set(root.path(), "sys/kernel/mm/ksm/ksm_zero_pages", "0\n");
    assert_snapshot!(said + &why(&root, &[]));
}

#[test]
fn left_out() {
    let root = healthy();
    set(root.path(), &format!("{RKSM}/scope"), "madvise [all]\n");
    set(
        root.path(),
        "proc/1/smaps",
        &mapping(0x7000_0000, 8 * MIB, "[heap]", "rd wr mr mw me ac"),
    );
    assert_snapshot!(why(&root, &["1"]));
}

#[test]
fn guests() {
    let root = healthy();
    nobody_asks(root.path());
    let qemu = "/usr/bin/qemu-system-x86_64\0";
    set(
        root.path(),
        "proc/1201/cmdline",
        &format!("{qemu}-machine\0q35,mem-merge=off\0"),
    );
    set(
        root.path(),
        "proc/1202/cmdline",
        &format!("{qemu}-object\0memory-backend-memfd,id=m,size=1G,hugetlb=on,share=on\0"),
    );
    assert_snapshot!(why(&root, &[]));
    // With scope=all mem-merge=off is no obstacle.
    set(root.path(), &format!("{RKSM}/scope"), "madvise [all]\n");
    assert_snapshot!(why(&root, &[]));
}

#[test]
fn what_others_have_named_is_plain() {
    let root = healthy();
    nobody_asks(root.path());
    let escape = "\u{1b}[2J";
    set(
        root.path(),
        "proc/1201/cmdline",
        &format!("qemu-system-x86_64\0-object\0memory-backend-{escape},share=on\0"),
    );
    uses(
        root.path(),
        1202,
        &format!("a:{escape}"),
        &[("RssAnon", 800 * MIB)],
    );
    let fds = root.path().join("proc/1202/fd");
    fs::create_dir_all(&fds).unwrap();
    stat(root.path(), 1202, 0, 0, 0, true);
    symlink(format!("/dev/vfio/{escape}"), fds.join("3")).unwrap();
    assert_snapshot!(why(&root, &[]));
}

#[test]
fn shared_memory() {
    let root = healthy();
    uses(
        root.path(),
        1202,
        "database",
        &[("RssAnon", MIB), ("RssShmem", 900 * MIB)],
    );
    assert_snapshot!(why(&root, &[]));
}

#[test]
fn mappings_of_the_process() {
    let root = healthy();
    let text = mapping(0x7000_0000, 20 * MIB, "", "rd wr mr mw me ac mg")
        + &mapping(
            0x8000_0000,
            50 * MIB,
            "/memfd:m (deleted)",
            "rd wr sh mr mw me ms",
        )
        + &mapping(0x9000_0000, 30 * MIB, "[heap]", "rd wr mr mw me ac");
    set(
        root.path(),
        "proc/1201/smaps",
        &(text
            + &mapping(
                0xa000_0000,
                2 * MIB,
                "/dev/dri/card0",
                "rd wr sh mr de pf io",
            )),
    );
    assert_snapshot!(why(&root, &["1201"]));
}

#[test]
fn busy() {
    let root = healthy();
    let file = root.path().join("proc/1202/ksm_stat");
    fs::remove_file(&file).unwrap();
    // Who opens it waits for a writer.
    mkfifo(&file, Mode::S_IRUSR).unwrap();
    assert_snapshot!(why(&root, &[]));
    assert_snapshot!(why(&root, &["1202"]));
}

#[test]
fn first_pass() {
    let root = healthy();
    rksm(
        root.path(),
        &[("full_scans", 0), ("last_pass_millisecs", 0)],
    );
    assert_snapshot!(why(&root, &[]));
}

#[test]
fn slow() {
    let root = healthy();
    rksm(
        root.path(),
        &[("pages_to_scan", 1), ("sleep_millisecs", 100)],
    );
    assert_snapshot!(why(&root, &[]));
    // As it was measured, the advisor being on.
    rksm(
        root.path(),
        &[("pages_to_scan", 1000), ("last_pass_millisecs", 20_000_000)],
    );
    set(
        root.path(),
        &format!("{RKSM}/advisor_mode"),
        "none [scan-time]\n",
    );
    assert_snapshot!(why(&root, &[]));
}

#[test]
fn waits() {
    let root = healthy();
    set(
        root.path(),
        &format!("{RKSM}/advisor_mode"),
        "none scan-time [pressure]\n",
    );
    rksm(root.path(), &[("pages_to_scan", 0)]);
    assert_snapshot!(why(&root, &[]));
    rksm(root.path(), &[("pages_to_scan", 1)]);
    assert!(!why(&root, &[]).contains("enough memory"));
}

#[test]
fn zeroes() {
    let root = healthy();
    let content = format!("{RKSM}/content");
    set(root.path(), &content, "all [zero]\n");
    assert_snapshot!(why(&root, &[]));
    set(root.path(), &content, "[all] zero\n");
    assert!(!why(&root, &[]).contains("zeroes"));
}

#[test]
fn stopped_in_a_pass() {
    let root = healthy();
    // It says nothing of how long a pass takes.
    rksm(root.path(), &[("pass_millisecs", 2_400_000)]);
    assert!(why(&root, &[]).contains("None of the known reasons"));
    // That it took long then is no reason to scan less.
    rksm(root.path(), &[("last_pass_millisecs", 2_400_000)]);
    assert_snapshot!(why(&root, &[]));
    // Nor does any pages_to_scan make up for such a sleep.
    rksm(root.path(), &[("sleep_millisecs", u32::MAX.into())]);
    assert!(!why(&root, &[]).contains("tune pages_to_scan="));
}

#[test]
fn nodes() {
    let root = healthy();
    rksm(root.path(), &[("merge_across_nodes", 0)]);
    set(root.path(), "sys/devices/system/node/has_memory", "0\n");
    assert!(why(&root, &[]).contains("None of the known reasons"));
    set(root.path(), "sys/devices/system/node/has_memory", "0-1\n");
    assert_snapshot!(why(&root, &[]));
}

#[test]
fn pinned() {
    let root = healthy();
    uses(
        root.path(),
        1201,
        "qemu-system-x86",
        &[("VmLck", 800 * MIB), ("RssAnon", 800 * MIB)],
    );
    uses(
        root.path(),
        1202,
        "qemu-system-x86",
        &[("VmPin", 300 * MIB), ("RssAnon", 800 * MIB)],
    );
    for (pid, target) in [(1201, "/dev/vfio/12"), (1202, "anon_inode:[io_uring]")] {
        let fds = root.path().join(format!("proc/{pid}/fd"));
        fs::create_dir_all(&fds).unwrap();
        symlink("/dev/null", fds.join("0")).unwrap();
        symlink(target, fds.join("3")).unwrap();
    }
    assert_snapshot!(why(&root, &[]));
    // Root's buffers are counted only with the ring.
    uses(
        root.path(),
        1202,
        "qemu-system-x86",
        &[("RssAnon", 800 * MIB)],
    );
    let info = "UserBufs:\t1\n    0: 0x7f0000000000/209715200\n";
    set(root.path(), "proc/1202/fdinfo/3", info);
    assert_snapshot!(why(&root, &[]));
    // Locked memory alone can be merged.
    fs::remove_dir_all(root.path().join("proc/1201/fd")).unwrap();
    fs::remove_file(root.path().join("proc/1202/status")).unwrap();
    assert!(why(&root, &[]).contains("None of the known reasons"));
}

#[test]
fn volatile() {
    let root = healthy();
    rksm(root.path(), &[("pages_volatile", 800_000)]);
    assert_snapshot!(why(&root, &[]));
    assert_snapshot!(why(&root, &["1201"]));
}

#[test]
fn dear_and_different() {
    let root = healthy();
    rksm(
        root.path(),
        &[
            ("general_profit", -40_000_000),
            ("pages_unshared", 1_000_000),
        ],
    );
    stat(root.path(), 1202, 900_000, 10, -36_000_000, true);
    assert_snapshot!(why(&root, &[]));
    assert_snapshot!(why(&root, &["1202"]));
}

#[test]
fn wrong_usage() {
    let root = healthy();
    assert_snapshot!(why(&root, &["77"]));
    assert_snapshot!(why(&root, &["999"]));
    assert_snapshot!(why(&root, &["0"]));
}

// SPDX-License-Identifier: GPL-2.0

mod common;

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::Path,
};

use common::{rksmctl, system};
use insta::assert_snapshot;
use tempfile::TempDir;

const PAGE: u64 = 4096;
const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
const OF_A_FILE: u64 = 1 << 61;
const KSM: u64 = 1 << 21;
const ZERO: u64 = 1 << 24;
const RAM: u64 = 0x7000_0000;

/// A mapping in smaps, of so many pages, of which as many are there, anonymous, and merged.
fn mapping(start: u64, pages: [u64; 4], name: &str, flags: &str) -> String {
    let [all, there, anonymous, merged] = pages.map(|pages| pages * 4);
    format!(
        "{start:x}-{:x} rw-p 00000000 00:00 0 {name}\nSize: {all} kB\nRss: {there} kB\n\
         Anonymous: {anonymous} kB\nKSM: {merged} kB\nVmFlags: {flags} \n",
        start + all * 1024
    )
}

/// Entries of eight bytes; what is not written is 0.
fn write(root: &Path, path: &str, entries: impl IntoIterator<Item = (u64, u64)>) {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(root.join(path))
        .unwrap();
    for (index, entry) in entries {
        file.write_all_at(&entry.to_ne_bytes(), index * 8).unwrap();
    }
}

/// A process with memory of each kind. The page n of the large mapping has the frame n + 1.
fn process() -> TempDir {
    let root = system(&["machine", "rksm"]);
    let text = mapping(
        0x40_0000,
        [8, 4, 0, 0],
        "/usr/bin/true",
        "rd ex mr mw me mg",
    ) + &mapping(RAM, [1000, 600, 600, 300], "", "rd wr mr mw me ac mg")
        + &mapping(
            0x8000_0000,
            [256, 20, 0, 0],
            "/memfd:m (deleted)",
            "rd wr sh mr mw me ms",
        )
        + &mapping(0x8800_0000, [8, 5, 2, 0], "/lib/c.so", "rd wr mr mw me")
        + &mapping(0x9000_0000, [16, 10, 10, 0], "[heap]", "rd wr mr mw me ac")
        + &mapping(1 << 40, [1 << 20, 0, 0, 0], "", "rd wr mr mw me nr mg");
    fs::write(root.path().join("proc/1201/smaps"), text).unwrap();
    let pagemap = "proc/1201/pagemap";
    let first = RAM / PAGE;
    write(
        root.path(),
        pagemap,
        (0..4).map(|page| (0x400 + page, PRESENT | OF_A_FILE | 5000)),
    );
    write(
        root.path(),
        pagemap,
        (0..600).map(|page| (first + page, PRESENT | (page + 1))),
    );
    write(
        root.path(),
        pagemap,
        (900..1000).map(|page| (first + page, SWAPPED)),
    );
    write(
        root.path(),
        pagemap,
        (0..20).map(|page| (0x8_0000 + page, PRESENT | OF_A_FILE | 6000)),
    );
    write(
        root.path(),
        pagemap,
        (0..10).map(|page| (0x9_0000 + page, PRESENT | 7000)),
    );
    // Of the library two pages were written to.
    for page in 0..5 {
        let of_a_file = if page < 2 { 0 } else { OF_A_FILE };
        write(
            root.path(),
            pagemap,
            [(0x8_8000 + page, PRESENT | of_a_file | 6500)],
        );
    }
    write(
        root.path(),
        "proc/kpageflags",
        (0..300).map(|page| (page + 1, KSM)),
    );
    write(
        root.path(),
        "proc/kpageflags",
        (300..400).map(|page| (page + 1, ZERO)),
    );
    write(
        root.path(),
        "proc/kpageflags",
        (400..600).map(|page| (page + 1, 0)),
    );
    // The large sparse mapping ends the file.
    File::options()
        .write(true)
        .open(root.path().join(pagemap))
        .unwrap()
        .set_len(((1 << 40) / PAGE + (1 << 20)) * 8)
        .unwrap();
    root
}

fn pages(root: &TempDir, args: &[&str]) -> String {
    rksmctl(root.path(), &[&["pages"], args].concat())
}

#[test]
fn as_text() {
    assert_snapshot!(pages(&process(), &["1201"]));
}

#[test]
fn part_of_it() {
    assert_snapshot!(pages(&process(), &["1201", "7012b000-70140000"]));
    assert_snapshot!(pages(&process(), &["1201", "7012b000"]));
}

#[test]
fn as_json() {
    assert_snapshot!(pages(&process(), &["1201", "--json", "7012b000-7012d000"]));
}

#[test]
fn as_picture() {
    let root = process();
    let file = root.path().join("map.svg");
    let said = pages(
        &root,
        &["1201", "--svg", file.to_str().unwrap(), "70130000-80001000"],
    );
    assert_eq!(said, "status 0\n");
    assert_snapshot!(fs::read_to_string(file).unwrap());
    assert_snapshot!(pages(&root, &["1201", "--svg", "/proc/nowhere/map.svg"]));
}

#[test]
fn without_root() {
    let root = process();
    fs::remove_file(root.path().join("proc/kpageflags")).unwrap();
    assert_snapshot!(pages(&root, &["1201"]));
}

#[test]
fn for_all() {
    let root = process();
    fs::write(
        root.path().join("sys/kernel/mm/rksm/scope"),
        "madvise [all]\n",
    )
    .unwrap();
    assert_snapshot!(pages(&root, &["1201"]));
}

#[test]
fn many_mappings() {
    let root = process();
    let text: String = (0..30_000)
        .map(|number| {
            mapping(
                RAM + number * 2 * PAGE,
                [1, number / 29_990, 0, 0],
                "",
                "rd wr mr mw me ac mg",
            )
        })
        .collect();
    fs::write(root.path().join("proc/1201/smaps"), text).unwrap();
    let said = pages(&root, &["1201"]);
    assert!(said.lines().count() < 100, "{said}");
    assert!(said.contains("and 29 960 mappings that use less"), "{said}");
}

#[test]
fn a_name_does_nothing_to_terminals_and_pictures() {
    let root = process();
    let smaps = root.path().join("proc/1201/smaps");
    let text = fs::read_to_string(&smaps).unwrap();
    let text = text.replace("[heap]", "/tmp/\u{1b}[2J<\u{ffff}");
    // Where procfs looks for a number.
    let text = text.replace("/lib/c.so", "/SYSV");
    fs::write(&smaps, text).unwrap();
    let picture = root.path().join("map.svg");
    let said = rksmctl(root.path(), &["pages", "1201"])
        + &rksmctl(
            root.path(),
            &["pages", "1201", "--svg", picture.to_str().unwrap()],
        )
        + &fs::read_to_string(&picture).unwrap();
    assert!(!said.contains(['\u{1b}', '\u{ffff}']), "{said}");
    assert_eq!(said.matches("/tmp/\u{fffd}[2J").count(), 2, "{said}");
    assert_eq!(said.matches(" /SYSV ").count(), 2, "{said}");
}

#[test]
fn no_such_process() {
    assert_snapshot!(pages(&process(), &["999"]));
}

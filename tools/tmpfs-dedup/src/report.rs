// SPDX-License-Identifier: GPL-2.0

//! What came of a round, for people and for programs.

use std::{fmt, fs, time::Duration};

use nix::errno::Errno;
use serde::Serialize;

use crate::{kernel, merge::Tally, scan::page_size};

#[derive(Debug, Serialize)]
pub struct Refusal {
    pub errno: i32,
    pub cause: String,
    pub pages: u64,
}

/// Pages are counted in pages of the system, and bytes are theirs.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub round: u64,
    /// Whether no signal came in between.
    pub complete: bool,
    pub dry_run: bool,
    pub files: usize,
    pub pages: u64,
    pub bytes: u64,
    /// What is equal to a page that is kept.
    pub equal_pages: u64,
    pub equal_bytes: u64,
    /// By this round, or before.
    pub merged_pages: u64,
    pub merged_bytes: u64,
    /// They were equal when they were read.
    pub changed_pages: u64,
    pub refused: Vec<Refusal>,
    pub seconds: f64,
    /// Shmem of the whole system, as /proc/meminfo has it.
    pub shmem_bytes_before: Option<u64>,
    pub shmem_bytes_after: Option<u64>,
    /// Files that could not be read.
    pub complaints: Vec<String>,
}

impl Report {
    pub fn read(&mut self, pages: u64, equal: u64) {
        let size = page_size() as u64;
        (self.pages, self.bytes) = (pages, pages * size);
        (self.equal_pages, self.equal_bytes) = (equal, equal * size);
    }

    pub fn merged(&mut self, tally: &Tally) {
        self.merged_pages = tally.merged;
        self.merged_bytes = tally.merged * page_size() as u64;
        self.changed_pages = tally.changed;
        let refusal = |(&errno, &pages): (&i32, &u64)| Refusal {
            errno,
            cause: kernel::cause(Errno::from_raw(errno)),
            pages,
        };
        self.refused = tally.refused.iter().map(refusal).collect();
    }

    /// Whether something is wrong that the next round will not put right by itself.
    pub fn has_failed(&self) -> bool {
        let for_good = |refusal: &Refusal| !kernel::is_passing(Errno::from_raw(refusal.errno));
        !self.complaints.is_empty() || self.refused.iter().any(for_good)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let read = counted(self.pages, "page");
        let files = counted(self.files as u64, "file");
        writeln!(f, "read {files}, {read} ({})", mib(self.bytes))?;
        if self.dry_run {
            let equal = counted(self.equal_pages, "page");
            writeln!(
                f,
                "{equal} could be merged, {} saved",
                mib(self.equal_bytes)
            )?;
        } else {
            let equal = counted(self.equal_pages, "equal page");
            writeln!(
                f,
                "{} of {equal} merged, {} saved, in {:.1} s",
                self.merged_pages,
                mib(self.merged_bytes),
                self.seconds
            )?;
        }
        if self.changed_pages > 0 {
            writeln!(
                f,
                "{} changed meanwhile",
                counted(self.changed_pages, "page")
            )?;
        }
        for refusal in &self.refused {
            writeln!(
                f,
                "{} refused: {}",
                counted(refusal.pages, "page"),
                refusal.cause
            )?;
        }
        if let (false, Some(before), Some(after)) = (
            self.dry_run,
            self.shmem_bytes_before,
            self.shmem_bytes_after,
        ) {
            writeln!(
                f,
                "shared memory of the system: {} before, {} now",
                mib(before),
                mib(after)
            )?;
        }
        if !self.complete {
            writeln!(f, "stopped before the end")?;
        }
        Ok(())
    }
}

/// What the system has in tmpfs files, memfds and the like.
pub fn shmem() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Shmem:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

pub fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e3).round() / 1e3
}

fn counted(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report {
            round: 1,
            complete: true,
            files: 2,
            seconds: 0.25,
            ..Default::default()
        };
        report.read(512, 300);
        let refused = [(libc::EBUSY, 3), (libc::ENOMEM, 1)].into();
        report.merged(&Tally {
            merged: 256,
            changed: 40,
            refused,
        });
        report
    }

    #[test]
    fn for_people() {
        let mut report = report();
        let expected = "\
read 2 files, 512 pages (2.0 MiB)
256 of 300 equal pages merged, 1.0 MiB saved, in 0.2 s
40 pages changed meanwhile
1 page refused: no memory, or a memory cgroup is at its limit
3 pages refused: pages are in use: pinned for I/O, locked, or just moving
";
        assert_eq!(report.to_string(), expected);
        report.dry_run = true;
        report.complete = false;
        report.merged(&Tally::default());
        let expected = "\
read 2 files, 512 pages (2.0 MiB)
300 pages could be merged, 1.2 MiB saved
stopped before the end
";
        assert_eq!(report.to_string(), expected);
    }

    #[test]
    fn for_programs() {
        let json = serde_json::to_value(report()).unwrap();
        assert_eq!(json["merged_bytes"], 1 << 20);
        assert_eq!(json["refused"][0]["errno"], libc::ENOMEM);
        assert!(json["shmem_bytes_after"].is_null());
    }

    #[test]
    fn what_has_failed() {
        let mut report = report();
        assert!(report.has_failed(), "there was no memory");
        report.merged(&Tally {
            refused: [(libc::EBUSY, 3)].into(),
            ..Default::default()
        });
        assert!(!report.has_failed(), "it may be in use no more");
        report.complaints.push("a: needs root".into());
        assert!(report.has_failed());
    }
}

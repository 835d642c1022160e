// SPDX-License-Identifier: GPL-2.0

//! Who merges: the kernel's own KSM, or rksm.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    ffi::CStr,
    fs::{self, File},
    path::Path,
    thread::sleep,
    time::Duration,
};

use anyhow::{bail, ensure, Context, Result};
use nix::{
    errno::Errno,
    kmod::{delete_module, finit_module, DeleteModuleFlags, ModuleInitFlags},
};
use serde::{Deserialize, Serialize};

use crate::knobs;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provider {
    InTree,
    Rksm,
}

impl Provider {
    pub const BOTH: [Self; 2] = [Self::InTree, Self::Rksm];

    pub fn name(self) -> &'static str {
        match self {
            Self::InTree => "in-tree",
            Self::Rksm => "rksm",
        }
    }

    /// The name of its scanner's thread, and what those of further ones begin with.
    fn thread(self) -> &'static str {
        match self {
            Self::InTree => "ksmd",
            Self::Rksm => "rksmd",
        }
    }

    /// Makes it the one that merges, stopped and with nothing merged.
    pub fn take_over(self, module: &Path) -> Result<Scanner> {
        knobs::set("run", 2)?;
        let loaded = Path::new("/sys/module/rksm").exists();
        match (self, loaded) {
            (Self::Rksm, false) => insert(module)?,
            (Self::InTree, true) => remove(c"rksm")?,
            _ => {}
        }
        knobs::set("run", 2)?;
        knobs::set("run", 0)?;
        Scanner::find(self.thread())
    }
}

/// Why what a knob of rksm does is not measured.
pub fn missing_knob(module: &Path, knob: &str) -> Result<Option<String>> {
    Provider::Rksm.take_over(module)?;
    let there = Path::new(knob).exists();
    Ok((!there).then(|| format!("rksm has no knob {knob}")))
}

pub fn insert(module: &Path) -> Result<()> {
    let file = File::open(module).with_context(|| module.display().to_string())?;
    finit_module(file, c"", ModuleInitFlags::empty()).context("insmod")
}

/// A page may be on its way out of use still, or a task inside of a function that goes.
pub fn remove(module: &CStr) -> Result<()> {
    for _ in 0..1200 {
        match delete_module(module, DeleteModuleFlags::O_NONBLOCK) {
            Err(Errno::EAGAIN | Errno::EBUSY) => sleep(Duration::from_millis(50)),
            result => return result.context("rmmod"),
        }
    }
    bail!("{module:?} stays in use")
}

/// What `run` changes about the machine; it is put back when this is dropped.
pub struct Machine {
    kunit: Option<String>,
}

const KUNIT: &str = "/sys/module/kunit/parameters/filter_glob";

impl Machine {
    pub fn new() -> Self {
        let kunit = fs::read_to_string(KUNIT).ok();
        // The module's suites would run each time that it is loaded.
        fs::write(KUNIT, "none").ok();
        Self { kunit }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        knobs::set("run", 2).ok();
        if let Some(kunit) = &self.kunit {
            fs::write(
                KUNIT,
                if kunit.trim() == "(null)" {
                    "*"
                } else {
                    kunit.trim()
                },
            )
            .ok();
        }
    }
}

/// The scanner's threads.
pub struct Scanner {
    name: &'static str,
    threads: RefCell<Threads>,
}

impl Scanner {
    fn find(name: &'static str) -> Result<Self> {
        let scanner = Self {
            name,
            threads: RefCell::default(),
        };
        scanner.look_for_threads()?;
        ensure!(!scanner.pids().is_empty(), "there is no thread {name}");
        Ok(scanner)
    }

    /// For when their number was changed: those that are new are counted from here on.
    pub fn look_for_threads(&self) -> Result<()> {
        for entry in fs::read_dir("/proc")? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            if fs::read_to_string(entry.path().join("comm"))
                .is_ok_and(|comm| is_scanner(comm.trim_end(), self.name))
            {
                self.threads.borrow_mut().note(pid, cpu_time(pid));
            }
        }
        Ok(())
    }

    /// Of those that are alive.
    pub fn pids(&self) -> Vec<u32> {
        self.threads.borrow().alive.keys().copied().collect()
    }

    /// How long they have run on CPUs, those that have ended as well, as far as it was seen.
    /// User-Mode Linux counts in steps of 10 ms.
    pub fn cpu_time(&self) -> Result<Duration> {
        let pids = self.pids();
        ensure!(!pids.is_empty(), "no thread of the scanner is left");
        let mut threads = self.threads.borrow_mut();
        for pid in pids {
            threads.note(pid, cpu_time(pid));
        }
        Ok(threads.sum())
    }
}

/// The first is called `rksmd`, the others `rksmd/1`, `rksmd/2`, and so on.
fn is_scanner(comm: &str, name: &str) -> bool {
    match comm.strip_prefix(name) {
        Some("") => true,
        Some(rest) => rest
            .strip_prefix('/')
            .is_some_and(|number| number.parse::<u32>().is_ok()),
        None => false,
    }
}

/// `None`: there is no such thread any more.
fn cpu_time(pid: u32) -> Option<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
    let ns = text.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(ns))
}

/// What threads took. One that ends takes its figure along, and its number may become another's: the
/// last that was seen of it is kept, and nothing more is read under that number.
#[derive(Default)]
struct Threads {
    alive: BTreeMap<u32, Duration>,
    ended: Duration,
}

impl Threads {
    fn note(&mut self, pid: u32, time: Option<Duration>) {
        let before = match time {
            Some(time) => self.alive.insert(pid, time).filter(|&before| before > time),
            None => self.alive.remove(&pid),
        };
        self.ended += before.unwrap_or_default();
    }

    fn sum(&self) -> Duration {
        self.ended + self.alive.values().sum::<Duration>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_threads() {
        for (comm, is) in [
            ("rksmd", true),
            ("rksmd/15", true),
            ("rksmd/", false),
            ("rksmd/x", false),
            ("rksmdx", false),
            ("ksmd", false),
        ] {
            assert_eq!(is_scanner(comm, "rksmd"), is, "{comm}");
        }
    }

    #[test]
    fn a_thread_that_ended_still_counts() {
        let ms = |ms| Some(Duration::from_millis(ms));
        let mut threads = Threads::default();
        threads.note(7, ms(10));
        threads.note(8, ms(20));
        threads.note(8, None);
        threads.note(8, None);
        threads.note(7, ms(15));
        assert_eq!(Some(threads.sum()), ms(35));
        // Another thread of the same number.
        threads.note(7, ms(1));
        assert_eq!(Some(threads.sum()), ms(36));
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Who merges: the kernel's own KSM, or rksm.

use std::{
    fs::{self, File},
    path::Path,
    thread::sleep,
    time::Duration,
};

use anyhow::{anyhow, bail, Context, Result};
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

    /// The name of its scanner's thread.
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
            (Self::Rksm, false) => {
                let file = File::open(module).with_context(|| module.display().to_string())?;
                finit_module(file, c"", ModuleInitFlags::empty()).context("insmod")?;
            }
            (Self::InTree, true) => {
                remove_rksm()?;
            }
            _ => {}
        }
        knobs::set("run", 2)?;
        knobs::set("run", 0)?;
        Scanner::find(self.thread())
    }
}

/// A page may be on its way out of use still.
fn remove_rksm() -> Result<()> {
    for _ in 0..100 {
        match delete_module(c"rksm", DeleteModuleFlags::O_NONBLOCK) {
            Err(Errno::EAGAIN | Errno::EBUSY) => sleep(Duration::from_millis(50)),
            result => return result.context("rmmod"),
        }
    }
    bail!("rksm stays in use")
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

/// The scanner's thread.
pub struct Scanner {
    pid: u32,
}

impl Scanner {
    fn find(name: &str) -> Result<Self> {
        for entry in fs::read_dir("/proc")? {
            let entry = entry?;
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            if fs::read_to_string(entry.path().join("comm"))
                .is_ok_and(|comm| comm.trim_end() == name)
            {
                return Ok(Self { pid });
            }
        }
        bail!("there is no thread {name}")
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// How long it has run on a CPU. User-Mode Linux counts in steps of 10 ms.
    pub fn cpu_time(&self) -> Result<Duration> {
        let text = fs::read_to_string(format!("/proc/{}/schedstat", self.pid))?;
        let ns = text
            .split_whitespace()
            .next()
            .ok_or_else(|| anyhow!("no schedstat"))?;
        Ok(Duration::from_nanos(ns.parse()?))
    }
}

// SPDX-License-Identifier: GPL-2.0

//! What memory a process uses, as `/proc/PID/status` has it: anybody may read that, and it waits for
//! no lock of the process.

use std::collections::HashMap;

use serde::Serialize;

use super::System;
use crate::show::plain;

/// In bytes.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Usage {
    pub command: String,
    /// Of no file and shared with nobody: what can be merged.
    pub anonymous: u64,
    /// Shared memory and memfd.
    pub shared: u64,
    /// Pages of hugetlbfs.
    pub huge: u64,
    /// Pinned for devices or the kernel, as far as they count it so.
    pub pinned: u64,
    /// Kept from being swapped, by mlock() or VFIO.
    pub locked: u64,
}

impl Usage {
    /// `None` for what has no memory of its own, or is gone.
    pub fn read(system: &System, pid: i32) -> Option<Self> {
        let text = system.text(format!("/proc/{pid}/status")).ok()?;
        let fields: HashMap<&str, &str> = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name, value.trim()))
            .collect();
        let kib = |name| -> Option<u64> { fields.get(name)?.strip_suffix(" kB")?.parse().ok() };
        let bytes = |name| kib(name).unwrap_or(0) * 1024;
        kib("VmSize")?;
        Some(Self {
            command: plain(fields.get("Name")?),
            anonymous: bytes("RssAnon"),
            shared: bytes("RssShmem"),
            huge: bytes("HugetlbPages"),
            pinned: bytes("VmPin"),
            locked: bytes("VmLck"),
        })
    }
}

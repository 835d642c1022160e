// SPDX-License-Identifier: GPL-2.0

//! What memory a process uses, as `/proc/PID/status` has it: anybody may read that, and it waits for
//! no lock of the process.

use procfs::{process::Status, FromRead};
use serde::Serialize;

use super::System;

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
        let status = Status::from_file(system.path(format!("/proc/{pid}/status"))).ok()?;
        let bytes = |kib: Option<u64>| kib.unwrap_or(0) * 1024;
        status.vmsize?;
        Some(Self {
            command: status.name,
            anonymous: bytes(status.rssanon),
            shared: bytes(status.rssshmem),
            huge: bytes(status.hugetlbpages),
            pinned: bytes(status.vmpin),
            locked: bytes(status.vmlck),
        })
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Which machine this is.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::{memory::Memory, System};

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Machine {
    pub host: String,
    /// The kernel's release.
    pub kernel: String,
    pub cpus: usize,
    /// Bytes.
    pub memory: u64,
    /// Bytes in a page.
    pub page: u64,
}

impl Machine {
    pub fn read(system: &System) -> Result<Self> {
        let memory = Memory::read(system)?;
        let stat = system.read("/proc/stat")?;
        // The line `cpu` is the sum of those with a number.
        let cpus = stat.lines().filter(|line| line.starts_with("cpu"));
        Ok(Self {
            host: system.read("/proc/sys/kernel/hostname")?,
            kernel: system.read("/proc/sys/kernel/osrelease")?,
            cpus: cpus.count().saturating_sub(1),
            memory: memory.total,
            page: memory.page,
        })
    }
}

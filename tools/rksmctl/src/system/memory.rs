// SPDX-License-Identifier: GPL-2.0

//! The memory that there is.

use anyhow::{Context, Result};
use procfs::{FromRead, Meminfo};
use serde::Serialize;

use super::System;

#[derive(Clone, Copy, Debug, Serialize)]
pub struct Memory {
    /// Bytes.
    pub total: u64,
    /// Bytes that can be had without swapping, as the kernel thinks.
    pub available: u64,
    /// Bytes in a page.
    pub page: u64,
}

impl Memory {
    pub fn read(system: &System) -> Result<Self> {
        let info = Meminfo::from_file(system.path("/proc/meminfo"))
            .context("cannot read /proc/meminfo")?;
        Ok(Self {
            total: info.mem_total,
            available: info.mem_available.unwrap_or(info.mem_free),
            page: page_size(),
        })
    }
}

/// Bytes in a page.
pub fn page_size() -> u64 {
    use nix::unistd::{sysconf, SysconfVar};

    sysconf(SysconfVar::PAGE_SIZE)
        .ok()
        .flatten()
        .and_then(|size| size.try_into().ok())
        .unwrap_or(4096)
}

// SPDX-License-Identifier: GPL-2.0

//! The counters in sysfs, for the system as a whole.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::{Provider, System};

/// In pages, if nothing else is said. What one kernel has and another has not is an `Option`.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Counters {
    pub pages_shared: u64,
    pub pages_sharing: u64,
    pub pages_unshared: u64,
    pub pages_volatile: u64,
    pub pages_scanned: u64,
    pub pages_skipped: Option<u64>,
    pub ksm_zero_pages: i64,
    pub stable_node_chains: u64,
    pub stable_node_dups: u64,
    /// Passes.
    pub full_scans: u64,
    /// Bytes.
    pub general_profit: i64,
    /// How long the last pass took. Only rksm says.
    pub last_pass_millisecs: Option<u64>,
    /// The CPU time of all scanners in it.
    pub last_pass_cpu_millisecs: Option<u64>,
    /// How long the pass under way takes so far.
    pub pass_millisecs: Option<u64>,
}

impl Counters {
    pub fn read(system: &System, provider: Provider) -> Result<Self> {
        let number = |name| system.value::<u64>(provider.file(name));
        let signed = |name| system.value::<i64>(provider.file(name));
        Ok(Self {
            pages_shared: number("pages_shared")?,
            pages_sharing: number("pages_sharing")?,
            pages_unshared: number("pages_unshared")?,
            pages_volatile: number("pages_volatile")?,
            pages_scanned: number("pages_scanned")?,
            pages_skipped: number("pages_skipped").ok(),
            ksm_zero_pages: signed("ksm_zero_pages")?,
            stable_node_chains: number("stable_node_chains")?,
            stable_node_dups: number("stable_node_dups")?,
            full_scans: number("full_scans")?,
            general_profit: signed("general_profit")?,
            last_pass_millisecs: number("last_pass_millisecs").ok(),
            last_pass_cpu_millisecs: number("last_pass_cpu_millisecs").ok(),
            pass_millisecs: number("pass_millisecs").ok(),
        })
    }

    /// What merging and the zero page save, in pages, before anything is paid for it.
    pub fn saved(&self) -> u64 {
        self.pages_sharing
            .saturating_add_signed(self.ksm_zero_pages.max(0))
    }

    /// All pages that are on record.
    pub fn tracked(&self) -> u64 {
        self.pages_shared + self.pages_sharing + self.pages_unshared + self.pages_volatile
    }
}

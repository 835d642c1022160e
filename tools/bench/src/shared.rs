// SPDX-License-Identifier: GPL-2.0

//! What it costs that files in memory have pages in common, and that they could have.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::{
    access::{self, Access},
    knobs,
    measure::Figures,
    together,
};

const STORE: &str = "/sys/kernel/debug/shmem_dedup";
const FAULT_AROUND: &str = "/sys/kernel/debug/fault_around_bytes";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Case {
    Alone(Access),
    /// Read faults of so many threads.
    Together(usize),
}

impl Case {
    pub const ALL: [Self; 11] = [
        Self::Alone(Access::LongRead),
        Self::Alone(Access::ShortRead),
        Self::Alone(Access::TouchAround),
        Self::Alone(Access::TouchAlone),
        Self::Alone(Access::Store),
        Self::Alone(Access::StoreAfterRead),
        Self::Alone(Access::StoreAgain),
        Self::Alone(Access::Write),
        Self::Together(1),
        Self::Together(2),
        Self::Together(together::MOST),
    ];

    pub fn name(self) -> String {
        match self {
            Self::Alone(access) => access.name().to_owned(),
            Self::Together(threads) => format!("faults, threads: {threads}"),
        }
    }

    /// Of each file.
    pub fn pages(self) -> usize {
        match self {
            Self::Alone(access) => access.pages(),
            Self::Together(_) => together::PAGES,
        }
    }

    /// How much a read fault maps.
    fn fault_around(self) -> &'static str {
        match self {
            Self::Alone(Access::TouchAlone) | Self::Together(_) => "4096",
            Self::Alone(_) => "65536",
        }
    }
}

/// Why there are no figures.
pub fn missing() -> Option<String> {
    let there = Path::new(STORE).exists();
    (!there).then(|| "this kernel merges no pages of files, or has no debugfs".to_owned())
}

pub fn measure(case: Case, seed: u64) -> Result<Figures> {
    let knob = Path::new(FAULT_AROUND);
    let before = fs::read_to_string(knob).context(FAULT_AROUND)?;
    knobs::write(knob, case.fault_around())?;
    let figures = match case {
        Case::Alone(access) => access::measure(access, seed),
        Case::Together(threads) => together::measure(threads, seed),
    }?;
    knobs::write(knob, before.trim())?;
    Ok(figures)
}

// SPDX-License-Identifier: GPL-2.0

//! What is merged of each process.

use std::{collections::HashMap, fs, io};

use anyhow::Result;
use serde::Serialize;

use super::{
    owner::{Names, Owner},
    patience::Patience,
    System,
};
use crate::show::plain;

/// `/proc/PID/ksm_stat`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Merged {
    /// Pages that are on record.
    pub rmap_items: u64,
    pub zero_pages: i64,
    /// Pages that are merged.
    pub merging_pages: u64,
    /// Bytes, after records.
    pub profit: i64,
    /// It has asked for all its memory, by prctl(). Older kernels, as 6.12, do not say.
    pub merge_any: Option<bool>,
    /// It has asked for some of its memory at least. As above.
    pub mergeable: Option<bool>,
}

impl Merged {
    /// `None` for what has no memory of its own: kernel threads and the dead.
    pub fn read(system: &System, patience: &Patience, pid: i32) -> io::Result<Option<Self>> {
        let text = patience.read(&system.path(format!("/proc/{pid}/ksm_stat")))?;
        Ok((!text.is_empty()).then(|| Self::parse(&text)))
    }

    fn parse(text: &str) -> Self {
        let words: HashMap<&str, &str> = text
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(name, value)| (name.trim_end_matches(':'), value.trim()))
            .collect();
        let number = |name| words.get(name).and_then(|text| text.parse::<i64>().ok());
        let count = |name| {
            number(name)
                .and_then(|n| u64::try_from(n).ok())
                .unwrap_or(0)
        };
        let says_yes = |name| words.get(name).map(|word| *word == "yes");
        Self {
            rmap_items: count("ksm_rmap_items"),
            zero_pages: number("ksm_zero_pages").unwrap_or(0),
            merging_pages: count("ksm_merging_pages"),
            profit: number("ksm_process_profit").unwrap_or(0),
            merge_any: says_yes("ksm_merge_any"),
            mergeable: says_yes("ksm_mergeable"),
        }
    }

    /// Whether there is anything to say of it.
    pub fn is_concerned(&self) -> bool {
        let silent = Self {
            merge_any: None,
            mergeable: None,
            ..*self
        };
        silent != Self::default() || self.has_asked() == Some(true)
    }

    /// `None` where the kernel does not say.
    pub fn has_asked(&self) -> Option<bool> {
        let told = [self.merge_any, self.mergeable];
        told.into_iter().flatten().reduce(|one, other| one || other)
    }

    /// Pages that it shares with others or that are the zero page.
    pub fn pages(&self) -> u64 {
        self.merging_pages
            .saturating_add_signed(self.zero_pages.max(0))
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Process {
    pub pid: i32,
    pub command: String,
    pub owner: Owner,
    pub merged: Merged,
}

/// What a look at all processes has found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Processes {
    /// Those that have merged pages, or asked for merging.
    pub concerned: Vec<Process>,
    /// How many belong to others, and need root to be read.
    pub hidden: usize,
    /// Those whose address space is locked: they did not answer.
    pub busy: Vec<i32>,
}

impl Processes {
    /// `everybody`: with those that have nothing merged and did not ask for it either.
    pub fn look(
        system: &System,
        patience: &Patience,
        names: &mut Names,
        everybody: bool,
    ) -> Result<Self> {
        let mut found = Self::default();
        for pid in pids(system)? {
            match Merged::read(system, patience, pid) {
                Ok(Some(merged)) if everybody || merged.is_concerned() => {
                    // Else it has gone.
                    if let Ok(command) = system.text(format!("/proc/{pid}/comm")) {
                        found.concerned.push(Process {
                            pid,
                            command: plain(command.trim_end()),
                            owner: Owner::read(system, patience, names, pid),
                            merged,
                        });
                    }
                }
                Ok(_) => {}
                Err(error) => match error.kind() {
                    io::ErrorKind::PermissionDenied => found.hidden += 1,
                    io::ErrorKind::TimedOut => found.busy.push(pid),
                    // It has gone.
                    _ => {}
                },
            }
        }
        found
            .concerned
            .sort_by_key(|process| (std::cmp::Reverse(process.merged.pages()), process.pid));
        Ok(found)
    }
}

/// All processes, in order.
pub fn pids(system: &System) -> Result<Vec<i32>> {
    let mut pids: Vec<i32> = fs::read_dir(system.path("/proc"))?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    Ok(pids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ksm_stat() {
        let text = "ksm_rmap_items 7\nksm_zero_pages -1\nksm_merging_pages 5\n\
                    ksm_process_profit -300\nksm_merge_any: yes\nksm_mergeable: no\n";
        let merged = Merged::parse(text);
        let wanted = Merged {
            rmap_items: 7,
            zero_pages: -1,
            merging_pages: 5,
            profit: -300,
            merge_any: Some(true),
            mergeable: Some(false),
        };
        assert_eq!(merged, wanted);
        assert_eq!(merged.pages(), 5);
        assert!(!Merged::parse("").is_concerned());

        // As in 6.12.
        let (older, _) = text.split_once("ksm_merge_any").unwrap();
        let merged = Merged::parse(older);
        assert_eq!(merged.has_asked(), None);
        assert!(merged.is_concerned());
        assert_eq!(Merged::parse("ksm_mergeable: no").has_asked(), Some(false));
        assert!(!Merged::parse("ksm_mergeable: no").is_concerned());
    }
}

// SPDX-License-Identifier: GPL-2.0

//! What is shown of a process, how wide it is, and how it is sorted.

use std::cmp::{Ordering, Reverse};

use clap::ValueEnum;

use crate::{
    show::{short_bytes, short_count},
    system::{memory::page_size, processes::Process},
};

/// What processes can be sorted by. Figures begin with the most, words with A.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Sort {
    /// Merged and zero pages together.
    Saved,
    /// What is saved after records.
    Profit,
    /// Pages that are merged.
    Merged,
    /// Pages that are the zero page.
    Zero,
    /// Pages that are on record.
    Tracked,
    /// Memory that the records take.
    Records,
    Pid,
    Command,
    User,
    /// Guest, container, unit or cgroup.
    Owner,
}

impl Sort {
    /// The one behind it, or before it.
    pub fn next(self, backwards: bool) -> Self {
        let all = Self::value_variants();
        let at = all.iter().position(|sort| *sort == self).unwrap_or(0);
        let step = if backwards { all.len() - 1 } else { 1 };
        all[(at + step) % all.len()]
    }

    pub fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    pub fn compare(self, a: &Process, b: &Process) -> Ordering {
        let most = |of: fn(&Process) -> i128| Reverse(of(a)).cmp(&Reverse(of(b)));
        match self {
            Self::Saved => most(|process| process.merged.pages().into()),
            Self::Profit => most(|process| process.merged.profit.into()),
            Self::Merged => most(|process| process.merged.merging_pages.into()),
            Self::Zero => most(|process| process.merged.zero_pages.into()),
            Self::Tracked => most(|process| process.merged.rmap_items.into()),
            Self::Records => most(records),
            Self::Pid => a.pid.cmp(&b.pid),
            Self::Command => a.command.cmp(&b.command),
            Self::User => a.owner.user.cmp(&b.owner.user),
            Self::Owner => owner(a).cmp(&owner(b)),
        }
        .then(a.pid.cmp(&b.pid))
    }
}

/// Bytes that are saved, before anything is paid for it.
fn saved(process: &Process) -> i128 {
    i128::from(process.merged.pages()) * i128::from(page_size())
}

/// Bytes that the records take: what is saved is the profit and these.
fn records(process: &Process) -> i128 {
    let pages = i128::from(process.merged.merging_pages) + i128::from(process.merged.zero_pages);
    (pages * i128::from(page_size()) - i128::from(process.merged.profit)).max(0)
}

/// The guest, the container or unit, or else the end of the cgroup's path; without what all have.
fn owner(process: &Process) -> String {
    let owner = &process.owner;
    let unit = owner
        .unit()
        .map(|unit| unit.trim_end_matches(".service").trim_end_matches(".scope"));
    let group = owner.cgroup.rsplit('/').next();
    let name = owner.guest.as_deref().or(unit).or(group);
    name.filter(|name| !name.is_empty())
        .unwrap_or("-")
        .to_owned()
}

/// What a filter is looked for in, in small letters.
pub fn words(process: &Process) -> String {
    let owner = &process.owner;
    let guest = owner.guest.as_deref().unwrap_or_default();
    [
        &process.pid.to_string(),
        &process.command,
        &owner.user,
        guest,
        &owner.cgroup,
    ]
    .join(" ")
    .to_lowercase()
}

#[derive(Clone, Copy)]
pub struct Column {
    pub name: &'static str,
    /// 0 where it takes what the others leave.
    pub width: u16,
    /// Figures stand at the right.
    pub right: bool,
    pub text: fn(&Process) -> String,
}

const fn left(name: &'static str, width: u16, text: fn(&Process) -> String) -> Column {
    Column {
        name,
        width,
        right: false,
        text,
    }
}

const fn right(name: &'static str, width: u16, text: fn(&Process) -> String) -> Column {
    Column {
        name,
        width,
        right: true,
        text,
    }
}

/// Those that a screen of that width has room for.
pub fn fitting(width: u16) -> Vec<Column> {
    let pid = right("PID", 7, |process| process.pid.to_string());
    let command = |width| left("COMMAND", width, |process| process.command.clone());
    let user = |width| left("USER", width, |process| process.owner.user.clone());
    let owner = left("GUEST/UNIT", 0, owner);
    let guest = left("GUEST", 20, |process| {
        process.owner.guest.clone().unwrap_or_else(|| "-".into())
    });
    let group = left("CGROUP", 0, |process| process.owner.cgroup.clone());
    let merged = right("MERGED", 6, |process| {
        short_count(process.merged.merging_pages.into())
    });
    let zero = right("ZERO", 6, |process| {
        short_count(process.merged.zero_pages.into())
    });
    let tracked = right("TRACKED", 7, |process| {
        short_count(process.merged.rmap_items.into())
    });
    let records = right("RECORDS", 7, |process| short_bytes(records(process)));
    let profit = right("PROFIT", 7, |process| {
        short_bytes(process.merged.profit.into())
    });
    let saved = right("SAVED", 7, |process| short_bytes(saved(process)));
    match width {
        ..60 => vec![pid, command(0), merged, profit],
        60..80 => vec![pid, command(12), owner, merged, tracked, profit],
        80..120 => vec![
            pid,
            command(12),
            user(8),
            owner,
            merged,
            zero,
            tracked,
            records,
            profit,
        ],
        _ => vec![
            pid,
            command(15),
            user(12),
            guest,
            group,
            merged,
            zero,
            tracked,
            saved,
            records,
            profit,
        ],
    }
}

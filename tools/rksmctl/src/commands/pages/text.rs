// SPDX-License-Identifier: GPL-2.0

//! The map in letters.

use std::fmt;

use super::map::{prevailing, Map, Row};
use crate::{
    show::{counted, grouped, mib},
    system::pagemap::State,
};

/// The letter of a cell.
const fn letter(state: Option<State>) -> char {
    match state {
        Some(State::Merged) => '#',
        Some(State::Zero) => '0',
        Some(State::Unmerged) => '-',
        Some(State::Unknown) => '?',
        Some(State::File) => 'f',
        Some(State::Swapped) => 's',
        Some(State::Never) => 'x',
        None => '.',
    }
}

/// What a state is called.
pub const fn name(state: Option<State>) -> &'static str {
    match state {
        Some(State::Merged) => "merged",
        Some(State::Zero) => "zero page",
        Some(State::Unmerged) => "mergeable, not merged",
        Some(State::Unknown) => "mergeable, merged or not",
        Some(State::File) => "unchanged page of a file",
        Some(State::Swapped) => "swapped out",
        Some(State::Never) => "not mergeable",
        None => "not there",
    }
}

/// Bytes, of small mappings too.
pub fn size(bytes: u64) -> String {
    match bytes >> 10 {
        kib @ 0..=1023 => format!("{kib} KiB"),
        _ => mib(bytes.into()),
    }
}

impl fmt::Display for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |f: &mut fmt::Formatter<'_>, mark, name: &str, pages: u64| {
            let size = size(pages * self.page);
            let pages = grouped(pages.into());
            writeln!(f, "{mark} {name:<38} {pages:>14} pages {size:>12}")
        };
        writeln!(
            f,
            "Process {}, {}. Merging by {}.\n",
            self.pid,
            counted(self.mappings as u64, "mapping", "mappings"),
            self.provider
        )?;
        for (state, count) in State::ALL.into_iter().zip(self.counts) {
            // What the rest is about is said even where it is none.
            if count > 0 || matches!(state, State::Merged | State::Unmerged) {
                line(f, letter(Some(state)), name(Some(state)), count)?;
            }
        }
        for (why_not, pages) in &self.never {
            line(f, ' ', &format!("  {why_not}"), *pages)?;
        }
        line(f, letter(None), name(None), self.absent)?;
        if self.counts[State::Unknown as usize] > 0 {
            writeln!(f, "\nOnly root can see which pages are merged.")?;
        }
        writeln!(f)?;
        for row in &self.rows {
            row.write(f)?;
        }
        if self.left() > 0 {
            writeln!(
                f,
                "and {} that use less",
                counted(self.left() as u64, "mapping", "mappings")
            )?;
        }
        Ok(())
    }
}

impl Row {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = size(self.end - self.start);
        write!(f, "{:x}-{:x} {size}", self.start, self.end)?;
        if !self.name.is_empty() {
            write!(f, " {}", self.name)?;
        }
        if let Some(why_not) = self.why_not {
            write!(f, " ({why_not})")?;
        }
        let cells: String = self
            .cells
            .iter()
            .map(|cell| letter(prevailing(cell)))
            .collect();
        writeln!(f, "\n    {cells}")
    }
}

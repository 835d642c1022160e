// SPDX-License-Identifier: GPL-2.0

//! The map: sums, and a row of cells for each of the largest mappings. Its size has a limit, whatever
//! the process maps.

use std::{cmp::Reverse, collections::BTreeMap, str::FromStr};

use serde::Serialize;

use crate::system::{
    mappings::{Mapping, WhyNot},
    memory::page_size,
    pagemap::{Run, State},
    Provider,
};

/// Rows at most.
const ROWS: usize = 40;
/// Cells in a row at most.
pub const CELLS: u64 = 64;

/// Addresses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Range {
    start: u64,
    end: u64,
}

impl Default for Range {
    fn default() -> Self {
        Self {
            start: 0,
            end: u64::MAX,
        }
    }
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok();
        let range = text.split_once('-').and_then(|(start, end)| {
            let page = page_size();
            // Whole pages.
            let start = address(start)? / page * page;
            let end = address(end)?.checked_next_multiple_of(page)?;
            Some(Self { start, end })
        });
        range
            .filter(|range| range.start < range.end)
            .ok_or_else(|| "not of the form START-END, in hexadecimal".into())
    }
}

impl Range {
    /// What it has of a mapping.
    pub fn part_of(&self, mapping: Mapping) -> Option<Mapping> {
        let (start, end) = (mapping.start.max(self.start), mapping.end.min(self.end));
        (start < end).then_some(Mapping {
            start,
            end,
            ..mapping
        })
    }
}

/// How many pages there are of each kind, in the order of [`State::ALL`].
pub type Counts = [u64; State::ALL.len()];

/// Who reads the JSON depends on the names.
#[derive(Serialize)]
pub struct Map {
    pub provider: Provider,
    pub pid: i32,
    /// Bytes in a page.
    pub page: u64,
    /// Pages of each kind.
    #[serde(serialize_with = "by_name")]
    pub counts: Counts,
    /// Addresses with nothing behind them, in pages.
    pub absent: u64,
    /// Pages that are never merged, by reason.
    pub never: BTreeMap<WhyNot, u64>,
    pub mappings: usize,
    pub rows: Vec<Row>,
    /// Which row a mapping has.
    #[serde(skip)]
    row_of: BTreeMap<usize, usize>,
}

#[derive(Serialize)]
pub struct Row {
    pub start: u64,
    pub end: u64,
    pub name: String,
    pub why_not: Option<WhyNot>,
    #[serde(serialize_with = "by_name")]
    pub counts: Counts,
    /// What most of the pages are that are there, if any, in equal parts of the mapping.
    #[serde(serialize_with = "most")]
    pub cells: Vec<Counts>,
}

impl Map {
    /// A map with nothing on it yet.
    pub fn new(provider: Provider, pid: i32, mappings: &[Mapping]) -> Self {
        let page = page_size();
        let mut largest: Vec<usize> = (0..mappings.len()).collect();
        largest.sort_by_key(|&number| {
            let mapping = &mappings[number];
            let size = mapping.end - mapping.start;
            // What can be merged first, among those with as much.
            Reverse((
                mapping.resident + mapping.swapped,
                mapping.why_not.is_none(),
                size,
            ))
        });
        largest.truncate(ROWS);
        largest.sort_unstable();
        Self {
            provider,
            pid,
            page,
            counts: Counts::default(),
            absent: mappings.iter().map(|m| (m.end - m.start) / page).sum(),
            never: BTreeMap::new(),
            mappings: mappings.len(),
            rows: largest
                .iter()
                .map(|&number| Row::new(&mappings[number], page))
                .collect(),
            row_of: largest.into_iter().zip(0..).collect(),
        }
    }

    /// Enters pages that are there.
    pub fn add(&mut self, mappings: &[Mapping], run: Run) {
        let index = run.state as usize;
        self.counts[index] += run.pages;
        self.absent = self.absent.saturating_sub(run.pages);
        let why_not = mappings[run.mapping].why_not;
        if let Some(why_not) = why_not.filter(|_| run.state == State::Never) {
            *self.never.entry(why_not).or_insert(0) += run.pages;
        }
        if let Some(&row) = self.row_of.get(&run.mapping) {
            self.rows[row].add(run, self.page);
        }
    }

    /// Mappings that have no row.
    pub fn left(&self) -> usize {
        self.mappings - self.rows.len()
    }
}

impl Row {
    fn new(mapping: &Mapping, page: u64) -> Self {
        let pages = (mapping.end - mapping.start) / page;
        let cells = pages.clamp(1, CELLS);
        Self {
            start: mapping.start,
            end: mapping.end,
            name: mapping.name.clone(),
            why_not: mapping.why_not,
            counts: Counts::default(),
            cells: vec![Counts::default(); usize::try_from(cells).unwrap_or(1)],
        }
    }

    fn add(&mut self, run: Run, page: u64) {
        self.counts[run.state as usize] += run.pages;
        let pages = (self.end - self.start) / page;
        let count = self.cells.len() as u64;
        // Cell n begins at this page.
        let begin =
            |cell: u64| (u128::from(cell) * u128::from(pages)).div_ceil(count.into()) as u64;
        let mut first = (run.start - self.start) / page;
        let end = (first + run.pages).min(pages);
        while first < end {
            let cell = (u128::from(first) * u128::from(count) / u128::from(pages)) as u64;
            let next = begin(cell + 1).min(end).max(first + 1);
            self.cells[cell as usize][run.state as usize] += next - first;
            first = next;
        }
    }
}

/// What most of them are; `None` where nothing is there.
pub fn prevailing(counts: &Counts) -> Option<State> {
    let (count, Reverse(state)) = counts
        .iter()
        .zip(State::ALL)
        .map(|(count, state)| (*count, Reverse(state)))
        .max()?;
    (count > 0).then_some(state)
}

fn by_name<S: serde::Serializer>(counts: &Counts, to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(State::ALL.iter().zip(counts))
}

fn most<S: serde::Serializer>(cells: &[Counts], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(cells.iter().map(prevailing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let range = |text: &str| text.parse::<Range>();
        let wanted = Range {
            start: 0x1000,
            end: 0x3000,
        };
        assert_eq!(range("1fff-2001"), Ok(wanted));
        assert_eq!(range("0x1000-0x3000"), Ok(wanted));
        for wrong in ["", "1000", "3000-1000", "1000-1000", "x-y", "-"] {
            assert!(range(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn cells_have_all_pages() {
        for pages in [1, 2, 63, 64, 65, 100, 127, 1 << 28] {
            let mapping = Mapping {
                start: 1 << 30,
                end: (1 << 30) + pages * 4096,
                name: String::new(),
                why_not: None,
                resident: 0,
                anonymous: 0,
                swapped: 0,
                merged: None,
            };
            let mut row = Row::new(&mapping, 4096);
            for (start, pages) in [(0, pages / 3), (pages / 3, pages - pages / 3)] {
                row.add(
                    Run {
                        mapping: 0,
                        start: mapping.start + start * 4096,
                        pages,
                        state: State::Merged,
                    },
                    4096,
                );
            }
            let of_cells = row.cells.iter().map(|cell| cell[0]);
            assert_eq!(of_cells.clone().sum::<u64>(), pages);
            assert!(of_cells.clone().max().unwrap() - of_cells.min().unwrap() <= 1);
        }
    }
}

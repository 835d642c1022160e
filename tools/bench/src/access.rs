// SPDX-License-Identifier: GPL-2.0

//! What one process pays for a page of a file that is in common with another one, or that could be.

use std::{
    hint::black_box,
    os::unix::fs::FileExt,
    time::{Duration, Instant},
};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::{
    figures::Figure,
    measure::{add_ratios, in_turn, Figures},
    memfd::{Memfd, Words},
    memory::PAGE,
};

/// Pages that are timed together: a clock may take as long as one, and a busy host lets few pass undisturbed.
const BATCH: usize = 128;
/// How many pages a long `read()` asks for.
const LONG: usize = 16;
/// For how long it is done, at the least.
const EACH: Duration = Duration::from_secs(1);

/// What is done to each page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    LongRead,
    ShortRead,
    /// Where it is mapped and in no page table: a read that maps those around it, and one that does not.
    TouchAround,
    TouchAlone,
    /// A write where it is mapped: in no page table, there to be read, there to be written.
    Store,
    StoreAfterRead,
    StoreAgain,
    Write,
}

impl Access {
    pub fn name(self) -> &'static str {
        match self {
            Self::LongRead => "read(), 64 KiB at once",
            Self::ShortRead => "read(), 4 KiB at once",
            Self::TouchAround => "first touch, fault-around",
            Self::TouchAlone => "first touch, a fault each",
            Self::Store => "store, not mapped",
            Self::StoreAfterRead => "store, read before",
            Self::StoreAgain => "store, written before",
            Self::Write => "write(), 4 KiB at once",
        }
    }

    pub fn pages(self) -> usize {
        match self {
            Self::LongRead | Self::ShortRead => (64 << 20) / PAGE,
            _ => 1024,
        }
    }

    fn writes(self) -> bool {
        matches!(
            self,
            Self::Store | Self::StoreAfterRead | Self::StoreAgain | Self::Write
        )
    }
}

/// What was asked of a file.
#[derive(Clone, Copy, PartialEq)]
enum State {
    /// Nothing.
    Plain,
    /// To have one page in common, which is not looked at.
    Armed,
    /// To have all pages in common.
    Merged,
}

/// A file, and another one with the same content.
struct Side {
    access: Access,
    state: State,
    seed: u64,
    file: Memfd,
    twin: Memfd,
    /// Of all batches, the shortest, in µs a page: what else the host does only adds to it.
    least: f64,
}

impl Side {
    fn new(access: Access, state: State, seed: u64) -> Result<Self> {
        let pages = access.pages();
        // One more, to be merged in a file that is armed.
        let file = || Memfd::new(pages + 1, |index| Words::of(seed, index));
        let side = Self {
            access,
            state,
            seed,
            file: file()?,
            twin: file()?,
            least: f64::INFINITY,
        };
        match state {
            State::Plain => {}
            State::Armed => side.file.merge(&side.twin, pages..pages + 1)?,
            State::Merged => side.file.merge(&side.twin, 0..pages)?,
        }
        Ok(side)
    }

    /// As at the beginning.
    fn reset(&mut self) -> Result<()> {
        if self.access.writes() {
            for index in 0..self.access.pages() {
                self.file.write(index, &Words::of(self.seed, index))?;
            }
            if self.state == State::Merged {
                self.file.merge(&self.twin, 0..self.access.pages())?;
            }
        }
        self.file.forget()
    }

    /// Once with each page; what is written has `stamp` in it.
    fn pass(&mut self, stamp: u64) -> Result<()> {
        self.reset()?;
        for index in 0..self.access.pages() {
            match self.access {
                Access::StoreAfterRead => _ = black_box(self.file.memory.page(index)[0]),
                Access::StoreAgain => self.file.memory.page(index)[0] = 0,
                _ => {}
            }
        }
        let mut bytes = [0; LONG * PAGE];
        let short = Words::all(stamp).bytes();
        for first in (0..self.access.pages()).step_by(BATCH) {
            let batch = first..first + BATCH;
            let start = Instant::now();
            match self.access {
                Access::LongRead => {
                    for index in batch.step_by(LONG) {
                        self.file.read(index, &mut bytes)?;
                    }
                }
                Access::ShortRead => {
                    for index in batch {
                        self.file.read(index, &mut bytes[..PAGE])?;
                    }
                }
                Access::TouchAround | Access::TouchAlone => {
                    for index in batch {
                        black_box(self.file.memory.page(index)[0]);
                    }
                }
                Access::Store | Access::StoreAfterRead | Access::StoreAgain => {
                    for index in batch {
                        self.file.memory.page(index)[0] = stamp;
                    }
                }
                Access::Write => {
                    for index in batch {
                        self.file.file.write_all_at(&short, (index * PAGE) as u64)?;
                    }
                }
            }
            let took = start.elapsed().as_secs_f64() * 1e6 / BATCH as f64;
            self.least = self.least.min(took);
        }
        Ok(())
    }

    /// Each byte of both files is right, by `read()` and where it is mapped, after a pass with that stamp.
    fn check(&mut self, stamp: u64) -> Result<()> {
        for index in 0..=self.access.pages() {
            let before = Words::of(self.seed, index);
            let after = match self.access {
                _ if index == self.access.pages() || !self.access.writes() => before.clone(),
                Access::Write => Words::all(stamp),
                _ => before.clone().starting(stamp),
            };
            self.file.check(index, &after)?;
            self.twin.check(index, &before)?;
        }
        Ok(())
    }
}

/// All states in turn, pass by pass: what else the host does falls on each of them.
pub fn measure(access: Access, seed: u64) -> Result<Figures> {
    let side = |state| Side::new(access, state, seed);
    let mut sides = [
        side(State::Plain)?,
        side(State::Armed)?,
        side(State::Merged)?,
    ];
    let begin = Instant::now();
    let mut stamp = 0;
    while stamp < 2 || begin.elapsed() < EACH {
        stamp += 1;
        for side in in_turn(sides.each_mut(), stamp) {
            side.pass(stamp)?;
        }
    }
    for side in &mut sides {
        side.check(stamp)?;
    }
    let names = [Figure::PlainUs, Figure::ArmedUs, Figure::MergedUs];
    let mut figures = Figures::new();
    for (side, name) in sides.iter().zip(names) {
        figures.insert(name, side.least);
    }
    let ratios = [
        (Figure::ArmedCost, Figure::ArmedUs, Figure::PlainUs),
        (Figure::MergedCost, Figure::MergedUs, Figure::PlainUs),
    ];
    add_ratios(&mut figures, ratios);
    Ok(figures)
}

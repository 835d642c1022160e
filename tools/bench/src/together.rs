// SPDX-License-Identifier: GPL-2.0

//! Threads that take faults at once: on one page that all their files have in common, and on pages of their own.

use std::{
    fs::File,
    hint::black_box,
    panic::resume_unwind,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::{
    figures::Figure,
    measure::{add_ratios, in_turn, Figures},
    memfd::{Memfd, Words},
};

/// How many threads, and files.
pub const MOST: usize = 4;
/// Of each file: all together have as many as one common page is for.
pub const PAGES: usize = 256 / MOST;

/// Files with pages of their own and files with a common page have so many turns, and each takes so long.
const TURNS: u64 = 8;
const TURN: Duration = Duration::from_millis(100);

/// Faults a second, of a thread for each of the files.
fn rate(files: &[Memfd]) -> Result<f64> {
    let start = Barrier::new(files.len());
    let faults = |file: &File| -> Result<f64> {
        let mapped = file.try_clone().map(|file| Memfd::map(file, PAGES));
        start.wait();
        let mut file = mapped??;
        let (mut taken, mut time) = (0, Duration::ZERO);
        let begin = Instant::now();
        while begin.elapsed() < TURN {
            file.forget()?;
            let start = Instant::now();
            for index in 0..PAGES {
                black_box(file.memory.page(index)[0]);
            }
            time += start.elapsed();
            taken += PAGES;
        }
        Ok(taken as f64 / time.as_secs_f64())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = files
            .iter()
            .map(|Memfd { file, .. }| scope.spawn(|| faults(file)))
            .collect();
        let rates = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        rates.sum()
    })
}

/// Files of such pages.
fn files(content: impl Fn(usize) -> Words) -> Result<Vec<Memfd>> {
    (0..MOST)
        .map(|file| Memfd::new(PAGES, |index| content(file * PAGES + index)))
        .collect()
}

pub fn measure(threads: usize, seed: u64) -> Result<Figures> {
    let mut own = files(|page| Words::of(seed, page))?;
    let mut common = files(|_| Words::of(seed, 0))?;
    for (number, file) in common.iter().enumerate() {
        let first = usize::from(number == 0);
        for index in first..PAGES {
            file.merge_at(index, &common[0], 0..1)?;
        }
    }
    // The best of all turns: what else the host does only takes away from it.
    let (mut own_rate, mut common_rate) = (0.0_f64, 0.0_f64);
    for turn in 0..TURNS {
        let sides = [(&own, &mut own_rate), (&common, &mut common_rate)];
        for (files, best) in in_turn(sides, seed + turn) {
            *best = best.max(rate(&files[..threads])?);
        }
    }
    for (number, file) in own.iter_mut().enumerate() {
        for index in 0..PAGES {
            file.check(index, &Words::of(seed, number * PAGES + index))?;
        }
    }
    for file in &mut common {
        for index in 0..PAGES {
            file.check(index, &Words::of(seed, 0))?;
        }
    }
    let mut figures = Figures::from([
        (Figure::OwnFaultRate, own_rate),
        (Figure::CommonFaultRate, common_rate),
    ]);
    let ratio = (
        Figure::CommonFaultGain,
        Figure::CommonFaultRate,
        Figure::OwnFaultRate,
    );
    add_ratios(&mut figures, [ratio]);
    Ok(figures)
}

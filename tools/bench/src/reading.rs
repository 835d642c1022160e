// SPDX-License-Identifier: GPL-2.0

//! What the machine takes to read a page once: no scanner that looks at content can be below it.

use std::{
    hint::black_box,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use nix::libc;
use rand::{rngs::SmallRng, seq::SliceRandom, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::memory::Memory;

/// CPU time for each page, in passes over so many of them: with more than fits in the caches, each
/// pass finds them cold.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Reading {
    pub pages: usize,
    pub in_order_ns: f64,
    /// The pages in random order; each of them from its beginning to its end.
    pub shuffled_ns: f64,
}

impl Reading {
    /// Measures both ways, each for so long at least.
    pub fn take(pages: usize, seed: u64, at_least: Duration) -> Result<Self> {
        let mut memory = Memory::new(pages, false)?;
        memory.populate()?;
        for index in 0..pages {
            memory.page(index).fill(index as u64);
        }
        let mut order: Vec<usize> = (0..pages).collect();
        let in_order_ns = passes(&memory, &order, at_least)?;
        order.shuffle(&mut SmallRng::seed_from_u64(seed));
        let shuffled_ns = passes(&memory, &order, at_least)?;
        Ok(Self {
            pages,
            in_order_ns,
            shuffled_ns,
        })
    }
}

/// Whole passes over all pages, in this order.
fn passes(memory: &Memory, order: &[usize], at_least: Duration) -> Result<f64> {
    let pass = || {
        for &index in order {
            black_box(memory.read_page(index));
        }
    };
    pass();
    let start = cpu_time()?;
    let mut pages = 0;
    loop {
        pass();
        pages += order.len();
        let spent = cpu_time()? - start;
        if spent >= at_least {
            return Ok(spent.as_nanos() as f64 / pages as f64);
        }
    }
}

/// How many times as much two threads read a second as one does, each with so many pages of its own, and
/// each for so long.
pub fn gain(pages: usize, each: Duration) -> Result<f64> {
    let alone = rate(1, pages, each)?;
    Ok(rate(2, pages, each)? / alone)
}

/// Pages a second of all threads together.
fn rate(threads: usize, pages: usize, each: Duration) -> Result<f64> {
    let start = Barrier::new(threads);
    let read = || -> Result<f64> {
        let memory = Memory::new(pages, false)?;
        let populated = memory.populate();
        start.wait();
        populated?;
        let begin = Instant::now();
        let mut read = 0;
        while begin.elapsed() < each {
            black_box(memory.read_all());
            read += pages;
        }
        Ok(read as f64 / begin.elapsed().as_secs_f64())
    };
    thread::scope(|scope| {
        let readers: Vec<_> = (0..threads).map(|_| scope.spawn(read)).collect();
        let rates = readers.into_iter().map(|reader| match reader.join() {
            Ok(rate) => rate,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        rates.sum()
    })
}

/// Of this thread.
fn cpu_time() -> Result<Duration> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: The clock is written to a variable of ours.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    nix::errno::Errno::result(status).context("the thread's CPU time")?;
    Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

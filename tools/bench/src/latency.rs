// SPDX-License-Identifier: GPL-2.0

//! What a process notices of being scanned: how long its page faults take, and how long its mmap
//! lock is held.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{BufRead, BufReader},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use nix::mount::{mount, MsFlags};

use crate::{
    content::Content,
    figures::Figure,
    knobs,
    measure::{self, Figures},
    memory::Memory,
    provider::Scanner,
};

const TRACING: &str = "/sys/kernel/tracing";
/// Enough for what a pass over 50 000 pages takes of locks.
const BUFFER_KIB: &str = "131072";
/// Pages of each stretch of memory that is mapped, touched and unmapped.
const STRETCH: usize = 256;

/// Page faults while nothing is scanned, and with the scanner at work on this very process: without a
/// pause, and with the one that is the kernel's default after each thousand pages.
pub fn faults(pages: usize, duration: Duration) -> Result<Figures> {
    knobs::for_measuring(&[("pages_to_scan", "1000"), ("sleep_millisecs", "0")])?;
    let mut memory = Memory::new(pages, false)?;
    for index in 0..pages {
        Content::Random(index as u64).fill(memory.page(index));
    }
    memory.mergeable()?;
    fault_times(duration / 4)?;
    let mut quiet = fault_times(duration)?;
    knobs::set("run", 1)?;
    measure::passes(2)?;
    let (mut scanned, rate) = scanned_fault_times(duration)?;
    knobs::set("sleep_millisecs", 20)?;
    let (mut paced, paced_rate) = scanned_fault_times(duration)?;
    knobs::set("run", 2)?;
    knobs::set("run", 0)?;
    Ok(Figures::from([
        (Figure::QuietFaultP50Us, percentile(&mut quiet, 50.0)),
        (Figure::QuietFaultP99Us, percentile(&mut quiet, 99.0)),
        (Figure::QuietFaultMaxUs, percentile(&mut quiet, 100.0)),
        (Figure::FaultP50Us, percentile(&mut scanned, 50.0)),
        (Figure::FaultP99Us, percentile(&mut scanned, 99.0)),
        (Figure::FaultMaxUs, percentile(&mut scanned, 100.0)),
        (Figure::FaultPagesPerSecond, rate),
        (Figure::PacedFaultP50Us, percentile(&mut paced, 50.0)),
        (Figure::PacedFaultP99Us, percentile(&mut paced, 99.0)),
        (Figure::PacedFaultMaxUs, percentile(&mut paced, 100.0)),
        (Figure::PacedFaultPagesPerSecond, paced_rate),
    ]))
}

/// How long the faults took, and how many pages a second were scanned beside them.
fn scanned_fault_times(duration: Duration) -> Result<(Vec<f64>, f64)> {
    let (start, scanned) = (Instant::now(), knobs::get("pages_scanned")?);
    let times = fault_times(duration)?;
    let scanned = knobs::get("pages_scanned")? - scanned;
    Ok((times, scanned as f64 / start.elapsed().as_secs_f64()))
}

fn fault_times(duration: Duration) -> Result<Vec<f64>> {
    let mut times = Vec::with_capacity(1 << 17);
    let begin = Instant::now();
    loop {
        let mut stretch = Memory::new(STRETCH, false)?;
        stretch.mergeable()?;
        for index in 0..STRETCH {
            let start = Instant::now();
            stretch.page(index)[0] = 1;
            times.push(start.elapsed().as_secs_f64() * 1e6);
        }
        if begin.elapsed() >= duration {
            return Ok(times);
        }
    }
}

/// The least that so many percent of them are not above: of few times, the longest.
pub fn percentile(times: &mut [f64], percent: f64) -> f64 {
    times.sort_by(f64::total_cmp);
    let rank = (times.len() as f64 * percent / 100.0).ceil() as usize;
    times[rank.saturating_sub(1)]
}

fn tracing_set(file: &str, text: &str) -> Result<()> {
    knobs::write(&Path::new(TRACING).join(file), text)
}

/// The kernel's trace of mmap locks that the scanner takes, and this process when it writes to a
/// knob. Tracing ends when this is dropped.
pub struct LockTrace(());

impl LockTrace {
    pub fn start(scanner: &Scanner) -> Result<Self> {
        if !Path::new(TRACING).join("events").exists() {
            let nothing = None::<&str>;
            mount(
                Some("tracefs"),
                TRACING,
                Some("tracefs"),
                MsFlags::empty(),
                nothing,
            )
            .context("tracefs")?;
        }
        let trace = Self(());
        tracing_set("trace_clock", "mono")?;
        tracing_set("buffer_size_kb", BUFFER_KIB)?;
        tracing_set("trace", "")?;
        let mut pids = scanner.pids();
        pids.push(std::process::id());
        let pids: Vec<_> = pids.iter().map(u32::to_string).collect();
        tracing_set("set_event_pid", &pids.join(" "))?;
        for event in ["acquire_returned", "released"] {
            tracing_set(&format!("events/mmap_lock/mmap_lock_{event}/enable"), "1")?;
        }
        Ok(trace)
    }

    /// How long one of them was held. `None`: there were more than the trace has room for.
    pub fn longest(self) -> Result<Option<Duration>> {
        tracing_set("events/mmap_lock/enable", "0")?;
        if Self::lost()? {
            return Ok(None);
        }
        let mut since = HashMap::new();
        let mut longest = 0.0_f64;
        for line in BufReader::new(File::open(Path::new(TRACING).join("trace"))?).lines() {
            let line = line?;
            let Some(event) = Event::parse(&line) else {
                continue;
            };
            if event.taken {
                since.insert(event.lock(), event.seconds);
            } else if let Some(start) = since.remove(&event.lock()) {
                longest = longest.max(event.seconds - start);
            }
        }
        Ok(Some(Duration::from_secs_f64(longest)))
    }

    fn lost() -> Result<bool> {
        for cpu in fs::read_dir(Path::new(TRACING).join("per_cpu"))? {
            let stats = fs::read_to_string(cpu?.path().join("stats"))?;
            if stats
                .lines()
                .any(|line| line.starts_with("overrun:") && !line.ends_with(" 0"))
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Drop for LockTrace {
    fn drop(&mut self) {
        for (file, text) in [
            ("events/mmap_lock/enable", "0"),
            ("set_event_pid", ""),
            ("trace", ""),
            ("buffer_size_kb", "16"),
        ] {
            tracing_set(file, text).ok();
        }
    }
}

/// A lock was taken, or released.
#[derive(Debug, PartialEq)]
struct Event<'a> {
    task: &'a str,
    seconds: f64,
    taken: bool,
    mm: &'a str,
}

impl<'a> Event<'a> {
    /// `ksmd-30 [000] ..... 12.345678: mmap_lock_released: mm=00000000abc memcg_path= write=false`
    fn parse(line: &'a str) -> Option<Self> {
        let task = line.split(" [").next()?.trim();
        let mut words = line
            .split_whitespace()
            .skip_while(|word| !word.ends_with(':'));
        let seconds = words.next()?.trim_end_matches(':').parse().ok()?;
        let taken = match words.next()? {
            "mmap_lock_acquire_returned:" if line.ends_with("success=true") => true,
            "mmap_lock_released:" => false,
            _ => return None,
        };
        let mm = words.find_map(|word| word.strip_prefix("mm="))?;
        Some(Self {
            task,
            seconds,
            taken,
            mm,
        })
    }

    /// Several may hold one at the same time.
    fn lock(&self) -> (String, String) {
        (self.task.to_owned(), self.mm.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_trace() {
        let head = " ksmd-30 [000] ..... 12.345678: mmap_lock_";
        let event = |taken| {
            Some(Event {
                task: "ksmd-30",
                seconds: 12.345_678,
                taken,
                mm: "000012ab",
            })
        };
        let released = format!("{head}released: mm=000012ab memcg_path= write=false");
        assert_eq!(Event::parse(&released), event(false));
        let taken =
            format!("{head}acquire_returned: mm=000012ab memcg_path= write=false success=true");
        assert_eq!(Event::parse(&taken), event(true));
        let failed =
            format!("{head}acquire_returned: mm=000012ab memcg_path= write=false success=false");
        assert_eq!(Event::parse(&failed), None);
        assert_eq!(
            Event::parse("# entries-in-buffer/entries-written: 1/1   #P:1"),
            None
        );
    }

    #[test]
    fn percentiles() {
        let mut times: Vec<_> = (0..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&mut times, 50.0), 50.0);
        assert_eq!(percentile(&mut times, 99.0), 99.0);
        assert_eq!(percentile(&mut times, 100.0), 100.0);
        assert_eq!(percentile(&mut [1.0, 2.0, 3.0], 99.0), 3.0);
        assert_eq!(percentile(&mut [1.0, 2.0, 3.0], 50.0), 2.0);
    }
}

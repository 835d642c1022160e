// SPDX-License-Identifier: GPL-2.0

//! What a second scanner brings, where there is a CPU for it.

use std::{path::Path, thread::available_parallelism, time::Duration};

use anyhow::Result;

use crate::{
    figures::Figure,
    knobs,
    measure::{add_ratios, at_rest, in_turn, merge, Figures, Stage},
    provider::{Provider, Scanner},
    reading,
    record::Workload,
};

const KNOB: &str = "/sys/kernel/mm/rksm/scanners";

/// More pages for each plain reader than fit into a cache of its own.
const READ: usize = 8192;

/// How long scanners are watched at rest, at the least.
const REST: Duration = Duration::from_millis(500);

/// Why there are no figures.
pub fn missing(module: &Path) -> Result<Option<String>> {
    if available_parallelism()?.get() < 2 {
        return Ok(Some("this machine has one CPU".to_owned()));
    }
    Provider::Rksm.take_over(module)?;
    let there = Path::new(KNOB).exists();
    Ok((!there).then(|| format!("rksm has no knob {KNOB}")))
}

fn set(scanners: usize) -> Result<()> {
    knobs::write(Path::new(KNOB), &scanners.to_string())
}

/// One scanner and two, one after the other.
pub fn measure(
    workload: Workload,
    seed: u64,
    scanner: &Scanner,
    rest: Duration,
) -> Result<Figures> {
    let mut figures = Figures::new();
    for scanners in in_turn([1, 2], seed) {
        let (scanned, seconds) = run(workload, seed, scanner, scanners, rest)?;
        let (rate, merging) = match scanners {
            1 => (Figure::OneScannerRate, Figure::OneScannerSeconds),
            _ => (Figure::TwoScannersRate, Figure::TwoScannersSeconds),
        };
        figures.insert(rate, scanned);
        figures.extend(seconds.map(|seconds| (merging, seconds)));
    }
    set(1)?;
    figures.insert(Figure::ReadersGain, reading::gain(READ, rest.max(REST))?);
    let ratios = [
        (
            Figure::RateGain,
            Figure::TwoScannersRate,
            Figure::OneScannerRate,
        ),
        (
            Figure::MergeGain,
            Figure::OneScannerSeconds,
            Figure::TwoScannersSeconds,
        ),
    ];
    add_ratios(&mut figures, ratios);
    Ok(figures)
}

/// Pages a second at rest, and the time that merging took, if there was something to merge.
fn run(
    workload: Workload,
    seed: u64,
    scanner: &Scanner,
    scanners: usize,
    rest: Duration,
) -> Result<(f64, Option<f64>)> {
    knobs::for_measuring(&[("pages_to_scan", "1000"), ("sleep_millisecs", "0")])?;
    knobs::set("run", 2)?;
    knobs::set("run", 0)?;
    set(scanners)?;
    let mut stage = Stage::new(workload, seed)?;
    stage.merge()?;
    let mut figures = Figures::new();
    merge(scanner, workload.kind.saved(workload.pages), &mut figures)?;
    scanner.look_for_threads()?;
    let rest = at_rest(scanner, rest.max(REST), 1)?;
    stage.check()?;
    knobs::set("run", 0)?;
    let seconds = figures.get(&Figure::MergeSeconds).copied();
    Ok((rest.scanned as f64 / rest.seconds, seconds))
}

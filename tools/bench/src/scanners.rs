// SPDX-License-Identifier: GPL-2.0

//! What a second scanner brings, where there is a CPU for it.

use std::{path::Path, thread::available_parallelism, time::Duration};

use anyhow::Result;

use crate::{
    figures::Figure,
    knobs,
    measure::{add_ratios, in_turn, merge_and_rest, Figures, LEAST_REST},
    provider::{self, Scanner},
    reading,
    record::Workload,
};

const KNOB: &str = "/sys/kernel/mm/rksm/scanners";

/// More pages for each plain reader than fit into a cache of its own.
const READ: usize = 8192;

/// Why there are no figures.
pub fn missing(module: &Path) -> Result<Option<String>> {
    if available_parallelism()?.get() < 2 {
        return Ok(Some("this machine has one CPU".to_owned()));
    }
    provider::missing_knob(module, KNOB)
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
    figures.insert(
        Figure::ReadersGain,
        reading::gain(READ, rest.max(LEAST_REST))?,
    );
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
    let (rest, seconds) = merge_and_rest(workload, seed, scanner, rest)?;
    knobs::set("run", 0)?;
    Ok((rest.scanned as f64 / rest.seconds, seconds))
}

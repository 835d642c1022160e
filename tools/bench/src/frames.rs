// SPDX-License-Identifier: GPL-2.0

//! What it costs that merged pages are in frames that were drawn.

use std::path::Path;

use anyhow::{Context, Result};

use crate::{
    figures::Figure,
    knobs,
    measure::{add_ratios, in_turn, merge, Figures, Stage},
    provider::{self, Scanner},
    record::Workload,
};

const KNOB: &str = "/sys/kernel/mm/rksm/fresh_frames";

/// Why there are no figures.
pub fn missing(module: &Path) -> Result<Option<String>> {
    provider::missing_knob(module, KNOB)
}

/// The time until nearly all is merged, and the CPU time for each page that is saved, in µs.
fn run(workload: Workload, seed: u64, scanner: &Scanner, drawn: &str) -> Result<(f64, f64)> {
    knobs::set_unmerged(KNOB, drawn)?;
    let mut stage = Stage::new(workload, seed)?;
    stage.merge()?;
    let mut figures = Figures::new();
    let curve = merge(scanner, workload.kind.saved(workload.pages), &mut figures)?;
    stage.check()?;
    let seconds = figures.get(&Figure::MergeSeconds);
    let cpu = figures.get(&Figure::MergeCpuSeconds);
    let saved = curve.last().map(|point| point.saved_pages as f64);
    let (seconds, cpu, saved) =
        (|| Some((seconds?, cpu?, saved?)))().context("not all is merged")?;
    Ok((*seconds, cpu * 1e6 / saved))
}

/// In frames of those that merge and in drawn ones, one after the other.
pub fn measure(workload: Workload, seed: u64, scanner: &Scanner) -> Result<Figures> {
    knobs::for_measuring(&[("pages_to_scan", "1000"), ("sleep_millisecs", "0")])?;
    let mut figures = Figures::new();
    for drawn in in_turn(["0", "1"], seed) {
        let (seconds, cpu) = run(workload, seed, scanner, drawn)?;
        let of = match drawn {
            "0" => (Figure::SuppliedSeconds, Figure::SuppliedCpuUs),
            _ => (Figure::DrawnSeconds, Figure::DrawnCpuUs),
        };
        figures.extend([(of.0, seconds), (of.1, cpu)]);
    }
    knobs::write(Path::new(KNOB), "0")?;
    let ratios = [
        (
            Figure::DrawnMergeCost,
            Figure::DrawnSeconds,
            Figure::SuppliedSeconds,
        ),
        (
            Figure::DrawnCpuCost,
            Figure::DrawnCpuUs,
            Figure::SuppliedCpuUs,
        ),
    ];
    add_ratios(&mut figures, ratios);
    Ok(figures)
}

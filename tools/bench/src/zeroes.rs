// SPDX-License-Identifier: GPL-2.0

//! What a page costs at rest where only pages of zeroes are merged, and it is none.

use std::{path::Path, time::Duration};

use anyhow::Result;

use crate::{
    figures::Figure,
    knobs,
    measure::{add_ratios, in_turn, merge_and_rest, Figures},
    provider::{self, Scanner},
    record::Workload,
};

const KNOB: &str = "/sys/kernel/mm/rksm/content";

/// Why there are no figures.
pub fn missing(module: &Path) -> Result<Option<String>> {
    provider::missing_knob(module, KNOB)
}

/// All content and zeroes only, one after the other.
pub fn measure(
    workload: Workload,
    seed: u64,
    scanner: &Scanner,
    rest: Duration,
) -> Result<Figures> {
    knobs::for_measuring(&[("pages_to_scan", "1000"), ("sleep_millisecs", "0")])?;
    let mut figures = Figures::new();
    for content in in_turn(["all", "zero"], seed) {
        knobs::set_unmerged(KNOB, content)?;
        let (rest, _) = merge_and_rest(workload, seed, scanner, rest)?;
        let at_rest = match content {
            "all" => Figure::AllRestNs,
            _ => Figure::ZeroRestNs,
        };
        figures.insert(at_rest, rest.cpu_ns / rest.scanned as f64);
    }
    knobs::set_unmerged(KNOB, "all")?;
    add_ratios(
        &mut figures,
        [(Figure::ZeroRestCost, Figure::ZeroRestNs, Figure::AllRestNs)],
    );
    Ok(figures)
}

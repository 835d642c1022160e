// SPDX-License-Identifier: GPL-2.0

//! What it costs that pages are merged within one domain only, where nothing could be merged beyond.

use std::{path::Path, time::Duration};

use anyhow::Result;

use crate::{
    figures::Figure,
    knobs,
    measure::{add_ratios, in_turn, merge_and_rest, Figures},
    provider::{self, Scanner},
    record::Workload,
};

const KNOB: &str = "/sys/kernel/mm/rksm/domain";

/// Why there are no figures.
pub fn missing(module: &Path) -> Result<Option<String>> {
    provider::missing_knob(module, KNOB)
}

/// One domain for all and one for each user, one after the other.
pub fn measure(
    workload: Workload,
    seed: u64,
    scanner: &Scanner,
    rest: Duration,
) -> Result<Figures> {
    // What drawn frames cost is measured for itself.
    knobs::for_measuring(&[
        ("pages_to_scan", "1000"),
        ("sleep_millisecs", "0"),
        ("fresh_frames", "0"),
    ])?;
    let mut figures = Figures::new();
    for domain in in_turn(["all", "user"], seed) {
        knobs::set_unmerged(KNOB, domain)?;
        let (rest, merged) = merge_and_rest(workload, seed, scanner, rest)?;
        let (at_rest, seconds) = match domain {
            "all" => (Figure::OneDomainRestNs, Figure::OneDomainSeconds),
            _ => (Figure::DomainsRestNs, Figure::DomainsSeconds),
        };
        figures.insert(at_rest, rest.cpu_ns / rest.scanned as f64);
        figures.extend(merged.map(|merged| (seconds, merged)));
    }
    knobs::set_unmerged(KNOB, "all")?;
    let ratios = [
        (
            Figure::DomainsRestCost,
            Figure::DomainsRestNs,
            Figure::OneDomainRestNs,
        ),
        (
            Figure::DomainsMergeCost,
            Figure::DomainsSeconds,
            Figure::OneDomainSeconds,
        ),
    ];
    add_ratios(&mut figures, ratios);
    Ok(figures)
}

// SPDX-License-Identifier: GPL-2.0

//! What it costs that pages are merged within one domain only, where nothing could be merged beyond.

use std::{path::Path, time::Duration};

use anyhow::Result;

use crate::{
    figures::Figure,
    knobs,
    measure::{add_ratios, in_turn, merge_and_rest, Figures},
    provider::{Provider, Scanner},
    record::Workload,
};

const KNOB: &str = "/sys/kernel/mm/rksm/domain";

/// Why there are no figures.
pub fn missing(module: &Path) -> Result<Option<String>> {
    Provider::Rksm.take_over(module)?;
    let there = Path::new(KNOB).exists();
    Ok((!there).then(|| format!("rksm has no knob {KNOB}")))
}

fn set(domain: &str) -> Result<()> {
    knobs::set("run", 2)?;
    knobs::set("run", 0)?;
    knobs::write(Path::new(KNOB), domain)
}

/// One domain for all and one for each user, one after the other.
pub fn measure(
    workload: Workload,
    seed: u64,
    scanner: &Scanner,
    rest: Duration,
) -> Result<Figures> {
    knobs::for_measuring(&[("pages_to_scan", "1000"), ("sleep_millisecs", "0")])?;
    let mut figures = Figures::new();
    for domain in in_turn(["all", "user"], seed) {
        set(domain)?;
        let (rest, merged) = merge_and_rest(workload, seed, scanner, rest)?;
        let (at_rest, seconds) = match domain {
            "all" => (Figure::OneDomainRestNs, Figure::OneDomainSeconds),
            _ => (Figure::DomainsRestNs, Figure::DomainsSeconds),
        };
        figures.insert(at_rest, rest.cpu_ns / rest.scanned as f64);
        figures.extend(merged.map(|merged| (seconds, merged)));
    }
    set("all")?;
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

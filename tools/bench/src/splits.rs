// SPDX-License-Identifier: GPL-2.0

//! What is saved, and what is left of huge pages, where they are split for one page that has an equal, for
//! several, or never.

use std::{path::Path, time::Duration};

use anyhow::Result;

use crate::{
    figures::Figure,
    knobs,
    measure::{at_rest, in_turn, passes, Figures, Stage, LEAST_REST},
    memory::HUGE_PAGE,
    provider::{self, Scanner},
    record::Workload,
};

const KNOB: &str = "/sys/kernel/mm/rksm/huge_pages";

/// Until nothing more is split: pages are seen, found, counted on both sides, and merged.
const PASSES: i64 = 10;

/// How many pages of one must have an equal, and what is measured then: pages saved, huge pages left, and CPU at
/// rest by pages mapped.
const VALUES: [(u32, [Figure; 3]); 4] = [
    (
        1,
        [
            Figure::SavedForOne,
            Figure::HugeForOne,
            Figure::PassNsForOne,
        ],
    ),
    (
        8,
        [
            Figure::SavedForEight,
            Figure::HugeForEight,
            Figure::PassNsForEight,
        ],
    ),
    (
        64,
        [
            Figure::SavedForMany,
            Figure::HugeForMany,
            Figure::PassNsForMany,
        ],
    ),
    (
        0,
        [
            Figure::SavedForNone,
            Figure::HugeForNone,
            Figure::PassNsForNone,
        ],
    ),
];

/// Why there are no figures.
pub fn missing(module: &Path) -> Result<Option<String>> {
    match Path::new("/sys/kernel/mm/transparent_hugepage").exists() {
        true => provider::missing_knob(module, KNOB),
        false => Ok(Some("this kernel has no huge pages".to_owned())),
    }
}

fn huge_pages() -> Result<i64> {
    Ok(knobs::bytes_in("/proc/meminfo", "AnonHugePages:")? / HUGE_PAGE as i64)
}

/// One value after the other.
pub fn measure(
    workload: Workload,
    seed: u64,
    scanner: &Scanner,
    rest: Duration,
) -> Result<Figures> {
    knobs::for_measuring(&[("pages_to_scan", "1000"), ("sleep_millisecs", "0")])?;
    let mut figures = Figures::new();
    for (value, [saved, left, pass]) in in_turn(VALUES, seed) {
        knobs::set_unmerged(KNOB, &value.to_string())?;
        let before = huge_pages()?;
        let mut stage = Stage::new(workload, seed)?;
        figures.insert(Figure::HugeBefore, (huge_pages()? - before) as f64);
        stage.merge()?;
        knobs::set("run", 1)?;
        passes(PASSES)?;
        let passes_before = knobs::get("full_scans")?;
        let rest = at_rest(scanner, rest.max(LEAST_REST), 1)?;
        let passes = (knobs::get("full_scans")? - passes_before).max(1);
        figures.insert(saved, knobs::saved()? as f64);
        figures.insert(left, (huge_pages()? - before) as f64);
        figures.insert(pass, rest.cpu_ns / passes as f64 / stage.filled());
        stage.check()?;
    }
    knobs::set_unmerged(KNOB, "1")?;
    Ok(figures)
}

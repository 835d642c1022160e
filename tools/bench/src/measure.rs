// SPDX-License-Identifier: GPL-2.0

//! One run of one workload under one provider.

use std::{
    collections::BTreeMap,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{ensure, Context, Result};

use crate::{
    actor::{Actor, Role, CHILDREN},
    content::Kind,
    figures::Figure,
    knobs,
    latency::LockTrace,
    memory::PAGE,
    plan::Effort,
    provider::Scanner,
    record::{Point, Workload},
};

/// Between two looks at the counters. Long enough not to be what is measured.
const LOOK: Duration = Duration::from_millis(2);
/// Passes without a change after which nothing more is merged.
const CALM_PASSES: u32 = 3;
/// Passes of a rehearsal, and of a timed run, in which all must be merged.
const MOST_PASSES: i64 = 60;
const MOST_TIMED_PASSES: i64 = 10;
/// Smart scan sees a page in one pass, and skips it in the next eight.
const SMART_CYCLE: i64 = 9;
/// It skips more and more until then.
const SMART_WARM_UP: i64 = 2 * SMART_CYCLE;
/// How long a scanner is watched at rest where two ways of scanning are compared, at the least.
pub const LEAST_REST: Duration = Duration::from_millis(500);
/// Of what can be saved.
const NEARLY_ALL: f64 = 0.99;

pub type Figures = BTreeMap<Figure, f64>;

/// One after the other; every second time the other way round.
pub fn in_turn<T, const N: usize>(mut all: [T; N], seed: u64) -> [T; N] {
    if seed.is_multiple_of(2) {
        all.reverse();
    }
    all
}

/// Of each three the first is the second by the third, where there are both.
pub fn add_ratios<const N: usize>(figures: &mut Figures, ratios: [(Figure, Figure, Figure); N]) {
    for (ratio, of, by) in ratios {
        if let (Some(of), Some(by)) = (figures.get(&of), figures.get(&by)) {
            // What is too little to be measured has no ratio.
            if *by > 0.0 {
                let value = of / by;
                figures.insert(ratio, value);
            }
        }
    }
}

/// The processes of a workload, with their memory filled and not yet mergeable.
pub struct Stage {
    workload: Workload,
    actors: Vec<Actor>,
}

impl Stage {
    pub fn new(workload: Workload, seed: u64) -> Result<Self> {
        let kind = workload.kind;
        let role = |who| Role {
            kind,
            seed,
            who,
            pages: kind.pages_each(workload.pages),
        };
        let actors = (0..kind.processes())
            .map(|who| Actor::start(role(who)))
            .collect::<Result<_>>()?;
        Ok(Self { workload, actors })
    }

    pub fn merge(&mut self) -> Result<()> {
        self.actors.iter_mut().try_for_each(Actor::merge)
    }

    pub fn check(&mut self) -> Result<()> {
        self.actors.iter_mut().try_for_each(Actor::check)
    }

    fn read(&mut self) -> Result<()> {
        self.actors.iter_mut().try_for_each(Actor::read)
    }

    /// Pages that the processes filled.
    pub fn filled(&self) -> f64 {
        let kind = self.workload.kind;
        (kind.pages_each(self.workload.pages) * kind.processes()) as f64
    }

    /// Mapped ones, each as often as it is mapped.
    fn mapped(&self) -> f64 {
        match self.workload.kind {
            Kind::Fork => self.filled() * (1 + CHILDREN) as f64,
            _ => self.filled(),
        }
    }
}

/// A run that is not timed: what is saved, in how many passes, and how long locks are held for it.
/// Says how far the provider's own counters go.
pub fn rehearse(workload: Workload, seed: u64, scanner: &Scanner) -> Result<(Figures, i64)> {
    // A pass is one batch, and a rest follows in which to look.
    knobs::for_measuring(&[("pages_to_scan", "4294967295"), ("sleep_millisecs", "20")])?;
    let mut stage = Stage::new(workload, seed)?;
    stage.merge()?;
    let anon = knobs::anon_bytes()?;
    // Of the growth curve, no figure but the cost of a page is asked for.
    let trace = (!workload.is_growth())
        .then(|| LockTrace::start(scanner))
        .transpose()?;
    let mut progress = Progress::new()?;
    let mut saved_after = vec![0];
    let mut calm = 0;
    knobs::set("run", 1)?;
    while calm < CALM_PASSES && saved_after.len() as i64 <= MOST_PASSES {
        let seen = saved_after.len() as i64;
        progress.wait_for(seen)?;
        let saved = knobs::saved()?;
        let before = saved_after[saved_after.len() - 1];
        // The first pass only takes down what there is.
        let change = (saved - before).abs() * 1000 > saved || seen < 2;
        calm = if change { 0 } else { calm + 1 };
        saved_after.push(saved);
    }
    let saved = saved_after[saved_after.len() - 1];
    // As the kernel counts it: no provider's own figure.
    let not_needed = (anon - knobs::anon_bytes()?) / PAGE as i64;
    let mut figures = Figures::from([(Figure::SavedPages, not_needed as f64)]);
    let enough = saved as f64 * NEARLY_ALL;
    if let Some(passes) = saved_after
        .iter()
        .position(|&saved| saved as f64 >= enough)
        .filter(|&n| n > 0)
    {
        figures.insert(Figure::MergePasses, passes as f64);
    }
    stage.check()?;
    knobs::set("run", 0)?;
    knobs::set("run", 2)?;
    if let Some(held) = trace.map(LockTrace::longest).transpose()?.flatten() {
        figures.insert(Figure::LockHeldMaxUs, held.as_secs_f64() * 1e6);
    }
    stage.check()?;
    Ok((figures, saved))
}

/// A timed run. `saved` is what merging comes to.
pub fn measure(
    workload: Workload,
    seed: u64,
    saved: i64,
    scanner: &Scanner,
    effort: &Effort,
) -> Result<(Figures, Vec<Point>)> {
    knobs::for_measuring(&[("pages_to_scan", "1000"), ("sleep_millisecs", "0")])?;
    let mut stage = Stage::new(workload, seed)?;
    let mut figures = Figures::new();
    let start = Instant::now();
    stage.read()?;
    let read = start.elapsed().as_nanos() as f64;
    figures.insert(Figure::ReadNsPerPage, read / stage.filled());
    let slabs = knobs::slab_bytes()?;
    stage.merge()?;

    let curve = merge(scanner, saved, &mut figures)?;
    let rest = at_rest(scanner, effort.rest, 1)?;
    ensure!(rest.scanned > 0, "nothing is scanned at rest");
    let scanned = rest.scanned as f64;
    figures.insert(Figure::RestNsPerPage, rest.cpu_ns / scanned);
    let read = scanned * share_read()? * PAGE as f64 / f64::from(1 << 20);
    figures.insert(Figure::RestMibPerSecond, read / rest.seconds);
    let records = (knobs::slab_bytes()? - slabs) as f64;
    figures.insert(Figure::RecordBytesPerPage, records / stage.mapped());
    if !workload.is_growth() {
        knobs::set("smart_scan", 1)?;
        passes(SMART_WARM_UP)?;
        let rest = at_rest(scanner, effort.rest, SMART_CYCLE)?;
        let passed = rest.scanned + rest.skipped;
        ensure!(passed > 0, "nothing is scanned at rest");
        figures.insert(Figure::SmartRestNsPerPage, rest.cpu_ns / passed as f64);
        knobs::set("smart_scan", 0)?;
    }
    stage.check()?;

    knobs::set("run", 0)?;
    let start = Instant::now();
    knobs::set("run", 2)?;
    figures.insert(Figure::UnmergeSeconds, start.elapsed().as_secs_f64());
    stage.check()?;
    Ok((figures, curve))
}

/// From the first look at a page until nearly all is merged, and then until nothing changes.
pub fn merge(scanner: &Scanner, saved: i64, figures: &mut Figures) -> Result<Vec<Point>> {
    let start = Instant::now();
    let cpu_before = scanner.cpu_time()?;
    let enough = (saved as f64 * NEARLY_ALL) as i64;
    let mut curve = Vec::new();
    knobs::set("run", 1)?;
    let mut progress = Progress::new()?;
    loop {
        // The counter first: merged by then, at the latest.
        let saved_pages = knobs::saved()?;
        let point = Point {
            seconds: start.elapsed().as_secs_f64(),
            cpu_seconds: (scanner.cpu_time()? - cpu_before).as_secs_f64(),
            saved_pages,
        };
        curve.push(point);
        if saved > 0 && point.saved_pages >= enough {
            figures.insert(Figure::MergeSeconds, point.seconds);
            figures.insert(Figure::MergeCpuSeconds, point.cpu_seconds);
            break;
        }
        if saved == 0 || progress.passes()? >= MOST_TIMED_PASSES {
            // There is nothing to merge; or it does not come to what the rehearsal came to, and the
            // report misses the figures.
            break;
        }
        sleep(LOOK);
    }
    passes(i64::from(CALM_PASSES))?;
    let step = curve.len().div_ceil(200);
    let last = curve[curve.len() - 1];
    Ok(curve.into_iter().step_by(step).chain([last]).collect())
}

/// Of the pages that are scanned at rest, how many are read: of merged ones nothing is.
fn share_read() -> Result<f64> {
    let merged = knobs::get("pages_shared")? + knobs::get("pages_sharing")?;
    let others = knobs::get("pages_unshared")? + knobs::get("pages_volatile")?;
    Ok(others as f64 / (merged + others).max(1) as f64)
}

/// What the scanner does when all is merged, over whole passes.
pub struct Rest {
    pub seconds: f64,
    pub cpu_ns: f64,
    pub scanned: i64,
    pub skipped: i64,
}

/// The number of passes is a multiple of `cycle`, or so great that it does not matter.
pub fn at_rest(scanner: &Scanner, at_least: Duration, cycle: i64) -> Result<Rest> {
    passes(1)?;
    let start = Instant::now();
    let counters =
        || Ok::<_, anyhow::Error>((knobs::get("pages_scanned")?, knobs::get("pages_skipped")?));
    let cpu_before = scanner.cpu_time()?;
    let before = counters()?;
    let mut progress = Progress::new()?;
    // Whoever looks takes a CPU from a scanner, where there is a scanner for each CPU.
    sleep(at_least);
    loop {
        let passes = progress.passes()?;
        let whole = passes % cycle == 0 || passes > 20 * cycle;
        if passes >= 2 && whole {
            break;
        }
        sleep(LOOK);
    }
    let cpu = scanner.cpu_time()? - cpu_before;
    let seconds = start.elapsed().as_secs_f64();
    let after = counters()?;
    Ok(Rest {
        seconds,
        cpu_ns: cpu.as_nanos() as f64,
        scanned: after.0 - before.0,
        skipped: after.1 - before.1,
    })
}

/// Merges what there is of a workload, and then watches the scanner at rest for a while: that, and the time that
/// merging took, if there was something to merge.
pub fn merge_and_rest(
    workload: Workload,
    seed: u64,
    scanner: &Scanner,
    at_least: Duration,
) -> Result<(Rest, Option<f64>)> {
    let mut stage = Stage::new(workload, seed)?;
    stage.merge()?;
    let mut figures = Figures::new();
    merge(scanner, workload.kind.saved(workload.pages), &mut figures)?;
    scanner.look_for_threads()?;
    let rest = at_rest(scanner, at_least.max(LEAST_REST), 1)?;
    stage.check()?;
    let seconds = figures.get(&Figure::MergeSeconds).copied();
    Ok((rest, seconds))
}

/// Waits for whole passes.
pub fn passes(n: i64) -> Result<()> {
    Progress::new()?.wait_for(n)
}

/// Counts passes, and notices when there are none.
struct Progress {
    first: i64,
    seen: i64,
    since: Instant,
}

impl Progress {
    /// Of a scanner that comes to no end, even of millions of pages.
    const PATIENCE: Duration = Duration::from_secs(300);

    fn new() -> Result<Self> {
        let first = knobs::get("full_scans").context("counting passes")?;
        Ok(Self {
            first,
            seen: first,
            since: Instant::now(),
        })
    }

    fn wait_for(&mut self, passes: i64) -> Result<()> {
        while self.passes()? < passes {
            sleep(LOOK);
        }
        Ok(())
    }

    fn passes(&mut self) -> Result<i64> {
        let now = knobs::get("full_scans")?;
        if now != self.seen {
            (self.seen, self.since) = (now, Instant::now());
        }
        ensure!(
            self.since.elapsed() < Self::PATIENCE,
            "the scanner stands still"
        );
        Ok(now - self.first)
    }
}

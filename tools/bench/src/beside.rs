// SPDX-License-Identifier: GPL-2.0

//! One run of the victim beside a neighbour. Nothing is waited for without a limit.

use std::{
    collections::BTreeMap,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use crate::{
    actor::{Actor, Role},
    content::Kind,
    control::{KnobWriter, Unmerger, Unmerging},
    figures::Figure,
    knobs,
    latency::percentile,
    measure::Figures,
    neighbour::{Measures, Neighbour, Pace},
    nuisance,
    provider::Scanner,
    talk::Partner,
};

/// How long to wait.
#[derive(Clone, Copy)]
pub struct Patience {
    /// At the least, the scanner and the knobs are watched for so long.
    pub watch: Duration,
    /// For the merging, and for `echo 2`.
    pub limit: Duration,
}

/// How long a process that was killed may take to end.
const KILL_LIMIT: Duration = Duration::from_secs(1);
/// How long the scanner may take to come to itself when the neighbour is gone.
const RECOVERY: Duration = Duration::from_secs(300);
/// Passes after which the neighbour's pages are known.
const ACQUAINTED: i64 = 3;
const LOOK: Duration = Duration::from_millis(2);
/// Of the victim's pages: the one or the other may be in use.
const NEARLY_ALL: f64 = 0.99;

/// What came out, and what did not come within how many seconds.
#[derive(Default)]
pub struct Outcome {
    pub figures: Figures,
    pub gave_up: BTreeMap<Figure, f64>,
}

impl From<Figures> for Outcome {
    fn from(figures: Figures) -> Self {
        Self {
            figures,
            ..Self::default()
        }
    }
}

/// What is measured.
pub struct Case {
    pub neighbour: Neighbour,
    pub pace: Pace,
    pub seed: u64,
    pub measures: Measures,
    pub patience: Patience,
}

pub fn measure(case: &Case, scanner: &Scanner) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut unmerger = Unmerger::new()?;
    // The seed and the content are those of the neighbour that has the same.
    let mut victim = Actor::start(Role {
        kind: Kind::Half,
        seed: case.seed,
        who: 0,
        pages: case.measures.pages,
    })?;
    let mut neighbour = start(case)?;
    case.pace.set()?;
    if let Some(neighbour) = &mut neighbour {
        neighbour.ask("go")?;
    }
    let writer = KnobWriter::start("pages_to_scan", case.pace.pages_to_scan())?;

    watch(case, scanner, &mut victim, &mut neighbour, &mut outcome)?;
    match unmerger.run(case.patience.limit, KILL_LIMIT)? {
        Unmerging::Done(time) => {
            outcome
                .figures
                .insert(Figure::EchoTwoSeconds, time.as_secs_f64());
        }
        Unmerging::Killed(ended) => {
            let limit = case.patience.limit.as_secs_f64();
            outcome.gave_up.insert(Figure::EchoTwoSeconds, limit);
            match ended {
                Some(time) => {
                    outcome
                        .figures
                        .insert(Figure::KillSeconds, time.as_secs_f64());
                }
                None => {
                    let limit = KILL_LIMIT.as_secs_f64();
                    outcome.gave_up.insert(Figure::KillSeconds, limit);
                }
            }
        }
    }
    let mut writes = writer.stop()?;
    outcome
        .figures
        .insert(Figure::KnobP99Ms, percentile(&mut writes, 99.0));
    outcome
        .figures
        .insert(Figure::KnobMaxMs, percentile(&mut writes, 100.0));

    // From here on nobody is in the way.
    drop(neighbour);
    let deadline = Instant::now() + RECOVERY;
    unmerger.end(deadline)?;
    writer.end(deadline)?;
    victim.check()?;
    knobs::set("run", 2)?;
    knobs::set("run", 0)?;
    victim.check()?;
    Ok(outcome)
}

/// The neighbour, and the scanner at work; with its pages known to the scanner if that matters.
fn start(case: &Case) -> Result<Option<Partner>> {
    if case.neighbour == Neighbour::None {
        knobs::set("run", 1)?;
        return Ok(None);
    }
    let role = nuisance::Role {
        neighbour: case.neighbour,
        seed: case.seed,
        measures: case.measures,
    };
    let partner = Partner::start("neighbour", &role, nuisance::READY)?;
    if case.neighbour.squats() {
        Pace::FlatOut.set()?;
    }
    knobs::set("run", 1)?;
    if case.neighbour.squats() {
        let start = Instant::now();
        let first = knobs::get("full_scans")?;
        while knobs::get("full_scans")? < first + ACQUAINTED
            && start.elapsed() < case.patience.limit
        {
            sleep(LOOK);
        }
    }
    Ok(Some(partner))
}

/// From the victim's first mergeable page until all of them are merged; and as long as the scanner is
/// watched at the least.
fn watch(
    case: &Case,
    scanner: &Scanner,
    victim: &mut Actor,
    neighbour: &mut Option<Partner>,
    outcome: &mut Outcome,
) -> Result<()> {
    let mut count = || -> Result<f64> {
        let Some(neighbour) = neighbour else {
            return Ok(0.0);
        };
        let text = neighbour.question("count")?;
        text.parse().with_context(|| format!("{text:?}"))
    };
    let enough = case.measures.pages as f64 * NEARLY_ALL;
    let limit = case.patience.limit.as_secs_f64();
    let counted = count()?;
    let (start, cpu) = (Instant::now(), scanner.cpu_time()?);
    victim.merge()?;
    let mut merged = false;
    loop {
        let seconds = start.elapsed().as_secs_f64();
        if !merged && victim.merged()? as f64 >= enough {
            merged = true;
            let spent = scanner.cpu_time()? - cpu;
            outcome.figures.insert(Figure::VictimSeconds, seconds);
            outcome
                .figures
                .insert(Figure::VictimCpuSeconds, spent.as_secs_f64());
        }
        if (merged && seconds >= case.patience.watch.as_secs_f64()) || seconds >= limit {
            break;
        }
        sleep(LOOK);
    }
    if !merged {
        outcome.gave_up.insert(Figure::VictimSeconds, limit);
    }
    let seconds = start.elapsed().as_secs_f64();
    if case.pace == Pace::Default {
        let spent = (scanner.cpu_time()? - cpu).as_secs_f64();
        outcome
            .figures
            .insert(Figure::ScannerPercent, 100.0 * spent / seconds);
    }
    if case.neighbour.forks() {
        let rate = (count()? - counted) / seconds;
        outcome.figures.insert(Figure::ForksPerSecond, rate);
    }
    if case.neighbour.is_sparse() {
        outcome.figures.insert(Figure::AddressSpaceTib, counted);
    }
    Ok(())
}

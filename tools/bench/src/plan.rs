// SPDX-License-Identifier: GPL-2.0

//! What is measured, how much of it, and in which order.

use std::{
    collections::BTreeSet,
    fs::File,
    path::Path,
    thread::available_parallelism,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{ensure, Context, Result};
use clap::ValueEnum;
use nix::sys::utsname::uname;

use crate::{
    beside::{self, Case, Outcome, Patience},
    content::Kind,
    domains, frames, hooks, knobs, latency, measure,
    neighbour::{Measures, Neighbour},
    provider::{self, Provider, Scanner},
    reading::Reading,
    record::{self, Group, Line, Machine, Outside, Point, Record, Workload},
    scanners, shared, splits, zeroes,
};

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Size {
    /// Shows that it works: the figures mean nothing.
    Tiny,
    /// Three minutes.
    Small,
    /// Some twenty minutes, up to 640 000 pages.
    Normal,
    /// With 2 500 000 pages, which take 10 GiB.
    Full,
}

/// How much trouble to take.
pub struct Effort {
    /// Pairs of one run with each provider.
    pairs: usize,
    /// Pages of each workload.
    pages: usize,
    growth: &'static [usize],
    /// How long the scanner is watched when all is merged.
    pub rest: Duration,
    /// How long page faults are taken: unscanned, and with each way of scanning.
    faults: Duration,
    /// For how long at the least pages are read, to know what that takes.
    reading: Duration,
    neighbours: Neighbours,
}

/// How much trouble to take with the neighbours.
#[derive(Clone, Copy)]
struct Neighbours {
    pairs: usize,
    measures: Measures,
    patience: Patience,
}

const FEW: Neighbours = Neighbours {
    pairs: 1,
    measures: Measures {
        pages: 500,
        busy: 4 << 10,
        sparse: 20,
        mappings: 2_000,
        sleepers: 50,
        batch: 5_000,
    },
    patience: Patience {
        watch: Duration::from_millis(200),
        limit: Duration::from_secs(2),
    },
};
const SOME: Neighbours = Neighbours {
    pairs: 1,
    measures: Measures {
        pages: 2_000,
        busy: 16 << 10,
        sparse: 1_000,
        mappings: 60_000,
        sleepers: 2_000,
        batch: 50_000,
    },
    patience: Patience {
        watch: Duration::from_millis(1_500),
        limit: Duration::from_secs(10),
    },
};
const MANY: Neighbours = Neighbours {
    pairs: 3,
    measures: Measures {
        pages: 5_000,
        busy: 64 << 10,
        batch: 150_000,
        ..SOME.measures
    },
    patience: Patience {
        watch: Duration::from_secs(3),
        limit: Duration::from_secs(30),
    },
};

/// Ten batches of a scanner that pauses.
const FAULTS: Duration = Duration::from_millis(300);
/// Of which the 10 ms in which User-Mode Linux counts are little.
const READING: Duration = Duration::from_millis(500);
const GROWTH: [usize; 5] = [10_000, 40_000, 160_000, 640_000, 2_500_000];

impl Size {
    fn effort(self) -> Effort {
        match self {
            Self::Tiny => Effort {
                pairs: 1,
                pages: 2_000,
                growth: &[1_000, 2_000],
                rest: Duration::from_millis(20),
                faults: Duration::from_millis(20),
                reading: Duration::from_millis(20),
                neighbours: FEW,
            },
            Self::Small => Effort {
                pairs: 5,
                pages: 22_000,
                growth: &GROWTH[..2],
                rest: Duration::from_millis(200),
                faults: FAULTS,
                reading: READING,
                neighbours: SOME,
            },
            Self::Normal => Effort {
                pairs: 5,
                pages: 50_000,
                growth: &GROWTH[..4],
                rest: Duration::from_secs(1),
                faults: FAULTS,
                reading: READING,
                neighbours: MANY,
            },
            Self::Full => Effort {
                growth: &GROWTH,
                ..Self::Normal.effort()
            },
        }
    }
}

/// Workloads of the table, then those of the growth curve; or one of the groups that have to be named.
fn workloads(effort: &Effort, module: &Path, only: &str) -> Result<Vec<Workload>> {
    let mut workloads = if only.starts_with("neighbours") {
        neighbours(effort)
    } else if only.starts_with("scanners") {
        [Kind::SpreadUnique, Kind::SpreadHalf]
            .map(|kind| workload(kind, 2 * effort.pages, Group::Scanners))
            .to_vec()
    } else if only.starts_with("domains") {
        [Kind::UsersUnique, Kind::UsersHalf]
            .map(|kind| workload(kind, 2 * effort.pages, Group::Domains))
            .to_vec()
    } else if only.starts_with("content") {
        vec![workload(Kind::Unique, 2 * effort.pages, Group::Content)]
    } else if only.starts_with("splits") {
        vec![workload(Kind::HugeGuests, 2 * effort.pages, Group::Splits)]
    } else if only.starts_with("frames") {
        vec![workload(Kind::SpreadHalf, 4 * effort.pages, Group::Frames)]
    } else if only.starts_with("shared") {
        let case = |case: shared::Case| workload(Kind::Half, case.pages(), Group::Shared(case));
        shared::Case::ALL.map(case).to_vec()
    } else if only.starts_with("hooks") {
        let case = |case: hooks::Case| workload(Kind::Half, case.pages(), Group::Hooks(case));
        hooks::Case::ALL.map(case).to_vec()
    } else {
        let table = Kind::ALL.map(|kind| workload(kind, effort.pages, Group::Table));
        let growth = effort.growth.iter();
        let growth = growth.map(|&pages| workload(Kind::Unique, pages, Group::Growth));
        table.into_iter().chain(growth).collect()
    };
    workloads.retain(|workload| workload.full_name().contains(only));
    ensure!(!workloads.is_empty(), "no workload is called {only:?}");
    let mut left = Vec::new();
    for workload in workloads {
        match missing(workload, module)? {
            Some(why) => eprintln!("bench: {}: left out: {why}", workload.full_name()),
            None => left.push(workload),
        }
    }
    Ok(left)
}

fn workload(kind: Kind, pages: usize, group: Group) -> Workload {
    Workload { kind, pages, group }
}

fn neighbours(effort: &Effort) -> Vec<Workload> {
    let pages = effort.neighbours.measures.pages;
    let cases = Neighbour::ALL.into_iter().flat_map(|neighbour| {
        let paces = neighbour.paces().iter();
        paces.map(move |&pace| Group::Neighbours(neighbour, pace))
    });
    cases
        .map(|group| workload(Kind::Half, pages, group))
        .collect()
}

/// Why it cannot be measured here.
fn missing(workload: Workload, module: &Path) -> Result<Option<String>> {
    let huge = Path::new("/sys/kernel/mm/transparent_hugepage").exists();
    match workload.group {
        Group::Scanners => scanners::missing(module),
        Group::Domains => domains::missing(module),
        Group::Content => zeroes::missing(module),
        Group::Splits => splits::missing(module),
        Group::Frames => frames::missing(module),
        Group::Shared(_) => Ok(shared::missing()),
        Group::Neighbours(neighbour, _) => Ok(neighbour.missing().map(str::to_owned)),
        _ if workload.kind == Kind::Huge && !huge => {
            Ok(Some("this kernel has no huge pages".to_owned()))
        }
        _ => Ok(None),
    }
}

/// What reading takes, for the workloads of which nothing but reading is left at rest.
fn readings(workloads: &[Workload], seed: u64, at_least: Duration) -> Result<Vec<Reading>> {
    let unique = workloads
        .iter()
        .filter(|workload| workload.kind == Kind::Unique);
    let sizes: BTreeSet<_> = unique.map(|workload| workload.pages).collect();
    let reading = |pages| {
        eprintln!("bench: reading {pages} pages");
        Reading::take(pages, seed, at_least)
    };
    sizes.into_iter().map(reading).collect()
}

fn machine(size: Size, seed: u64, outside: Outside, reading: Vec<Reading>) -> Result<Machine> {
    Ok(Machine {
        outside,
        kernel: uname()?.release().to_string_lossy().into_owned(),
        cpus: available_parallelism()?.get(),
        memory_mib: knobs::memory_mib()?,
        size: format!("{size:?}").to_lowercase(),
        seed,
        unix_time: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
        reading,
    })
}

pub fn run(
    module: &Path,
    out: &Path,
    size: Size,
    seed: u64,
    only: &str,
    outside: Outside,
) -> Result<()> {
    let effort = size.effort();
    let mut file = File::create(out).with_context(|| out.display().to_string())?;
    let _changed = provider::Machine::new();
    let workloads = workloads(&effort, module, only)?;
    let reading = readings(&workloads, seed, effort.reading)?;
    record::write(
        &mut file,
        &Line::Machine(machine(size, seed, outside, reading)?),
    )?;
    let all = workloads.len();
    for (number, workload) in workloads.into_iter().enumerate() {
        let mut runner = Runner::new(workload, seed, module, &effort);
        // In turn: what changes about the machine in time changes for both.
        for (pair, provider) in turns(workload.group, &effort) {
            let label = format!(
                "{}, {} pages, {}",
                workload.full_name(),
                workload.pages,
                provider.name()
            );
            eprintln!("bench: [{}/{all}] {label}, {pair}", number + 1);
            let scanner = provider.take_over(module)?;
            let (outcome, curve) = runner.run(pair, &scanner).context(label)?;
            record::write(
                &mut file,
                &Line::Run(Record {
                    workload,
                    provider,
                    pair,
                    figures: outcome.figures,
                    gave_up: outcome.gave_up,
                    curve,
                }),
            )?;
        }
    }
    Ok(())
}

/// All runs of one workload.
struct Runner<'a> {
    workload: Workload,
    seed: u64,
    module: &'a Path,
    effort: &'a Effort,
    /// What merging comes to, as the rehearsals say.
    saved: i64,
}

impl<'a> Runner<'a> {
    fn new(workload: Workload, seed: u64, module: &'a Path, effort: &'a Effort) -> Self {
        Self {
            workload,
            seed,
            module,
            effort,
            saved: 0,
        }
    }

    /// The first pair is a rehearsal, where there is one.
    fn run(&mut self, pair: usize, scanner: &Scanner) -> Result<(Outcome, Vec<Point>)> {
        let Self {
            workload, effort, ..
        } = *self;
        let seed = self.seed + pair as u64;
        match workload.group {
            Group::Neighbours(neighbour, pace) => {
                let Neighbours {
                    measures, patience, ..
                } = effort.neighbours;
                let case = Case {
                    neighbour,
                    pace,
                    seed,
                    measures,
                    patience,
                };
                Ok((beside::measure(&case, scanner)?, Vec::new()))
            }
            Group::Scanners => {
                let figures = scanners::measure(workload, seed, scanner, effort.rest)?;
                Ok((figures.into(), Vec::new()))
            }
            Group::Domains => {
                let figures = domains::measure(workload, seed, scanner, effort.rest)?;
                Ok((figures.into(), Vec::new()))
            }
            Group::Content => {
                let figures = zeroes::measure(workload, seed, scanner, effort.rest)?;
                Ok((figures.into(), Vec::new()))
            }
            Group::Splits => {
                let figures = splits::measure(workload, seed, scanner, effort.rest)?;
                Ok((figures.into(), Vec::new()))
            }
            Group::Frames => {
                let figures = frames::measure(workload, seed, scanner)?;
                Ok((figures.into(), Vec::new()))
            }
            Group::Shared(case) => Ok((shared::measure(case, seed)?.into(), Vec::new())),
            Group::Hooks(case) => {
                let figures = hooks::measure(case, seed, self.module)?;
                Ok((figures.into(), Vec::new()))
            }
            Group::Table | Group::Growth if pair == 0 => {
                let (figures, came_to) = measure::rehearse(workload, seed, scanner)?;
                self.saved = came_to.max(self.saved);
                Ok((figures.into(), Vec::new()))
            }
            Group::Table | Group::Growth => {
                let (mut figures, curve) =
                    measure::measure(workload, seed, self.saved, scanner, effort)?;
                if workload.kind == Kind::Unique && !workload.is_growth() {
                    figures.extend(latency::faults(effort.pages, effort.faults)?);
                }
                Ok((figures.into(), curve))
            }
        }
    }
}

/// A rehearsal with each, which also has the machine touch all the memory that it will need, and
/// then the pairs. Of what goes by limits and of what in-tree KSM does not have, there is none.
fn turns(group: Group, effort: &Effort) -> Vec<(usize, Provider)> {
    let (first, last, providers): (_, _, &[_]) = match group {
        Group::Table | Group::Growth => (0, effort.pairs, &Provider::BOTH),
        Group::Neighbours(..) => (1, effort.neighbours.pairs, &Provider::BOTH),
        Group::Scanners
        | Group::Domains
        | Group::Content
        | Group::Splits
        | Group::Frames
        | Group::Hooks(_) => (1, effort.pairs, &[Provider::Rksm]),
        // rksm has no part in it, and is not loaded.
        Group::Shared(_) => (1, effort.pairs, &[Provider::InTree]),
    };
    (first..=last)
        .flat_map(|pair| providers.iter().map(move |&provider| (pair, provider)))
        .collect()
}

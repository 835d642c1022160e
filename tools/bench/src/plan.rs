// SPDX-License-Identifier: GPL-2.0

//! What is measured, how much of it, and in which order.

use std::{
    fs::File,
    path::Path,
    thread::available_parallelism,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{ensure, Context, Result};
use clap::ValueEnum;
use nix::sys::utsname::uname;

use crate::{
    content::Kind,
    knobs, latency, measure,
    provider::{self, Provider},
    record::{self, Line, Machine, Outside, Record, Workload},
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
}

/// Ten batches of a scanner that pauses.
const FAULTS: Duration = Duration::from_millis(300);
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
            },
            Self::Small => Effort {
                pairs: 5,
                pages: 22_000,
                growth: &GROWTH[..2],
                rest: Duration::from_millis(200),
                faults: FAULTS,
            },
            Self::Normal => Effort {
                pairs: 5,
                pages: 50_000,
                growth: &GROWTH[..4],
                rest: Duration::from_secs(1),
                faults: FAULTS,
            },
            Self::Full => Effort {
                growth: &GROWTH,
                ..Self::Normal.effort()
            },
        }
    }
}

/// Workloads of the table, then those of the growth curve.
fn workloads(effort: &Effort, only: &str) -> Vec<Workload> {
    let table = Kind::ALL.into_iter().map(|kind| Workload {
        kind,
        pages: effort.pages,
        growth: false,
    });
    let growth = effort.growth.iter().map(|&pages| Workload {
        kind: Kind::Unique,
        pages,
        growth: true,
    });
    let mut workloads: Vec<_> = table.chain(growth).collect();
    workloads.retain(|workload| workload.kind.name().contains(only));
    if !Path::new("/sys/kernel/mm/transparent_hugepage").exists() {
        eprintln!(
            "bench: this kernel has no huge pages: {} is left out",
            Kind::Huge.name()
        );
        workloads.retain(|workload| workload.kind != Kind::Huge);
    }
    workloads
}

fn machine(size: Size, seed: u64, outside: Outside) -> Result<Machine> {
    Ok(Machine {
        outside,
        kernel: uname()?.release().to_string_lossy().into_owned(),
        cpus: available_parallelism()?.get(),
        memory_mib: knobs::memory_mib()?,
        size: format!("{size:?}").to_lowercase(),
        seed,
        unix_time: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
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
    let workloads = workloads(&effort, only);
    ensure!(!workloads.is_empty(), "no workload is called {only:?}");
    let mut file = File::create(out).with_context(|| out.display().to_string())?;
    record::write(&mut file, &Line::Machine(machine(size, seed, outside)?))?;
    let _changed = provider::Machine::new();
    let all = workloads.len();
    for (number, workload) in workloads.into_iter().enumerate() {
        let mut saved = 0;
        // In turn: what changes about the machine in time changes for both.
        for (pair, provider) in turns(effort.pairs) {
            let label = format!(
                "{}, {} pages, {}",
                workload.kind.name(),
                workload.pages,
                provider.name()
            );
            eprintln!(
                "bench: [{}/{all}] {label}, {pair} of {}",
                number + 1,
                effort.pairs
            );
            let scanner = provider.take_over(module)?;
            let (figures, curve) = if pair == 0 {
                let (figures, came_to) =
                    measure::rehearse(workload, seed, &scanner).context(label)?;
                saved = came_to.max(saved);
                (figures, Vec::new())
            } else {
                let seed = seed + pair as u64;
                let (mut figures, curve) =
                    measure::measure(workload, seed, saved, &scanner, &effort).context(label)?;
                if workload.kind == Kind::Unique && !workload.growth {
                    figures.extend(latency::faults(effort.pages, effort.faults)?);
                }
                (figures, curve)
            };
            record::write(
                &mut file,
                &Line::Run(Record {
                    workload,
                    provider,
                    pair,
                    figures,
                    curve,
                }),
            )?;
        }
    }
    Ok(())
}

/// A rehearsal with each, which also has the machine touch all the memory that it will need, and
/// then the pairs.
fn turns(pairs: usize) -> impl Iterator<Item = (usize, Provider)> {
    (0..=pairs).flat_map(|pair| Provider::BOTH.map(|provider| (pair, provider)))
}

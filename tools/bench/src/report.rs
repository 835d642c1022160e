// SPDX-License-Identifier: GPL-2.0

//! Medians, ratios, and what becomes of the targets.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::{
    chart,
    content::Kind,
    figures::{median, Figure, Target, GROWTH_TARGET},
    neighbour::Neighbour,
    provider::Provider,
    record::{self, Group, Machine, Record, Workload},
    table,
};

/// One figure of one workload, both providers.
#[derive(Serialize)]
pub struct Row {
    pub workload: Workload,
    pub figure: Figure,
    /// `None`: it did not come to that.
    pub in_tree: Option<Spread>,
    pub rksm: Option<Spread>,
    /// Runs in which it was waited for in vain.
    pub in_tree_gave_up: Option<GaveUp>,
    pub rksm_gave_up: Option<GaveUp>,
    /// The median of the ratios of the pairs: the two runs of a pair were close in time.
    pub ratio: Option<f64>,
    pub target: Option<Target>,
    pub verdict: Option<Verdict>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct GaveUp {
    /// The longest wait.
    pub seconds: f64,
    pub runs: usize,
}

/// By the median; and how many of the pairs say the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    pub met: bool,
    pub agree: usize,
    pub pairs: usize,
}

#[derive(Clone, Copy, Serialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        let median = median(&mut sorted)?;
        Some(Self {
            median,
            min: *sorted.first()?,
            max: *sorted.last()?,
        })
    }
}

impl GaveUp {
    fn of(seen: &[Seen]) -> Option<Self> {
        let waits: Vec<_> = seen
            .iter()
            .filter_map(|seen| match seen {
                Seen::Not(seconds) => Some(*seconds),
                Seen::Value(_) => None,
            })
            .collect();
        Some(Self {
            seconds: waits.iter().copied().reduce(f64::max)?,
            runs: waits.len(),
        })
    }
}

/// How the cost of a page grows with their number.
#[derive(Serialize)]
pub struct Growth {
    pub provider: Provider,
    pub from_pages: usize,
    pub to_pages: usize,
    pub factor: f64,
    pub target: Option<f64>,
}

/// More than this, and the host had more to do than it has CPUs.
const STALLED_PERCENT: f64 = 5.0;

#[derive(Serialize)]
pub struct Report {
    pub machine: Machine,
    /// For how much of the time something on the host waited for a CPU.
    pub stalled_percent: Option<f64>,
    pub rows: Vec<Row>,
    pub growth: Vec<Growth>,
}

impl Report {
    /// What the reader must know before the figures.
    pub fn warning(&self) -> Option<String> {
        let percent = self
            .stalled_percent
            .filter(|&percent| percent > STALLED_PERCENT)?;
        Some(format!(
            "the host was busy: for {percent:.0} % of the time something waited for a CPU"
        ))
    }
}

pub fn report(figures: &Path, out: &Path, stalled_percent: Option<f64>) -> Result<()> {
    let (machine, records) =
        record::read(figures).with_context(|| figures.display().to_string())?;
    if records.is_empty() {
        eprintln!("bench: nothing was measured");
        return Ok(());
    }
    let rows = rows(&records, &machine);
    let report = Report {
        machine,
        stalled_percent,
        growth: growth(&rows),
        rows,
    };
    fs::create_dir_all(out)?;
    fs::write(
        out.join("bench.json"),
        serde_json::to_string_pretty(&report)?,
    )?;
    chart::growth(&report, &out.join("growth.svg"))?;
    let caption = report.machine.caption();
    for kind in [Kind::Half, Kind::Guests] {
        let file = format!("merging-{}.svg", kind.name().replace(' ', "-"));
        chart::merging(&records, kind, &caption, &out.join(file))?;
    }
    print!("{}", table::render(&report));
    if let Some(warning) = report.warning() {
        eprintln!("bench: {warning}");
    }
    Ok(())
}

/// What a run came to.
#[derive(Clone, Copy)]
enum Seen {
    Value(f64),
    /// It was waited for so many seconds, in vain.
    Not(f64),
}

impl Seen {
    fn value(self) -> Option<f64> {
        match self {
            Self::Value(value) => Some(value),
            Self::Not(_) => None,
        }
    }
}

type Pair = BTreeMap<Provider, Seen>;
type Pairs = BTreeMap<usize, Pair>;
type Runs = BTreeMap<(Workload, Figure), Pairs>;

fn rows(records: &[Record], machine: &Machine) -> Vec<Row> {
    let mut runs = Runs::new();
    for record in records {
        let values = record.figures.iter();
        let values = values.map(|(&figure, &value)| (figure, Seen::Value(value)));
        let gave_up = record.gave_up.iter();
        let gave_up = gave_up.map(|(&figure, &seconds)| (figure, Seen::Not(seconds)));
        let derived = [times_reading(record, machine), times_alone(record, records)];
        let derived = derived.into_iter().flatten();
        let derived = derived.map(|(figure, value)| (figure, Seen::Value(value)));
        for (figure, seen) in values.chain(gave_up).chain(derived) {
            let pairs = runs.entry((record.workload, figure)).or_default();
            pairs
                .entry(record.pair)
                .or_default()
                .insert(record.provider, seen);
        }
    }
    runs.into_iter()
        .map(|((workload, figure), pairs)| row(workload, figure, &pairs))
        .collect()
}

/// Where all pages are read, and nothing else is done: their memory lies in order.
fn times_reading(record: &Record, machine: &Machine) -> Option<(Figure, f64)> {
    let workload = record.workload;
    let rest = record.figures.get(&Figure::RestNsPerPage)?;
    let mut readings = machine.reading.iter();
    let reading = readings.find(|reading| reading.pages == workload.pages)?;
    let times = rest / reading.in_order_ns;
    (workload.kind == Kind::Unique).then_some((Figure::RestTimesReading, times))
}

/// Beside the run of the same pair in which the victim had no neighbour.
fn times_alone(record: &Record, records: &[Record]) -> Option<(Figure, f64)> {
    let Group::Neighbours(neighbour, pace) = record.workload.group else {
        return None;
    };
    let alone = records.iter().find(|other| {
        other.workload.group == Group::Neighbours(Neighbour::None, pace)
            && (other.provider, other.pair) == (record.provider, record.pair)
    })?;
    let seconds = |record: &Record| record.figures.get(&Figure::VictimSeconds).copied();
    let times = seconds(record)? / seconds(alone)?;
    (neighbour != Neighbour::None).then_some((Figure::VictimTimesAlone, times))
}

fn row(workload: Workload, figure: Figure, pairs: &Pairs) -> Row {
    let of = |provider| {
        let seen = pairs.values().filter_map(|pair| pair.get(&provider));
        seen.copied().collect::<Vec<_>>()
    };
    let (in_tree, rksm) = (of(Provider::InTree), of(Provider::Rksm));
    let values = |seen: &[Seen]| {
        seen.iter()
            .filter_map(|seen| seen.value())
            .collect::<Vec<_>>()
    };
    let mut ratios: Vec<_> = pairs.values().filter_map(ratio).collect();
    let target = figure.target(workload);
    Row {
        workload,
        figure,
        in_tree: Spread::of(&values(&in_tree)),
        rksm: Spread::of(&values(&rksm)),
        in_tree_gave_up: GaveUp::of(&in_tree),
        rksm_gave_up: GaveUp::of(&rksm),
        ratio: median(&mut ratios),
        target,
        verdict: target.and_then(|target| verdict(target, pairs)),
    }
}

fn ratio(pair: &Pair) -> Option<f64> {
    let in_tree = pair.get(&Provider::InTree)?.value()?;
    let rksm = pair.get(&Provider::Rksm)?.value()?;
    (in_tree != 0.0).then(|| rksm / in_tree)
}

/// What the median says, where there is one. Of a pair in which one came to it and the other did not,
/// there is no ratio, and no doubt either.
fn verdict(target: Target, pairs: &Pairs) -> Option<Verdict> {
    let mut measured = Vec::new();
    let mut met = Vec::new();
    for pair in pairs.values() {
        let in_tree = pair.get(&Provider::InTree).and_then(|seen| seen.value());
        let rksm = pair.get(&Provider::Rksm).and_then(|seen| seen.value());
        let value = match target.is_of_ratio() {
            true => ratio(pair),
            false => rksm,
        };
        match value {
            Some(value) => {
                measured.push(value);
                met.push(target.is_met(value));
            }
            // What was waited for in vain is missed, whatever in-tree KSM came to.
            None if matches!(pair.get(&Provider::Rksm), Some(Seen::Not(_))) => met.push(false),
            // Neither has it, or in-tree KSM has nothing that it could be a ratio of.
            None if rksm.is_some() == in_tree.is_some() => {}
            None => met.push(rksm.is_some()),
        }
    }
    let in_doubt = met.len() == measured.len();
    let yes = met.iter().filter(|&&met| met).count();
    let met_all = match median(&mut measured) {
        Some(median) if in_doubt => target.is_met(median),
        _ if met.is_empty() => return None,
        _ => 2 * yes > met.len(),
    };
    Some(Verdict {
        met: met_all,
        agree: if met_all { yes } else { met.len() - yes },
        pairs: met.len(),
    })
}

fn growth(rows: &[Row]) -> Vec<Growth> {
    let curve: Vec<_> = rows
        .iter()
        .filter(|row| row.workload.is_growth() && row.figure == Figure::RestNsPerPage)
        .collect();
    let (Some(first), Some(last)) = (curve.first(), curve.last()) else {
        return Vec::new();
    };
    let growth = |provider, first: Option<Spread>, last: Option<Spread>, target| {
        Some(Growth {
            provider,
            from_pages: curve[0].workload.pages,
            to_pages: curve[curve.len() - 1].workload.pages,
            factor: last?.median / first?.median,
            target,
        })
    };
    let both = [
        growth(Provider::InTree, first.in_tree, last.in_tree, None),
        growth(Provider::Rksm, first.rksm, last.rksm, Some(GROWTH_TARGET)),
    ];
    both.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neighbour::Pace;

    const UNIQUE: Workload = Workload {
        kind: Kind::Unique,
        pages: 1,
        group: Group::Table,
    };

    fn pairs<const N: usize>(pairs: [(Seen, Seen); N]) -> Pairs {
        let pair =
            |(in_tree, rksm)| Pair::from([(Provider::InTree, in_tree), (Provider::Rksm, rksm)]);
        pairs.into_iter().map(pair).enumerate().collect()
    }

    #[test]
    fn ratios_are_of_pairs() {
        let pairs = pairs(
            [(10.0, 1.0), (20.0, 4.0), (30.0, 3.0)]
                .map(|(in_tree, rksm)| (Seen::Value(in_tree), Seen::Value(rksm))),
        );
        let row = row(UNIQUE, Figure::RestNsPerPage, &pairs);
        assert_eq!(row.ratio, Some(0.1));
        let verdict = Verdict {
            met: true,
            agree: 2,
            pairs: 3,
        };
        assert_eq!(row.verdict, Some(verdict));
    }

    #[test]
    fn what_does_not_come_is_missed() {
        let workload = Workload {
            kind: Kind::Half,
            ..UNIQUE
        };
        let pairs = Pairs::from([(0, Pair::from([(Provider::InTree, Seen::Value(1.0))]))]);
        let row = row(workload, Figure::MergeSeconds, &pairs);
        assert!(row.verdict.is_some_and(|verdict| !verdict.met));
    }

    #[test]
    fn waiting_in_vain() {
        let workload = Workload {
            group: Group::Neighbours(Neighbour::Stuck, Pace::Default),
            ..UNIQUE
        };
        let met = |in_tree, rksm| {
            let row = row(workload, Figure::VictimSeconds, &pairs([(in_tree, rksm)]));
            row.verdict.map(|verdict| verdict.met)
        };
        let (value, not) = (Seen::Value(1.0), Seen::Not(10.0));
        assert_eq!(met(not, value), Some(true));
        assert_eq!(met(value, not), Some(false));
        assert_eq!(met(not, not), Some(false));
        let row = row(workload, Figure::VictimSeconds, &pairs([(not, value)]));
        let gave_up = GaveUp {
            seconds: 10.0,
            runs: 1,
        };
        assert_eq!(row.in_tree_gave_up, Some(gave_up));
        assert_eq!(row.rksm_gave_up, None);
    }

    #[test]
    fn targets_of_rksm_alone() {
        let workload = Workload {
            group: Group::Neighbours(Neighbour::None, Pace::Default),
            ..UNIQUE
        };
        let pairs = pairs([(Seen::Value(1.0), Seen::Value(6.0))]);
        let met = |figure| row(workload, figure, &pairs).verdict.map(|is| is.met);
        assert_eq!(met(Figure::KnobP99Ms), Some(false));
        assert_eq!(met(Figure::KnobMaxMs), Some(true));
    }
}

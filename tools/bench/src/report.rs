// SPDX-License-Identifier: GPL-2.0

//! Medians, ratios, and what becomes of the targets.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{ensure, Context, Result};
use serde::Serialize;

use crate::{
    chart,
    content::Kind,
    figures::{median, Figure, Target, GROWTH_TARGET},
    provider::Provider,
    record::{self, Machine, Record, Workload},
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
    /// The median of the ratios of the pairs: the two runs of a pair were close in time.
    pub ratio: Option<f64>,
    pub target: Option<f64>,
    pub verdict: Option<Verdict>,
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
    ensure!(!records.is_empty(), "{} has no figures", figures.display());
    let rows = rows(&records);
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

type Pairs = BTreeMap<usize, BTreeMap<Provider, f64>>;
type Runs = BTreeMap<(Workload, Figure), Pairs>;

fn rows(records: &[Record]) -> Vec<Row> {
    let mut runs = Runs::new();
    for record in records {
        for (&figure, &value) in &record.figures {
            let pairs = runs.entry((record.workload, figure)).or_default();
            pairs
                .entry(record.pair)
                .or_default()
                .insert(record.provider, value);
        }
    }
    runs.into_iter()
        .map(|((workload, figure), pairs)| row(workload, figure, &pairs))
        .collect()
}

fn row(workload: Workload, figure: Figure, pairs: &Pairs) -> Row {
    let of = |provider| {
        pairs
            .values()
            .filter_map(|pair| pair.get(&provider).copied())
            .collect::<Vec<_>>()
    };
    let ratio_of = |pair: &BTreeMap<Provider, f64>| {
        let (in_tree, rksm) = (pair.get(&Provider::InTree)?, pair.get(&Provider::Rksm)?);
        (*in_tree != 0.0).then(|| rksm / in_tree)
    };
    let mut ratios: Vec<_> = pairs.values().filter_map(ratio_of).collect();
    let ratio = median(&mut ratios);
    let target = figure.target(workload.kind).filter(|_| !workload.growth);
    let rksm = of(Provider::Rksm);
    let verdict = target.and_then(|target| match rksm.is_empty() {
        // In-tree KSM came to it, and rksm did not.
        true => Some(Verdict {
            met: false,
            agree: 0,
            pairs: 0,
        }),
        false => verdict(ratio, &ratios, target),
    });
    Row {
        workload,
        figure,
        in_tree: Spread::of(&of(Provider::InTree)),
        rksm: Spread::of(&rksm),
        ratio,
        target: target.map(Target::ratio),
        verdict,
    }
}

fn verdict(median: Option<f64>, ratios: &[f64], target: Target) -> Option<Verdict> {
    let met = target.is_met(median?);
    let agree = ratios
        .iter()
        .filter(|&&ratio| target.is_met(ratio) == met)
        .count();
    Some(Verdict {
        met,
        agree,
        pairs: ratios.len(),
    })
}

fn growth(rows: &[Row]) -> Vec<Growth> {
    let curve: Vec<_> = rows
        .iter()
        .filter(|row| row.workload.growth && row.figure == Figure::RestNsPerPage)
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

    #[test]
    fn ratios_are_of_pairs() {
        let pair = |in_tree, rksm| {
            Pairs::from([(
                0,
                BTreeMap::from([(Provider::InTree, in_tree), (Provider::Rksm, rksm)]),
            )])
        };
        let workload = Workload {
            kind: Kind::Unique,
            pages: 1,
            growth: false,
        };
        let mut pairs = pair(10.0, 1.0);
        for (index, (in_tree, rksm)) in [(20.0, 4.0), (30.0, 3.0)].into_iter().enumerate() {
            pairs.insert(index + 1, pair(in_tree, rksm).remove(&0).unwrap());
        }
        let row = row(workload, Figure::RestNsPerPage, &pairs);
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
            pages: 1,
            growth: false,
        };
        let pairs = Pairs::from([(0, BTreeMap::from([(Provider::InTree, 1.0)]))]);
        let row = row(workload, Figure::MergeSeconds, &pairs);
        assert!(row.verdict.is_some_and(|verdict| !verdict.met));
    }
}

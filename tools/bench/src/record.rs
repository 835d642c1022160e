// SPDX-License-Identifier: GPL-2.0

//! What `run` writes and `report` reads: lines of JSON, the machine first, then each run.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, Write},
    path::Path,
};

use anyhow::{Context, Result};
use clap::Args;
use serde::{Deserialize, Serialize};
use time::UtcDateTime;

use crate::{
    content::Kind,
    figures::Figure,
    hooks::Case,
    neighbour::{Neighbour, Pace},
    provider::Provider,
    reading::Reading,
    shared,
};

#[derive(Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "kebab-case")]
pub enum Line {
    Machine(Machine),
    Run(Record),
}

/// What the test machine cannot know of itself.
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outside {
    /// What the test machine is: uml, qemu, icount or debian.
    #[arg(long)]
    pub platform: Option<String>,
    /// The model of the host's CPUs.
    #[arg(long)]
    pub host_cpu: Option<String>,
    /// Who made them.
    #[arg(long)]
    pub host_vendor: Option<String>,
    /// How many the host has.
    #[arg(long)]
    pub host_cpus: Option<usize>,
    /// The commit that rksm was built from.
    #[arg(long)]
    pub commit: Option<String>,
}

/// Where and how it was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    #[serde(flatten)]
    pub outside: Outside,
    pub kernel: String,
    pub cpus: usize,
    pub memory_mib: i64,
    pub size: String,
    pub seed: u64,
    pub unix_time: u64,
    /// For as many pages as the workloads have whose pages all differ.
    pub reading: Vec<Reading>,
}

impl Machine {
    /// For the heading of a table.
    pub fn heading(&self) -> String {
        let commit = self.outside.commit.as_deref().unwrap_or_default();
        let mut words = vec![
            format!("Linux {}", self.kernel),
            format!("CPUs: {}", self.cpus),
            format!("{} MiB", self.memory_mib),
            self.place(),
            self.date(),
            format!("commit {commit}"),
            format!("size {}", self.size),
            format!("seed {}", self.seed),
        ];
        words.retain(|word| word != "commit ");
        words.join(", ")
    }

    /// What it takes to read a page once.
    pub fn readings(&self) -> Option<String> {
        let vendor = self.outside.host_vendor.as_deref().unwrap_or("unknown");
        let one = |reading: &Reading| {
            let Reading {
                pages,
                in_order_ns,
                shuffled_ns,
            } = reading;
            format!("of {pages} pages {in_order_ns:.0} ns in order, {shuffled_ns:.0} ns shuffled")
        };
        let all: Vec<_> = self.reading.iter().map(one).collect();
        (!all.is_empty()).then(|| {
            format!(
                "CPU time to read a page once, in user space (processor: {vendor}): {}",
                all.join("; ")
            )
        })
    }

    /// For the caption of a chart.
    pub fn caption(&self) -> String {
        [self.place(), self.date()].join(", ")
    }

    fn place(&self) -> String {
        let Outside {
            platform,
            host_cpu,
            host_cpus,
            ..
        } = &self.outside;
        let host = host_cpus.map(|cpus| {
            let model = host_cpu.as_deref().unwrap_or("unknown");
            format!(" on {cpus} x {model}")
        });
        platform.as_deref().unwrap_or("unknown machine").to_owned() + &host.unwrap_or_default()
    }

    /// In UTC.
    fn date(&self) -> String {
        let seconds = i64::try_from(self.unix_time).unwrap_or(i64::MAX);
        UtcDateTime::from_unix_timestamp(seconds)
            .map_or_else(|_| "no date".to_owned(), |time| time.date().to_string())
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    pub workload: Workload,
    pub provider: Provider,
    /// Which of the runs of this workload with this provider. The first is the rehearsal.
    pub pair: usize,
    pub figures: BTreeMap<Figure, f64>,
    /// What did not come, and for how many seconds it was waited for.
    pub gave_up: BTreeMap<Figure, f64>,
    /// How the merging went.
    pub curve: Vec<Point>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Workload {
    pub kind: Kind,
    pub pages: usize,
    pub group: Group,
}

impl Workload {
    pub fn is_growth(self) -> bool {
        self.group == Group::Growth
    }

    /// How it is called where others are beside it.
    pub fn full_name(self) -> String {
        match self.group {
            Group::Table | Group::Growth => self.kind.name().to_owned(),
            Group::Neighbours(..) => format!("neighbours: {}", self.name()),
            Group::Scanners => format!("scanners: {}", self.name()),
            Group::Domains => format!("domains: {}", self.name()),
            Group::Content => format!("content: {}", self.name()),
            Group::Splits => format!("splits: {}", self.name()),
            Group::Frames => format!("frames: {}", self.name()),
            Group::Shared(_) => format!("shared: {}", self.name()),
            Group::Hooks(_) => format!("hooks: {}", self.name()),
        }
    }

    /// How it is called in its group.
    pub fn name(self) -> String {
        match self.group {
            Group::Neighbours(neighbour, pace) => format!("{}, {pace}", neighbour.name()),
            Group::Shared(case) => case.name(),
            Group::Hooks(case) => case.name().to_owned(),
            _ => self.kind.name().to_owned(),
        }
    }
}

/// What it is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    Table,
    Growth,
    Neighbours(Neighbour, Pace),
    Scanners,
    Domains,
    Content,
    Splits,
    Frames,
    Shared(shared::Case),
    Hooks(Case),
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Point {
    pub seconds: f64,
    pub cpu_seconds: f64,
    pub saved_pages: i64,
}

pub fn write(file: &mut File, line: &Line) -> Result<()> {
    Ok(writeln!(file, "{}", serde_json::to_string(line)?)?)
}

/// All that is there: of a run that was cut short, the last line may be torn.
pub fn read(path: &Path) -> Result<(Machine, Vec<Record>)> {
    let (mut machine, mut records) = (None, Vec::new());
    for line in BufReader::new(File::open(path)?).lines() {
        match serde_json::from_str(&line?) {
            Ok(Line::Machine(line)) => machine = Some(line),
            Ok(Line::Run(record)) => records.push(record),
            Err(error) if error.is_eof() => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok((
        machine.context("it does not begin with the machine")?,
        records,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(outside: Outside) -> Machine {
        Machine {
            outside,
            kernel: "7.3.4".to_owned(),
            cpus: 1,
            memory_mib: 2005,
            size: "small".to_owned(),
            seed: 1,
            unix_time: 1_795_305_599,
            reading: vec![Reading {
                pages: 100,
                in_order_ns: 150.2,
                shuffled_ns: 300.0,
            }],
        }
    }

    #[test]
    fn where_and_when() {
        let outside = Outside {
            platform: Some("uml".to_owned()),
            host_cpu: Some("AMD EPYC".to_owned()),
            host_vendor: Some("AuthenticAMD".to_owned()),
            host_cpus: Some(2),
            commit: Some("6d22eb9".to_owned()),
        };
        let machine = machine(outside);
        assert_eq!(machine.caption(), "uml on 2 x AMD EPYC, 2026-11-21");
        assert!(machine.heading().contains("6d22eb9"));
        assert_eq!(
            machine.readings().as_deref(),
            Some(
                "CPU time to read a page once, in user space (processor: AuthenticAMD): \
                 of 100 pages 150 ns in order, 300 ns shuffled"
            )
        );
    }

    #[test]
    fn nothing_is_known_of_the_outside() {
        let machine = machine(Outside::default());
        assert_eq!(machine.caption(), "unknown machine, 2026-11-21");
        let line = serde_json::to_string(&Line::Machine(machine)).unwrap();
        let Ok(Line::Machine(read)) = serde_json::from_str(&line) else {
            panic!("{line}");
        };
        assert_eq!(read.outside.host_cpus, None);
    }
}

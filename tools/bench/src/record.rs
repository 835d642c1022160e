// SPDX-License-Identifier: GPL-2.0

//! What `run` writes and `report` reads: lines of JSON, the machine first, then each run.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, Write},
    path::Path,
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::{content::Kind, figures::Figure, provider::Provider};

#[derive(Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "kebab-case")]
pub enum Line {
    Machine(Machine),
    Run(Record),
}

/// Where and how it was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    pub kernel: String,
    pub cpus: usize,
    pub memory_mib: i64,
    pub size: String,
    pub seed: u64,
    pub unix_time: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    pub workload: Workload,
    pub provider: Provider,
    /// Which of the runs of this workload with this provider. The first is the rehearsal.
    pub pair: usize,
    pub figures: BTreeMap<Figure, f64>,
    /// How the merging went.
    pub curve: Vec<Point>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Workload {
    pub kind: Kind,
    pub pages: usize,
    /// Part of the growth curve, and not of the table.
    pub growth: bool,
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

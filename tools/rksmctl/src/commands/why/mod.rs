// SPDX-License-Identifier: GPL-2.0

//! `rksmctl why`: what keeps pages from being merged.

mod case;
mod pace;
mod reasons;

use std::{
    fmt,
    io::{self, Write as _},
};

use anyhow::Result;
use serde::Serialize;

use self::{case::Case, reasons::Finding};
use crate::{
    show::{counted, mib},
    system::{Provider, System},
};

/// At the end of the help.
pub const EXAMPLES: &str = "\
Examples:
  rksmctl why       of the whole system
  rksmctl why 1234  of one process";

#[derive(clap::Args)]
pub struct Args {
    /// The process that it is about; without one, the system as a whole.
    #[arg(value_parser = clap::value_parser!(i32).range(1..))]
    pid: Option<i32>,
    /// For so many seconds it is measured how fast pages are scanned.
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=3600))]
    sample: u64,
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
}

pub fn run(system: &System, args: &Args) -> Result<()> {
    let case = Case::read(system, args.pid, args.sample)?;
    let answer = Answer::new(&case);
    let text = if args.json {
        serde_json::to_string_pretty(&answer)? + "\n"
    } else {
        answer.to_string()
    };
    Ok(io::stdout().write_all(text.as_bytes())?)
}

/// What is shown. Who reads the JSON depends on the names.
#[derive(Serialize)]
struct Answer {
    provider: Provider,
    pid: Option<i32>,
    /// Pages that are saved, or that are merged of this process, if it can be seen.
    merged: Option<u64>,
    #[serde(skip)]
    page: u64,
    findings: Vec<Finding>,
    /// What needs root.
    not_judged: Option<String>,
}

impl Answer {
    fn new(case: &Case) -> Self {
        Self {
            provider: case.provider,
            pid: case.pid,
            merged: case.merged(),
            page: case.memory.page,
            findings: reasons::ALL
                .iter()
                .filter_map(|reason| reason(case))
                .collect(),
            not_judged: not_judged(case),
        }
    }
}

fn not_judged(case: &Case) -> Option<String> {
    if case.hidden == 0 {
        return None;
    }
    let what = "asked for merging, gain by it, hold pages pinned or are busy";
    Some(match case.pid {
        Some(pid) => format!("whether process {pid} has {what}"),
        None => format!(
            "whether {} of other users {what}",
            counted(case.hidden as u64, "process", "processes")
        ),
    })
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let merged = self.merged.map_or("an unknown part".into(), |merged| {
            let size = mib((merged * self.page).into());
            format!("{} ({size})", counted(merged, "page", "pages"))
        });
        write!(f, "Merging by {}: {merged} ", self.provider)?;
        match self.pid {
            Some(pid) => writeln!(f, "of process {pid} merged.")?,
            None => writeln!(f, "saved.")?,
        }
        if self.findings.is_empty() {
            writeln!(
                f,
                "\nNone of the known reasons keeps more from being merged."
            )?;
        }
        for (index, finding) in self.findings.iter().enumerate() {
            writeln!(f, "\n{}. {}.", index + 1, finding.what)?;
            for line in &finding.evidence {
                writeln!(f, "   seen    {line}")?;
            }
            writeln!(f, "   remedy  {}", finding.remedy)?;
        }
        if let Some(what) = &self.not_judged {
            writeln!(f, "\nOnly root can see {what}.")?;
        }
        Ok(())
    }
}

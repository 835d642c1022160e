// SPDX-License-Identifier: GPL-2.0

//! Measures page merging: rksm beside the kernel's own KSM, in one boot, under the same processes.
//!
//! `run` measures, inside the test machine; `report` shows what it found, anywhere.

mod access;
mod actor;
mod beside;
mod chart;
mod content;
mod control;
mod domains;
mod figures;
mod frames;
mod held;
mod hooks;
mod knobs;
mod latency;
mod measure;
mod memfd;
mod memory;
mod neighbour;
mod nuisance;
mod plan;
mod provider;
mod reading;
mod record;
mod report;
mod scanners;
mod shared;
mod splits;
mod stuck;
mod table;
mod talk;
mod together;
mod zeroes;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::{plan::Size, record::Outside};

/// Measures page merging: rksm beside the kernel's own KSM.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures, as root, in a machine in which rksm can be loaded and unloaded.
    Run {
        /// The module.
        #[arg(long)]
        module: PathBuf,
        /// Where the figures go: a line of JSON for each run.
        #[arg(long)]
        out: PathBuf,
        /// How much memory, how often.
        #[arg(long, value_enum, default_value = "normal")]
        size: Size,
        /// Content and order come from it.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Only workloads whose name has this in it; `neighbours`, `scanners`, `domains`, `content`, `splits`, `frames`,
        /// `shared` and `hooks` are groups of their own, which are left out unless they are named.
        #[arg(long, default_value = "")]
        only: String,
        #[command(flatten)]
        outside: Outside,
    },
    /// Shows what `run` found: a table, JSON, and charts.
    Report {
        /// What `run` wrote.
        figures: PathBuf,
        /// The folder for the JSON and the charts.
        #[arg(long)]
        out: PathBuf,
        /// Of the time that `run` took, for how much of it something on the host waited for a CPU.
        #[arg(long)]
        stalled_percent: Option<f64>,
    },
    /// A process with memory to merge; `run` starts these.
    #[command(hide = true)]
    Actor { role: String },
    /// A process that may be in their way.
    #[command(hide = true)]
    Neighbour { role: String },
    /// A process that has everything unmerged.
    #[command(hide = true)]
    Unmerger { role: String },
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Run {
            module,
            out,
            size,
            seed,
            only,
            outside,
        } => plan::run(&module, &out, size, seed, &only, outside),
        Command::Report {
            figures,
            out,
            stalled_percent,
        } => report::report(&figures, &out, stalled_percent),
        Command::Actor { role } => actor::act(&role),
        Command::Neighbour { role } => nuisance::act(&role),
        Command::Unmerger { .. } => control::unmerge(),
    }
}

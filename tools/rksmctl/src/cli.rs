// SPDX-License-Identifier: GPL-2.0

//! The arguments. Completion and the manual page come from the same definitions.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::commands::{
    doctor, enrol, export, generate, pages, record, report, status, top, tune, why,
};

/// Shows and steers page merging: rksm, or the kernel's own KSM.
///
/// Exit status: 0 done, 1 refused by the system, 2 wrong usage.
#[derive(Parser)]
#[command(name = "rksmctl", version, arg_required_else_help = true)]
pub struct Cli {
    /// The folder that stands for the root of the file system.
    #[arg(long, global = true, hide = true, default_value = "/")]
    pub root: PathBuf,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Shows on one screen who merges pages, what that saves, and what is wrong with it.
    #[command(after_long_help = status::EXAMPLES)]
    Status(status::Args),
    /// Shows live, on the whole screen, what merging saves, and of which processes.
    #[command(after_long_help = top::EXAMPLES)]
    Top(top::Args),
    /// Writes samples of the counters to a file, for rksmctl report.
    #[command(after_long_help = record::EXAMPLES)]
    Record(record::Args),
    /// Shows what rksmctl record has written: as text, or as charts.
    #[command(after_long_help = report::EXAMPLES)]
    Report(report::Args),
    /// Writes metrics for Prometheus: to the standard output, a file, or over HTTP.
    #[command(after_long_help = export::EXAMPLES)]
    Export(export::Args),
    /// Sets how page merging works, by profile or by single knobs.
    #[command(after_long_help = tune::EXAMPLES)]
    Tune(tune::Args),
    /// Has a process merged, or all of a cgroup, unit or guest.
    #[command(after_long_help = enrol::ENROL_EXAMPLES)]
    Enrol(enrol::Args),
    /// Has a process left alone, or all of a cgroup, unit or guest.
    #[command(after_long_help = enrol::RELEASE_EXAMPLES)]
    Release(enrol::Args),
    /// Looks whether this machine can run rksm, and whether what is installed is in order.
    #[command(after_long_help = doctor::EXAMPLES)]
    Doctor(doctor::Args),
    /// Shows as a map which memory of a process is merged, and why the rest is not.
    #[command(after_long_help = pages::EXAMPLES)]
    Pages(pages::Args),
    /// Says why nothing, or so little, is merged, and what to do about it.
    #[command(after_long_help = why::EXAMPLES)]
    Why(why::Args),
    /// Writes completion for bash, fish and zsh, and manual pages.
    #[command(hide = true)]
    Generate(generate::Args),
}

// SPDX-License-Identifier: GPL-2.0

//! Shows and steers page merging: rksm, or the kernel's own KSM.
//!
//! One file a subcommand, in `commands`. What reads the system is in `system`, and knows nothing of how
//! it is shown.

// It panics where nobody reads, or the disk is full.
#![deny(clippy::print_stdout)]

mod cli;
mod commands;
mod failure;
mod recording;
mod show;
mod signals;
mod span;
mod system;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Parser;

use crate::{cli::Cli, failure::Failure};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match commands::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Who reads the output may have seen enough.
            if failure::is_broken_pipe(&error) {
                return ExitCode::SUCCESS;
            }
            // There may be nowhere to say it.
            let _ = writeln!(io::stderr(), "rksmctl: {error:#}");
            ExitCode::from(Failure::status(&error))
        }
    }
}

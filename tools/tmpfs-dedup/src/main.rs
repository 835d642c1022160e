// SPDX-License-Identifier: GPL-2.0

//! Merges equal pages of tmpfs files and memfds.
//!
//! It finds them by a hash; the kernel compares them, and so nothing that is read here decides what a
//! file holds.

// It panics where nobody reads, or the disk is full.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod cli;
mod files;
mod kernel;
mod merge;
mod plan;
mod report;
mod rounds;
mod scan;
mod stop;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Parser as _;

fn main() -> ExitCode {
    match rounds::run(&cli::Args::parse()) {
        Ok(end) => ExitCode::from(end),
        Err(error) => {
            // There may be nowhere to say it.
            let _ = writeln!(io::stderr(), "tmpfs-dedup: {error:#}");
            ExitCode::from(rounds::REFUSED)
        }
    }
}

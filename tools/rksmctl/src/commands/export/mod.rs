// SPDX-License-Identifier: GPL-2.0

//! `rksmctl export`: metrics for Prometheus.

mod listen;
mod metrics;
mod textfile;

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
};

use anyhow::Result;
use clap::ArgGroup;

use crate::system::System;

/// At the end of the help.
pub const EXAMPLES: &str = "\
Examples:
  rksmctl export --listen 127.0.0.1:9188  for Prometheus to scrape";

#[derive(clap::Args)]
#[command(group = ArgGroup::new("where").args(["textfile", "listen"]))]
pub struct Args {
    /// Writes a file for the textfile collector of the node exporter, whole or not at all: *.prom in
    /// its folder.
    #[arg(long, value_name = "FILE")]
    textfile: Option<PathBuf>,
    /// Answers GET /metrics, until it is interrupted. Loopback addresses only: whoever can connect
    /// can read which processes there are.
    #[arg(long, value_name = "ADDRESS:PORT", num_args = 0..=1, default_missing_value = "127.0.0.1:9188", value_parser = listen::address)]
    listen: Option<SocketAddr>,
    /// How many processes have metrics of their own: those that save most.
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    processes: usize,
}

/// Prints the metrics where no other place is named.
pub fn run(system: &System, args: &Args) -> Result<()> {
    if let Some(address) = args.listen {
        return listen::run(system, address, args.processes);
    }
    let text = metrics::Reader::new(args.processes).text(system)?;
    match &args.textfile {
        Some(file) => textfile::write(file, &text),
        None => Ok(io::stdout().write_all(text.as_bytes())?),
    }
}

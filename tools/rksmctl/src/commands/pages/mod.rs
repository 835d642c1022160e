// SPDX-License-Identifier: GPL-2.0

//! `rksmctl pages`: the memory of a process as a map.

mod map;
mod svg;
mod text;

use std::{
    io::{self, Write as _},
    path::PathBuf,
};

use anyhow::{bail, Result};

use self::map::{Map, Range};
use crate::{
    failure,
    system::{mappings, pagemap, patience::Patience, System},
};

/// At the end of the help.
pub const EXAMPLES: &str = "\
Examples:
  rksmctl pages 1234 --svg map.svg  as a picture";

#[derive(clap::Args)]
pub struct Args {
    /// The process.
    #[arg(value_parser = clap::value_parser!(i32).range(1..))]
    pid: i32,
    /// Only these addresses: START-END, in hexadecimal, as /proc/PID/maps has them.
    range: Option<Range>,
    /// As a picture in this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// As JSON, for programs.
    #[arg(long, conflicts_with = "svg")]
    json: bool,
}

pub fn run(system: &System, args: &Args) -> Result<()> {
    let map = read(system, args.pid, args.range)?;
    if let Some(path) = &args.svg {
        return svg::draw(&map, path);
    }
    let text = if args.json {
        serde_json::to_string_pretty(&map)? + "\n"
    } else {
        map.to_string()
    };
    Ok(io::stdout().write_all(text.as_bytes())?)
}

fn read(system: &System, pid: i32, range: Option<Range>) -> Result<Map> {
    let provider = system.need_provider()?;
    if !system.exists(format!("/proc/{pid}")) {
        bail!("there is no process {pid}");
    }
    let all = provider.file("scope");
    let all = system.read(all).is_ok_and(|scope| scope.contains("[all]"));
    let mappings = mappings::read(system, &Patience::default(), pid, all)
        .map_err(|error| failed(pid, "smaps", &error))?;
    if mappings.is_empty() {
        bail!("process {pid} has no memory of its own: it is a kernel thread, or dead");
    }
    let range = range.unwrap_or_default();
    let mappings: Vec<_> = mappings
        .into_iter()
        .filter_map(|mapping| range.part_of(mapping))
        .collect();
    let mut map = Map::new(provider, pid, &mappings);
    pagemap::look(system, pid, &mappings, |run| map.add(&mappings, run))
        .map_err(|error| failed(pid, "pagemap", &error))?;
    Ok(map)
}

fn failed(pid: i32, file: &str, error: &io::Error) -> anyhow::Error {
    if error.kind() == io::ErrorKind::TimedOut {
        return anyhow::anyhow!(
            "process {pid} is busy with its address space, and cannot be looked at; try again"
        );
    }
    let path = PathBuf::from(format!("/proc/{pid}/{file}"));
    let remedy = failure::remedy(error, &path);
    anyhow::anyhow!("cannot read {} ({remedy})", path.display())
}

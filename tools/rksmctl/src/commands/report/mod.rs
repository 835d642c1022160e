// SPDX-License-Identifier: GPL-2.0

//! `rksmctl report`: what a recording says.

mod chart;
mod figures;
mod text;

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::{failure::Failure, recording::Recording};

/// At the end of the help.
pub const EXAMPLES: &str = "\
Examples:
  rksmctl report ksm.jsonl --html ksm.html  with charts, in one file";

#[derive(clap::Args)]
pub struct Args {
    /// What rksmctl record has written.
    file: PathBuf,
    /// Draws saved memory, the scanners' CPU and the length of passes over time, as SVG.
    #[arg(long, value_name = "OUT", conflicts_with = "html")]
    svg: Option<PathBuf>,
    /// The text and the charts as one page that needs no other file.
    #[arg(long, value_name = "OUT")]
    html: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<()> {
    let recording = Recording::open(&args.file)?;
    if recording.cut {
        eprintln!(
            "rksmctl: {}: the last line is cut off, and is passed over",
            args.file.display()
        );
    }
    match (&args.svg, &args.html) {
        (Some(out), _) => write(args, out, &chart::svg(&recording)?),
        (None, Some(out)) => write(args, out, &page(&recording)?),
        (None, None) => {
            io::stdout().write_all(text::report(&recording).as_bytes())?;
            Ok(())
        }
    }
}

fn write(args: &Args, out: &Path, content: &str) -> Result<()> {
    // Nobody means to lose the recording.
    let same =
        fs::canonicalize(out).is_ok_and(|out| fs::canonicalize(&args.file).is_ok_and(|f| f == out));
    if same {
        let what = format!("{} is the recording itself", out.display());
        return Err(Failure::Usage(what).into());
    }
    fs::write(out, content).with_context(|| format!("cannot write {}", out.display()))
}

fn page(recording: &Recording) -> Result<String> {
    let title = escaped(&format!(
        "Page merging on {}",
        recording.header.machine.host
    ));
    Ok(format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <title>{title}</title>\n</head>\n<body>\n<h1>{title}</h1>\n<pre>\n{}</pre>\n{}\n</body>\n</html>\n",
        escaped(&text::report(recording)),
        chart::svg(recording)?,
    ))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

// SPDX-License-Identifier: GPL-2.0

//! One round, or one after the other.

use std::{
    io::{self, ErrorKind, IsTerminal as _, Write as _},
    time::Instant,
};

use anyhow::{bail, Context as _, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{
    cli::Args,
    files::{words, Found, Target},
    kernel::{self, Kernel},
    merge::Merging,
    plan::{pages_of, plan},
    report::{self, Report},
    scan::{page_size, scan},
    stop::Stop,
};

/// The exit status where the system refuses.
pub const REFUSED: u8 = 1;
const STOPPED: u8 = 130;

/// Returns the exit status.
pub fn run(args: &Args) -> Result<u8> {
    let stop = Stop::listen()?;
    let mut said = Vec::new();
    for number in 1.. {
        let report = round(args, number, &stop)?;
        // Once is enough of what stays wrong.
        if report.complaints != said {
            said.clone_from(&report.complaints);
            complain(&said);
        }
        show(args, &report)?;
        if !report.complete {
            return Ok(STOPPED);
        }
        match args.every {
            Some(time) => stop.wait(time),
            None => return Ok(if report.has_failed() { REFUSED } else { 0 }),
        }
        if stop.came() {
            return Ok(if report.has_failed() { REFUSED } else { 0 });
        }
    }
    Ok(0)
}

fn round(args: &Args, number: u64, stop: &Stop) -> Result<Report> {
    let began = Instant::now();
    let mut report = Report {
        round: number,
        dry_run: args.dry_run,
        shmem_bytes_before: report::shmem(),
        ..Default::default()
    };
    let mut found = find(args);
    if found.targets.is_empty() && args.every.is_none() && !found.complaints.is_empty() {
        complain(&found.complaints);
        bail!("there is nothing to read");
    }
    report.files = found.targets.len();

    let mut pages = Vec::new();
    let progress = Progress::new(args, "reading", bytes_of(&found.targets));
    for (file, target) in (0..).zip(&found.targets) {
        let seen = |hashed| pages.push(hashed);
        if let Err(error) = scan(target, file, stop, seen, |bytes| progress.add(bytes)) {
            found
                .complaints
                .push(format!("{}: {}", target.name, words(&error)));
        }
    }
    progress.end();
    let read = pages.len() as u64;
    let requests = plan(pages, |file| found.targets[file as usize].device);
    let equal = pages_of(&requests);
    report.read(read, equal);

    if !args.dry_run {
        let progress = Progress::new(args, "merging", equal * page_size() as u64);
        let mut merging = Merging::new(&Kernel, &found.targets);
        let done = merging.all(&requests, stop, |pages| {
            progress.add(pages * page_size() as u64)
        });
        progress.end();
        done.context(kernel::CANNOT)?;
        report.merged(&merging.tally);
    }
    report.complaints = found.complaints;
    report.complete = !stop.came();
    report.seconds = report::seconds(began.elapsed());
    report.shmem_bytes_after = report::shmem();
    Ok(report)
}

fn find(args: &Args) -> Found {
    let mut found = Found::default();
    for path in &args.paths {
        found.add_path(path);
    }
    for pid in &args.pid {
        found.add_process(*pid);
    }
    found
}

fn bytes_of(targets: &[Target]) -> u64 {
    use std::os::unix::fs::MetadataExt as _;

    let bytes = |target: &Target| target.file.metadata().map_or(0, |meta| meta.blocks() * 512);
    targets.iter().map(bytes).sum()
}

fn complain(complaints: &[String]) {
    for complaint in complaints {
        // There may be nowhere to say it.
        let _ = writeln!(io::stderr(), "tmpfs-dedup: {complaint}");
    }
}

fn show(args: &Args, report: &Report) -> Result<()> {
    let text = if args.json {
        serde_json::to_string(report)? + "\n"
    } else if args.quiet {
        return Ok(());
    } else {
        report.to_string()
    };
    match io::stdout().write_all(text.as_bytes()) {
        // It is done even if nobody reads of it any more.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("cannot print what is done")
        }
        _ => Ok(()),
    }
}

/// A line that moves, if somebody sees it.
struct Progress(ProgressBar);

impl Progress {
    fn new(args: &Args, what: &'static str, bytes: u64) -> Self {
        let shown = !args.quiet && !args.json && io::stderr().is_terminal();
        let target = if shown {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(bytes), target).with_message(what);
        let style = ProgressStyle::with_template(
            "{msg} {wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
        );
        Self(style.map_or_else(|_| bar.clone(), |style| bar.clone().with_style(style)))
    }

    fn add(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    fn end(&self) {
        self.0.finish_and_clear();
    }
}

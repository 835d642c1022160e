// SPDX-License-Identifier: GPL-2.0

//! `rksmctl record`: samples over time.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    sync::mpsc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use crossterm::{
    cursor, execute,
    style::Print,
    terminal::{self, Clear, ClearType},
};
use serde::Serialize;

use crate::{
    failure::Failure,
    recording::{Header, Reading, Sample},
    show::{counted, duration, mib},
    signals::Stop,
    span,
    system::{machine::Machine, overview::Looker, System},
};

/// At the end of the help.
pub const EXAMPLES: &str = "\
Examples:
  rksmctl record ksm.jsonl --duration 3600  for an hour";

#[derive(clap::Args)]
pub struct Args {
    /// Where the samples go, a line of JSON each.
    file: PathBuf,
    /// The time between two samples: seconds, or with s, m, h or d behind it.
    #[arg(long, value_name = "SPAN", default_value = "1", value_parser = span::interval)]
    interval: Duration,
    /// Ends after so much time; else with Ctrl-C.
    #[arg(long, value_name = "SPAN", value_parser = span::duration)]
    duration: Option<Duration>,
    /// Overwrites the file.
    #[arg(long)]
    force: bool,
}

pub fn run(system: &System, args: &Args) -> Result<()> {
    let provider = system.need_provider()?;
    let (tell, told) = mpsc::channel();
    Stop::block()?.then(move || {
        // Nobody may wait any more.
        let _ = tell.send(());
    })?;

    let mut looker = Looker::default();
    looker.look(system)?; // what cannot be read is told before a file is made
    let began = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let header = Header::new(Machine::read(system)?, provider, args.interval, began);
    let mut file = create(&args.file, args.force)?;
    write_line(&mut file, &header, &args.file)?;

    let start = Instant::now();
    let mut progress = Progress::new(start, args.duration);
    let mut settings = BTreeMap::new();
    loop {
        let seconds = start.elapsed().as_secs_f64();
        // What cannot be read comes or goes just now.
        let overview = looker.look(system).ok().flatten();
        let sample = Sample {
            seconds: (seconds * 1e3).round() / 1e3,
            reading: overview
                .as_ref()
                .map(|overview| Reading::new(overview, &mut settings)),
        };
        write_line(&mut file, &sample, &args.file)?;
        progress.show(overview.map(|overview| overview.saved()));
        let next = next(start.elapsed(), args.interval);
        if args.duration.is_some_and(|duration| next > duration) {
            break;
        }
        let wait = next.saturating_sub(start.elapsed());
        if told.recv_timeout(wait) != Err(mpsc::RecvTimeoutError::Timeout) {
            break;
        }
    }
    progress.end(&args.file)
}

/// When the next sample is due. Those that were missed are not made up for.
fn next(now: Duration, interval: Duration) -> Duration {
    let intervals = (now.as_secs_f64() / interval.as_secs_f64()).floor() + 1.0;
    interval.mul_f64(intervals)
}

fn create(path: &Path, force: bool) -> Result<File> {
    let mut options = OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    options.open(path).map_err(|error| {
        let name = path.display();
        if error.kind() == io::ErrorKind::AlreadyExists {
            Failure::Usage(format!("{name} exists: --force overwrites it")).into()
        } else {
            anyhow::Error::new(error).context(format!("cannot make {name}"))
        }
    })
}

/// All at once, so that a line is whole even if this ends in any way.
fn write_line(file: &mut File, what: &impl Serialize, path: &Path) -> Result<()> {
    let line = serde_json::to_string(what)? + "\n";
    file.write_all(line.as_bytes())
        .with_context(|| format!("cannot write to {}", path.display()))
}

/// A line that moves, where somebody sees it.
struct Progress {
    start: Instant,
    duration: Option<Duration>,
    seen: bool,
    samples: u64,
}

impl Progress {
    fn new(start: Instant, duration: Option<Duration>) -> Self {
        Self {
            start,
            duration,
            seen: io::stderr().is_terminal(),
            samples: 0,
        }
    }

    fn show(&mut self, saved: Option<u64>) {
        self.samples += 1;
        if !self.seen {
            return;
        }
        // A line that is longer than the terminal is wide would move on.
        let width = terminal::size().map_or(80, |(columns, _)| columns);
        let text: String = self.text(saved).chars().take(width.into()).collect();
        // Recording goes on when the terminal is gone.
        let _ = execute!(
            io::stderr(),
            cursor::MoveToColumn(0),
            Print(text),
            Clear(ClearType::UntilNewLine)
        );
    }

    fn text(&self, saved: Option<u64>) -> String {
        let mut text = counted(self.samples, "sample", "samples");
        text += &format!(" in {}", duration(self.start.elapsed()));
        if let Some(whole) = self.duration {
            text += &format!(" of {}", duration(whole));
        }
        text += &saved.map_or(", nobody merges pages".into(), |bytes| {
            format!(", saved {}", mib(bytes.into()))
        });
        if self.duration.is_none() {
            text += "; Ctrl-C ends it";
        }
        text
    }

    fn end(&self, path: &Path) -> Result<()> {
        if self.seen {
            // As above.
            let _ = writeln!(io::stderr());
        }
        let samples = counted(self.samples, "sample", "samples");
        let name = path.display();
        writeln!(
            io::stdout(),
            "{samples} in {name}; rksmctl report {name} shows them"
        )?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_sample_is_made_up_for() {
        let ms = Duration::from_millis;
        assert_eq!(next(ms(0), ms(500)), ms(500));
        assert_eq!(next(ms(501), ms(500)), ms(1000));
        assert_eq!(next(ms(5100), ms(500)), ms(5500));
    }
}

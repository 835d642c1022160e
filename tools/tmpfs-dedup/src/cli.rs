// SPDX-License-Identifier: GPL-2.0

//! The arguments.

use std::{path::PathBuf, time::Duration};

use clap::{ArgGroup, Parser};

const MORE: &str = "\
It reads what the files hold, and asks the kernel (FIDEDUPERANGE) to keep one page for all that are \
equal. The kernel compares them before it does so: a file that changes meanwhile keeps what it has. \
Who writes to such a page later gets one of its own. Pages full of zeroes are merged as well; holes \
take no memory, and stay holes. Files of different mounts are not merged with each other; all memfds \
are of one.

It takes 24 bytes of memory for each page that it reads, and 32 for each that is equal to another. It \
needs root for what belongs to others, and for what a process has mapped and not open.

Exit status: 0 done, also if there was nothing to merge; 1 a file could not be read, or the kernel \
refused something for good; 2 wrong usage; 130 it was stopped before a round was complete.

Examples:
  tmpfs-dedup -n --pid 4711 --pid 4731       how much two guests could share
  tmpfs-dedup --pid 4711 --pid 4731          have them share it
  tmpfs-dedup --every 60 --json /dev/shm     once a minute, a line of JSON each time";

/// Merges equal pages of tmpfs files and memfds, so that they take less memory.
#[derive(Debug, Default, Parser)]
#[command(version, after_help = MORE, group = ArgGroup::new("what").required(true).multiple(true))]
pub struct Args {
    /// Files, or folders with all that is in them: of a tmpfs, or /proc/PID/fd/N for a memfd.
    #[arg(group = "what", value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// All tmpfs files and memfds that this process has open or mapped shared; may be repeated.
    #[arg(long, group = "what", value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pub pid: Vec<i32>,
    /// Only says what could be merged.
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Again so many seconds after the end of each round, until a signal comes.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub every: Option<Duration>,
    /// As JSON, one line for each round.
    #[arg(long)]
    pub json: bool,
    /// No progress, and no word but of errors.
    #[arg(short, long, conflicts_with = "json")]
    pub quiet: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number")?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err("more than 0 seconds".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn arguments() {
        Args::command().debug_assert();
        let parse = |line: &str| Args::try_parse_from(line.split(' '));
        assert!(parse("tmpfs-dedup").is_err());
        assert!(parse("tmpfs-dedup --pid 0").is_err());
        assert!(parse("tmpfs-dedup --every 0 /x").is_err());
        assert!(parse("tmpfs-dedup --every -1 /x").is_err());
        assert!(parse("tmpfs-dedup --json --quiet /x").is_err());
        let args = parse("tmpfs-dedup -n --every 0.5 --pid 1 --pid 2 /x").unwrap();
        assert_eq!(args.pid, [1, 2]);
        assert_eq!(args.every, Some(Duration::from_millis(500)));
        assert!(args.dry_run);
    }
}

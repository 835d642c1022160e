// SPDX-License-Identifier: GPL-2.0

//! The threads that scan: ksmd, and those of rksm.

use std::{fs, time::Duration};

use anyhow::Result;

use super::{processes::pids, Provider, System};

/// The CPU time that the scanners have used since each was started.
pub fn cpu_time(system: &System, provider: Provider) -> Result<Duration> {
    let mut ticks = 0;
    for pid in pids(system)? {
        let Ok(stat) = fs::read_to_string(system.path(format!("/proc/{pid}/stat"))) else {
            continue;
        };
        // The name is in the outermost parentheses.
        let Some((before, after)) = stat.rsplit_once(')') else {
            continue;
        };
        let name = before.split_once('(').map_or("", |(_, name)| name);
        if is_scanner(name, provider) {
            // utime and stime are the fields 14 and 15, and the state is 3.
            ticks += after
                .split_whitespace()
                .skip(11)
                .take(2)
                .filter_map(|field| field.parse::<u64>().ok())
                .sum::<u64>();
        }
    }
    Ok(Duration::from_millis(
        ticks * 1000 / procfs::ticks_per_second(),
    ))
}

fn is_scanner(name: &str, provider: Provider) -> bool {
    match provider {
        Provider::InTree => name == "ksmd",
        Provider::Rksm => name.starts_with("rksmd"),
    }
}

// SPDX-License-Identifier: GPL-2.0

//! The threads that scan: ksmd, and those of rksm.

use std::{collections::BTreeMap, fs, time::Duration};

use anyhow::Result;

use super::{processes::pids, Provider, System};

/// The kernel's PF_KTHREAD.
const KERNEL_THREAD: u64 = 1 << 21;

/// The CPU time that the scanners have used since each was started.
pub fn cpu_time(system: &System, provider: Provider) -> Result<Duration> {
    Ok(all(system, provider)?.values().sum())
}

/// As [`cpu_time`], read again and again. Only the first look is at all processes, and those after a
/// change. It never falls: what a thread has used that has ended stays counted.
#[derive(Debug, Default)]
pub struct Clock {
    provider: Option<Provider>,
    threads: BTreeMap<i32, Duration>,
    total: Duration,
}

impl Clock {
    /// `expected`: how many threads there should be.
    pub fn read(&mut self, system: &System, provider: Provider, expected: u64) -> Result<Duration> {
        let known = self.threads.keys();
        let mut now: BTreeMap<i32, Duration> = known
            .filter_map(|&pid| Some((pid, of_thread(system, provider, pid)?)))
            .collect();
        if now.len() < self.threads.len() || now.len() as u64 != expected {
            now = all(system, provider)?;
        }
        let same = self.provider == Some(provider);
        for (pid, &time) in &now {
            let before = self.threads.get(pid).copied().unwrap_or_default();
            self.total += time.saturating_sub(before);
        }
        if !same {
            self.total = now.values().sum();
        }
        self.provider = Some(provider);
        self.threads = now;
        Ok(self.total)
    }
}

fn all(system: &System, provider: Provider) -> Result<BTreeMap<i32, Duration>> {
    let threads = pids(system)?
        .into_iter()
        .filter_map(|pid| Some((pid, of_thread(system, provider, pid)?)));
    Ok(threads.collect())
}

/// `None` where it is no scanner.
fn of_thread(system: &System, provider: Provider, pid: i32) -> Option<Duration> {
    let stat = fs::read_to_string(system.path(format!("/proc/{pid}/stat"))).ok()?;
    // The name is in the outermost parentheses.
    let (before, after) = stat.rsplit_once(')')?;
    let (_, name) = before.split_once('(')?;
    if !is_scanner(name, provider) {
        return None;
    }
    // utime and stime are the fields 14 and 15, the flags 9, and the state is 3.
    let fields: Vec<u64> = after
        .split_whitespace()
        .skip(6)
        .filter_map(|field| field.parse().ok())
        .collect();
    let (flags, ticks) = (fields.first()?, fields.get(5)? + fields.get(6)?);
    // Any process may give itself such a name.
    if flags & KERNEL_THREAD == 0 {
        return None;
    }
    Some(Duration::from_millis(
        ticks * 1000 / procfs::ticks_per_second(),
    ))
}

fn is_scanner(name: &str, provider: Provider) -> bool {
    match provider {
        Provider::InTree => name == "ksmd",
        Provider::Rksm => name.starts_with("rksmd"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn thread(root: &Path, pid: i32, name: &str, ticks: u64) {
        let proc = root.join(format!("proc/{pid}"));
        fs::create_dir_all(&proc).unwrap();
        let text = format!("{pid} ({name}) S 2 0 0 0 -1 2129984 0 0 0 0 0 {ticks} 0 0\n");
        fs::write(proc.join("stat"), text).unwrap();
    }

    #[test]
    fn a_process_with_such_a_name_is_no_scanner() {
        let root = tempfile::TempDir::new().unwrap();
        let system = System::new(root.path());
        thread(root.path(), 30, "ksmd", procfs::ticks_per_second());
        thread(root.path(), 31, "ksmd", 0);
        let user = "31 (ksmd) S 1 31 31 0 -1 4194560 0 0 0 0 900000 900000 0 0\n";
        fs::write(root.path().join("proc/31/stat"), user).unwrap();
        let time = cpu_time(&system, Provider::InTree).unwrap();
        assert_eq!(time, Duration::from_secs(1));
    }

    #[test]
    fn the_clock_never_falls() {
        let root = tempfile::TempDir::new().unwrap();
        let system = System::new(root.path());
        let hundred = procfs::ticks_per_second();
        let mut clock = Clock::default();
        let mut read = |provider, expected| {
            let time = clock.read(&system, provider, expected).unwrap();
            time.as_secs()
        };
        thread(root.path(), 30, "ksmd", 7 * hundred);
        thread(root.path(), 77, "rksmd", 10 * hundred);
        thread(root.path(), 78, "rksmd/1", 3 * hundred);
        assert_eq!(read(Provider::Rksm, 2), 13);
        thread(root.path(), 77, "rksmd", 11 * hundred);
        assert_eq!(read(Provider::Rksm, 2), 14);
        fs::remove_dir_all(root.path().join("proc/78")).unwrap();
        assert_eq!(read(Provider::Rksm, 1), 14);
        thread(root.path(), 79, "rksmd/1", 5 * hundred);
        assert_eq!(read(Provider::Rksm, 2), 19);
        assert_eq!(read(Provider::InTree, 1), 7);
    }
}

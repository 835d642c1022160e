// SPDX-License-Identifier: GPL-2.0

//! How long whoever controls the scanner waits for it.

use std::{
    fs::{File, OpenOptions},
    io::Read,
    os::unix::fs::FileExt,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, sleep, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{ensure, Context, Result};

use crate::{
    knobs,
    talk::{commands, say, Partner},
};

/// Between two writes.
const INTERVAL: Duration = Duration::from_millis(5);

/// Writes to a knob what it holds already, again and again, in a thread: a write may never end.
pub struct KnobWriter {
    writes: Arc<Mutex<Writes>>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Writes {
    ms: Vec<f64>,
    /// One is under way.
    since: Option<Instant>,
    failed: Option<String>,
    stop: bool,
}

impl KnobWriter {
    pub fn start(knob: &str, value: &'static str) -> Result<Self> {
        let path = knobs::path(knob);
        let file = OpenOptions::new()
            .write(true)
            .open(&path)
            .with_context(|| path.display().to_string())?;
        let writes = Arc::new(Mutex::new(Writes::default()));
        let shared = Arc::clone(&writes);
        let thread = thread::spawn(move || write_often(&file, value, &shared));
        Ok(Self { writes, thread })
    }

    /// How long each write took, in ms; one that goes on still, so far.
    pub fn stop(&self) -> Result<Vec<f64>> {
        let mut writes = lock(&self.writes);
        writes.stop = true;
        ensure!(
            writes.failed.is_none(),
            "a knob cannot be written to: {:?}",
            writes.failed
        );
        let unfinished = writes.since.map(|since| ms(since.elapsed()));
        let mut times = writes.ms.clone();
        times.extend(unfinished);
        Ok(times)
    }

    /// Waits for a write that has not ended, until then.
    pub fn end(self, deadline: Instant) -> Result<()> {
        lock(&self.writes).stop = true;
        while !self.thread.is_finished() {
            ensure!(
                Instant::now() < deadline,
                "a write to a knob does not end, though the neighbour is gone"
            );
            sleep(INTERVAL);
        }
        Ok(())
    }
}

fn lock(writes: &Mutex<Writes>) -> std::sync::MutexGuard<'_, Writes> {
    writes.lock().unwrap_or_else(PoisonError::into_inner)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn write_often(file: &File, value: &str, writes: &Mutex<Writes>) {
    loop {
        let start = Instant::now();
        {
            let mut writes = lock(writes);
            if writes.stop {
                return;
            }
            writes.since = Some(start);
        }
        let result = file.write_all_at(value.as_bytes(), 0);
        let took = start.elapsed();
        {
            let mut writes = lock(writes);
            writes.since = None;
            writes.ms.push(ms(took));
            if let Err(error) = result {
                writes.failed = Some(error.to_string());
                return;
            }
        }
        sleep(INTERVAL);
    }
}

/// A process that writes 2 to `run`: it can be killed, if the kernel lets it be.
pub struct Unmerger(Partner);

/// How it went.
pub enum Unmerging {
    Done(Duration),
    /// It took longer than it was given. How long it took to end when it was killed; `None` if that
    /// did not help.
    Killed(Option<Duration>),
}

const READY: &str = "ready";

impl Unmerger {
    pub fn new() -> Result<Self> {
        Ok(Self(Partner::start("unmerger", &(), READY)?))
    }

    pub fn run(&mut self, limit: Duration, kill_limit: Duration) -> Result<Unmerging> {
        self.0.tell("unmerge")?;
        if self.ended_within(limit)? {
            let text = self.0.answer()?;
            let seconds = text.parse().with_context(|| format!("it said {text:?}"))?;
            return Ok(Unmerging::Done(Duration::from_secs_f64(seconds)));
        }
        let start = Instant::now();
        self.0.child().kill()?;
        let ended = self.ended_within(kill_limit)?;
        Ok(Unmerging::Killed(ended.then(|| start.elapsed())))
    }

    /// Waits for one that even killing did not end, until then.
    pub fn end(mut self, deadline: Instant) -> Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        ensure!(
            self.ended_within(left)?,
            "`echo 2` does not end, though the neighbour is gone"
        );
        Ok(())
    }

    fn ended_within(&mut self, limit: Duration) -> Result<bool> {
        const LOOK: Duration = Duration::from_millis(1);
        let start = Instant::now();
        loop {
            if self.0.child().try_wait()?.is_some() {
                return Ok(true);
            }
            if start.elapsed() >= limit {
                return Ok(false);
            }
            sleep(LOOK);
        }
    }
}

/// The process itself: it says how many seconds it took, and ends.
pub fn unmerge() -> Result<()> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(knobs::path("run"))?;
    // So that nothing is done for the first time while it is timed.
    file.read_to_string(&mut String::new())?;
    say(READY)?;
    if commands().recv().is_ok() {
        let start = Instant::now();
        file.write_all_at(b"2", 0)?;
        say(&start.elapsed().as_secs_f64().to_string())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_goes_on_counts() {
        let writes = Writes {
            ms: vec![1.0],
            since: Some(Instant::now() - Duration::from_millis(50)),
            ..Writes::default()
        };
        let writer = KnobWriter {
            writes: Arc::new(Mutex::new(writes)),
            thread: thread::spawn(|| {}),
        };
        let times = writer.stop().unwrap();
        assert_eq!(times.len(), 2);
        assert!(times[1] >= 50.0);
    }
}

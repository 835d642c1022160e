// SPDX-License-Identifier: GPL-2.0

//! Signals that ask a program to end, for those that have something to put in order first.

use std::thread;

use anyhow::Result;
use nix::sys::signal::{SigSet, Signal};

/// Signals that wait until somebody takes them.
pub struct Stop(SigSet);

impl Stop {
    /// To be called before any thread is started: they inherit what is blocked.
    pub fn block() -> Result<Self> {
        // What was started by nohup, or in the background of a script, is to outlive these.
        let ignored = procfs::process::Process::myself()?.status()?.sigign;
        let mut signals = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            if ignored & (1 << (signal as i32 - 1)) == 0 {
                signals.add(signal);
            }
        }
        signals.thread_block()?;
        Ok(Self(signals))
    }

    /// Has `action` called once when such a signal comes; another one ends the program at once.
    pub fn then(self, action: impl FnOnce() + Send + 'static) -> Result<()> {
        thread::Builder::new().spawn(move || {
            if self.0.wait().is_ok() {
                action();
            }
            if let Ok(signal) = self.0.wait() {
                std::process::exit(128 + signal as i32);
            }
        })?;
        Ok(())
    }
}

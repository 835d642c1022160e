// SPDX-License-Identifier: GPL-2.0

//! Signals that ask a program to end, for those that have something to put in order first.

use std::thread;

use anyhow::Result;
use nix::sys::signal::{SigSet, Signal};

/// Has `action` called once when such a signal comes; another one ends the program at once. To be
/// called before other threads are started: they inherit what is blocked.
pub fn on_stop(action: impl FnOnce() + Send + 'static) -> Result<()> {
    // What was started by nohup, or in the background of a script, is to outlive these.
    let ignored = procfs::process::Process::myself()?.status()?.sigign;
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        if ignored & (1 << (signal as i32 - 1)) == 0 {
            signals.add(signal);
        }
    }
    signals.thread_block()?;
    thread::Builder::new().spawn(move || {
        if signals.wait().is_ok() {
            action();
        }
        if let Ok(signal) = signals.wait() {
            std::process::exit(128 + signal as i32);
        }
    })?;
    Ok(())
}

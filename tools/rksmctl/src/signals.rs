// SPDX-License-Identifier: GPL-2.0

//! Signals that ask a program to end, for those that have something to put in order first.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::Result;
use nix::sys::signal::{sigaction, SaFlags, SigAction, SigHandler, SigSet, Signal};

/// Those that ask this program to end.
fn asking() -> Result<Vec<Signal>> {
    // What was started by nohup, or in the background of a script, is to outlive these.
    let ignored = procfs::process::Process::myself()?.status()?.sigign;
    let mut signals = vec![Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];
    signals.retain(|signal| ignored & (1 << (*signal as i32 - 1)) == 0);
    Ok(signals)
}

static CAME: AtomicBool = AtomicBool::new(false);

/// Has such signals end no more than the system call that waits meanwhile, with `EINTR`.
pub fn hold() -> Result<()> {
    extern "C" fn note(_: i32) {
        CAME.store(true, Ordering::Relaxed);
    }
    let action = SigAction::new(SigHandler::Handler(note), SaFlags::empty(), SigSet::empty());
    for signal in asking()? {
        // SAFETY: a store to an atomic is all that the handler does.
        unsafe { sigaction(signal, &action) }?;
    }
    Ok(())
}

/// Whether one came since [`hold`].
pub fn came() -> bool {
    CAME.load(Ordering::Relaxed)
}

/// Signals that wait until somebody takes them.
pub struct Stop(SigSet);

impl Stop {
    /// To be called before any thread is started: they inherit what is blocked.
    pub fn block() -> Result<Self> {
        let mut signals = SigSet::empty();
        signals.extend(asking()?);
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

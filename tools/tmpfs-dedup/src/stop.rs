// SPDX-License-Identifier: GPL-2.0

//! Signals that ask it to end: what is under way ends soon, and a summary comes.

use std::{
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc, Arc, Mutex,
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

/// Whether somebody asked for the end.
#[derive(Clone, Default)]
pub struct Stop {
    came: Arc<AtomicBool>,
    told: Option<Arc<Mutex<mpsc::Receiver<()>>>>,
}

impl Stop {
    /// From here on such a signal is noted, and a second one ends the program at once.
    pub fn listen() -> Result<Self> {
        let mut signals =
            Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot wait for signals")?;
        let came = Arc::new(AtomicBool::new(false));
        let (tell, told) = mpsc::channel();
        let note = Arc::clone(&came);
        thread::spawn(move || {
            for signal in signals.forever() {
                if note.swap(true, Ordering::Relaxed) {
                    std::process::exit(128 + signal);
                }
                // Nobody may wait just now.
                let _ = tell.send(());
            }
        });
        Ok(Self {
            came,
            told: Some(Arc::new(Mutex::new(told))),
        })
    }

    pub fn came(&self) -> bool {
        self.came.load(Ordering::Relaxed)
    }

    /// Until then, or until a signal comes.
    pub fn wait(&self, time: Duration) {
        if let Some(Ok(told)) = self.told.as_ref().map(|told| told.lock()) {
            // Why it ends, `came` says.
            let _ = told.recv_timeout(time);
        }
    }
}

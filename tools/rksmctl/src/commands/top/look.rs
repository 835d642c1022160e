// SPDX-License-Identifier: GPL-2.0

//! The thread that looks at the system.

use std::{
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{
    state::{Event, Snapshot},
    Last,
};
use crate::system::{
    overview::Looker, owner::Names, patience::Patience, processes::Processes, System,
};

/// Has it look each `interval`, and at once when it is told whether to look for everybody.
pub fn start(system: System, interval: Duration, tell: Sender<Event>) -> Result<Sender<bool>> {
    let (ask, asked) = mpsc::channel();
    thread::Builder::new().spawn(move || {
        let last = Last(tell);
        let start = Instant::now();
        let mut looker = Looker::default();
        let patience = Patience::default();
        let mut names = Names::default();
        let mut everybody = false;
        loop {
            let overview = looker.look(&system);
            let processes = Processes::look(&system, &patience, &mut names, everybody);
            let trouble = overview.as_ref().err().or(processes.as_ref().err());
            let snapshot = Snapshot {
                at: start.elapsed(),
                trouble: trouble.map(|error| format!("{error:#}")),
                overview: overview.unwrap_or_default(),
                processes: processes.unwrap_or_default(),
            };
            if last.0.send(Event::Looked(Box::new(snapshot))).is_err() {
                return;
            }
            match asked.recv_timeout(interval) {
                Ok(all) => everybody = all,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    })?;
    Ok(ask)
}

// SPDX-License-Identifier: GPL-2.0

//! Having a process merged, or left alone, from outside.

use std::{
    collections::HashMap,
    io,
    sync::mpsc::{channel, Receiver, RecvTimeoutError, Sender},
    thread,
    time::Duration,
};

use anyhow::Result;

use super::{Provider, System};

/// How long one process is waited for before the next one has its turn.
const TURN: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wish {
    Enrol,
    Release,
}

impl Wish {
    /// The file that takes numbers of processes.
    pub const fn file(self) -> &'static str {
        match self {
            Self::Enrol => "enrol",
            Self::Release => "release",
        }
    }
}

/// Writes numbers to the file. The kernel waits while a process holds its mmap lock, which may be for
/// ever, so each has a thread that waits for it; nobody else does.
pub struct Asker<'a> {
    system: &'a System,
    wish: Wish,
    tell: Sender<(i32, io::Result<()>)>,
    told: Receiver<(i32, io::Result<()>)>,
    /// What each has said; `None` while it has not.
    answers: HashMap<i32, Option<io::Result<()>>>,
}

impl<'a> Asker<'a> {
    pub fn new(system: &'a System, wish: Wish) -> Self {
        let (tell, told) = channel();
        Self {
            system,
            wish,
            tell,
            told,
            answers: HashMap::new(),
        }
    }

    pub fn has_asked(&self, pid: i32) -> bool {
        self.answers.contains_key(&pid)
    }

    /// Returns whether it has answered in time.
    pub fn ask(&mut self, pid: i32) -> Result<bool> {
        let path = Provider::Rksm.file(self.wish.file());
        let (system, tell) = (self.system.clone(), self.tell.clone());
        self.answers.insert(pid, None);
        // It ends when the kernel has answered, or with this program.
        thread::Builder::new().spawn(move || {
            let answer = system.try_write(path, &pid.to_string());
            // Nobody may listen any more.
            let _ = tell.send((pid, answer));
        })?;
        while matches!(self.answers.get(&pid), Some(None)) {
            match self.told.recv_timeout(TURN) {
                Ok((pid, answer)) => self.answers.insert(pid, Some(answer)),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    return Ok(false)
                }
            };
        }
        Ok(true)
    }

    /// What all have said, when they have, in order.
    pub fn wait(mut self) -> Vec<(i32, io::Result<()>)> {
        while self.answers.values().any(Option::is_none) {
            match self.told.recv() {
                Ok((pid, answer)) => self.answers.insert(pid, Some(answer)),
                Err(_) => break,
            };
        }
        let mut answers: Vec<_> = self
            .answers
            .into_iter()
            .filter_map(|(pid, answer)| Some((pid, answer?)))
            .collect();
        answers.sort_by_key(|(pid, _)| *pid);
        answers
    }
}

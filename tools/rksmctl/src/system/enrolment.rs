// SPDX-License-Identifier: GPL-2.0

//! Having a process merged, or left alone, from outside.

use std::{
    collections::HashSet,
    io, mem,
    sync::mpsc::{channel, Receiver, Sender},
    thread,
    time::Duration,
};

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

/// What the kernel says to the number of a process.
pub type Answer = (i32, io::Result<()>);

/// Writes numbers to the file. The kernel waits while a process holds its mmap lock, which may be for
/// ever, so each has a thread that waits for it; nobody else does.
pub struct Asker<'a> {
    system: &'a System,
    wish: Wish,
    tell: Sender<Answer>,
    told: Receiver<Answer>,
    asked: HashSet<i32>,
    /// Those that have not answered yet.
    waiting: HashSet<i32>,
    answers: Vec<Answer>,
}

impl<'a> Asker<'a> {
    pub fn new(system: &'a System, wish: Wish) -> Self {
        let (tell, told) = channel();
        Self {
            system,
            wish,
            tell,
            told,
            asked: HashSet::new(),
            waiting: HashSet::new(),
            answers: Vec::new(),
        }
    }

    pub fn has_asked(&self, pid: i32) -> bool {
        self.asked.contains(&pid)
    }

    /// Only these are there: the numbers of others may be those of new processes some day, when they have
    /// answered.
    pub fn keep(&mut self, pids: &[i32]) {
        let waiting = &self.waiting;
        self.asked
            .retain(|pid| pids.contains(pid) || waiting.contains(pid));
    }

    /// Returns whether it has answered in time.
    pub fn ask(&mut self, pid: i32) -> bool {
        let path = Provider::Rksm.file(self.wish.file());
        let (system, tell) = (self.system.clone(), self.tell.clone());
        self.asked.insert(pid);
        // It ends when the kernel has answered, or with this program.
        let started = thread::Builder::new().spawn(move || {
            let answer = system.try_write(path, &pid.to_string());
            // Nobody may listen any more.
            let _ = tell.send((pid, answer));
        });
        if let Err(error) = started {
            self.answers.push((pid, Err(error)));
            return true;
        }
        self.waiting.insert(pid);
        while let Ok(answer) = self.told.recv_timeout(TURN) {
            let is_it = answer.0 == pid;
            self.take(answer);
            if is_it {
                return true;
            }
        }
        false
    }

    /// Until all have answered.
    pub fn wait(&mut self) {
        while !self.waiting.is_empty() {
            let Ok(answer) = self.told.recv() else {
                return;
            };
            self.take(answer);
        }
    }

    /// What was said since the last call, in order.
    pub fn answers(&mut self) -> Vec<Answer> {
        while let Ok(answer) = self.told.try_recv() {
            self.take(answer);
        }
        let mut answers = mem::take(&mut self.answers);
        answers.sort_by_key(|(pid, _)| *pid);
        answers
    }

    fn take(&mut self, answer: Answer) {
        self.waiting.remove(&answer.0);
        self.answers.push(answer);
    }
}

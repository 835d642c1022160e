// SPDX-License-Identifier: GPL-2.0

//! Processes that have the memory. Each is a program of its own: it shares nothing with the others
//! but what merging makes it share.

use std::{
    fs,
    io::{self, Read, Write},
    sync::mpsc,
    time::Duration,
};

use anyhow::{bail, ensure, Context, Result};
use nix::{
    sys::{
        prctl,
        signal::{kill, Signal},
        wait::{waitpid, WaitPidFlag, WaitStatus},
    },
    unistd::{fork, pause, setresuid, ForkResult, Pid, Uid},
};
use serde::{Deserialize, Serialize};

use crate::{
    content::{Content, Kind},
    knobs,
    memory::{Memory, PAGE},
    talk::{commands, say, say_done, Partner},
};

/// Children of the fork tree, and of how many pages each writes one.
pub const CHILDREN: usize = 8;
const WRITTEN: usize = 4;
/// How often busy pages are rewritten.
const BUSY: Duration = Duration::from_millis(5);

/// What a process is told at its start.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Role {
    pub kind: Kind,
    pub seed: u64,
    pub who: usize,
    pub pages: usize,
}

/// A process, as `run` sees it. It ends when this is dropped.
pub struct Actor(Partner);

impl Actor {
    /// Starts one. Its memory is filled when this returns, and not yet mergeable.
    pub fn start(role: Role) -> Result<Self> {
        Ok(Self(Partner::start("actor", &role, FILLED)?))
    }

    /// Its memory may be merged from now on.
    pub fn merge(&mut self) -> Result<()> {
        self.0.ask("merge")
    }

    /// Every byte is what it must be.
    pub fn check(&mut self) -> Result<()> {
        self.0.ask("check")
    }

    /// Reads all of its memory once.
    pub fn read(&mut self) -> Result<()> {
        self.0.ask("read")
    }

    /// How many of its pages are merged.
    pub fn merged(&mut self) -> Result<usize> {
        let path = format!("/proc/{}/ksm_merging_pages", self.0.child().id());
        let text = fs::read_to_string(&path).with_context(|| path.clone())?;
        text.trim().parse().with_context(|| path)
    }
}

const FILLED: &str = "filled";

/// The process itself.
pub fn act(role: &str) -> Result<()> {
    let role: Role = serde_json::from_str(role)?;
    let mut body = Body {
        memory: Memory::new(role.pages, role.kind.is_huge())?,
        role,
        busy: Vec::new(),
        children: Vec::new(),
    };
    body.memory.populate()?;
    for index in 0..role.pages {
        let content = body.content(index);
        content.fill(body.memory.page(index));
        if matches!(content, Content::Busy(_)) {
            body.busy.push(index);
        }
    }
    if role.kind.is_huge() {
        let huge = knobs::bytes_in("/proc/self/smaps_rollup", "AnonHugePages:")?;
        ensure!(
            huge >= (role.pages * PAGE) as i64,
            "only {huge} bytes are in huge pages"
        );
    }
    if let Some(user) = role.kind.user(role.who) {
        let user = Uid::from_raw(user);
        setresuid(user, user, user)?;
    }
    say(FILLED)?;
    let commands = commands();
    // Who has nothing to rewrite takes no CPU time.
    let pause = if body.busy.is_empty() {
        Duration::MAX
    } else {
        BUSY
    };
    loop {
        match commands.recv_timeout(pause) {
            Ok(command) => body.obey(&command)?,
            Err(mpsc::RecvTimeoutError::Timeout) => body.rewrite(),
            Err(mpsc::RecvTimeoutError::Disconnected) => return body.end(),
        }
    }
}

struct Body {
    role: Role,
    memory: Memory,
    busy: Vec<usize>,
    children: Vec<Pid>,
}

impl Body {
    fn content(&self, index: usize) -> Content {
        Content::of(
            self.role.kind,
            self.role.seed,
            self.role.who,
            index,
            self.role.pages,
        )
    }

    fn obey(&mut self, command: &str) -> Result<()> {
        match command {
            "merge" => self.merge()?,
            "check" => self.check()?,
            "read" => {
                std::hint::black_box(self.memory.read_all());
            }
            other => bail!("unknown command {other:?}"),
        }
        say_done()
    }

    fn merge(&mut self) -> Result<()> {
        self.memory.mergeable()?;
        if self.role.kind == Kind::Fork {
            let (mut ready, written) = io::pipe()?;
            for child in 0..CHILDREN {
                self.fork(child, &written)?;
            }
            ready.read_exact(&mut [0; CHILDREN])?;
        }
        Ok(())
    }

    /// A child that rewrites some pages, with what its twin has there as well.
    fn fork(&mut self, child: usize, ready: &io::PipeWriter) -> Result<()> {
        // SAFETY: The other thread holds no lock that the child will want: it sits in a read.
        match unsafe { fork() }? {
            ForkResult::Parent { child } => self.children.push(child),
            ForkResult::Child => {
                prctl::set_pdeathsig(Signal::SIGKILL)?;
                let Role {
                    kind, seed, pages, ..
                } = self.role;
                let twins = child / 2;
                for index in (twins % WRITTEN..pages).step_by(WRITTEN) {
                    Content::of(kind, seed, 1 + twins, index, pages).fill(self.memory.page(index));
                }
                (&*ready).write_all(&[0])?;
                loop {
                    pause();
                }
            }
        }
        Ok(())
    }

    fn rewrite(&mut self) {
        for &index in &self.busy {
            let page = self.memory.page(index);
            page[1] = page[1].wrapping_add(1);
        }
    }

    fn check(&mut self) -> Result<()> {
        for &child in &self.children {
            let alive = waitpid(child, Some(WaitPidFlag::WNOHANG))? == WaitStatus::StillAlive;
            ensure!(alive, "a child is gone");
        }
        let mut expected = [0; PAGE / 8];
        for index in 0..self.role.pages {
            let content = self.content(index);
            content.fill(&mut expected);
            let page = self.memory.page(index);
            if matches!(content, Content::Busy(_)) {
                expected[1] = page[1];
            }
            ensure!(*page == expected, "page {index} is not what was written");
        }
        Ok(())
    }

    fn end(self) -> Result<()> {
        for child in self.children {
            kill(child, Signal::SIGKILL)?;
            waitpid(child, None)?;
        }
        Ok(())
    }
}

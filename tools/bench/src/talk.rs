// SPDX-License-Identifier: GPL-2.0

//! How `run` talks to the processes that it starts: a line for each command, and one for each answer.

use std::{
    io::{self, BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::mpsc::{self, Receiver},
};

use anyhow::{ensure, Context, Result};
use serde::Serialize;

/// A process that `run` started. It ends when this is dropped.
pub struct Partner {
    child: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Partner {
    /// Starts this program again as `part`, which says `ready` when it is.
    pub fn start(part: &str, role: &impl Serialize, ready: &str) -> Result<Self> {
        let mut child = Command::new("/proc/self/exe")
            .args([part, &serde_json::to_string(role)?])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let commands = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().context("no pipe")?);
        let mut partner = Self {
            child,
            commands,
            answers,
        };
        let answer = partner.answer()?;
        ensure!(
            answer == ready,
            "a process called {part} said {answer:?}, not {ready:?}"
        );
        Ok(partner)
    }

    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends a command whose answer says no more than that it was obeyed.
    pub fn ask(&mut self, command: &str) -> Result<()> {
        let answer = self.question(command)?;
        ensure!(
            answer == DONE,
            "a process was told {command:?} and said {answer:?}"
        );
        Ok(())
    }

    /// Sends a command, and hands back the answer.
    pub fn question(&mut self, command: &str) -> Result<String> {
        self.tell(command)?;
        self.answer()
    }

    /// Sends a command and does not wait for the answer.
    pub fn tell(&mut self, command: &str) -> Result<()> {
        let pipe = self.commands.as_mut().context("it is gone")?;
        Ok(writeln!(pipe, "{command}")?)
    }

    /// Waits for an answer.
    pub fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Partner {
    fn drop(&mut self) {
        // The end of its commands is its own.
        self.commands = None;
        self.child.wait().ok();
    }
}

const DONE: &str = "done";

/// The other side: the process says something.
pub fn say(text: &str) -> Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

/// A command was obeyed.
pub fn say_done() -> Result<()> {
    say(DONE)
}

/// The commands, which a thread of their own reads. Their end is the end of the channel.
pub fn commands() -> Receiver<String> {
    let (send, commands) = mpsc::channel();
    std::thread::spawn(move || {
        io::stdin()
            .lines()
            .map_while(Result::ok)
            .try_for_each(|line| send.send(line))
    });
    commands
}

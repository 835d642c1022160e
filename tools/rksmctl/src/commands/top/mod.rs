// SPDX-License-Identifier: GPL-2.0

//! `rksmctl top`: live, on the whole screen.
//!
//! What is shown changes in `state` only, by events; `draw` shows it. Keys, looks at the system and
//! signals each come from a thread of their own, so that none waits for another.

mod columns;
mod draw;
mod look;
mod state;
#[cfg(test)]
mod tests;

use std::{
    io::{self, IsTerminal},
    sync::mpsc::{self, Sender},
    thread,
    time::Duration,
};

use anyhow::{anyhow, Result};
use crossterm::event::{self as terminal_event, KeyEventKind};
use ratatui::DefaultTerminal;

use self::{
    columns::Sort,
    state::{Event, State, Task},
};
use crate::{
    failure::Failure,
    signals::Stop,
    span,
    system::{Provider, System},
};

/// At the end of the help.
pub const EXAMPLES: &str = "\
Examples:
  rksmctl top --sort profit  what gains most first";

#[derive(clap::Args)]
pub struct Args {
    /// The time between two looks: seconds, or with s, m, h or d behind it.
    #[arg(long, value_name = "SPAN", default_value = "2", value_parser = span::interval)]
    interval: Duration,
    /// What the processes are sorted by.
    #[arg(long, value_name = "COLUMN", default_value = "saved")]
    sort: Sort,
}

pub fn run(system: &System, args: &Args) -> Result<()> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        let what = "top needs a terminal; rksmctl status --watch or record does without";
        return Err(Failure::Usage(what.into()).into());
    }
    let (tell, told) = mpsc::channel();
    let stop = tell.clone();
    Stop::block()?.then(move || {
        // Nobody may wait any more.
        let _ = stop.send(Event::End);
    })?;
    let everybody = look::start(system.clone(), args.interval, tell.clone())?;
    start_keys(tell.clone())?;

    let mut screen = Screen::new()?;
    let mut state = State::new(args.interval, args.sort);
    loop {
        screen.0.draw(|frame| draw::draw(&mut state, frame))?;
        match state.update(told.recv()?) {
            Task::None => {}
            Task::Quit => return Ok(()),
            // Where the other side has ended, so does this soon.
            Task::Everybody(all) => drop(everybody.send(all)),
            Task::Write(file, pid) => start_write(system, file, pid, tell.clone())?,
        }
    }
}

/// The terminal, until it is given back as it was. A panic gives it back as well, before it says
/// anything.
struct Screen(DefaultTerminal);

impl Screen {
    fn new() -> Result<Self> {
        Ok(Self(ratatui::try_init()?))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = self.0.show_cursor();
        let _ = ratatui::try_restore();
    }
}

/// Says at its end, however that comes, that this thread is over.
struct Last(Sender<Event>);

impl Drop for Last {
    fn drop(&mut self) {
        // Nobody may wait any more.
        let _ = self.0.send(Event::End);
    }
}

fn start_keys(tell: Sender<Event>) -> Result<()> {
    thread::Builder::new().spawn(move || {
        let last = Last(tell);
        // An error is a terminal that is gone.
        while let Ok(event) = terminal_event::read() {
            let event = match event {
                terminal_event::Event::Key(key) if key.kind == KeyEventKind::Press => {
                    Event::Key(key)
                }
                terminal_event::Event::Resize(..) => Event::Resize,
                _ => continue,
            };
            if last.0.send(event).is_err() {
                break;
            }
        }
    })?;
    Ok(())
}

/// Writes the number of a process to `enrol` or `release`, which may wait for the process.
fn start_write(system: &System, file: &'static str, pid: i32, tell: Sender<Event>) -> Result<()> {
    let system = system.clone();
    thread::Builder::new().spawn(move || {
        let said = write(&system, file, pid).unwrap_or_else(|error| format!("{error:#}"));
        // Nobody may wait any more.
        let _ = tell.send(Event::Said(said));
    })?;
    Ok(())
}

fn write(system: &System, file: &str, pid: i32) -> Result<String> {
    if system.provider() != Some(Provider::Rksm) {
        return Err(anyhow!("to {file} processes needs rksm: modprobe rksm"));
    }
    let path = Provider::Rksm.file(file);
    if !system.exists(&path) {
        return Err(anyhow!(
            "this rksm has no {}: load a newer one",
            path.display()
        ));
    }
    system.write(path, &pid.to_string())?;
    Ok(match file {
        "enrol" => format!("{pid} is enrolled: the next pass merges its memory"),
        _ => format!("{pid} is released: only what it asks for itself is merged"),
    })
}

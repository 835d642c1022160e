// SPDX-License-Identifier: GPL-2.0

//! What top shows, and how events change it. Nothing here draws, reads or writes.

use std::{collections::VecDeque, time::Duration};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::widgets::TableState;

use super::columns::{self, Sort};
use crate::system::{
    overview::Overview,
    processes::{Process, Processes},
    Provider,
};

/// How many looks are remembered: more than the widest screen shows.
const HISTORY: usize = 1000;
/// For how many looks something is said that nobody has asked for.
const STAYS: u8 = 5;

pub enum Event {
    Key(KeyEvent),
    Resize,
    Looked(Box<Snapshot>),
    /// What came of a write.
    Said(String),
    End,
}

/// What a look has found.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Since the beginning.
    pub at: Duration,
    /// `None` where nobody merges pages.
    pub overview: Option<Overview>,
    pub processes: Processes,
    /// What could not be read.
    pub trouble: Option<String>,
}

/// What is to be done.
#[derive(Debug, Eq, PartialEq)]
pub enum Task {
    None,
    Quit,
    /// Looks for everybody from now on, or for those that merging concerns.
    Everybody(bool),
    /// Writes the number of a process to that file.
    Write(&'static str, i32),
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Mode {
    List,
    Help,
    /// The filter is being typed.
    Filter,
    /// Whether to write that process to that file.
    Confirm(&'static str, i32, String),
}

/// How fast the scanners are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Of one CPU, 1 is all of it.
    pub cpu: f64,
    pub pages_per_second: f64,
}

pub struct State {
    pub interval: Duration,
    pub mode: Mode,
    pub sort: Sort,
    pub inverted: bool,
    pub filter: String,
    pub everybody: bool,
    /// The last look; `None` before the first.
    pub snapshot: Option<Snapshot>,
    pub pace: Option<Pace>,
    /// Bytes saved, the newest last.
    pub history: VecDeque<u64>,
    /// Which processes are shown, in which order.
    shown: Vec<usize>,
    /// The number of the selected process.
    selected: Option<i32>,
    pub table: TableState,
    /// How many rows fit on the screen.
    pub page: usize,
    note: Option<(String, u8)>,
}

impl State {
    pub fn new(interval: Duration, sort: Sort) -> Self {
        Self {
            interval,
            mode: Mode::List,
            sort,
            inverted: false,
            filter: String::new(),
            everybody: false,
            snapshot: None,
            pace: None,
            history: VecDeque::new(),
            shown: Vec::new(),
            selected: None,
            table: TableState::default(),
            page: 10,
            note: None,
        }
    }

    pub fn update(&mut self, event: Event) -> Task {
        match event {
            Event::End => return Task::Quit,
            Event::Resize => {}
            Event::Said(text) => self.say(text),
            Event::Looked(snapshot) => self.take(*snapshot),
            Event::Key(key) => return self.press(key),
        }
        Task::None
    }

    /// The processes in the order in which they are shown.
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        let all = self.all();
        self.shown.iter().filter_map(move |&index| all.get(index))
    }

    pub fn overview(&self) -> Option<&Overview> {
        self.snapshot.as_ref()?.overview.as_ref()
    }

    /// What is to be said now, if anything.
    pub fn note(&self) -> Option<&str> {
        self.note.as_ref().map(|(text, _)| text.as_str())
    }

    fn all(&self) -> &[Process] {
        self.snapshot
            .as_ref()
            .map_or(&[], |snapshot| &snapshot.processes.concerned)
    }

    fn say(&mut self, text: String) {
        self.note = Some((text, STAYS));
    }

    fn take(&mut self, snapshot: Snapshot) {
        self.note = self
            .note
            .take()
            .and_then(|(text, left)| Some((text, left.checked_sub(1)?)));
        let new = snapshot.overview.as_ref();
        if let Some(before) = &self.snapshot {
            let old = before.overview.as_ref();
            self.pace = old
                .zip(new)
                .and_then(|(old, new)| pace(old, new, snapshot.at.checked_sub(before.at)?));
            let provider = |overview: Option<&Overview>| overview.map(|o| o.provider);
            if provider(old) != provider(new) {
                let said = changed(provider(old), provider(new));
                self.say(said);
            }
        }
        self.history.push_back(new.map_or(0, Overview::saved));
        if self.history.len() > HISTORY {
            self.history.pop_front();
        }
        self.snapshot = Some(snapshot);
        self.arrange();
    }

    /// Filters and sorts, and stays with the selected process.
    fn arrange(&mut self) {
        let wanted = self.filter.to_lowercase();
        let all = self.all();
        let mut shown: Vec<usize> = (0..all.len())
            .filter(|&index| columns::words(&all[index]).contains(&wanted))
            .collect();
        shown.sort_by(|&a, &b| self.sort.compare(&all[a], &all[b]));
        if self.inverted {
            shown.reverse();
        }
        let same = shown
            .iter()
            .position(|&index| Some(all[index].pid) == self.selected);
        // Where it is gone the next one takes its place.
        let place = same.or(self.table.selected()).unwrap_or(0);
        self.shown = shown;
        self.select(place);
    }

    fn select(&mut self, place: usize) {
        let place = place.min(self.shown.len().saturating_sub(1));
        let pid = self.processes().nth(place).map(|process| process.pid);
        self.selected = pid;
        self.table.select(self.selected.map(|_| place));
    }

    fn press(&mut self, mut key: KeyEvent) -> Task {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            match key.code {
                KeyCode::Char('c') => return Task::Quit,
                // Enter, where it was typed before the terminal was ours.
                KeyCode::Char('j') => key.code = KeyCode::Enter,
                _ => return Task::None,
            }
        }
        match self.mode.clone() {
            Mode::Help => self.mode = Mode::List,
            Mode::Filter => self.type_filter(key.code),
            Mode::Confirm(file, pid, _) => {
                self.mode = Mode::List;
                if matches!(key.code, KeyCode::Char('y' | 'Y')) {
                    self.note = None;
                    return Task::Write(file, pid);
                }
            }
            Mode::List => return self.press_in_list(key.code),
        }
        Task::None
    }

    fn type_filter(&mut self, key: KeyCode) {
        match key {
            KeyCode::Enter => self.mode = Mode::List,
            KeyCode::Esc => {
                self.filter.clear();
                self.mode = Mode::List;
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(char) => self.filter.push(char),
            _ => {}
        }
        self.arrange();
    }

    fn press_in_list(&mut self, key: KeyCode) -> Task {
        self.note = None;
        let place = self.table.selected().unwrap_or(0);
        match key {
            KeyCode::Char('q') => return Task::Quit,
            KeyCode::Char('?' | 'h') => self.mode = Mode::Help,
            KeyCode::Char('/') => self.mode = Mode::Filter,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Char('s') => self.sort = self.sort.next(false),
            KeyCode::Char('S') => self.sort = self.sort.next(true),
            KeyCode::Char('i') => self.inverted = !self.inverted,
            KeyCode::Char('a') => {
                self.everybody = !self.everybody;
                return Task::Everybody(self.everybody);
            }
            KeyCode::Char('e') => self.confirm("enrol"),
            KeyCode::Char('r') => self.confirm("release"),
            KeyCode::Up | KeyCode::Char('k') => self.select(place.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.select(place + 1),
            KeyCode::PageUp => self.select(place.saturating_sub(self.page)),
            KeyCode::PageDown => self.select(place + self.page),
            KeyCode::Home => self.select(0),
            KeyCode::End => self.select(usize::MAX),
            _ => {}
        }
        self.arrange();
        Task::None
    }

    fn confirm(&mut self, file: &'static str) {
        if self.overview().map(|o| o.provider) == Some(Provider::InTree) {
            self.say(format!(
                "to {file} processes needs rksm: the kernel's own KSM cannot"
            ));
            return;
        }
        let place = self.table.selected().unwrap_or(0);
        let process = self.processes().nth(place);
        let process = process.map(|process| (process.pid, process.command.clone()));
        if let Some((pid, command)) = process {
            self.mode = Mode::Confirm(file, pid, command);
        }
    }
}

fn pace(old: &Overview, new: &Overview, time: Duration) -> Option<Pace> {
    let seconds = time.as_secs_f64();
    if old.provider != new.provider || seconds <= 0.0 {
        return None;
    }
    let scanned = new
        .counters
        .pages_scanned
        .checked_sub(old.counters.pages_scanned)?;
    Some(Pace {
        cpu: new
            .scanner_cpu
            .saturating_sub(old.scanner_cpu)
            .as_secs_f64()
            / seconds,
        pages_per_second: scanned as f64 / seconds,
    })
}

fn changed(old: Option<Provider>, new: Option<Provider>) -> String {
    match (old, new) {
        (_, Some(Provider::Rksm)) => "rksm was loaded, and merges from now on".into(),
        (Some(Provider::Rksm), Some(new)) => format!("rksm was unloaded: {new} is back"),
        (_, Some(new)) => format!("{new} merges now"),
        (Some(old), None) => format!("{old} is gone: nobody merges pages now"),
        (None, None) => "nobody merges pages".into(),
    }
}

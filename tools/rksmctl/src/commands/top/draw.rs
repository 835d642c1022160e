// SPDX-License-Identifier: GPL-2.0

//! How top is drawn. Without colours, since nobody knows the terminal's.

use ratatui::{
    layout::{Alignment, Constraint, Layout, Rect},
    style::{Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Cell, Clear, Paragraph, RenderDirection, Row, Sparkline, Table},
    Frame,
};

use std::time::Duration;

use super::{
    columns::{self, Column},
    state::{Mode, State},
};
use crate::{
    show::{counted, duration, grouped, mib, percent, running},
    system::overview::Overview,
};

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const DIM: Style = Style::new().add_modifier(Modifier::DIM);
const REVERSED: Style = Style::new().add_modifier(Modifier::REVERSED);

const KEYS: &[(&str, &str)] = &[
    ("q", "quit"),
    ("?", "help"),
    ("s", "sort"),
    ("/", "filter"),
    ("e", "enrol"),
    ("r", "release"),
    ("a", "all"),
    ("i", "invert"),
];

const HELP: &str = "\
up, down, j, k   select a process; also page up, page down, home, end
s, S             sort by the next column, or by the one before
i                invert the order
/                filter by number, command, user, guest or cgroup;
                 enter keeps the filter, escape clears it
a                all processes, or only those that merging concerns
e                enrol: merge all memory of the selected process,
                 and of what it starts from then on
r                release: merge nothing but what it asks for itself
q, Ctrl-C        quit

MERGED, ZERO and TRACKED are pages: merged with others, full of zeroes,
and on record. RECORDS is the memory that the records take, and PROFIT
what is left of that which is saved.";

pub fn draw(state: &mut State, frame: &mut Frame) {
    let area = frame.area();
    // A small screen keeps the processes.
    let (totals, chart) = match area.height {
        ..16 => (1, 1),
        16..36 => (3, 3),
        _ => (3, 6),
    };
    let [title, sums, line, list, note, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(totals),
        Constraint::Length(chart),
        Constraint::Min(2),
        Constraint::Length(1),
        Constraint::Length(1),
    ])
    .areas(area);
    draw_title(state, frame, title);
    let sentences = state.overview().map(|overview| sentences(overview, state));
    let sentences = sentences.unwrap_or_default().into_iter().map(Line::from);
    frame.render_widget(Paragraph::new(sentences.collect::<Vec<_>>()), sums);
    draw_history(state, frame, line);
    draw_list(state, frame, list);
    draw_note(state, frame, note);
    draw_keys(frame, keys);
    if state.mode == Mode::Help {
        draw_help(frame, area);
    }
}

fn draw_title(state: &State, frame: &mut Frame, area: Rect) {
    let title = match (&state.snapshot, state.overview()) {
        (None, _) => "looking".into(),
        (Some(_), None) => "nobody merges pages now".into(),
        (Some(_), Some(overview)) => {
            format!("{}: {}", overview.provider, running(&overview.settings))
        }
    };
    let order = if state.inverted { ", inverted" } else { "" };
    let how = format!(
        "by {}{order}, every {} s",
        state.sort.name(),
        state.interval.as_secs_f64()
    );
    let room = usize::from(area.width);
    frame.render_widget(Paragraph::new(title.as_str()).style(BOLD), area);
    if title.chars().count() + how.len() + 2 <= room {
        frame.render_widget(Paragraph::new(how).alignment(Alignment::Right), area);
    }
}

/// The totals, the most important first.
fn sentences(overview: &Overview, state: &State) -> Vec<String> {
    let counters = &overview.counters;
    let mut first = format!(
        "saved {} ({}), profit {}",
        mib(overview.saved().into()),
        percent(overview.saved() as f64, overview.memory.total as f64),
        mib(counters.general_profit.into()),
    );
    let mut third = format!("{} ended", counted(counters.full_scans, "pass", "passes"));
    if let (Some(took @ 1..), Some(cpu)) = (
        counters.last_pass_millisecs,
        counters.last_pass_cpu_millisecs,
    ) {
        third += &format!(
            ", the last took {}, {} of one CPU",
            duration(Duration::from_millis(took)),
            percent(cpu as f64, took as f64)
        );
    }
    if let Some(pace) = state.pace {
        first += &format!("; scanners use {} of one CPU", percent(pace.cpu, 1.0));
        third += &format!("; {} pages/s", grouped(pace.pages_per_second as i128));
    }
    let second = format!(
        "pages: {} kept, {} freed, {} zero, {} unequal, {} volatile",
        grouped(counters.pages_shared.into()),
        grouped(counters.pages_sharing.into()),
        grouped(counters.ksm_zero_pages.into()),
        grouped(counters.pages_unshared.into()),
        grouped(counters.pages_volatile.into()),
    );
    vec![first, second, third]
}

fn draw_history(state: &State, frame: &mut Frame, area: Rect) {
    let mut area = area;
    let shown = state.history.len().min(area.width.into());
    let newest = || state.history.iter().rev().take(shown).copied();
    if area.height > 1 {
        let span = state.interval * shown.saturating_sub(1) as u32;
        let most = newest().max().unwrap_or(0);
        let caption = format!(
            "saved in the last {}, {} at most",
            duration(span),
            mib(most.into())
        );
        let line = Rect { height: 1, ..area };
        frame.render_widget(Paragraph::new(caption).style(DIM), line);
        area.y += 1;
        area.height -= 1;
    }
    let chart = Sparkline::default()
        .data(newest())
        .direction(RenderDirection::RightToLeft);
    frame.render_widget(chart, area);
}

fn draw_list(state: &mut State, frame: &mut Frame, area: Rect) {
    let columns = columns::fitting(area.width);
    let cell = |column: &Column, text: String| {
        let line = Line::from(text);
        Cell::from(if column.right {
            line.right_aligned()
        } else {
            line
        })
    };
    let names = columns
        .iter()
        .map(|column| cell(column, column.name.into()));
    let rows = state.processes().map(|process| {
        let texts = columns
            .iter()
            .map(|column| cell(column, (column.text)(process)));
        Row::new(texts.collect::<Vec<_>>())
    });
    let widths = columns.iter().map(|column| match column.width {
        0 => Constraint::Fill(1),
        width => Constraint::Length(width),
    });
    let table = Table::new(rows.collect::<Vec<_>>(), widths.collect::<Vec<_>>())
        .header(Row::new(names.collect::<Vec<_>>()).style(BOLD))
        .row_highlight_style(REVERSED);
    state.page = usize::from(area.height.saturating_sub(1)).max(1);
    frame.render_stateful_widget(table, area, &mut state.table);
}

/// What is typed or asked, what has happened, or else who is not shown.
fn draw_note(state: &State, frame: &mut Frame, area: Rect) {
    let text = match &state.mode {
        Mode::Filter => format!("filter: {}_", state.filter),
        Mode::Confirm(file, pid, command) => format!("{file} {pid} ({command})? y does it"),
        _ => state.note().map_or_else(|| absent(state), str::to_owned),
    };
    frame.render_widget(Paragraph::new(text).style(BOLD), area);
}

fn absent(state: &State) -> String {
    let Some(snapshot) = &state.snapshot else {
        return String::new();
    };
    if let Some(trouble) = &snapshot.trouble {
        return trouble.clone();
    }
    let mut parts = Vec::new();
    if !state.filter.is_empty() {
        parts.push(format!("filter: {}", state.filter));
    }
    let processes = &snapshot.processes;
    if processes.hidden > 0 {
        parts.push(format!(
            "{} of others not shown: needs root",
            processes.hidden
        ));
    }
    if !processes.busy.is_empty() {
        let number = processes.busy.len() as u64;
        parts.push(format!(
            "{} not answering: address space locked",
            grouped(number.into())
        ));
    }
    if parts.is_empty() && processes.concerned.is_empty() {
        parts.push("nobody has asked for merging; a shows all processes".into());
    }
    parts.join("; ")
}

fn draw_keys(frame: &mut Frame, area: Rect) {
    let mut spans = Vec::new();
    let mut width = 0;
    for (key, what) in KEYS {
        // Half a word helps nobody.
        width += key.len() + what.len() + 3;
        if width > usize::from(area.width) + 2 {
            break;
        }
        spans.push(Span::styled(*key, REVERSED));
        spans.push(Span::raw(format!(" {what}  ")));
    }
    frame.render_widget(Line::from(spans), area);
}

fn draw_help(frame: &mut Frame, area: Rect) {
    let lines = HELP.lines().count() as u16 + 2;
    let width = HELP.lines().map(str::len).max().unwrap_or(0) as u16 + 4;
    let [area] = Layout::vertical([Constraint::Length(lines.min(area.height))]).areas(area);
    let [area] = Layout::horizontal([Constraint::Length(width.min(area.width))]).areas(area);
    let block = Block::bordered()
        .title("rksmctl top: any key goes back")
        .padding(ratatui::widgets::Padding::horizontal(1));
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(HELP).block(block), area);
}

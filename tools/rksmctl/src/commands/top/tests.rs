// SPDX-License-Identifier: GPL-2.0

//! What top shows, and what its keys do.

use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use insta::assert_snapshot;
use ratatui::{backend::TestBackend, style::Modifier, Terminal};

use super::{
    columns::Sort,
    draw,
    state::{Event, Mode, Snapshot, State, Task},
};
use crate::system::{
    counters::Counters,
    knobs::Settings,
    memory::Memory,
    overview::Overview,
    owner::Owner,
    processes::{Merged, Process, Processes},
    Provider, System,
};

fn process(pid: i32, command: &str, user: &str, cgroup: &str, guest: &str, pages: u64) -> Process {
    Process {
        pid,
        command: command.into(),
        owner: Owner {
            uid: 0,
            user: user.into(),
            cgroup: cgroup.into(),
            guest: (!guest.is_empty()).then(|| guest.into()),
        },
        merged: Merged {
            rmap_items: pages * 3 / 2,
            zero_pages: pages as i64 / 10,
            merging_pages: pages,
            profit: (pages + pages / 10) as i64 * 4096 - pages as i64 * 60,
            merge_any: Some(false),
            mergeable: Some(true),
        },
    }
}

fn processes() -> Processes {
    let machine = "/machine.slice/machine-qemu\\x2d1\\x2dweb.scope/libvirt/emulator";
    let system = |unit: &str| format!("/system.slice/{unit}");
    let mut concerned = vec![
        process(
            1201,
            "qemu-system-x86",
            "libvirt-qemu",
            machine,
            "web",
            147_000,
        ),
        process(
            1202,
            "qemu-system-x86",
            "libvirt-qemu",
            machine,
            "db",
            1_460_000,
        ),
        process(
            812,
            "postgres",
            "postgres",
            &system("postgresql@17-main.service"),
            "",
            5_000,
        ),
        process(
            4_194_303,
            "java",
            "tomcat",
            &system("docker-0123456789abcdef0123456789abcdef.scope"),
            "",
            62_000,
        ),
        process(99, "agent", "root", "/", "", 0),
    ];
    concerned[4].merged.profit = -1260;
    for number in 0..40 {
        let unit = format!("worker@{number}.service");
        concerned.push(process(
            2000 + number,
            "worker",
            "www-data",
            &system(&unit),
            "",
            400,
        ));
    }
    Processes {
        concerned,
        hidden: 12,
        busy: vec![7],
    }
}

fn overview(provider: Provider, sharing: u64) -> Overview {
    let ours = provider == Provider::Rksm;
    Overview {
        provider,
        counters: Counters {
            pages_shared: 32_768,
            pages_sharing: sharing,
            pages_unshared: 100_000,
            pages_volatile: 5_000,
            pages_scanned: 9_000_000 + sharing * 3,
            full_scans: 17,
            ksm_zero_pages: 16_384,
            general_profit: sharing as i64 * 4000,
            last_pass_millisecs: ours.then_some(8200),
            last_pass_cpu_millisecs: ours.then_some(1100),
            ..Counters::default()
        },
        settings: Settings([("run", "1".into())].into()),
        memory: Memory {
            total: 16_000 << 20,
            available: 8_000 << 20,
            page: 4096,
        },
        scanner_cpu: Duration::from_millis(sharing / 100),
    }
}

fn look(second: u64, overview: Option<Overview>) -> Event {
    Event::Looked(Box::new(Snapshot {
        at: Duration::from_secs(second),
        overview,
        processes: processes(),
        trouble: None,
    }))
}

/// After a minute, in which more and more was merged.
fn state() -> State {
    let mut state = State::new(Duration::from_secs(2), Sort::Saved);
    for second in (0..60).step_by(2) {
        state.update(look(second, Some(overview(Provider::Rksm, 5_000 * second))));
    }
    state
}

fn press(state: &mut State, keys: &str) -> Task {
    let mut task = Task::None;
    for char in keys.chars() {
        let code = match char {
            '\n' => KeyCode::Enter,
            '\x1b' => KeyCode::Esc,
            '\x08' => KeyCode::Backspace,
            'v' => KeyCode::Down,
            '^' => KeyCode::Up,
            '>' => KeyCode::PageDown,
            '$' => KeyCode::End,
            char => KeyCode::Char(char),
        };
        task = state.update(Event::Key(KeyEvent::new(code, KeyModifiers::NONE)));
    }
    task
}

fn screen(state: &mut State, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw::draw(state, frame)).unwrap();
    terminal.backend().to_string()
}

fn pids(state: &State) -> Vec<i32> {
    state.processes().map(|process| process.pid).collect()
}

macro_rules! golden {
    ($text:expr) => {{
        let text = $text;
        insta::with_settings!({snapshot_path => "../../../tests/snapshots", prepend_module_to_snapshot => false}, {
            assert_snapshot!(text);
        });
    }};
}

#[test]
fn top_at_80x24() {
    golden!(screen(&mut state(), 80, 24));
}

#[test]
fn top_at_40x10() {
    golden!(screen(&mut state(), 40, 10));
}

#[test]
fn top_at_200x50() {
    golden!(screen(&mut state(), 200, 50));
}

#[test]
fn top_with_in_tree_ksm() {
    let mut state = State::new(Duration::from_secs(2), Sort::Profit);
    for second in [0, 2] {
        state.update(look(second, Some(overview(Provider::InTree, 200_000))));
    }
    golden!(screen(&mut state, 80, 24));
}

#[test]
fn top_before_the_first_look() {
    let mut state = State::new(Duration::from_secs(2), Sort::Saved);
    assert_eq!(press(&mut state, "vsie/x\n^>$?"), Task::None);
    golden!(screen(
        &mut State::new(Duration::from_secs(2), Sort::Saved),
        80,
        24
    ));
}

#[test]
fn top_helps() {
    let mut state = state();
    press(&mut state, "?");
    golden!(screen(&mut state, 80, 24));
}

#[test]
fn top_when_rksm_goes() {
    let mut state = state();
    state.update(look(62, None));
    let nobody = screen(&mut state, 80, 24);
    state.update(look(64, Some(overview(Provider::InTree, 0))));
    let in_tree = screen(&mut state, 80, 24);
    golden!(format!("{nobody}{in_tree}"));
    // And it is said for a while only.
    for second in 66..80 {
        state.update(look(second, Some(overview(Provider::InTree, 0))));
    }
    assert_eq!(state.note(), None);
}

#[test]
fn no_size_is_too_small() {
    let mut state = state();
    for keys in ["", "?", "x/abc", "\nv"] {
        press(&mut state, keys);
        for width in [1, 2, 7, 20, 59, 60, 79, 80, 119, 120, 300] {
            for height in [1, 2, 3, 5, 9, 15, 16, 100] {
                screen(&mut state, width, height);
            }
        }
    }
}

#[test]
fn sorts() {
    let mut state = state();
    assert_eq!(pids(&state)[..4], [1202, 1201, 4_194_303, 812]);
    press(&mut state, "i");
    assert_eq!(pids(&state)[0], 99);
    press(&mut state, "iS");
    assert_eq!(state.sort, Sort::Owner);
    press(&mut state, "ss");
    assert_eq!(state.sort, Sort::Profit);
    assert_eq!(*pids(&state).last().unwrap(), 99);
    while state.sort != Sort::Command {
        press(&mut state, "s");
    }
    assert_eq!(pids(&state)[..2], [99, 4_194_303]);
}

#[test]
fn filters() {
    let mut state = state();
    press(&mut state, "/QEM");
    assert_eq!(pids(&state), [1202, 1201]);
    assert!(screen(&mut state, 80, 24).contains("filter: QEM_"));
    press(&mut state, "x");
    assert!(pids(&state).is_empty());
    press(&mut state, "\x08\n");
    assert_eq!(pids(&state), [1202, 1201]);
    // It holds for what comes, and keys are keys again.
    state.update(look(62, None));
    assert_eq!(pids(&state), [1202, 1201]);
    press(&mut state, "v\x1b");
    assert_eq!(pids(&state).len(), 45);
    press(&mut state, "/tomcat");
    let typed_ahead = KeyEvent::new(KeyCode::Char('j'), KeyModifiers::CONTROL);
    state.update(Event::Key(typed_ahead));
    assert_eq!(state.mode, Mode::List);
    assert_eq!(pids(&state).len(), 1);
    press(&mut state, "\x1b");
    assert_eq!(pids(&state).len(), 45);
}

#[test]
fn the_selection_stays_with_its_process() {
    let mut state = state();
    press(&mut state, "v");
    assert_eq!(press(&mut state, "ey"), Task::Write("enrol", 1201));
    press(&mut state, "i");
    assert_eq!(press(&mut state, "ry"), Task::Write("release", 1201));
    // It has ended: the next one takes its place.
    press(&mut state, "i");
    let mut left = processes();
    left.concerned.remove(0);
    state.update(Event::Looked(Box::new(Snapshot {
        overview: Some(overview(Provider::Rksm, 1)),
        processes: left,
        ..Snapshot::default()
    })));
    assert_eq!(press(&mut state, "ey"), Task::Write("enrol", 4_194_303));
    press(&mut state, "$");
    assert_eq!(press(&mut state, "ey"), Task::Write("enrol", 99));
}

#[test]
fn enrols_only_when_it_is_confirmed() {
    let mut state = state();
    press(&mut state, "e");
    assert!(screen(&mut state, 80, 24).contains("enrol 1202 (qemu-system-x86)? y does it"));
    assert_eq!(press(&mut state, "q"), Task::None);
    assert_eq!(state.mode, Mode::List);
    assert_eq!(press(&mut state, "y"), Task::None);
    state.update(Event::Said("1202 is enrolled".into()));
    assert!(screen(&mut state, 80, 24).contains("1202 is enrolled"));
    // In-tree KSM cannot.
    state.update(look(62, Some(overview(Provider::InTree, 0))));
    assert_eq!(press(&mut state, "ey"), Task::None);
    press(&mut state, "r");
    assert!(state.note().unwrap().contains("needs rksm"));
}

#[test]
fn the_selected_row_stands_out() {
    let mut state = state();
    press(&mut state, "v");
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    terminal
        .draw(|frame| draw::draw(&mut state, frame))
        .unwrap();
    let buffer = terminal.backend().buffer();
    let reversed = |row| buffer[(0, row)].modifier.contains(Modifier::REVERSED);
    assert_eq!([8, 9, 10].map(reversed), [false, true, false]);
}

#[test]
fn quits() {
    for quit in [
        KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE),
        KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL),
    ] {
        assert_eq!(state().update(Event::Key(quit)), Task::Quit);
    }
    let mut asked = state();
    press(&mut asked, "/");
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(asked.update(Event::Key(interrupt)), Task::Quit);
    assert_eq!(state().update(Event::End), Task::Quit);
    assert_eq!(press(&mut state(), "a"), Task::Everybody(true));
    assert_eq!(press(&mut state(), "aa"), Task::Everybody(false));
}

#[test]
fn enrolling_needs_rksm() {
    let root = tempfile::tempdir().unwrap();
    let why = super::write(&System::new(root.path()), "enrol", 1).unwrap_err();
    assert_eq!(
        why.to_string(),
        "to enrol processes needs rksm: modprobe rksm"
    );
}

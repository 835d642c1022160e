// SPDX-License-Identifier: GPL-2.0

//! How top treats its terminal. What it shows there is tested beside its source.

mod common;

use std::{
    fs::{self, File},
    io::Read,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    path::Path,
    process::{Child, Command, Stdio},
    ptr,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use common::{rksmctl, system};
use nix::{
    sys::signal::{kill, Signal},
    unistd::Pid,
};

const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";
const SHOW_CURSOR: &str = "\x1b[?25h";

/// A terminal of 80x24 with top in it.
struct Top {
    child: Child,
    ours: File,
    theirs: OwnedFd,
    before: String,
    shown: Arc<Mutex<String>>,
}

/// What is on the screen after all that was written to it: text, and where it goes.
fn screen(written: &str) -> String {
    let mut rows = vec![vec![' '; 80]; 24];
    let (mut row, mut column) = (0, 0);
    let mut chars = written.chars();
    while let Some(char) = chars.next() {
        if char != '\x1b' {
            rows[row][column] = char;
            column = (column + 1).min(79);
            continue;
        }
        let rest = chars.as_str();
        // What has not come to its end comes with more.
        let end = rest
            .get(1..)
            .and_then(|rest| rest.find(|c: char| c.is_ascii_alphabetic()));
        let Some(end) = end else {
            break;
        };
        if let Some(place) = rest[1..=end]
            .split_once(';')
            .filter(|_| rest[1 + end..].starts_with('H'))
        {
            let number = |text: &str| text.parse::<usize>().unwrap() - 1;
            (row, column) = (number(place.0), number(place.1));
        }
        chars = rest[end + 2..].chars();
    }
    let lines = rows.iter().map(|row| row.iter().collect::<String>());
    lines.collect::<Vec<_>>().join("\n")
}

/// How a terminal is set.
fn settings(terminal: &OwnedFd) -> String {
    // SAFETY: a `termios` of zeroes is one, and the descriptor is open.
    let termios = unsafe {
        let mut termios: libc::termios = std::mem::zeroed();
        assert_eq!(libc::tcgetattr(terminal.as_raw_fd(), &mut termios), 0);
        termios
    };
    format!("{termios:?}")
}

impl Top {
    fn start(root: &Path, args: &[&str]) -> Self {
        let size = libc::winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let (mut ours, mut theirs) = (-1, -1);
        // SAFETY: the first two are written to, and are descriptors of nobody else then.
        let (ours, theirs) = unsafe {
            let done = libc::openpty(&mut ours, &mut theirs, ptr::null_mut(), ptr::null(), &size);
            assert_eq!(done, 0);
            (File::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs))
        };
        let end = || Stdio::from(theirs.try_clone().unwrap());
        let before = settings(&theirs);
        let child = Command::new(env!("CARGO_BIN_EXE_rksmctl"))
            .arg("--root")
            .arg(root)
            .args([&["top", "--interval", "0.1"], args].concat())
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        let shown = Arc::new(Mutex::new(String::new()));
        let (all, mut from) = (shown.clone(), ours.try_clone().unwrap());
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut bytes) {
                *all.lock().unwrap() += &String::from_utf8_lossy(&bytes[..count]);
            }
        });
        Self {
            child,
            ours,
            theirs,
            before,
            shown,
        }
    }

    /// Until that is on the screen.
    fn wait_for(&self, what: &str) {
        let start = Instant::now();
        loop {
            let screen = screen(&self.shown.lock().unwrap());
            if screen.contains(what) {
                return;
            }
            assert!(start.elapsed().as_secs() < 20, "no '{what}' in\n{screen}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn press(&mut self, keys: &str) {
        std::io::Write::write_all(&mut self.ours, keys.as_bytes()).unwrap();
    }

    /// It ends well, and the terminal is as it was.
    fn ends(&mut self) {
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        while !self.shown.lock().unwrap().contains(LEAVE) {
            thread::sleep(Duration::from_millis(20));
        }
        let shown = self.shown.lock().unwrap();
        assert!(shown.rfind(LEAVE) > shown.rfind(ENTER));
        assert!(shown.rfind(SHOW_CURSOR) > shown.rfind("\x1b[?25l"));
        assert_eq!(settings(&self.theirs), self.before);
    }
}

#[test]
fn the_terminal_is_left_as_it_was() {
    let root = system(&["machine", "rksm"]);
    for end in [None, Some(Signal::SIGTERM), Some(Signal::SIGINT)] {
        let mut top = Top::start(root.path(), &["--sort", "pid"]);
        top.wait_for("qemu-system-");
        assert_ne!(settings(&top.theirs), top.before);
        match end {
            None => top.press("?qq"),
            Some(signal) => kill(Pid::from_raw(top.child.id() as i32), signal).unwrap(),
        }
        top.ends();
    }
}

#[test]
fn goes_on_when_the_provider_changes() {
    let root = system(&["machine", "rksm"]);
    let ours = root.path().join("sys/kernel/mm/rksm");
    let mut top = Top::start(root.path(), &[]);
    top.wait_for("qemu-system-");
    fs::rename(&ours, root.path().join("away")).unwrap();
    top.wait_for("rksm was unloaded");
    fs::rename(root.path().join("away"), &ours).unwrap();
    top.wait_for("rksm was loaded");
    top.press("\x03");
    top.ends();
}

#[test]
fn enrols_and_releases() {
    let root = system(&["machine", "rksm"]);
    let file = |name| root.path().join("sys/kernel/mm/rksm").join(name);
    let mut top = Top::start(root.path(), &[]);
    top.wait_for("qemu-system-");
    top.press("ey");
    top.wait_for("load a newer one");
    fs::write(file("enrol"), "").unwrap();
    fs::write(file("release"), "").unwrap();
    top.press("ey");
    top.wait_for("1201 is enrolled");
    top.press("\x1b[Bry");
    top.wait_for("1202 is released");
    top.press("q");
    top.ends();
    assert_eq!(fs::read_to_string(file("enrol")).unwrap(), "1201\n");
    assert_eq!(fs::read_to_string(file("release")).unwrap(), "1202\n");
}

#[test]
fn needs_a_terminal() {
    let root = system(&["machine", "rksm"]);
    insta::assert_snapshot!(rksmctl(root.path(), &["top"]));
}

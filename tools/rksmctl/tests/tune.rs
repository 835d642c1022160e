// SPDX-License-Identifier: GPL-2.0

mod common;

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};

use common::{rksmctl, rksmctl_with_programs, system};
use insta::assert_snapshot;
use nix::{
    pty::openpty,
    sys::{
        signal::{kill, Signal},
        termios::{tcflow, tcgetattr, tcsetattr, FlowArg, LocalFlags, SetArg},
    },
    unistd::{ttyname, Pid},
};

const KNOBS: &str = "sys/kernel/mm/rksm";

fn knob(root: &Path, name: &str) -> String {
    fs::read_to_string(root.join(KNOBS).join(name)).unwrap()
}

#[test]
fn shows_knobs_and_profiles() {
    let root = system(&["machine", "rksm"]);
    assert_snapshot!(rksmctl(root.path(), &["tune"]));
}

#[test]
fn profiles() {
    let root = system(&["machine", "rksm"]);
    let said: String = [
        "off",
        "gentle",
        "balanced",
        "aggressive",
        "auto",
        "pressure",
    ]
    .map(|profile| rksmctl(root.path(), &["tune", profile, "--dry-run"]))
    .join("\n");
    assert_snapshot!(said);
    assert_eq!(knob(root.path(), "run"), "1\n");
}

#[test]
fn profile_but_for_a_knob() {
    let root = system(&["machine", "rksm"]);
    assert_snapshot!(rksmctl(root.path(), &["tune", "aggressive", "scanners=4"]));
    assert_eq!(knob(root.path(), "scanners"), "4\n");
    assert_eq!(knob(root.path(), "smart_scan"), "0\n");
}

#[test]
fn profile_for_in_tree_ksm() {
    let root = system(&["machine", "in-tree"]);
    assert_snapshot!(rksmctl(root.path(), &["tune", "gentle"]));
}

#[test]
fn knob_that_in_tree_ksm_has_not() {
    let root = system(&["machine", "in-tree"]);
    assert_snapshot!(rksmctl(root.path(), &["tune", "scope=all"]));
}

#[test]
fn no_advisor() {
    let root = system(&["machine", "in-tree"]);
    fs::remove_file(root.path().join("sys/kernel/mm/ksm/advisor_mode")).unwrap();
    assert_snapshot!(rksmctl(root.path(), &["tune", "auto"]));
}

#[test]
fn the_advisor_decides() {
    let root = system(&["machine", "rksm", "advised"]);
    assert_snapshot!(rksmctl(root.path(), &["tune", "pages_to_scan=1"]));
    assert_eq!(knob(root.path(), "pages_to_scan"), "2340\n");
}

#[test]
fn the_advisor_goes() {
    let root = system(&["machine", "rksm", "advised"]);
    assert_snapshot!(rksmctl(
        root.path(),
        &["tune", "advisor_mode=none", "--dry-run"]
    ));
}

/// The value is what the advisor has come to, and the kernel changes it when it goes.
#[test]
fn the_advisor_goes_and_the_value_stays() {
    let root = system(&["machine", "rksm", "advised"]);
    fs::write(root.path().join(KNOBS).join("pages_to_scan"), "500\n").unwrap();
    assert_snapshot!(rksmctl(root.path(), &["tune", "gentle", "--dry-run"]));
    let asked = ["tune", "pages_to_scan=500", "--dry-run"];
    assert_snapshot!("the_advisor_would_change_it", rksmctl(root.path(), &asked));
}

/// In-tree KSM has no advisor that goes by how much memory is available.
#[test]
fn no_pressure() {
    let root = system(&["machine", "in-tree"]);
    let said = ["pressure", "advisor_mode=pressure"]
        .map(|word| rksmctl(root.path(), &["tune", word]))
        .join("\n");
    assert_snapshot!(said);
}

/// The low mark is below the high one after each write, and when it is all undone.
#[test]
fn marks() {
    let root = system(&["machine", "rksm"]);
    let set = |low: u64, high: u64| {
        let words = [
            format!("advisor_free_low={low}"),
            format!("advisor_free_high={high}"),
        ];
        rksmctl(root.path(), &["tune", &words[0], &words[1]])
    };
    for (low, high, first) in [(30, 40, "high"), (5, 10, "low"), (6, 9, "low")] {
        let said = set(low, high);
        let at = |name| said.find(&format!("advisor_free_{name}")).unwrap();
        assert_eq!(at("high") < at("low"), first == "high", "{said}");
    }
    assert_snapshot!(set(20, 20));
    assert_eq!(knob(root.path(), "advisor_free_high"), "9\n");
}

#[test]
fn no_knob() {
    let root = system(&["machine", "rksm"]);
    assert_snapshot!(rksmctl(root.path(), &["tune", "pages=1"]));
}

#[test]
fn no_value() {
    let root = system(&["machine", "rksm"]);
    assert_snapshot!(rksmctl(root.path(), &["tune", "scanners=17"]));
}

#[test]
fn twice() {
    let root = system(&["machine", "rksm"]);
    assert_snapshot!(rksmctl(root.path(), &["tune", "run=1", "run=0"]));
}

/// A file that can be read, and that nobody can write to.
fn refuses(root: &Path, name: &str) {
    let path = root.join(KNOBS).join(name);
    fs::remove_file(&path).unwrap();
    symlink("/proc/sys/kernel/ostype", path).unwrap();
}

#[test]
fn all_or_nothing() {
    let root = system(&["machine", "rksm"]);
    refuses(root.path(), "sleep_millisecs");
    let asked = ["tune", "pages_to_scan=7", "sleep_millisecs=9", "run=0"];
    let said = rksmctl(root.path(), &asked);
    assert!(
        said.contains("sleep_millisecs=9 is refused, and all knobs are as they were: cannot write"),
        "{said}"
    );
    assert!(said.ends_with("status 1\n"), "{said}");
    assert_eq!(knob(root.path(), "pages_to_scan"), "1000\n");
    assert_eq!(knob(root.path(), "run"), "1\n");
}

/// A terminal that is stopped can be read, and who writes to it waits.
#[test]
fn a_signal_has_it_undone() {
    let root = system(&["machine", "rksm"]);
    let pty = openpty(None, None).unwrap();
    let mut termios = tcgetattr(&pty.slave).unwrap();
    termios.local_flags.remove(LocalFlags::ECHO);
    tcsetattr(&pty.slave, SetArg::TCSANOW, &termios).unwrap();
    tcflow(&pty.slave, FlowArg::TCOOFF).unwrap();
    // Each line with an end of file, for each time that it is read.
    let mut master = File::from(pty.master);
    master.write_all(&b"20\n\x04".repeat(8)).unwrap();
    let path = root.path().join(KNOBS).join("sleep_millisecs");
    fs::remove_file(&path).unwrap();
    symlink(ttyname(&pty.slave).unwrap(), path).unwrap();

    let child = Command::new(env!("CARGO_BIN_EXE_rksmctl"))
        .arg("--root")
        .arg(root.path())
        .args(["tune", "pages_to_scan=7", "sleep_millisecs=9", "run=0"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while knob(root.path(), "pages_to_scan") != "7\n" {
        sleep(Duration::from_millis(10));
    }
    // Until it waits; all is undone as well if it does not yet.
    sleep(Duration::from_millis(200));
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("sleep_millisecs=9 is refused, and all knobs are as they were")
            && said.contains("a signal came"),
        "{said}"
    );
    assert_eq!(knob(root.path(), "pages_to_scan"), "1000\n");
    assert_eq!(knob(root.path(), "run"), "1\n");
}

#[test]
fn the_advisor_comes_back() {
    let root = system(&["machine", "rksm", "advised"]);
    refuses(root.path(), "sleep_millisecs");
    let asked = ["advisor_mode=none", "pages_to_scan=7", "sleep_millisecs=9"];
    let said = rksmctl(root.path(), &[&["tune"], &asked[..]].concat());
    assert!(said.contains("all knobs are as they were"), "{said}");
    assert_eq!(knob(root.path(), "advisor_mode"), "scan-time\n");
}

#[test]
fn from_a_file() {
    let root = system(&["machine", "rksm", "unit"]);
    let file = root.path().join("etc/rksm.conf");
    fs::write(&file, "# mine\nrun = 0\npages_to_scan=50 # slowly\n").unwrap();
    assert_snapshot!(rksmctl(root.path(), &["tune", "--load", "/etc/rksm.conf"]));
    assert_eq!(knob(root.path(), "pages_to_scan"), "50\n");

    fs::write(&file, "run=1\npages_to_scan=many\n").unwrap();
    assert_snapshot!(
        "from_a_wrong_file",
        rksmctl(root.path(), &["tune", "--load", "/etc/rksm.conf"])
    );
}

#[test]
fn saved_and_forgotten() {
    let root = system(&["machine", "rksm", "unit"]);
    let link = root
        .path()
        .join("etc/systemd/system/multi-user.target.wants/rksm.service");
    let conf = || fs::read_to_string(root.path().join("etc/rksm.conf")).unwrap();
    assert_snapshot!(rksmctl(root.path(), &["tune", "gentle", "--save"]));
    assert_snapshot!("saved", conf());
    assert!(link.is_symlink());

    assert_snapshot!("forgotten", rksmctl(root.path(), &["tune", "--forget"]));
    assert!(conf().contains("\n#pages_to_scan="), "{}", conf());
    assert!(!link.is_symlink());
}

/// Somebody's own file is not lost.
#[test]
fn forgotten_and_kept() {
    let root = system(&["machine", "rksm", "unit"]);
    let conf = root.path().join("etc/rksm.conf");
    fs::write(&conf, "# why we do so\nrun=1\n").unwrap();
    assert_snapshot!(rksmctl(root.path(), &["tune", "--forget"]));
    let old = fs::read_to_string(conf.with_extension("conf.old")).unwrap();
    assert_eq!(old, "# why we do so\nrun=1\n");
    // As it was shipped it is not kept.
    let said = rksmctl(root.path(), &["tune", "--forget"]);
    assert!(!said.contains("rksm.conf.old"), "{said}");
}

/// It is set and written down, and then systemctl fails.
#[test]
fn saved_in_part() {
    let root = system(&["machine", "rksm", "unit"]);
    fs::create_dir_all(root.path().join("bin")).unwrap();
    let systemctl = "#!/bin/sh\necho no bus >&2\nexit 1\n";
    fs::write(root.path().join("bin/systemctl"), systemctl).unwrap();
    let said = rksmctl_with_programs(root.path(), &["tune", "gentle", "--save"]);
    assert_snapshot!(said);
}

#[test]
fn nothing_to_save_with() {
    let root = system(&["machine", "rksm"]);
    assert_snapshot!(rksmctl(root.path(), &["tune", "gentle", "--save"]));
    assert_eq!(knob(root.path(), "pages_to_scan"), "1000\n");
    let root = system(&["machine", "in-tree", "unit"]);
    assert_snapshot!(
        "not_for_in_tree_ksm",
        rksmctl(root.path(), &["tune", "--save"])
    );
}

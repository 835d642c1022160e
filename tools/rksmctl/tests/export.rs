// SPDX-License-Identifier: GPL-2.0

mod common;

use std::{
    collections::HashSet,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
};

use common::{rksmctl, system};
use insta::assert_snapshot;
use nix::{
    sys::signal::{kill, Signal},
    unistd::Pid,
};

/// What Prometheus, and `promtool check metrics`, would complain of.
fn complaints(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let (mut helped, mut typed) = (HashSet::new(), HashSet::new());
    let mut series = HashSet::new();
    let mut kind = ("", "");
    if !text.ends_with('\n') {
        found.push("the last line has no end".into());
    }
    for line in text.lines() {
        let mut complain = |what: &str| found.push(format!("{what}: {line}"));
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or((rest, ""));
            if help.is_empty() || !helped.insert(name) {
                complain("no help, or a second one");
            }
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            kind = rest.split_once(' ').unwrap_or((rest, ""));
            if !helped.contains(kind.0) || !typed.insert(kind.0) {
                complain("no help before, or a second type");
            }
            if (kind.1 == "counter") != kind.0.ends_with("_total") {
                complain("a counter ends with _total, and nothing else does");
            }
            let letters = |c: char| c.is_ascii_lowercase() || c == '_';
            if !kind.0.starts_with("ksm_") || !kind.0.chars().all(letters) {
                complain("a name against the conventions");
            }
            for unit in ["millisecs", "mib", "kb", "percent"] {
                if kind.0.contains(unit) {
                    complain("no base unit");
                }
            }
        } else {
            let (what, figure) = line.rsplit_once(' ').unwrap_or((line, ""));
            let name = what.split('{').next().unwrap();
            if name != kind.0 {
                complain("not behind its type");
            }
            if figure.parse::<f64>().is_err() {
                complain("no figure");
            }
            if !series.insert(what) {
                complain("a second time");
            }
        }
    }
    for name in &typed {
        if !series
            .iter()
            .any(|what| what.split('{').next() == Some(name))
        {
            found.push(format!("{name} has no figure"));
        }
    }
    found
}

/// What is exported from such a system.
fn export(systems: &[&str], args: &[&str]) -> String {
    let root = system(systems);
    let said = rksmctl(root.path(), &[&["export"], args].concat());
    let text = said.strip_suffix("status 0\n").expect(&said);
    assert_eq!(complaints(text), Vec::<String>::new());
    text.to_owned()
}

#[test]
fn the_check_sees_what_is_wrong() {
    let head = "# HELP ksm_x X\n# TYPE ksm_x gauge\n";
    assert!(complaints(&format!("{head}ksm_x 1\n")).is_empty());
    for wrong in [
        "ksm_x 1\n".to_owned(),
        format!("{head}ksm_x 1"),
        format!("{head}ksm_x 1\nksm_x 2\n"),
        format!("{head}{head}ksm_x 1\n"),
        format!("{head}ksm_x one\n"),
        format!("{head}ksm_y 1\n"),
        head.to_owned(),
        format!("{head}ksm_x 1\n").replace("gauge", "counter"),
        format!("{head}ksm_x 1\n").replace("ksm_x", "ksm_x_millisecs"),
    ] {
        assert!(!complaints(&wrong).is_empty(), "{wrong}");
    }
}

#[test]
fn with_rksm() {
    assert_snapshot!(export(&["machine", "rksm", "names"], &[]));
}

#[test]
fn with_in_tree_ksm() {
    assert_snapshot!(export(&["machine", "in-tree"], &["--processes", "1"]));
}

#[test]
fn of_no_process() {
    let text = export(&["machine", "rksm"], &["--processes", "0"]);
    assert!(!text.contains("ksm_process_"), "{text}");
}

#[test]
fn a_process_of_any_name() {
    let root = system(&["machine", "rksm"]);
    fs::write(
        root.path().join("proc/1201/comm"),
        b"\xff\x1b[2J\"} 1\rksm_x\n",
    )
    .unwrap();
    let said = rksmctl(root.path(), &["export"]);
    let name = "command=\"\u{fffd}\u{fffd}[2J\\\"} 1\u{fffd}ksm_x\"";
    assert_eq!(said.matches(name).count(), 5, "{said}");
}

#[test]
fn without_ksm() {
    let root = system(&["machine"]);
    let file = root.path().join("ksm.prom");
    fs::write(&file, "old\n").unwrap();
    let said = rksmctl(
        root.path(),
        &["export", "--textfile", file.to_str().unwrap()],
    );
    assert!(said.ends_with("status 1\n"), "{said}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "old\n");
}

#[test]
fn as_textfile() {
    let root = system(&["machine", "rksm"]);
    let file = root.path().join("ksm.prom");
    let name = file.to_str().unwrap();
    // It takes the old one's place.
    fs::write(&file, "old\n").unwrap();
    let old = fs::File::open(&file).unwrap();
    assert_eq!(
        rksmctl(root.path(), &["export", "--textfile", name]),
        "status 0\n"
    );
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(text, export(&["machine", "rksm"], &[]));
    let mut read = String::new();
    BufReader::new(old).read_to_string(&mut read).unwrap();
    assert_eq!(read, "old\n");
    let left = fs::read_dir(root.path()).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert!(
        !left
            .iter()
            .any(|name| name.to_string_lossy().starts_with('.')),
        "{left:?}"
    );
}

#[test]
fn wrong_usage() {
    let root = system(&["machine", "rksm"]);
    let said = rksmctl(
        root.path(),
        &["export", "--textfile", "/no/such/folder/x.prom"],
    );
    let both = ["export", "--textfile", "x", "--listen"];
    let said = said + &rksmctl(root.path(), &["export", "--listen", "0.0.0.0:9188"]);
    assert_snapshot!(said + &rksmctl(root.path(), &both));
}

/// A server at a port that was free.
fn listen(root: &Path) -> (Child, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_rksmctl"))
        .arg("--root")
        .arg(root)
        .args(["export", "--listen", "127.0.0.1:0"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(child.stderr.take().unwrap())
        .read_line(&mut said)
        .unwrap();
    let address = said.split("http://").nth(1).expect(&said);
    let address = address.split('/').next().unwrap().to_owned();
    (child, address)
}

fn ask(address: &str, method: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[test]
fn nobody_holds_it_up() {
    let root = system(&["machine", "rksm"]);
    let (mut child, address) = listen(root.path());
    let send = |what: &str| {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.write_all(what.as_bytes()).unwrap();
        stream
    };
    // These say nothing, announce what does not come, and ask again and again without reading.
    let post =
        format!("POST /metrics HTTP/1.1\r\nHost: {address}\r\nContent-Length: 100000000\r\n\r\n");
    let get = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let mut held = Vec::new();
    for _ in 0..8 {
        held.extend([send(""), send(&post), send(&get.repeat(1000))]);
    }
    let (head, _) = ask(&address, "GET", "/metrics");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let long = format!("GET /{} HTTP/1.1\r\nHost: {address}", "x".repeat(9000));
    let mut stream = send(&long);
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("HTTP/1.1 400 "), "{said}");

    held.extend([send(""), send(&post)]);
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn over_http() {
    let root = system(&["machine", "rksm"]);
    let (mut child, address) = listen(root.path());
    let metrics = || ask(&address, "GET", "/metrics");

    let (head, body) = metrics();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(
        head.contains("Content-Type: text/plain; version=0.0.4"),
        "{head}"
    );
    assert_eq!(body, export(&["machine", "rksm"], &[]));
    assert!(ask(&address, "GET", "/x").0.starts_with("HTTP/1.1 404 "));
    assert!(ask(&address, "POST", "/metrics")
        .0
        .starts_with("HTTP/1.1 405 "));

    // rksm goes, and comes back.
    let sys = root.path().join("sys");
    fs::rename(&sys, root.path().join("away")).unwrap();
    let (head, body) = metrics();
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert!(body.contains("merges no pages"), "{body}");
    fs::rename(root.path().join("away"), &sys).unwrap();
    assert!(metrics().0.starts_with("HTTP/1.1 200 "));

    // The port is taken.
    let said = rksmctl(root.path(), &["export", "--listen", &address]);
    assert!(
        said.contains("--listen takes another port") && said.ends_with("status 1\n"),
        "{said}"
    );

    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

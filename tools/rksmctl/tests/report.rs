// SPDX-License-Identifier: GPL-2.0

mod common;

use std::{fs, path::PathBuf};

use common::{rksmctl, system};
use insta::assert_snapshot;

fn recording() -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/recordings/changing-hands");
    fs::read_to_string(path).unwrap()
}

/// What is said of such a recording, in a folder that is gone afterwards, and what was drawn.
fn report(text: &str, option: &[&str]) -> (String, String) {
    let folder = system(&[]);
    let file = folder.path().join("recording");
    fs::write(&file, text).unwrap();
    let out = folder.path().join("out");
    let mut args = vec!["report", file.to_str().unwrap()];
    if let [option] = option {
        args.extend([option, out.to_str().unwrap()]);
    }
    let said = rksmctl(folder.path(), &args);
    (said, fs::read_to_string(out).unwrap_or_default())
}

#[test]
fn as_text() {
    assert_snapshot!(report(&recording(), &[]).0);
}

#[test]
fn a_change_after_nobody_was_there() {
    let text = recording();
    let lines: Vec<&str> = text.lines().collect();
    let line = |second: usize| lines[second + 1].replace("\"seconds\":", "\"seconds\":1");
    let nobody = line(20);
    assert!(nobody.ends_with("\"reading\":null}"), "{nobody}");
    let nobody = nobody.replace("120.001", "15");
    // What was set before is not said again.
    let text = [lines[0], &line(0), &nobody, &line(8), &line(10)].join("\n") + "\n";
    let said = report(&text, &[]).0;
    assert!(said.contains("pages_to_scan 1000 -> 4000"), "{said}");
}

#[test]
fn as_svg() {
    let (said, svg) = report(&recording(), &["--svg"]);
    assert_eq!(said, "status 0\n");
    assert_snapshot!(svg);
}

#[test]
fn as_html() {
    let (said, html) = report(&recording(), &["--html"]);
    assert_eq!(said, "status 0\n");
    // The charts are as above.
    let (page, rest) = html.split_once("<svg ").unwrap();
    let (_, end) = rest.split_once("</svg>").unwrap();
    assert_snapshot!(format!("{page}(charts){end}"));
    assert!(!html.contains("href") && !html.contains("src="));
}

#[test]
fn a_long_one_is_thinned() {
    let text = recording();
    let mut lines = text.lines();
    let mut long = lines.next().unwrap().to_owned() + "\n";
    let sample = lines.next().unwrap();
    for second in 0..20_000 {
        long += &(sample.replace("0.001", &second.to_string()) + "\n");
    }
    let (said, svg) = report(&long, &["--svg"]);
    assert_eq!(said, "status 0\n");
    assert!(svg.len() < 150_000, "{}", svg.len());
}

#[test]
fn one_sample_is_enough() {
    let text: String = recording()
        .lines()
        .take(2)
        .map(|l| format!("{l}\n"))
        .collect();
    assert_snapshot!(report(&text, &[]).0);
    assert_eq!(report(&text, &["--svg"]).0, "status 0\n");
}

#[test]
fn the_end_is_cut_off() {
    let text = recording();
    let said = report(&text[..text.len() - 20], &[]).0;
    assert!(said.contains("the last line is cut off"), "{said}");
    assert!(said.ends_with("status 0\n"), "{said}");
}

#[test]
fn a_foreign_one_does_no_harm() {
    let text = recording().replacen("build<1>", "\\u001b[2J", 1).replace(
        "\"pages_to_scan\":\"4000\"",
        "\"pages_to_scan\":\"\\u001b[2J\"",
    );
    let harmful = ['\u{1b}', '\u{9b}'];
    for option in [&[][..], &["--svg"], &["--html"]] {
        let (said, drawn) = report(&text, option);
        assert!(said.ends_with("status 0\n"), "{said}");
        let all = said + &drawn;
        assert!(all.contains("\u{fffd}[2J"), "{all}");
        assert!(!all.contains(harmful), "{all}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    let text = recording();
    let mut said = String::new();
    for wrong in [
        text.replacen("\"seconds\":7.001", "\"seconds\":seven", 1),
        text.replacen("\"seconds\":7.001", "\"seconds\":3.001", 1),
        text.replacen("\"version\":1", "\"version\":9", 1),
        text.replacen("\"seconds\":7.001", "\"seconds\":1e300", 1),
        text.replacen("\"began\":1764547200", "\"began\":253402300800", 1),
        text[..40].to_owned(),
        "\u{7f}ELF".to_owned(),
        String::new(),
    ] {
        said += &report(&wrong, &[]).0;
    }
    assert_snapshot!(said);
}

#[test]
fn the_recording_is_not_overwritten() {
    let folder = system(&[]);
    let file = folder.path().join("recording");
    fs::write(&file, recording()).unwrap();
    let name = file.to_str().unwrap();
    assert_snapshot!(rksmctl(folder.path(), &["report", name, "--svg", name]));
    assert_eq!(fs::read_to_string(&file).unwrap(), recording());
}

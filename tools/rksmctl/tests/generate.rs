// SPDX-License-Identifier: GPL-2.0

mod common;

use std::{fs, process::Command};

use common::rksmctl;
use tempfile::TempDir;

#[test]
fn bash_completes_profiles_and_knobs() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().to_str().unwrap();
    assert_eq!(rksmctl(folder.path(), &["generate", path]), "status 0\n");

    // What the shell does when somebody presses TAB.
    let script = "source $0; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1))
        _rksmctl rksmctl \"${!#}\" \"${@:$#-1:1}\"; echo ${COMPREPLY[*]}";
    let complete = |words: &[&str]| {
        let output = Command::new("bash")
            .args(["-c", script])
            .arg(folder.path().join("bash/rksmctl"))
            .args(words)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(complete(&["rksmctl", "tu"]), "tune\n");
    assert_eq!(complete(&["rksmctl", "tune", "ba"]), "balanced\n");
    assert_eq!(complete(&["rksmctl", "tune", "scann"]), "scanners=\n");
    assert_eq!(complete(&["rksmctl", "tune", "--dr"]), "--dry-run\n");
    // What users are not told of.
    assert_eq!(complete(&["rksmctl", "--ro"]), "\n");
    assert_eq!(complete(&["rksmctl", "gen"]), "\n");
}

#[test]
fn manual_pages() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().to_str().unwrap();
    assert_eq!(rksmctl(folder.path(), &["generate", path]), "status 0\n");
    assert!(folder.path().join("zsh/_rksmctl").is_file());
    assert!(folder.path().join("fish/rksmctl.fish").is_file());

    let page = |name: &str| fs::read_to_string(folder.path().join("man").join(name)).unwrap();
    let (all, tune) = (page("rksmctl.1"), page("rksmctl-tune.1"));
    let (_, examples) = all.split_once(".SH EXAMPLES\n.nf\n").unwrap();
    assert!(examples.contains("\nrksmctl tune "), "{all}");
    let (_, examples) = tune.split_once(".SH EXAMPLES\n.nf\n").unwrap();
    assert!(examples.contains("rksmctl tune gentle"), "{tune}");
    assert!(!all.contains("EXTRA") && !tune.contains("EXTRA"));
}

// SPDX-License-Identifier: GPL-2.0

//! Systems that exist only in a folder, and what rksmctl says of them.

#![allow(dead_code)] // no test needs all of it

use std::{
    env,
    ffi::OsStr,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

/// A system out of `tests/systems`: files that begin with a line `== PATH`. Those of further ones are
/// added, or take the place of earlier ones.
pub fn system(names: &[&str]) -> TempDir {
    let root = TempDir::new().unwrap();
    for name in names {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/systems")
            .join(name);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        for file in text.split("== /").skip(1) {
            let (path, content) = file.split_once('\n').unwrap();
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            // Arguments of a process end with a NUL, which the text has as \0.
            fs::write(path, content.replace("\\0", "\0")).unwrap();
        }
    }
    root
}

/// What rksmctl prints, what it complains of, and its status.
pub fn rksmctl(root: &Path, args: &[&str]) -> String {
    rksmctl_with(root, args, &[])
}

/// As [`rksmctl`], with the programs that the system has.
pub fn rksmctl_with_programs(root: &Path, args: &[&str]) -> String {
    let programs = root.join("bin");
    for program in fs::read_dir(&programs).into_iter().flatten() {
        let path = program.unwrap().path();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let all = [programs].into_iter().chain(env::split_paths(&path));
    let path = env::join_paths(all.collect::<Vec<PathBuf>>()).unwrap();
    rksmctl_with(root, args, &[("PATH", &path)])
}

/// As [`rksmctl`], with other variables in its environment.
pub fn rksmctl_with(root: &Path, args: &[&str], variables: &[(&str, &OsStr)]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_rksmctl"))
        .arg("--root")
        .arg(root)
        .args(args)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(root.to_str().unwrap(), "");
    format!(
        "{}{}status {}\n",
        text(&output.stdout),
        text(&output.stderr),
        output.status.code().unwrap()
    )
}

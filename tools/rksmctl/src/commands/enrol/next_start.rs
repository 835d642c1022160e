// SPDX-License-Identifier: GPL-2.0

//! What a service starts later, when it is started again: a process of systemd's, which inherits nothing.
//! systemd calls prctl() for it where the unit says so.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::system::{enrolment::Wish, systemd, System};

/// Where the drop-in goes: for good, or until the next boot. The second counts where there are both, as
/// the later by name.
fn file(unit: &str, keep: bool) -> PathBuf {
    let (folder, name) = if keep {
        ("/etc", "rksm.conf")
    } else {
        ("/run", "rksm.until-boot.conf")
    };
    PathBuf::from(format!("{folder}/systemd/system/{unit}.d/{name}"))
}

/// Writes it, and returns where it is.
pub fn write(system: &System, unit: &str, wish: Wish, keep: bool) -> Result<PathBuf> {
    let says = match wish {
        Wish::Enrol => "yes",
        Wish::Release => "no",
    };
    let text = format!(
        "# Written by rksmctl {}.\n[Service]\nMemoryKSM={says}\n",
        wish.file()
    );
    if keep {
        remove(system, &file(unit, false))?;
    }
    let file = file(unit, keep);
    let path = system.path(&file);
    let put = || {
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        fs::write(&path, text)
    };
    put().with_context(|| format!("cannot write {}", file.display()))?;
    reload(system)?;
    Ok(file)
}

/// Takes back what was written, and returns whether there was anything.
pub fn forget(system: &System, unit: &str) -> Result<bool> {
    let mut found = false;
    for keep in [false, true] {
        found |= remove(system, &file(unit, keep))?;
    }
    if found {
        reload(system)?;
    }
    Ok(found)
}

/// Returns whether it was there.
fn remove(system: &System, file: &Path) -> Result<bool> {
    let path = system.path(file);
    match fs::remove_file(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        done => done.with_context(|| format!("cannot remove {}", file.display()))?,
    }
    // Others may have files there.
    let _ = fs::remove_dir(path.parent().unwrap_or(&path));
    Ok(true)
}

fn reload(system: &System) -> Result<()> {
    if system.is_real() {
        systemd::reload(system)?;
    }
    Ok(())
}

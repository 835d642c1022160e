// SPDX-License-Identifier: GPL-2.0

//! What a service starts later, when it is started again: a process of systemd's, which inherits nothing.
//! systemd calls prctl() for it where the unit says so.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};

use crate::system::{enrolment::Wish, systemd, System};

/// Where the drop-in goes: until the next boot, or for good.
fn file(unit: &str, keep: bool) -> PathBuf {
    let folder = if keep { "/etc" } else { "/run" };
    PathBuf::from(format!("{folder}/systemd/system/{unit}.d/rksm.conf"))
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
    // Of two files of one name, that in /etc counts.
    let temporary = system.path(file(unit, false));
    if keep && temporary.exists() {
        fs::remove_file(&temporary)
            .with_context(|| format!("cannot remove {}", temporary.display()))?;
    }
    let keep = keep || system.exists(file(unit, true));
    let file = file(unit, keep);
    let path = system.path(&file);
    let put = || {
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        fs::write(&path, text)
    };
    put().with_context(|| format!("cannot write {}", file.display()))?;
    if system.is_real() {
        systemd::reload(system)?;
    }
    Ok(file)
}

// SPDX-License-Identifier: GPL-2.0

//! systemd: its units, and what it is told.

use std::{path::Path, process::Command};

use anyhow::{bail, Context, Result};

use super::System;

/// Where units of the system may be.
const UNITS: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// Whether a unit is installed; of `name@instance.service` there is only `name@.service`.
pub fn has_unit(system: &System, unit: &str) -> bool {
    let template = unit.split_once('@').and_then(|(name, rest)| {
        let (_, kind) = rest.rsplit_once('.')?;
        Some(format!("{name}@.{kind}"))
    });
    [Some(unit.to_owned()), template]
        .into_iter()
        .flatten()
        .any(|file| {
            UNITS
                .iter()
                .any(|folder| system.exists(Path::new(folder).join(&file)))
        })
}

/// `systemctl WHAT UNIT`, of the system that it is about.
pub fn call(system: &System, unit: &str, what: &str) -> Result<()> {
    systemctl(system, &[what, unit])
}

/// Has it read its files again.
pub fn reload(system: &System) -> Result<()> {
    systemctl(system, &["daemon-reload"])
}

fn systemctl(system: &System, words: &[&str]) -> Result<()> {
    let mut command = Command::new("systemctl");
    command.arg("--quiet");
    if !system.is_real() {
        command.arg("--root").arg(system.path("/"));
    }
    let done = command
        .args(words)
        .output()
        .context("cannot start systemctl")?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        bail!(
            "systemctl {} fails: {}",
            words.join(" "),
            said.trim().replace('\n', "; ")
        );
    }
    Ok(())
}

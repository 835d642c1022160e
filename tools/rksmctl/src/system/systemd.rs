// SPDX-License-Identifier: GPL-2.0

//! systemd: its units, and what it is told.

use std::{path::Path, process::Command};

use anyhow::{bail, Context, Result};

use super::{cgroup::Cgroup, System};

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

/// The cgroup that a unit runs in: others may have cgroups of that name as well. `None` if it does not run.
pub fn cgroup(system: &System, unit: &str) -> Option<Cgroup> {
    let words = ["show", "--property=ControlGroup", "--value", "--", unit];
    let done = Command::new("systemctl").args(words).output().ok()?;
    let path = String::from_utf8(done.stdout).ok()?;
    let path = path.trim();
    // Where systemd does not run there are no units.
    if !done.status.success() || path.is_empty() {
        return None;
    }
    Cgroup::at(system, path)
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

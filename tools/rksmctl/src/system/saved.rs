// SPDX-License-Identifier: GPL-2.0

//! What holds over a reboot: `/etc/rksm.conf`, and the unit that loads rksm and sets what it says.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use anyhow::{anyhow, Context, Result};

use super::{
    knobs::{Setting, Settings},
    systemd, System,
};
use crate::failure::Failure;

pub const CONF: &str = "/etc/rksm.conf";
pub const UNIT: &str = "rksm.service";
/// The file as the package has it.
const SHIPPED: &str = include_str!("../../../../dkms/rksm.conf");
/// The settings in a file, in its order.
pub fn read(system: &System, file: &Path) -> Result<Vec<Setting>> {
    let path = if file == Path::new(CONF) {
        system.path(file)
    } else {
        file.to_owned()
    };
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", file.display()))?;
    parse(&text)
        .map_err(|(line, why)| anyhow!(Failure::Usage(format!("{}:{line}: {why}", file.display()))))
}

/// `knob=value` lines; what is behind a `#` does not count. An error is the number of a line, and why.
fn parse(text: &str) -> Result<Vec<Setting>, (usize, String)> {
    let mut found: Vec<Setting> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line: String = line
            .split('#')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        if line.is_empty() {
            continue;
        }
        let Some((name, value)) = line.split_once('=') else {
            return Err((number, format!("{line} is not of the form knob=value")));
        };
        let setting = Setting::new(name, value).map_err(|why| (number, why))?;
        if found
            .iter()
            .any(|other| other.knob.name == setting.knob.name)
        {
            return Err((number, format!("{name} is there twice")));
        }
        found.push(setting);
    }
    Ok(found)
}

/// The text of a file that sets the same again.
fn text(settings: &Settings) -> String {
    let advised = settings.are_advised();
    let mut text = "# Written by rksmctl tune --save, for rksm.service.\n\n".to_owned();
    let (last, others): (Vec<_>, Vec<_>) = settings.0.iter().partition(|(name, _)| **name == "run");
    for (name, value) in others.into_iter().chain(last) {
        // What the advisor decides is not a setting.
        if *name != "pages_to_scan" || !advised {
            text += &format!("{name}={value}\n");
        }
    }
    text
}

/// Whether the unit is installed.
pub fn has_unit(system: &System) -> bool {
    systemd::has_unit(system, UNIT)
}

/// Writes the settings down, and enables the unit. Both are there from now on, and at each boot.
pub fn save(system: &System, settings: &Settings) -> Result<()> {
    write(system, &text(settings))?;
    systemd::call(system, UNIT, "enable")?;
    // It finds all as it is to be; `systemctl stop` takes effect then.
    if system.is_real() {
        systemd::call(system, UNIT, "start")?;
    }
    Ok(())
}

/// Undoes [`save`]: the file is as it was shipped, and the unit is disabled. Nothing is unloaded. What was
/// written by somebody else is kept, and the name of that file returned.
pub fn forget(system: &System) -> Result<Option<String>> {
    systemd::call(system, UNIT, "disable")?;
    let kept = keep(system)?;
    write(system, SHIPPED)?;
    Ok(kept)
}

/// Makes a copy of the file, unless it has nothing but what [`save`] writes, or is as it was shipped.
fn keep(system: &System) -> Result<Option<String>> {
    // There may be none, or none that is text.
    let text = fs::read(system.path(CONF)).unwrap_or_default();
    if text.is_empty() || text == SHIPPED.as_bytes() || is_saved(&text) {
        return Ok(None);
    }
    let old = format!("{CONF}.old");
    fs::copy(system.path(CONF), system.path(&old))
        .with_context(|| format!("cannot write {old}"))?;
    Ok(Some(old))
}

/// Whether it is as [`text`] makes it, and nobody has changed it since.
fn is_saved(file: &[u8]) -> bool {
    let Some(found) = str::from_utf8(file).ok().and_then(|file| parse(file).ok()) else {
        return false;
    };
    let settings = found
        .into_iter()
        .map(|Setting { knob, value }| (knob.name, value));
    text(&Settings(settings.collect())).as_bytes() == file
}

/// Puts the file in its place when it is complete.
fn write(system: &System, text: &str) -> Result<()> {
    let (path, new) = (system.path(CONF), system.path(format!("{CONF}.new")));
    let put = || {
        fs::write(&new, text)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o644))?;
        fs::rename(&new, &path)
    };
    put().with_context(|| format!("cannot write {CONF}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let mut settings = Settings::default();
        for (name, value) in [
            ("advisor_mode", "none"),
            ("run", "1"),
            ("pages_to_scan", "5"),
        ] {
            settings.0.insert(name, value.into());
        }
        let names = |text: &str| -> Vec<_> {
            let found = parse(text).unwrap();
            found.iter().map(|setting| setting.knob.name).collect()
        };
        assert_eq!(
            names(&text(&settings)),
            ["advisor_mode", "pages_to_scan", "run"]
        );
        settings.0.insert("advisor_mode", "scan-time".into());
        assert_eq!(names(&text(&settings)), ["advisor_mode", "run"]);
    }

    #[test]
    fn the_shipped_file_is_right() {
        assert_eq!(parse(SHIPPED).unwrap()[0].knob.name, "run");
    }

    #[test]
    fn what_is_wrong_with_a_file() {
        let why = |text| parse(text).unwrap_err();
        assert_eq!(
            why("run=1\nrun = 0 # twice\n"),
            (2, "run is there twice".into())
        );
        assert_eq!(
            why("\nrun\n"),
            (2, "run is not of the form knob=value".into())
        );
        assert_eq!(why("runs=1"), (1, "there is no knob runs".into()));
        assert_eq!(why("run=7"), (1, "run takes 0 to 2".into()));
        assert_eq!(parse("smart_scan=off").unwrap()[0].value, "0");
    }
}

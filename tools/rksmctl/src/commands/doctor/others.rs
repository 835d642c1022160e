// SPDX-License-Identifier: GPL-2.0

//! Others that steer page merging, or patch the kernel.

use std::fs;

use anyhow::Result;

use super::finding::Finding;
use crate::system::{processes::pids, Provider, System};

/// Daemons that write to the knobs, by the name that the kernel has of them, their units, and the profile
/// that does about the same.
const DAEMONS: [(&str, &str, &str); 3] = [
    ("ksmtuned", "ksmtuned", "pressure"),
    ("momd", "mom-vdsm", "pressure"),
    ("uksmd", "uksmd", "auto"),
];

pub fn checks(system: &System) -> Result<Vec<Finding>> {
    let mut findings = daemons(system)?;
    findings.extend(livepatches(system));
    Ok(findings)
}

fn daemons(system: &System) -> Result<Vec<Finding>> {
    let name = "other tools";
    let mut found = Vec::new();
    for pid in pids(system)? {
        let Ok(command) = system.read(format!("/proc/{pid}/comm")) else {
            continue;
        };
        for (daemon, unit, profile) in DAEMONS {
            let profile = match system.provider() {
                Some(Provider::Rksm) => profile,
                _ => "auto",
            };
            if command == daemon {
                found.push(Finding::warning(
                    name,
                    format!("{daemon} (process {pid}) sets knobs as it thinks, whatever tune set"),
                    format!("systemctl disable --now {unit}; rksmctl tune {profile} instead"),
                ));
            }
        }
    }
    if found.is_empty() {
        found.push(Finding::ok(name, "none is running that sets the knobs"));
    }
    Ok(found)
}

/// One that replaces all others takes the hooks away while pages are merged.
fn livepatches(system: &System) -> Option<Finding> {
    let folder = fs::read_dir(system.path("/sys/kernel/livepatch")).ok()?;
    let mut others: Vec<String> = folder
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name != "rksm_hooks")
        .collect();
    others.sort();
    let first = others.first()?;
    let replaces = others.iter().find(|name| {
        system
            .read(format!("/sys/kernel/livepatch/{name}/replace"))
            .is_ok_and(|text| text == "1")
    });
    Some(match replaces {
        Some(name) => Finding::problem(
            "livepatches",
            format!("{name} replaces all others, and rksm_hooks with them"),
            "unload rksm before such a one is loaded, and load it again afterwards",
        ),
        None => Finding::warning(
            "livepatches",
            format!("{first} is loaded as well: it must not redirect what rksm_hooks does"),
            "",
        ),
    })
}

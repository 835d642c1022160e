// SPDX-License-Identifier: GPL-2.0

//! What is loaded, and what is loaded at boot.

use std::{path::Path, process::Command};

use super::finding::Finding;
use crate::system::{
    kernel::output,
    saved::{self, CONF, UNIT},
    Provider, System,
};

/// What the kernel notes where rksm is loaded: an out-of-tree module, an unsigned one, a livepatch.
const OURS: u64 = 1 << 12 | 1 << 13 | 1 << 15;
/// A warning, an oops, a bad page, a lockup.
const TROUBLE: u64 = 1 << 5 | 1 << 7 | 1 << 9 | 1 << 14;

pub fn checks(system: &System, loaded: bool) -> Vec<Finding> {
    vec![
        provider(system),
        livepatch(system),
        signatures(system, loaded),
        taint(system),
        unit(system),
        settings(system),
    ]
}

fn provider(system: &System) -> Finding {
    let name = "provider";
    match system.provider() {
        Some(Provider::Rksm) => Finding::ok(name, "rksm merges pages"),
        Some(Provider::InTree) => Finding::warning(
            name,
            "the kernel's own KSM merges pages: rksm is not loaded",
            "modprobe rksm; systemctl enable --now rksm for each boot",
        ),
        None => Finding::problem(
            name,
            "nobody merges pages: this kernel has no KSM",
            "boot a kernel with CONFIG_KSM",
        ),
    }
}

fn livepatch(system: &System) -> Finding {
    let name = "livepatch";
    let says = |file| system.read(Path::new("/sys/kernel/livepatch/rksm_hooks").join(file));
    // The state in which threads are that it waits for.
    let waits = |state| {
        Finding::warning(
            name,
            "rksm_hooks waits for a thread to leave what it redirects",
            format!(
                "grep -l '^{state}$' /proc/[0-9]*/task/*/patch_state says for which ones; wait"
            ),
        )
    };
    match (says("enabled").as_deref(), says("transition").as_deref()) {
        (Ok("1"), Ok("1")) => waits(0),
        (Ok("0"), Ok("1")) => waits(1),
        (Ok("1"), _) => Finding::ok(name, "rksm_hooks is in place"),
        (Ok(_), _) => Finding::warning(
            name,
            "rksm_hooks is loaded, and redirects nothing",
            "rmmod rksm_hooks; it comes again with rksm",
        ),
        (Err(_), _) => Finding::ok(name, "none of rksm: rksm_hooks is not loaded"),
    }
}

/// Whether the kernel takes unsigned modules.
fn signatures(system: &System, loaded: bool) -> Finding {
    let name = "signatures";
    let lockdown = system.read("/sys/kernel/security/lockdown");
    let locked = lockdown.is_ok_and(|text| text.contains('[') && !text.contains("[none]"));
    let enforced = system
        .read("/sys/module/module/parameters/sig_enforce")
        .is_ok_and(|text| text == "Y");
    let why = match (locked, enforced) {
        (false, false) => return Finding::ok(name, "the kernel takes modules as they are"),
        (true, _) => "the kernel is locked down, as with Secure Boot",
        (false, true) => "the kernel was told to (module.sig_enforce)",
    };
    let evidence = format!("only signed modules are loaded: {why}");
    if loaded {
        Finding::ok(name, evidence + "; rksm is")
    } else {
        Finding::warning(
            name,
            evidence,
            "if modprobe rksm is refused: mokutil --import /var/lib/dkms/mok.pub, and reboot",
        )
    }
}

fn taint(system: &System) -> Finding {
    let name = "taint";
    let Ok(taint) = system.value::<u64>("/proc/sys/kernel/tainted") else {
        return Finding::warning(name, "the kernel does not say", "");
    };
    if taint & TROUBLE != 0 {
        return Finding::warning(
            name,
            format!("{taint}: something went wrong in the kernel since it was booted"),
            "dmesg says what; report it if it names rksm or ksm",
        );
    }
    let others = taint & !OURS;
    Finding::ok(
        name,
        match (taint, others) {
            (0, _) => "none".to_owned(),
            (_, 0) => format!("{taint}: of modules from outside and livepatches only"),
            _ => format!("{taint}: nothing that went wrong"),
        },
    )
}

fn unit(system: &System) -> Finding {
    let name = "unit";
    if !saved::has_unit(system) {
        return Finding::warning(
            name,
            format!("{UNIT} is not installed: nothing loads rksm at boot"),
            "apt install ./rksm-dkms_*_all.deb",
        );
    }
    let says = |what: &str| {
        let mut systemctl = Command::new("systemctl");
        output(systemctl.args([what, UNIT])).unwrap_or_else(|_| "unknown".into())
    };
    let (enabled, active) = (says("is-enabled"), says("is-active"));
    let evidence = format!("{UNIT} is {enabled} and {active}");
    if active == "failed" {
        Finding::problem(name, evidence, format!("systemctl status {UNIT} says why"))
    } else if enabled == "enabled" {
        Finding::ok(name, evidence)
    } else {
        Finding::warning(
            name,
            evidence + ": rksm is not loaded at boot",
            "if it should be: rksmctl tune --save, or systemctl enable --now rksm",
        )
    }
}

fn settings(system: &System) -> Finding {
    let name = "settings";
    if !system.exists(CONF) {
        return Finding::ok(name, format!("there is no {CONF}: the module's defaults"));
    }
    match saved::read(system, Path::new(CONF)) {
        Ok(settings) => {
            let settings: Vec<_> = settings
                .iter()
                .map(|setting| format!("{}={}", setting.knob.name, setting.value))
                .collect();
            Finding::ok(name, format!("{CONF}: {}", settings.join(" ")))
        }
        Err(why) => Finding::problem(
            name,
            format!("{why:#}"),
            format!("mend {CONF}, or rksmctl tune --save writes it anew"),
        ),
    }
}

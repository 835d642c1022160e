// SPDX-License-Identifier: GPL-2.0

//! `rksmctl tune`: sets knobs, all that are asked for or none.

mod profile;
mod show;
mod word;

use std::path::PathBuf;

use anyhow::{Context, Result};

use self::{
    profile::Profile,
    word::{Word, WordParser},
};
use crate::{
    failure::Failure,
    show::say,
    signals,
    system::{
        change::Change,
        knobs::{Setting, Settings},
        saved, Provider, System,
    },
};

pub const EXAMPLES: &str = "\
Examples:
  rksmctl tune balanced --dry-run                    shows what a profile would set
  rksmctl tune                                       shows knobs and profiles
  rksmctl tune gentle --save                         now, and after each boot
  rksmctl tune aggressive scanners=4                 a profile, but for one knob
  rksmctl tune advisor_mode=none pages_to_scan=2000  two knobs, or neither
  rksmctl tune --load /etc/rksm.conf                 what was saved, again
";

#[derive(clap::Args)]
pub struct Args {
    /// A profile, knobs, or a profile and what is to be otherwise.
    ///
    /// What will be set is shown before. All of it is set, or nothing: if the kernel refuses one value, the
    /// others are set back. Without any, knobs and profiles are shown.
    #[arg(value_name = "PROFILE|KNOB=VALUE", value_parser = WordParser)]
    words: Vec<Word>,
    /// Sets what a file says, a line KNOB=VALUE for each.
    #[arg(long, value_name = "FILE", conflicts_with = "words")]
    load: Option<PathBuf>,
    /// Only shows what it would set.
    #[arg(long)]
    dry_run: bool,
    /// Makes it hold after a reboot; without anything else, what is set now.
    ///
    /// Writes all settings to /etc/rksm.conf and enables rksm.service, which loads rksm at boot and sets
    /// them.
    #[arg(long)]
    save: bool,
    /// Takes back what --save did: /etc/rksm.conf is as it was shipped, and rksm.service is disabled.
    ///
    /// What is set and loaded now stays so. A file that --save did not write is kept as /etc/rksm.conf.old.
    #[arg(long, conflicts_with_all = ["words", "load", "save", "dry_run"])]
    forget: bool,
}

pub fn run(system: &System, args: &Args) -> Result<()> {
    if args.forget {
        let kept = saved::forget(system)?;
        let kept = kept.map_or(String::new(), |old| format!(" What it was is in {old}."));
        return say(&format!(
            "{} is as it was shipped, and {} is disabled.{kept}\n",
            saved::CONF,
            saved::UNIT
        ));
    }
    let provider = system.need_provider()?;
    if args.save {
        can_save(system, provider)?;
    }
    let before = Settings::read(system, provider)?;
    let mut left_out = Vec::new();
    let asked = match &args.load {
        Some(file) => saved::read(system, file)?,
        None => settings(&args.words, &before, provider, &mut left_out)?,
    };
    if asked.is_empty() && args.load.is_none() && !args.save {
        return say(&show::knobs(provider, &before));
    }

    let change = Change::new(provider, before, asked).map_err(Failure::Usage)?;
    say(&show::change(&change, &left_out))?;
    if args.dry_run {
        return say("Nothing is set: --dry-run.\n");
    }
    signals::hold()?;
    change.make(system)?;
    if args.save {
        let now = Settings::read(system, provider)?;
        saved::save(system, &now).context("it is set, but not all of --save is done")?;
        say(&format!(
            "Saved to {}, and {} is enabled.\n",
            saved::CONF,
            saved::UNIT
        ))?;
    }
    Ok(())
}

/// Whether what is set now can be had after a boot.
fn can_save(system: &System, provider: Provider) -> Result<()> {
    let why = if provider != Provider::Rksm {
        "only settings of rksm can be saved: modprobe rksm first"
    } else if !saved::has_unit(system) {
        "rksm.service is not installed: it comes with the package rksm-dkms"
    } else {
        return Ok(());
    };
    Err(Failure::Usage(why.into()).into())
}

/// What the words ask for. What a profile sets and the kernel has not is left out.
fn settings(
    words: &[Word],
    before: &Settings,
    provider: Provider,
    left_out: &mut Vec<&'static str>,
) -> Result<Vec<Setting>> {
    let wrong = |why| Err(Failure::Usage(why).into());
    let mut asked: Vec<Setting> = Vec::new();
    let mut profile = None;
    for word in words {
        match word {
            Word::Setting(setting) => {
                let name = setting.knob.name;
                if asked.iter().any(|other| other.knob.name == name) {
                    return wrong(format!("{name} is given twice"));
                }
                asked.push(setting.clone());
            }
            Word::Profile(_) if profile.is_some() => return wrong("one profile at a time".into()),
            Word::Profile(one) => profile = Some(*one),
        }
    }
    let Some(profile) = profile else {
        return Ok(asked);
    };
    if profile == Profile::Auto && before.get("advisor_mode").is_none() {
        return wrong(format!(
            "{provider} has no advisor here: rksmctl tune balanced"
        ));
    }
    if profile == Profile::Pressure && before.get("advisor_free_high").is_none() {
        return wrong(format!(
            "{provider} has no advisor_mode=pressure: rksmctl tune auto, or modprobe rksm first"
        ));
    }
    for (name, value) in profile.settings() {
        if asked.iter().any(|other| other.knob.name == *name) {
            continue;
        }
        let setting = Setting::new(name, value).map_err(Failure::Usage)?;
        if before.get(name).is_some() {
            asked.push(setting);
        } else {
            left_out.push(setting.knob.name);
        }
    }
    Ok(asked)
}

// SPDX-License-Identifier: GPL-2.0

//! Setting several knobs: all of them, or none.

use anyhow::{anyhow, Result};

use super::{
    knobs::{find, is_advisor, Setting, Settings},
    Provider, System,
};
use crate::signals;

/// What is there, and what shall be.
#[derive(Clone, Debug)]
pub struct Change {
    pub provider: Provider,
    pub before: Settings,
    /// What is asked for and is not so yet, in an order that works.
    pub wanted: Vec<Setting>,
    /// What is so already.
    pub kept: Vec<Setting>,
}

impl Change {
    /// # Errors
    ///
    /// What the kernel would refuse, as far as that can be known.
    pub fn new(provider: Provider, before: Settings, asked: Vec<Setting>) -> Result<Self, String> {
        let asks_for = |name, value| {
            let mut asked = asked.iter();
            asked.any(|setting| setting.knob.name == name && setting.value == value)
        };
        // Whichever value the advisor has left, the kernel sets its default.
        let advisor_goes = before.are_advised() && asks_for("advisor_mode", "none");
        let (kept, mut wanted): (Vec<_>, Vec<_>) = asked.into_iter().partition(|setting| {
            let name = setting.knob.name;
            before.get(name) == Some(&setting.value) && !(advisor_goes && name == "pages_to_scan")
        });
        put_in_order(&mut wanted, &before);
        let change = Self {
            provider,
            before,
            wanted,
            kept,
        };
        for setting in &change.wanted {
            let name = setting.knob.name;
            if change.before.get(name).is_none() {
                return Err(format!("{provider} has no {name}"));
            }
            if setting.value == "pressure" && change.before.get("advisor_free_high").is_none() {
                return Err(format!(
                    "{provider} has no {name}=pressure: advisor_mode=scan-time, or modprobe rksm first"
                ));
            }
        }
        if let (Some(low), Some(high)) = (
            change.number_after("advisor_free_low"),
            change.number_after("advisor_free_high"),
        ) {
            if low >= high {
                return Err(format!(
                    "advisor_free_low={low} is not below advisor_free_high={high}"
                ));
            }
        }
        let mut asked = change.wanted.iter().chain(&change.kept);
        if is_advisor(change.after("advisor_mode"))
            && asked.any(|setting| setting.knob.name == "pages_to_scan")
        {
            return Err("the advisor decides on pages_to_scan: \
                        set advisor_mode=none as well, or its own limits"
                .into());
        }
        Ok(change)
    }

    /// What a knob will be set to.
    pub fn after(&self, name: &str) -> Option<&str> {
        let wanted = self.wanted.iter().find(|setting| setting.knob.name == name);
        wanted.map_or_else(|| self.before.get(name), |setting| Some(&setting.value))
    }

    pub fn number_after(&self, name: &str) -> Option<u64> {
        self.after(name)?.parse().ok()
    }

    /// Whether `pages_to_scan` falls back to its default, since the advisor goes.
    pub fn advisor_goes(&self) -> bool {
        self.before.are_advised()
            && self.after("advisor_mode") == Some("none")
            && !self.wanted.iter().any(|s| s.knob.name == "pages_to_scan")
    }

    /// Sets it. A signal that is held (`signals::hold`) has it undone.
    ///
    /// # Errors
    ///
    /// What is refused; everything is as before then, or the error says what is not.
    pub fn make(&self, system: &System) -> Result<()> {
        for (index, Setting { knob, value }) in self.wanted.iter().enumerate() {
            let done = if signals::came() {
                Err(anyhow!("a signal came"))
            } else {
                system.write(self.provider.file(knob.name), value)
            };
            let Err(why) = done else {
                continue;
            };
            // Even what was refused may have changed: run becomes 0 where not all can be unmerged.
            let left = self.undo(system, &self.wanted[..=index]);
            let state = if left.is_empty() {
                "all knobs are as they were".to_owned()
            } else {
                format!("{} could not be set back", left.join(", "))
            };
            return Err(why.context(format!("{}={value} is refused, and {state}", knob.name)));
        }
        Ok(())
    }

    /// Sets back what differs from before, and returns what is not to be had.
    fn undo(&self, system: &System, done: &[Setting]) -> Vec<&'static str> {
        let mut old: Vec<Setting> = done
            .iter()
            .filter_map(|setting| self.old(setting.knob.name))
            .collect();
        let advisor = old
            .iter()
            .any(|setting| setting.knob.name == "advisor_mode");
        // A change of who decides changes the value as well.
        if advisor && !done.iter().any(|s| s.knob.name == "pages_to_scan") {
            old.extend(self.old("pages_to_scan"));
        }
        if self.before.are_advised() {
            old.retain(|setting| setting.knob.name != "pages_to_scan");
        }
        put_in_order(
            &mut old,
            &Settings::read(system, self.provider).unwrap_or_default(),
        );

        let mut left = Vec::new();
        for Setting { knob, value } in &old {
            let now = Settings::read(system, self.provider).unwrap_or_default();
            if now.get(knob.name) != Some(value)
                && system.write(self.provider.file(knob.name), value).is_err()
            {
                left.push(knob.name);
            }
        }
        left
    }

    fn old(&self, name: &str) -> Option<Setting> {
        Some(Setting {
            knob: find(name)?,
            value: self.before.get(name)?.to_owned(),
        })
    }
}

/// Puts settings in an order in which the kernel takes them, if it is set to `now`.
fn put_in_order(settings: &mut [Setting], now: &Settings) {
    settings.sort_by_key(turn);
    let at = |name| {
        settings
            .iter()
            .position(|setting| setting.knob.name == name)
    };
    let (Some(low), Some(high)) = (at("advisor_free_low"), at("advisor_free_high")) else {
        return;
    };
    // The low mark must be below the high one all the time.
    let new_low = settings[low].value.parse().unwrap_or(0);
    let low_first = new_low < now.number("advisor_free_high").unwrap_or(u64::MAX);
    if low_first != (low < high) {
        settings.swap(low, high);
    }
}

/// When it is a knob's turn: some can be set only while nothing is merged, `pages_to_scan` only without
/// the advisor, and what scans should begin with everything else in place.
fn turn(setting: &Setting) -> u8 {
    match (setting.knob.name, setting.value.as_str()) {
        ("run", "2") => 0,
        ("advisor_mode", "none") => 1,
        ("advisor_mode", _) => 3,
        ("run", _) => 4,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_was_refused_is_said_where_it_cannot_be_undone() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("sys/kernel/mm/rksm");
        // It can neither be set nor be read.
        fs::create_dir_all(folder.join("sleep_millisecs")).unwrap();
        fs::write(folder.join("pages_to_scan"), "100").unwrap();
        let mut before = Settings::default();
        for name in ["pages_to_scan", "sleep_millisecs"] {
            before.0.insert(name, "100".into());
        }
        let asked = ["pages_to_scan", "sleep_millisecs"].map(|name| Setting::new(name, "7"));
        let asked = asked.map(Result::unwrap).to_vec();
        let change = Change::new(Provider::Rksm, before, asked).unwrap();
        let said = format!("{:#}", change.make(&System::new(root.path())).unwrap_err());
        let start =
            "sleep_millisecs=7 is refused, and sleep_millisecs could not be set back: cannot write";
        assert!(said.starts_with(start), "{said}");
        let pages = fs::read_to_string(folder.join("pages_to_scan")).unwrap();
        assert_eq!(pages.trim(), "100");
    }
}

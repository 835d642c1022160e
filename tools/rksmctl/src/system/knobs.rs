// SPDX-License-Identifier: GPL-2.0

//! The knobs: what there are, what they take, and what they are set to. `docs/abi.md` says more.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;

use super::{Provider, System};

/// What a knob takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Takes {
    /// A number from the first to the last.
    Number(u64, u64),
    /// 0 or 1.
    Flag,
    /// One of these words. What is on is shown in brackets.
    Words(&'static [&'static str]),
}

/// A file that root can write to.
#[derive(Clone, Copy, Debug)]
pub struct Knob {
    pub name: &'static str,
    pub takes: Takes,
    pub default: &'static str,
    /// Empty for a mere number.
    pub unit: &'static str,
    pub meaning: &'static str,
}

const fn knob(
    name: &'static str,
    takes: Takes,
    default: &'static str,
    unit: &'static str,
    meaning: &'static str,
) -> Knob {
    Knob {
        name,
        takes,
        default,
        unit,
        meaning,
    }
}

const U32: Takes = Takes::Number(0, u32::MAX as u64);

/// In the order in which they are shown.
pub const KNOBS: &[Knob] = &[
    knob(
        "run",
        Takes::Number(0, 2),
        "0",
        "",
        "0 stops, 1 scans and merges, 2 unmerges everything",
    ),
    knob(
        "scope",
        Takes::Words(&["madvise", "all"]),
        "madvise",
        "",
        "whose memory: who asked for it, or all",
    ),
    knob(
        "domain",
        Takes::Words(&["auto", "all", "user", "cgroup", "process"]),
        "auto",
        "",
        "whose pages are merged with whose; auto: user where scope is all, else all",
    ),
    knob(
        "domain_depth",
        U32,
        "0",
        "",
        "which level of cgroups is a domain; 0 is the lowest",
    ),
    knob(
        "content",
        Takes::Words(&["all", "zero"]),
        "all",
        "",
        "which pages: all that are equal, or those of zeroes",
    ),
    knob(
        "huge_pages",
        U32,
        "1",
        "pages",
        "of a huge page, that must have an equal to split it; 0 never",
    ),
    knob(
        "fresh_frames",
        Takes::Words(&["auto", "0", "1"]),
        "auto",
        "",
        "whether neither side supplies the frame; auto: where domain is not all",
    ),
    knob(
        "scanners",
        Takes::Number(1, 16),
        "1",
        "threads",
        "how many scan at once",
    ),
    knob(
        "pages_to_scan",
        U32,
        "100",
        "pages",
        "how many a scanner looks at before it sleeps",
    ),
    knob("sleep_millisecs", U32, "20", "ms", "how long it sleeps"),
    knob(
        "advisor_mode",
        Takes::Words(&["none", "scan-time", "pressure"]),
        "none",
        "",
        "who decides on pages_to_scan",
    ),
    knob(
        "advisor_target_scan_time",
        Takes::Number(1, u64::MAX),
        "200",
        "s",
        "how long the advisor wants a pass to take",
    ),
    knob(
        "advisor_max_cpu",
        U32,
        "70",
        "%",
        "of one CPU, what the advisor lets the scanners use",
    ),
    knob(
        "advisor_min_pages_to_scan",
        Takes::Number(0, u64::MAX),
        "500",
        "pages",
        "the least that it sets",
    ),
    knob(
        "advisor_max_pages_to_scan",
        Takes::Number(0, u64::MAX),
        "30000",
        "pages",
        "the most that it sets",
    ),
    knob(
        "advisor_free_high",
        Takes::Number(1, 100),
        "20",
        "%",
        "of memory; with more available pressure scans nothing",
    ),
    knob(
        "advisor_free_low",
        Takes::Number(0, 99),
        "10",
        "%",
        "of memory; with less available pressure scans all it may",
    ),
    knob(
        "use_zero_pages",
        Takes::Flag,
        "0",
        "",
        "maps pages of zeroes to the kernel's zero page",
    ),
    knob(
        "smart_scan",
        Takes::Flag,
        "1",
        "",
        "passes over pages that found no equal",
    ),
    knob(
        "max_page_sharing",
        Takes::Number(2, i32::MAX as u64),
        "256",
        "mappings",
        "how many may share a page",
    ),
    knob(
        "merge_across_nodes",
        Takes::Flag,
        "1",
        "",
        "merges pages of different NUMA nodes",
    ),
    knob(
        "stable_node_chains_prune_millisecs",
        U32,
        "2000",
        "ms",
        "the least time between two looks for merged pages that are gone",
    ),
];

/// The knob of that name.
pub fn find(name: &str) -> Option<&'static Knob> {
    KNOBS.iter().find(|knob| knob.name == name)
}

/// A knob, and a value that it takes.
#[derive(Clone, Debug)]
pub struct Setting {
    pub knob: &'static Knob,
    pub value: String,
}

impl Setting {
    /// What is wrong with it, in words.
    pub fn new(name: &str, value: &str) -> Result<Self, String> {
        let knob = find(name).ok_or_else(|| format!("there is no knob {name}"))?;
        let value = knob.as_shown(value);
        knob.check(value)?;
        Ok(Self {
            knob,
            value: value.to_owned(),
        })
    }
}

impl Knob {
    /// What is wrong with a value, in words.
    pub fn check(&self, value: &str) -> Result<(), String> {
        let good = match self.takes {
            Takes::Number(least, most) => value
                .parse::<u64>()
                .is_ok_and(|number| (least..=most).contains(&number)),
            Takes::Flag => matches!(value, "0" | "1"),
            Takes::Words(words) => words.contains(&value),
        };
        if good {
            return Ok(());
        }
        Err(format!("{} takes {}", self.name, self.takes_what()))
    }

    /// What it takes, in words.
    pub fn takes_what(&self) -> String {
        match self.takes {
            Takes::Number(least, most) => format!("{least} to {most}"),
            Takes::Flag => "0 or 1".into(),
            Takes::Words(words) => words.join(" or "),
        }
    }

    /// The value as the knob shows it afterwards: a flag takes more than it shows.
    fn as_shown<'a>(&self, value: &'a str) -> &'a str {
        match (self.takes, value) {
            (Takes::Flag, "y" | "on") => "1",
            (Takes::Flag, "n" | "off") => "0",
            _ => value,
        }
    }
}

/// Of `[none] scan-time` the one in brackets; of all else everything.
fn chosen(text: &str) -> &str {
    text.split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'))
        .map_or(text, |(inside, _)| inside)
}

/// What the knobs are set to, those that there are here.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Settings(pub BTreeMap<&'static str, String>);

impl Settings {
    pub fn read(system: &System, provider: Provider) -> Result<Self> {
        let mut values = BTreeMap::new();
        for knob in KNOBS {
            let path = provider.file(knob.name);
            // Without NUMA in-tree KSM has no merge_across_nodes.
            if system.exists(&path) {
                values.insert(knob.name, chosen(&system.read(path)?).to_owned());
            }
        }
        Ok(Self(values))
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }

    /// Whether an advisor decides on `pages_to_scan`.
    pub fn are_advised(&self) -> bool {
        is_advisor(self.get("advisor_mode"))
    }

    /// Whether nothing is scanned since enough memory is available.
    pub fn wait_for_pressure(&self) -> bool {
        self.get("run") == Some("1")
            && self.get("advisor_mode") == Some("pressure")
            && self.get("pages_to_scan") == Some("0")
    }
}

/// Whether that is the mode of an advisor.
pub fn is_advisor(mode: Option<&str>) -> bool {
    mode.is_some_and(|mode| mode != "none")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_in_brackets() {
        assert_eq!(chosen("[none] scan-time"), "none");
        assert_eq!(chosen("none [scan-time]"), "scan-time");
        assert_eq!(chosen("100"), "100");
    }

    #[test]
    fn defaults_are_taken() {
        for knob in KNOBS {
            assert_eq!(knob.check(knob.default), Ok(()));
        }
    }

    #[test]
    fn what_is_refused() {
        for (name, value) in [
            ("run", "3"),
            ("run", ""),
            ("run", "-1"),
            ("scanners", "0"),
            ("scanners", "17"),
            ("pages_to_scan", "4294967296"),
            ("smart_scan", "2"),
            ("advisor_mode", "[none]"),
            ("advisor_free_high", "0"),
            ("advisor_free_low", "100"),
            ("domain", "[all]"),
            ("content", "zeroes"),
            ("max_page_sharing", "1"),
        ] {
            assert!(find(name).unwrap().check(value).is_err(), "{name}={value}");
        }
    }
}

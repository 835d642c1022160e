// SPDX-License-Identifier: GPL-2.0

//! The mappings of a process, and which of them can be merged.

use std::{fmt, io, time::Duration};

use serde::Serialize;

use super::{patience::Patience, System};
use crate::show::plain;

/// For smaps the kernel looks at all pages.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why the memory of a mapping is not merged.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhyNot {
    Hugetlb,
    Device,
    Shared,
    Droppable,
    Private,
    Unadvised,
}

impl fmt::Display for WhyNot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hugetlb => "huge pages of hugetlbfs",
            Self::Device => "of a device or of the kernel",
            Self::Shared => "shared memory",
            Self::Droppable => "memory that the kernel may drop",
            Self::Private => "locked, not dumped, not inherited or unmergeable, and not advised",
            Self::Unadvised => "not advised, nobody asked for it",
        })
    }
}

/// Sizes in bytes.
#[derive(Clone, Debug, Serialize)]
pub struct Mapping {
    pub start: u64,
    pub end: u64,
    pub name: String,
    pub why_not: Option<WhyNot>,
    /// What is there, in hugetlbfs as well.
    pub resident: u64,
    pub anonymous: u64,
    pub swapped: u64,
    /// What is merged of it, where the kernel says.
    pub merged: Option<u64>,
}

/// All of a process. It asks for root, or the process's owner; with `all`, what can be merged is.
///
/// # Errors
///
/// `TimedOut` where its address space is locked.
pub fn read(system: &System, patience: &Patience, pid: i32, all: bool) -> io::Result<Vec<Mapping>> {
    let path = system.path(format!("/proc/{pid}/smaps"));
    let text = patience.read_within(&path, PATIENCE)?;
    parse(&text, all).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// A mapping begins with a line `START-END RIGHTS OFFSET DEVICE INODE NAME`; then come lines
/// `FIELD: VALUE`. The kernel has no name break a line.
fn parse(text: &str, all: bool) -> Option<Vec<Mapping>> {
    let mut mappings: Vec<Mapping> = Vec::new();
    for line in text.lines() {
        if let Some(mapping) = Mapping::begin(line) {
            mappings.push(mapping);
        } else if let (Some(mapping), Some((field, value))) =
            (mappings.last_mut(), line.split_once(':'))
        {
            mapping.take(field, value, all)?;
        }
    }
    Some(mappings)
}

impl Mapping {
    /// `None` where this is no first line.
    fn begin(line: &str) -> Option<Self> {
        let mut rest = line;
        let mut word = || {
            let (word, more) = rest.split_once(' ').unwrap_or((rest, ""));
            rest = more.trim_start();
            word
        };
        let (start, end) = word().split_once('-')?;
        let address = |text| u64::from_str_radix(text, 16).ok();
        let (start, end) = (address(start)?, address(end)?);
        for _ in ["rights", "offset", "device", "inode"] {
            word();
        }
        Some(Self {
            start,
            end,
            name: plain(rest),
            why_not: None,
            resident: 0,
            anonymous: 0,
            swapped: 0,
            merged: None,
        })
    }

    /// `None` where a size is none.
    fn take(&mut self, field: &str, value: &str, all: bool) -> Option<()> {
        let size = || -> Option<u64> {
            let kib: u64 = value.trim().strip_suffix(" kB")?.parse().ok()?;
            kib.checked_mul(1024)
        };
        match field {
            "Rss" | "Shared_Hugetlb" | "Private_Hugetlb" => self.resident += size()?,
            "Anonymous" => self.anonymous = size()?,
            "Swap" => self.swapped = size()?,
            "KSM" => self.merged = Some(size()?),
            "VmFlags" => self.why_not = why_not(value, all),
            _ => {}
        }
        Some(())
    }
}

/// As the kernel's vma_ksm_compatible() has it; with `all`, as rksm's PRIVATE does. It has a flag of its own,
/// for which the kernel knows no name.
fn why_not(flags: &str, all: bool) -> Option<WhyNot> {
    let any = |these: &[&str]| flags.split_whitespace().any(|flag| these.contains(&flag));
    if any(&["mg"]) {
        None
    } else if any(&["ht"]) {
        Some(WhyNot::Hugetlb)
    } else if any(&["io", "pf", "mm", "de"]) {
        Some(WhyNot::Device)
    } else if any(&["sh", "ms"]) {
        Some(WhyNot::Shared)
    } else if any(&["dp"]) {
        Some(WhyNot::Droppable)
    } else if all && any(&["lo", "dd", "wf", "??"]) {
        Some(WhyNot::Private)
    } else if all {
        None
    } else {
        Some(WhyNot::Unadvised)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons() {
        let of = |flags: &str, all| {
            let text = format!(
                "7f0000000000-7f0000200000 rw-p 00000000 00:00 0 \n\
                 Rss:  2048 kB\nAnonymous:  1024 kB\nVmFlags: {flags} \n"
            );
            let mappings = parse(&text, all).unwrap();
            assert_eq!(mappings[0].anonymous, 1 << 20);
            mappings[0].why_not
        };
        assert_eq!(of("rd wr mr mw me ac mg", false), None);
        assert_eq!(of("rd wr mr mw me ac sd", true), None);
        assert_eq!(of("rd wr mr mw me ac", false), Some(WhyNot::Unadvised));
        assert_eq!(of("rd wr mr mw me lo ac", false), Some(WhyNot::Unadvised));
        for private in ["lo ac", "ac wf", "ac dd sd", "ac ??"] {
            let flags = format!("rd wr mr mw me {private}");
            assert_eq!(of(&flags, true), Some(WhyNot::Private));
            assert_eq!(of(&format!("{flags} mg"), true), None);
        }
        assert_eq!(of("rd wr sh mr mw me ms", true), Some(WhyNot::Shared));
        assert_eq!(of("rd wr mr mw me de ht", true), Some(WhyNot::Hugetlb));
        assert_eq!(of("rd mr de pf io", true), Some(WhyNot::Device));
        assert_eq!(of("rd wr mr mw me wf dp", true), Some(WhyNot::Droppable));
    }

    #[test]
    fn names() {
        let of = |name: &str| {
            let text = format!("7f000000-7f200000 rw-s 00000000 00:01 7    {name}\nRss:  4 kB\n");
            let mappings = parse(&text, false).unwrap();
            assert_eq!((mappings[0].end, mappings[0].resident), (0x7f20_0000, 4096));
            mappings[0].name.clone()
        };
        for name in [
            "",
            "[heap]",
            "[anon:pool: a]",
            "/usr/lib/a b  c: d",
            "/memfd:m (deleted)",
            "/SYSV",
            "/SYSV00000007 (deleted)",
        ] {
            assert_eq!(of(name), name);
        }
        assert_eq!(of("/tmp/\u{1b}[2J"), "/tmp/\u{fffd}[2J");
    }
}

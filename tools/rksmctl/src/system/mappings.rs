// SPDX-License-Identifier: GPL-2.0

//! The mappings of a process, and which of them can be merged.

use std::{fmt, io, time::Duration};

use procfs::{
    process::{MMapPath, MemoryMap, MemoryMaps, VmFlags},
    FromBufRead,
};
use serde::Serialize;

use super::{patience::Patience, System};

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
    Unadvised,
}

impl fmt::Display for WhyNot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hugetlb => "huge pages of hugetlbfs",
            Self::Device => "of a device or of the kernel",
            Self::Shared => "shared memory",
            Self::Droppable => "memory that the kernel may drop",
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

fn parse(text: &str, all: bool) -> Option<Vec<Mapping>> {
    let maps = MemoryMaps::from_buf_read(text.as_bytes()).ok()?;
    // procfs does not know this flag.
    let droppable = text
        .lines()
        .filter_map(|line| line.strip_prefix("VmFlags:"))
        .map(|flags| flags.split_whitespace().any(|flag| flag == "dp"));
    Some(
        maps.into_iter()
            .zip(droppable)
            .map(|(map, droppable)| Mapping::new(&map, droppable, all))
            .collect(),
    )
}

impl Mapping {
    fn new(map: &MemoryMap, droppable: bool, all: bool) -> Self {
        let of = |name| map.extension.map.get(name).copied().unwrap_or(0);
        Self {
            start: map.address.0,
            end: map.address.1,
            name: name_of(&map.pathname),
            why_not: why_not(map.extension.vm_flags, droppable, all),
            resident: of("Rss") + of("Shared_Hugetlb") + of("Private_Hugetlb"),
            anonymous: of("Anonymous"),
            swapped: of("Swap"),
            merged: map.extension.map.get("KSM").copied(),
        }
    }
}

/// As the kernel's vma_ksm_compatible() has it.
fn why_not(flags: VmFlags, droppable: bool, all: bool) -> Option<WhyNot> {
    let any = |these| flags.intersects(these);
    if flags.contains(VmFlags::MG) {
        None
    } else if any(VmFlags::HT) {
        Some(WhyNot::Hugetlb)
    } else if any(VmFlags::IO | VmFlags::PF | VmFlags::MM | VmFlags::DE) {
        Some(WhyNot::Device)
    } else if any(VmFlags::SH | VmFlags::MS) {
        Some(WhyNot::Shared)
    } else if droppable {
        Some(WhyNot::Droppable)
    } else if all {
        None
    } else {
        Some(WhyNot::Unadvised)
    }
}

fn name_of(path: &MMapPath) -> String {
    match path {
        MMapPath::Path(path) => path.display().to_string(),
        MMapPath::Heap => "[heap]".into(),
        MMapPath::Stack => "[stack]".into(),
        MMapPath::TStack(thread) => format!("[stack:{thread}]"),
        MMapPath::Vdso => "[vdso]".into(),
        MMapPath::Vvar => "[vvar]".into(),
        MMapPath::Vsyscall => "[vsyscall]".into(),
        MMapPath::Anonymous => String::new(),
        MMapPath::Rollup => "[rollup]".into(),
        MMapPath::Vsys(key) => format!("SysV {key:x}"),
        MMapPath::Other(name) => format!("[{name}]"),
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
        assert_eq!(of("rd wr sh mr mw me ms", true), Some(WhyNot::Shared));
        assert_eq!(of("rd wr mr mw me de ht", true), Some(WhyNot::Hugetlb));
        assert_eq!(of("rd mr de pf io", true), Some(WhyNot::Device));
        assert_eq!(of("rd wr mr mw me wf dp", true), Some(WhyNot::Droppable));
    }
}

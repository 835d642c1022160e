// SPDX-License-Identifier: GPL-2.0

//! Who is beside the victim, the process whose pages are to be merged.

use std::{fmt, fs};

use nix::{errno::Errno, libc};
use serde::{Deserialize, Serialize};

use crate::{held, knobs};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Neighbour {
    None,
    /// It has the same pages as the victim, and holds its mmap lock nearly always.
    Busy,
    /// The same, and for ever: it waits for a file server that does not answer.
    Stuck,
    /// A page here and there in as much address space as there is.
    Sparse,
    /// Many of these.
    SparseCrowd,
    /// Many mappings, one page of which was touched.
    Mappings,
    /// Many mappings, each page of which was touched once and given back.
    Emptied,
    /// A process that forks children which exit at once.
    ForkStorm,
    /// Many processes that sleep, and many that have some pages and exit.
    ExitStorm,
    /// So many pages that a batch takes long.
    Batch,
    /// It has the same pages as the victim, and they are a device's as well.
    Pinned,
    /// It has the same pages as the victim, and userfaultfd watches for writes to them.
    Watched,
}

impl Neighbour {
    pub const ALL: [Self; 12] = [
        Self::None,
        Self::Busy,
        Self::Stuck,
        Self::Sparse,
        Self::SparseCrowd,
        Self::Mappings,
        Self::Emptied,
        Self::ForkStorm,
        Self::ExitStorm,
        Self::Batch,
        Self::Pinned,
        Self::Watched,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Busy => "mmap lock nearly always held",
            Self::Stuck => "mmap lock held for ever",
            Self::Sparse => "sparse",
            Self::SparseCrowd => "many sparse",
            Self::Mappings => "many mappings",
            Self::Emptied => "many emptied mappings",
            Self::ForkStorm => "fork storm",
            Self::ExitStorm => "exit storm beside sleepers",
            Self::Batch => "batch without end",
            Self::Pinned => "pinned pages",
            Self::Watched => "watched pages",
        }
    }

    /// Ways of scanning that tell something beside this one.
    pub fn paces(self) -> &'static [Pace] {
        match self {
            Self::Batch => &[Pace::Endless],
            _ => &[Pace::Default, Pace::FlatOut],
        }
    }

    /// It has pages like the victim's, which are to be known to the scanner before.
    pub fn squats(self) -> bool {
        matches!(
            self,
            Self::Busy | Self::Stuck | Self::Pinned | Self::Watched
        )
    }

    /// It forks all the time.
    pub fn forks(self) -> bool {
        matches!(self, Self::ForkStorm | Self::ExitStorm)
    }

    /// It has all the address space that it can get.
    pub fn is_sparse(self) -> bool {
        matches!(self, Self::Sparse | Self::SparseCrowd)
    }

    /// Why it cannot be on this kernel.
    pub fn missing(self) -> Option<&'static str> {
        let (there, what) = match self {
            Self::Stuck => (
                fs::metadata("/dev/fuse").is_ok(),
                "this kernel has no FUSE (/dev/fuse)",
            ),
            Self::Pinned => (
                has_call(libc::SYS_io_uring_setup),
                "this kernel has no io_uring",
            ),
            Self::Watched => (
                held::can_watch(),
                "this kernel has no userfaultfd that watches for writes",
            ),
            _ => (true, ""),
        };
        (!there).then_some(what)
    }
}

/// Whether the kernel knows it: with nothing to do it fails in one way or the other.
fn has_call(number: libc::c_long) -> bool {
    // SAFETY: Zeroes are no place that could be written to.
    let status = unsafe { libc::syscall(number, 0, 0, 0, 0) };
    Errno::result(status) != Err(Errno::ENOSYS)
}

/// How it is scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pace {
    /// The knobs as they are after boot.
    Default,
    /// Large batches, no sleep.
    FlatOut,
    /// One batch that does not end.
    Endless,
}

impl Pace {
    pub fn set(self) -> anyhow::Result<()> {
        let ms = if self == Self::Default { "20" } else { "0" };
        let smart = if self == Self::Default { "1" } else { "0" };
        knobs::for_measuring(&[
            ("pages_to_scan", self.pages_to_scan()),
            ("sleep_millisecs", ms),
            ("smart_scan", smart),
            ("use_zero_pages", "0"),
        ])
    }

    pub fn pages_to_scan(self) -> &'static str {
        match self {
            Self::Default => "100",
            Self::FlatOut => "100000",
            Self::Endless => "4000000000",
        }
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Default => "default knobs",
            Self::FlatOut => "flat out",
            Self::Endless => "4000000000 pages",
        })
    }
}

/// How large they are.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Measures {
    /// The victim's, and half as many of who has the same.
    pub pages: usize,
    /// Whose protection is changed all the time.
    pub busy: usize,
    /// Processes with nothing but address space.
    pub sparse: usize,
    pub mappings: usize,
    pub sleepers: usize,
    /// Of a batch without end.
    pub batch: usize,
}

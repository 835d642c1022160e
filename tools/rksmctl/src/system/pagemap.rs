// SPDX-License-Identifier: GPL-2.0

//! What is behind the addresses of a process, page by page. The work grows with the pages that are
//! there, not with the address space.

use std::{
    fs::File,
    io,
    os::{fd::AsRawFd, unix::fs::FileExt},
    sync::mpsc::{self, RecvTimeoutError, SyncSender},
    thread,
    time::Duration,
};

use procfs::{process::MemoryPageFlags, PhysicalPageFlags};
use serde::Serialize;

use super::{
    mappings::{Mapping, WhyNot},
    memory::page_size,
    System,
};

/// How long the process may keep one look waiting.
const PATIENCE: Duration = Duration::from_secs(5);
/// So many regions are had in one call, and so many entries in one read.
const AT_ONCE: usize = 512;

/// So many pages are looked at before it is told what was found: in less time than [`PATIENCE`].
const PAGES_AT_ONCE: u64 = 32 << 10;

/// What a page is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    Merged,
    Zero,
    Unmerged,
    /// Merged or not: it needs root to be seen.
    Unknown,
    /// Of a file, and not written to: never merged.
    File,
    Swapped,
    /// Of a mapping that is not merged.
    Never,
}

impl State {
    pub const ALL: [Self; 7] = [
        Self::Merged,
        Self::Zero,
        Self::Unmerged,
        Self::Unknown,
        Self::File,
        Self::Swapped,
        Self::Never,
    ];
}

/// Pages side by side that are alike, of one mapping.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// The number of the mapping.
    pub mapping: usize,
    pub start: u64,
    pub pages: u64,
    pub state: State,
}

/// Tells `tell` of all pages that are there.
///
/// # Errors
///
/// `TimedOut` where the address space is locked; else what the kernel says.
pub fn look(
    system: &System,
    pid: i32,
    mappings: &[Mapping],
    mut tell: impl FnMut(Run),
) -> io::Result<()> {
    let looker = Looker {
        pagemap: File::open(system.path(format!("/proc/{pid}/pagemap")))?,
        flags: File::open(system.path("/proc/kpageflags")).ok(),
        page: page_size(),
    };
    let (send, receive) = mpsc::sync_channel(4);
    let mappings = mappings.to_vec();
    // It ends when the process lets go of its lock, or with this program.
    let thread = thread::Builder::new().spawn(move || looker.look(&mappings, &send))?;
    loop {
        match receive.recv_timeout(PATIENCE) {
            Ok(runs) => Vec::into_iter(runs).for_each(&mut tell),
            Err(RecvTimeoutError::Timeout) => return Err(io::ErrorKind::TimedOut.into()),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    thread
        .join()
        .unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
}

struct Looker {
    pagemap: File,
    flags: Option<File>,
    page: u64,
}

type Sender = SyncSender<Vec<Run>>;

impl Looker {
    fn look(&self, mappings: &[Mapping], send: &Sender) -> io::Result<()> {
        for (number, mapping) in mappings.iter().enumerate() {
            // vsyscall is the kernel's.
            let mut at = mapping.start;
            while at < mapping.end && at < 1 << 63 {
                let (regions, end) = self.regions(at, mapping.end)?;
                let mut runs = Vec::new();
                for region in regions {
                    self.states(mapping, region, |start, pages, state| {
                        runs.push(Run {
                            mapping: number,
                            start,
                            pages,
                            state,
                        });
                    })?;
                }
                // Whoever waited may have given up.
                if send.send(runs).is_err() {
                    return Ok(());
                }
                at = end;
            }
        }
        Ok(())
    }

    /// What is there from `start` on, and where to go on.
    fn regions(&self, start: u64, end: u64) -> io::Result<(Vec<Region>, u64)> {
        match ask(|categories| scan(&self.pagemap, start, end, categories)) {
            Err(error) if error.raw_os_error() == Some(libc::ENOTTY) => self.entries(start, end),
            result => result,
        }
    }

    /// As [`Self::regions`], for kernels before 6.7: they have an entry for each page, there or not.
    fn entries(&self, start: u64, end: u64) -> io::Result<(Vec<Region>, u64)> {
        let count = ((end - start) / self.page).min(PAGES_AT_ONCE);
        let mut regions = Vec::new();
        for (index, entry) in (0..).zip(self.read(&self.pagemap, start / self.page, count)?) {
            let flags = MemoryPageFlags::from_bits_retain(entry);
            let mut categories = 0;
            for (flag, category) in [
                (MemoryPageFlags::PRESENT, Region::PRESENT),
                (MemoryPageFlags::SWAP, Region::SWAPPED),
                (MemoryPageFlags::FILE, Region::FILE),
            ] {
                if flags.contains(flag) {
                    categories |= category;
                }
            }
            if categories != 0 {
                let start = start + index * self.page;
                regions.push(Region {
                    start,
                    end: start + self.page,
                    categories,
                });
            }
        }
        Ok((regions, start + count * self.page))
    }

    /// Tells of the pages of a region what they are.
    fn states(
        &self,
        mapping: &Mapping,
        region: Region,
        mut tell: impl FnMut(u64, u64, State),
    ) -> io::Result<()> {
        let is = |category| region.categories & category != 0;
        let state = if is(Region::GUARD) {
            return Ok(());
        } else if is(Region::FILE)
            && matches!(
                mapping.why_not,
                None | Some(WhyNot::Unadvised | WhyNot::Private)
            )
        {
            // Advice would not help.
            State::File
        } else if mapping.why_not.is_some() {
            State::Never
        } else if is(Region::SWAPPED) {
            State::Swapped
        } else if is(Region::ZERO) {
            State::Zero
        } else if mapping.merged == Some(0) {
            State::Unmerged
        } else if let Some(flags) = &self.flags {
            return self.tell_apart(flags, region, tell);
        } else if mapping.merged == Some(mapping.anonymous) {
            State::Merged
        } else {
            State::Unknown
        };
        tell(region.start, (region.end - region.start) / self.page, state);
        Ok(())
    }

    /// Which pages of a region are merged.
    fn tell_apart(
        &self,
        flags: &File,
        region: Region,
        mut tell: impl FnMut(u64, u64, State),
    ) -> io::Result<()> {
        let mut at = region.start;
        while at < region.end {
            let count = ((region.end - at) / self.page).min(AT_ONCE as u64);
            let entries = self.read(&self.pagemap, at / self.page, count)?;
            for (index, entry) in (0..).zip(entries) {
                let frame = MemoryPageFlags::from_bits_retain(entry)
                    .get_page_frame_number()
                    .0;
                tell(at + index * self.page, 1, self.state_of(flags, frame));
            }
            at += count * self.page;
        }
        Ok(())
    }

    fn state_of(&self, flags: &File, frame: u64) -> State {
        // Who may not see them is told that all frames are 0.
        let entry = match self.read(flags, frame, 1).as_deref() {
            Ok([entry]) if frame != 0 => *entry,
            _ => return State::Unknown,
        };
        let flags = PhysicalPageFlags::parse_info(entry);
        if flags.contains(PhysicalPageFlags::KSM) {
            State::Merged
        } else if flags.contains(PhysicalPageFlags::ZERO_PAGE) {
            State::Zero
        } else {
            State::Unmerged
        }
    }

    /// Entries of eight bytes each, from the one with that number on.
    fn read(&self, file: &File, first: u64, count: u64) -> io::Result<Vec<u64>> {
        let mut bytes = vec![0; usize::try_from(count * 8).unwrap_or(0)];
        let mut done = 0;
        // What is missing at the end is not there.
        while done < bytes.len() {
            match file.read_at(&mut bytes[done..], first * 8 + done as u64)? {
                0 => break,
                more => done += more,
            }
        }
        let words = bytes.chunks_exact(8);
        Ok(words
            .map(|word| u64::from_ne_bytes(word.try_into().unwrap_or_default()))
            .collect())
    }
}

/// `struct page_region` of the kernel.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Region {
    start: u64,
    end: u64,
    categories: u64,
}

impl Region {
    const FILE: u64 = 1 << 2;
    const PRESENT: u64 = 1 << 3;
    const SWAPPED: u64 = 1 << 4;
    const ZERO: u64 = 1 << 5;
    const GUARD: u64 = 1 << 8;
    const ALL: u64 = Self::FILE | Self::PRESENT | Self::SWAPPED | Self::ZERO | Self::GUARD;
}

/// `struct pm_scan_arg` of the kernel.
#[derive(Debug, Default)]
#[repr(C)]
pub struct ScanArg {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

nix::ioctl_readwrite!(pagemap_scan, b'f', 16, ScanArg);

/// Asks for all categories that the kernel knows. Before 6.15 it knows no guards.
fn ask<T>(kernel: impl Fn(u64) -> io::Result<T>) -> io::Result<T> {
    match kernel(Region::ALL) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            kernel(Region::ALL & !Region::GUARD)
        }
        result => result,
    }
}

/// The first regions from `start` on, and where the kernel stopped.
fn scan(pagemap: &File, start: u64, end: u64, categories: u64) -> io::Result<(Vec<Region>, u64)> {
    let mut regions = vec![Region::default(); AT_ONCE];
    let mut arg = ScanArg {
        size: size_of::<ScanArg>() as u64,
        start,
        end,
        vec: regions.as_mut_ptr() as u64,
        vec_len: regions.len() as u64,
        max_pages: PAGES_AT_ONCE,
        category_anyof_mask: Region::PRESENT | Region::SWAPPED,
        return_mask: categories,
        ..ScanArg::default()
    };
    // SAFETY: `vec` has room for `vec_len` regions, and nobody else has it.
    let count = unsafe { pagemap_scan(pagemap.as_raw_fd(), &mut arg) }?;
    regions.truncate(count.try_into().unwrap_or(0));
    let next = if arg.walk_end > start {
        arg.walk_end
    } else {
        end
    };
    Ok((regions, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_kernels_know_no_guards() {
        let wrong = |number| io::Error::from_raw_os_error(number);
        let knows = |known: u64| {
            ask(|categories| match categories & !known {
                0 => Ok(categories),
                _ => Err(wrong(libc::EINVAL)),
            })
        };
        assert_eq!(knows(u64::MAX).unwrap(), Region::ALL);
        assert_eq!(knows(0xff).unwrap(), Region::ALL & 0xff);
        assert!(knows(0).is_err());
        let error = ask::<()>(|_| Err(wrong(libc::ENOTTY))).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOTTY));
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Memory to be merged: anonymous, or a file's.

use std::{ffi::c_void, fs::File, num::NonZeroUsize, ptr::NonNull};

use anyhow::{Context, Result};
use nix::sys::mman::{madvise, mmap, mmap_anonymous, munmap, MapFlags, MmapAdvise, ProtFlags};

pub const PAGE: usize = 4096;
pub const HUGE_PAGE: usize = 2 << 20;

/// A private anonymous mapping, or a shared one of a file.
pub struct Memory {
    mapping: NonNull<c_void>,
    mapped: usize,
    /// Where the pages begin: huge ones at a multiple of their size.
    base: NonNull<c_void>,
    pages: usize,
}

impl Memory {
    /// Mapped, not yet touched.
    pub fn new(pages: usize, huge: bool) -> Result<Self> {
        let mapped = pages * PAGE + if huge { HUGE_PAGE } else { 0 };
        let length = NonZeroUsize::new(mapped).context("no pages")?;
        let prot = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: A new mapping, at no fixed address, is nobody else's.
        let mapping = unsafe { mmap_anonymous(None, length, prot, MapFlags::MAP_PRIVATE) }?;
        let offset = if huge {
            mapping.addr().get().wrapping_neg() % HUGE_PAGE
        } else {
            0
        };
        // SAFETY: There is room for the pages behind it.
        let base = unsafe { mapping.byte_add(offset) };
        let memory = Self {
            mapping,
            mapped,
            base,
            pages,
        };
        if huge {
            memory.advise(MmapAdvise::MADV_HUGEPAGE)?;
        } else {
            // A kernel without huge pages does not know it.
            memory.advise(MmapAdvise::MADV_NOHUGEPAGE).ok();
        }
        Ok(memory)
    }

    /// The file's pages from its beginning, to be read and written.
    pub fn of_file(file: &File, pages: usize) -> Result<Self> {
        let mapped = pages * PAGE;
        let length = NonZeroUsize::new(mapped).context("no pages")?;
        let prot = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: A new mapping, at no fixed address, is nobody else's.
        let mapping = unsafe { mmap(None, length, prot, MapFlags::MAP_SHARED, file, 0) }?;
        Ok(Self {
            mapping,
            mapped,
            base: mapping,
            pages,
        })
    }

    /// From here on it may be merged.
    pub fn mergeable(&self) -> Result<()> {
        self.advise(MmapAdvise::MADV_MERGEABLE)
    }

    /// Gives all pages memory at once: page faults would take most of the time of a run under
    /// User-Mode Linux.
    pub fn populate(&self) -> Result<()> {
        self.advise(MmapAdvise::MADV_POPULATE_WRITE)
    }

    fn advise(&self, advice: MmapAdvise) -> Result<()> {
        // SAFETY: The range is the mapping's own, and this advice changes no content.
        Ok(unsafe { madvise(self.base, self.pages * PAGE, advice) }?)
    }

    /// The sum of all words: the least that anybody can do who looks at everything.
    pub fn read_all(&self) -> u64 {
        (0..self.pages).fold(0, |sum: u64, index| sum.wrapping_add(self.read_page(index)))
    }

    /// The same of one page, word by word, whatever the compiler thinks of it: in sums that do not wait for
    /// each other, so that the memory says how long it takes.
    pub fn read_page(&self, index: usize) -> u64 {
        assert!(index < self.pages);
        let page = self.base.as_ptr().cast::<u64>();
        let mut sums = [0_u64; 4];
        for word in (0..PAGE / 8).step_by(sums.len()) {
            for (sum, nth) in sums.iter_mut().zip(word..) {
                // SAFETY: The word is inside of the mapping.
                let word = unsafe { page.add(index * (PAGE / 8) + nth) };
                // SAFETY: As above, and aligned. The kernel gives zeroes where nothing was written.
                *sum = sum.wrapping_add(unsafe { word.read_volatile() });
            }
        }
        sums.iter().fold(0, |sum, &part| sum.wrapping_add(part))
    }

    /// Where it is, for the kernel.
    pub fn range(&self) -> (NonNull<c_void>, usize) {
        (self.base, self.pages * PAGE)
    }

    pub fn page(&mut self, index: usize) -> &mut [u64; PAGE / 8] {
        assert!(index < self.pages);
        // SAFETY: The page is inside of the mapping, aligned, zeroed by the kernel, and borrowed with
        // the mapping.
        unsafe { &mut *self.base.as_ptr().byte_add(index * PAGE).cast() }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: Nobody borrows from it any more.
        unsafe { munmap(self.mapping, self.mapped) }.ok();
    }
}

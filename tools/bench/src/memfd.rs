// SPDX-License-Identifier: GPL-2.0

//! Files in memory, and how the kernel is asked to merge them.

use std::{
    fs::File,
    ops::Range,
    os::{fd::AsRawFd, unix::fs::FileExt},
};

use anyhow::{ensure, Context, Result};
use nix::{
    libc,
    sys::{
        memfd::{memfd_create, MFdFlags},
        mman::{madvise, MmapAdvise},
    },
};

use crate::{
    content::{Content, Kind},
    memory::{Memory, PAGE},
};

/// What a page holds.
#[derive(Clone)]
pub struct Words([u64; PAGE / 8]);

impl Words {
    /// What is at that page, and nowhere else.
    pub fn of(seed: u64, index: usize) -> Self {
        let mut words = Self::all(0);
        Content::of(Kind::Unique, seed, 0, index, 0).fill(&mut words.0);
        words
    }

    pub fn all(word: u64) -> Self {
        Self([word; PAGE / 8])
    }

    pub fn starting(mut self, word: u64) -> Self {
        self.0[0] = word;
        self
    }

    pub fn bytes(&self) -> [u8; PAGE] {
        let mut bytes = [0; PAGE];
        for (place, word) in bytes.as_chunks_mut().0.iter_mut().zip(self.0) {
            *place = word.to_ne_bytes();
        }
        bytes
    }
}

/// A file that is mapped shared.
pub struct Memfd {
    pub file: File,
    pub memory: Memory,
}

impl Memfd {
    /// Filled, and in no page table.
    pub fn new(pages: usize, content: impl Fn(usize) -> Words) -> Result<Self> {
        let file = File::from(memfd_create(c"bench", MFdFlags::MFD_CLOEXEC)?);
        file.set_len((pages * PAGE) as u64)?;
        let memfd = Self::map(file, pages)?;
        for index in 0..pages {
            memfd.write(index, &content(index))?;
        }
        Ok(memfd)
    }

    /// That file with a mapping of its own.
    pub fn map(file: File, pages: usize) -> Result<Self> {
        let memory = Memory::of_file(&file, pages)?;
        Ok(Self { file, memory })
    }

    /// Takes all of it out of the page tables.
    pub fn forget(&self) -> Result<()> {
        let (base, length) = self.memory.range();
        // SAFETY: The range is the mapping's own, and what is in it stays in the file.
        Ok(unsafe { madvise(base, length, MmapAdvise::MADV_DONTNEED) }?)
    }

    /// As many bytes as there is room for.
    pub fn read(&self, index: usize, bytes: &mut [u8]) -> Result<()> {
        Ok(self.file.read_exact_at(bytes, (index * PAGE) as u64)?)
    }

    pub fn write(&self, index: usize, words: &Words) -> Result<()> {
        let bytes = words.bytes();
        Ok(self.file.write_all_at(&bytes, (index * PAGE) as u64)?)
    }

    /// It holds that page there, for whoever reads it.
    pub fn check(&mut self, index: usize, words: &Words) -> Result<()> {
        let mut bytes = [0; PAGE];
        self.read(index, &mut bytes)?;
        ensure!(bytes == words.bytes(), "page {index} reads wrong");
        let mapped = self.memory.page(index) == &words.0;
        ensure!(mapped, "page {index} is mapped wrong");
        Ok(())
    }

    /// These pages are in common with the same ones of the other file.
    pub fn merge(&self, other: &Self, pages: Range<usize>) -> Result<()> {
        self.merge_at(pages.start, other, pages)
    }

    /// Pages from `at` are in common with those of the other file.
    pub fn merge_at(&self, at: usize, other: &Self, pages: Range<usize>) -> Result<()> {
        let mut request = Request {
            source: (pages.start * PAGE) as u64,
            length: (pages.len() * PAGE) as u64,
            targets: 1,
            fd: self.file.as_raw_fd().into(),
            offset: (at * PAGE) as u64,
            ..Request::default()
        };
        // SAFETY: There is one target, and the kernel writes to no more.
        unsafe { call::dedupe(other.file.as_raw_fd(), &raw mut request) }.context("merging")?;
        let status = request.status;
        ensure!(status == 0, "not all pages were merged: {status}");
        Ok(())
    }
}

/// `struct file_dedupe_range`, and behind it one `struct file_dedupe_range_info`.
#[repr(C)]
#[derive(Default)]
struct Request {
    source: u64,
    length: u64,
    targets: u16,
    reserved: [u16; 3],
    fd: i64,
    offset: u64,
    merged: u64,
    status: i32,
    unused: u32,
}

mod call {
    use super::{libc, Request};

    /// FIDEDUPERANGE, in which the size is that of a request without targets.
    const NUMBER: libc::c_ulong = nix::request_code_readwrite!(0x94, 54, 24) as libc::c_ulong;

    nix::ioctl_readwrite_bad!(dedupe, NUMBER, Request);
}

// SPDX-License-Identifier: GPL-2.0

//! Pages.

use crate::{
    alloc::{self, AllocError, Flags},
    bindings,
    error::{code::EINVAL, Result},
};

pub const PAGE_SIZE: usize = 4096;

/// A page of its own.
pub struct Page(*mut bindings::page);

// SAFETY: A page belongs to no thread.
unsafe impl Send for Page {}
// SAFETY: What reads and writes it says who may.
unsafe impl Sync for Page {}

impl Page {
    /// A page full of zeroes, asked for or not.
    pub fn alloc_page(flags: Flags) -> Result<Self, AllocError> {
        alloc::may(flags)?;
        Ok(Self(Box::into_raw(Box::new(bindings::page::zeroed()))))
    }

    pub fn as_ptr(&self) -> *mut bindings::page {
        self.0
    }

    /// # Safety
    ///
    /// `from` is valid for reading `len` bytes, and nobody else looks at the page.
    pub unsafe fn write_raw(&self, from: *const u8, offset: usize, len: usize) -> Result {
        if offset + len > PAGE_SIZE {
            return Err(EINVAL);
        }
        let to = self.0.cast::<u8>().wrapping_add(offset);
        // SAFETY: The range is in the page; the rest is the caller's.
        unsafe { to.copy_from_nonoverlapping(from, len) };
        Ok(())
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: It came from a box, and is ours.
        drop(unsafe { Box::from_raw(self.0) });
    }
}

// SPDX-License-Identifier: GPL-2.0

//! The content of a page that user space may be writing to.
//!
//! Such memory never becomes a Rust slice or reference, for the compiler may assume that what they
//! refer to holds still. It is read word by word through a raw pointer; what comes out may be a mixture of
//! old and new content, and whoever decides anything by it write-protects the page first.

use core::marker::PhantomData;
use kernel::{bindings, page::PAGE_SIZE, prelude::*, types::NotThreadSafe};

/// Words in a page.
pub(crate) const PAGE_WORDS: usize = PAGE_SIZE / size_of::<u64>();

/// A page that is mapped for reading.
///
/// The thread must not be mistaken for another while it has a page mapped, so this stays in the
/// thread that made it; sleeping is allowed.
///
/// # Invariants
///
/// `start` points to `PAGE_SIZE` bytes, aligned to that size, that stay readable for `'a`. They may
/// change at any time.
pub(crate) struct PageView<'a> {
    start: *const u64,
    _mapping: PhantomData<&'a ()>,
    _not_thread_safe: NotThreadSafe,
}

impl PageView<'_> {
    /// Maps `page` while `f` runs.
    ///
    /// Local mappings have to be undone in the reverse of the order in which they were made. A
    /// closure leaves no other order, where values that unmap on drop would.
    ///
    /// # Safety
    ///
    /// `page` is a valid page that is not freed before this returns, and its content may be read.
    #[inline]
    pub(crate) unsafe fn with<R>(
        page: *mut bindings::page,
        f: impl FnOnce(&PageView<'_>) -> R,
    ) -> R {
        // SAFETY: `page` is valid by the contract of this function.
        let start = unsafe { bindings::kmap_local_page(page) };
        // INVARIANT: The mapping is one page long, at a page boundary, and lasts until it is undone
        // below. The closure cannot keep the view for longer.
        let result = f(&PageView {
            start: start.cast(),
            _mapping: PhantomData,
            _not_thread_safe: NotThreadSafe,
        });
        // SAFETY: `start` was mapped above, and what was mapped later has been unmapped: only
        // closures map, and those that ran inside this one have ended.
        unsafe { bindings::kunmap_local(start) };
        result
    }

    /// The word at index `i`, counted in words, in the byte order of the machine. An index past the
    /// end starts over; where the compiler sees that it is in range the division costs nothing.
    #[inline(always)]
    pub(crate) fn word(&self, i: usize) -> u64 {
        let word = self.start.wrapping_add(i % PAGE_WORDS);
        // SAFETY: The page is readable by the type invariant, and `word` lies in it. A volatile read
        // allows for a value that changes meanwhile.
        unsafe { word.read_volatile() }
    }

    /// Where it begins, for who reads it by instructions of its own.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn as_ptr(&self) -> *const u64 {
        self.start
    }

    /// Has the cache line with the word at index `i` fetched, which is going to be read in a moment
    /// and not again after that. Only a hint, and none on machines other than x86.
    #[inline(always)]
    pub(crate) fn prefetch(&self, i: usize) {
        let word = self.start.wrapping_add(i % PAGE_WORDS);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: The instruction changes nothing but caches, and never faults.
        unsafe {
            core::arch::asm!(
                "prefetchnta [{}]",
                in(reg) word,
                options(nostack, preserves_flags, readonly),
            )
        };
        #[cfg(not(target_arch = "x86_64"))]
        let _ = word;
    }

    /// Has all of the page fetched.
    pub(crate) fn prefetch_all(&self) {
        (0..PAGE_WORDS).step_by(8).for_each(|i| self.prefetch(i));
    }

    /// Whether its first words are zeroes, as many as are in a cache line.
    #[inline]
    pub(super) fn begins_with_zeroes(&self) -> bool {
        (0..8).all(|i| self.word(i) == 0)
    }

    /// Whether there is nothing but zeroes.
    #[inline]
    pub(crate) fn is_zero(&self) -> bool {
        (0..PAGE_WORDS).all(|i| self.word(i) == 0)
    }
}

#[cfg(CONFIG_KUNIT = "y")]
impl PageView<'_> {
    /// Maps a page of the kernel's own while `f` runs.
    pub(crate) fn with_owned<R>(
        page: &kernel::page::Page,
        f: impl FnOnce(&PageView<'_>) -> R,
    ) -> R {
        // SAFETY: A `Page` owns a valid page, and is borrowed until this returns.
        unsafe { PageView::with(page.as_ptr(), f) }
    }
}

/// Pages with known content, for tests.
#[cfg(CONFIG_KUNIT = "y")]
pub(crate) mod test_page {
    use super::*;
    use kernel::page::Page;

    /// A page full of zeroes.
    pub(crate) fn zeroed() -> Result<Page> {
        Ok(Page::alloc_page(GFP_KERNEL | __GFP_ZERO)?)
    }

    /// Overwrites the word at `index`, counted in words.
    pub(crate) fn set_word(page: &Page, index: usize, value: u64) -> Result {
        let bytes = value.to_ne_bytes();
        // SAFETY: `bytes` is valid for reading its length, and the tests share their pages with
        // nobody, so no access races with this one.
        unsafe { page.write_raw(bytes.as_ptr(), index * size_of::<u64>(), bytes.len()) }
    }
}

#[kunit_tests(rksm_page_bytes)]
mod tests {
    use super::{test_page::*, *};

    #[test]
    fn words_come_in_order_and_start_over() -> Result {
        let page = zeroed()?;
        for i in 0..PAGE_WORDS {
            set_word(&page, i, i as u64 * 3)?;
        }
        let wrong = PageView::with_owned(&page, |view| {
            (0..2 * PAGE_WORDS).find(|i| view.word(*i) != (i % PAGE_WORDS) as u64 * 3)
        });
        assert_eq!(wrong, None);
        Ok(())
    }

    #[test]
    fn every_word_counts() -> Result {
        let page = zeroed()?;
        let zero = || PageView::with_owned(&page, |content| content.is_zero());
        assert!(zero());
        for i in 0..PAGE_WORDS {
            set_word(&page, i, 1 << (i % 64))?;
            assert!(!zero());
            set_word(&page, i, 0)?;
            assert!(zero());
        }
        Ok(())
    }
}

// SPDX-License-Identifier: GPL-2.0

//! The reverse map's view of those that share a page.

use super::{
    address_space::AddressSpace,
    anon_vma::Region,
    ksm_folio::{FolioLock, Tie},
};
use core::ops::ControlFlow;

pub(crate) struct Sharer<'s> {
    pub(crate) space: &'s AddressSpace,
    pub(crate) region: &'s Region,
    pub(crate) address: usize,
}

/// # Safety
///
/// `sharers` is sound to call with any tie that a locked folio's mark names.
pub(crate) unsafe trait Sharers {
    /// # Safety
    ///
    /// `lock` is that of the folio that is tied to `tie`.
    unsafe fn sharers(
        tie: &Tie,
        lock: &FolioLock<'_>,
        f: &mut dyn FnMut(Sharer<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()>;
}

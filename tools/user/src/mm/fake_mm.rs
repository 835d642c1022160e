// SPDX-License-Identifier: GPL-2.0

//! What tests name.

use super::anon_vma::Region;
use core::sync::atomic::{AtomicUsize, Ordering};

pub(crate) struct Mm(pub(super) usize);

pub(crate) fn get() -> Mm {
    static LAST: AtomicUsize = AtomicUsize::new(0);
    Mm(LAST.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn region(offset: usize) -> Region {
    Region::new(offset)
}

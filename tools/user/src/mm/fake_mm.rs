// SPDX-License-Identifier: GPL-2.0

//! What tests name.

use super::{address_space::AddressSpace, anon_vma::Region};
use core::sync::atomic::{AtomicUsize, Ordering};
use kernel::{prelude::*, sync::Arc};

pub(crate) fn space() -> Result<Arc<AddressSpace>> {
    static LAST: AtomicUsize = AtomicUsize::new(0);
    AddressSpace::new(LAST.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn region(offset: usize) -> Region {
    Region::new(offset)
}

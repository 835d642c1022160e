// SPDX-License-Identifier: GPL-2.0

//! Address spaces that are nothing but different from each other, and count what they share.

use core::sync::atomic::{AtomicI64, Ordering::Relaxed};
use kernel::{prelude::*, sync::Arc};

pub(crate) struct AddressSpace {
    id: usize,
    shared: AtomicI64,
    sharers: AtomicI64,
}

impl AddressSpace {
    pub(crate) fn new(id: usize) -> Result<Arc<Self>> {
        let new = Self {
            id,
            shared: AtomicI64::new(0),
            sharers: AtomicI64::new(0),
        };
        Ok(Arc::new(new, GFP_KERNEL)?)
    }

    pub(crate) fn id(&self) -> usize {
        self.id
    }

    pub(crate) fn share(&self, first: bool) {
        self.sharers.fetch_add(1, Relaxed);
        self.shared.fetch_add(first.into(), Relaxed);
    }

    pub(crate) fn unshare(&self, last: bool) {
        self.sharers.fetch_sub(1, Relaxed);
        self.shared.fetch_sub(last.into(), Relaxed);
    }

    /// Pages that began to be shared here, less those that ceased to be; and mappings of them.
    pub(crate) fn counted(&self) -> (i64, i64) {
        (self.shared.load(Relaxed), self.sharers.load(Relaxed))
    }
}

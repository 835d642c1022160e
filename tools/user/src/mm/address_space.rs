// SPDX-License-Identifier: GPL-2.0

//! Address spaces that are nothing but different from each other.

use super::fake_mm::Mm;
use kernel::{prelude::*, sync::Arc};

pub(crate) struct AddressSpace(usize);

impl AddressSpace {
    pub(crate) fn new(mm: &Mm) -> Result<Arc<Self>> {
        Ok(Arc::new(Self(mm.0), GFP_KERNEL)?)
    }

    pub(crate) fn id(&self) -> usize {
        self.0
    }
}

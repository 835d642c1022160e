// SPDX-License-Identifier: GPL-2.0

//! The module.

use crate::bindings;

pub struct ThisModule(());

impl ThisModule {
    pub fn as_ptr(&self) -> *mut bindings::module {
        core::ptr::null_mut()
    }
}

pub fn this_module<M>() -> &'static ThisModule {
    &ThisModule(())
}

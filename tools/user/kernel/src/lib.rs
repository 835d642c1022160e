// SPDX-License-Identifier: GPL-2.0

//! As much of the kernel crate as the tested part of rksm uses, over the standard library.
//!
//! What the kernel would do silently wrong, or only on a debug kernel complain of, panics here.

pub mod alloc;
pub mod bindings;
pub mod error;
pub mod module;
pub mod page;
pub mod str;
pub mod sync;
pub mod types;

pub mod prelude {
    pub use crate::alloc::{flags::*, InPlaceInit, KBox, KVec};
    pub use crate::error::{code::*, Error, Result};
    pub use crate::str::{CStr, CStrExt};
    pub use macros::kunit_tests;
    pub use pinned_init::{init, pin_data, pin_init, Init, PinInit};
    pub use std::pin::Pin;
}

/// A [`Mutex`](sync::Mutex). The name is for lockdep.
#[macro_export]
macro_rules! new_mutex {
    ($value:expr, $name:literal) => {
        $crate::sync::Mutex::new($value)
    };
}

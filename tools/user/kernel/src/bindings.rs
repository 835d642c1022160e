// SPDX-License-Identifier: GPL-2.0

//! The C functions.

#![allow(non_camel_case_types, non_upper_case_globals)]
#![allow(
    clippy::missing_safety_doc,
    reason = "their contracts are those of the C functions"
)]

mod misc;
mod rbtree;
mod slab;

pub use self::{misc::*, rbtree::*, slab::*};

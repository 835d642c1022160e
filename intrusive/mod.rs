// SPDX-License-Identifier: GPL-2.0

//! Containers whose links lie inside their elements.
//!
//! A page merger allocates for every page it looks at, so its records carry their own links. The
//! pointers that takes are kept in here; what comes out is references and [`Arc`]s.
//!
//! [`Arc`]: kernel::sync::Arc

pub(crate) mod arc_tree;
#[cfg(CONFIG_KUNIT = "y")]
mod arc_tree_tests;
pub(crate) mod candidates;
pub(crate) mod forest;
pub(crate) mod item;
pub(crate) mod leaf;
#[cfg(CONFIG_KUNIT = "y")]
mod leaves_tests;
pub(crate) mod rb;
pub(crate) mod records;
#[cfg(CONFIG_KUNIT = "y")]
mod records_tests;
mod regions;
pub(crate) mod stable_node;

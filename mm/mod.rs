// SPDX-License-Identifier: GPL-2.0

//! Safe Rust over the kernel's memory manager: the floor on which the algorithm stands.

pub(crate) mod account;
pub(crate) mod address_space;
pub(crate) mod anon_vma;
pub(crate) mod census;
pub(crate) mod census_file;
pub(crate) mod domain;
mod entry;
#[cfg(CONFIG_KUNIT = "y")]
pub(crate) mod fake_mm;
pub(crate) mod fetch;
pub(crate) mod frame;
pub(crate) mod frame_pool;
pub(crate) mod gate;
pub(crate) mod hotplug;
pub(crate) mod kobject;
pub(crate) mod ksm_folio;
pub(crate) mod kthread;
pub(crate) mod lru;
pub(crate) mod memory;
mod merged;
pub(crate) mod module;
pub(crate) mod notifier;
pub(crate) mod owner;
pub(crate) mod page;
pub(crate) mod page_bytes;
mod pagewalk;
pub(crate) mod provider;
pub(crate) mod pte;
pub(crate) mod random;
pub(crate) mod rmap_walk;
pub(crate) mod signal;
pub(crate) mod slab;
pub(crate) mod sole;
pub(crate) mod split;
mod table;
pub(crate) mod tasks;
pub(crate) mod trace;
pub(crate) mod vector;
pub(crate) mod vma;
pub(crate) mod walk;

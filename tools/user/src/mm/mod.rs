// SPDX-License-Identifier: GPL-2.0

//! The floor: what of it stands on a few functions of the kernel is the module's own, the rest is made up.

#[path = "../../../../mm/domain.rs"]
#[allow(clippy::all)]
pub(crate) mod domain;
#[path = "../../../../mm/fetch.rs"]
#[allow(clippy::all)]
pub(crate) mod fetch;
#[path = "../../../../mm/memory.rs"]
#[allow(clippy::all)]
pub(crate) mod memory;
#[path = "../../../../mm/module.rs"]
#[allow(clippy::all)]
pub(crate) mod module;
#[path = "../../../../mm/page_bytes.rs"]
#[allow(clippy::all)]
pub(crate) mod page_bytes;
#[path = "../../../../mm/random.rs"]
#[allow(clippy::all)]
pub(crate) mod random;
#[path = "../../../../mm/slab.rs"]
#[allow(clippy::all)]
pub(crate) mod slab;
#[path = "../../../../mm/vector.rs"]
#[allow(clippy::all)]
pub(crate) mod vector;

pub(crate) mod address_space;
pub(crate) mod anon_vma;
pub(crate) mod fake_mm;
pub(crate) mod ksm_folio;
pub(crate) mod kthread;
pub(crate) mod page;
pub(crate) mod rmap_walk;
pub(crate) mod trace;

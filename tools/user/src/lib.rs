// SPDX-License-Identifier: GPL-2.0

//! What of rksm needs no kernel: its containers, what is known of pages, the trees of the books, the
//! checksum, the advisors, and what is read from knobs. The files are those of the module; what they use
//! of the kernel and of `mm/` is made up here, as simple as it goes. Their KUnit tests are ordinary
//! tests here, and [`fuzz`] has more.

#![cfg(test)]
#![feature(arbitrary_self_types)]
// What only the rest of the module uses. Clippy has seen the module's files with the kernel's lints.
#![allow(dead_code)]

extern crate pinned_init as pin_init;

#[path = "../../../advisor.rs"]
#[allow(clippy::all)]
mod advisor;
#[path = "../../../books.rs"]
#[allow(clippy::all)]
mod books;
#[path = "../../../checksum.rs"]
#[allow(clippy::all)]
mod checksum;
#[path = "../../../control.rs"]
#[allow(clippy::all)]
mod control;
#[path = "../../../intrusive/mod.rs"]
#[allow(clippy::all)]
mod intrusive;
#[path = "../../../knobs.rs"]
#[allow(clippy::all)]
mod knobs;
#[path = "../../../pressure.rs"]
#[allow(clippy::all)]
mod pressure;
#[path = "../../../rmap_item.rs"]
#[allow(clippy::all)]
mod rmap_item;
#[path = "../../../settings.rs"]
#[allow(clippy::all)]
mod settings;
#[path = "../../../smart_scan.rs"]
#[allow(clippy::all)]
mod smart_scan;
#[path = "../../../stable_tree.rs"]
#[allow(clippy::all)]
mod stable_tree;
#[path = "../../../stats.rs"]
#[allow(clippy::all)]
mod stats;
#[path = "../../../tally.rs"]
#[allow(clippy::all)]
mod tally;

mod fuzz;
mod mm;
mod scarcity;

/// As which `module!` knows the module.
struct LocalModule;

// SPDX-License-Identifier: GPL-2.0

//! rksm: Kernel Samepage Merging as a loadable module.
//!
//! A thread goes over the memory of registered processes, finds anonymous pages with equal content
//! and maps them to one read-only page; each writer gets its own copy again on the first write.
//!
//! # Lock order
//!
//! From the outside to the inside; against it, only trylock.
//!
//! 1. [`Engine::state`](engine::Engine): all trees and records, and the cursor.
//! 2. The gate of one address space, for which the hook `exit` waits.
//! 3. Its `mmap_lock`, for reading, for which nobody waits long. The hooks `enter` and `madvise` come with it held.
//! 4. The folio lock, of a page and then, by trylock, of the merged page to replace it. The reverse
//!    map and migration come with it held.
//! 5. `anon_vma` locks, for a walk of the reverse map.
//! 6. The page table lock.
//! 7. [`Registry`](mm_slot::Registry)'s spinlock, which the hooks take under any of the above.

use kernel::prelude::*;

mod advisor;
mod checksum;
mod control;
mod engine;
mod intrusive;
mod knobs;
mod merge;
mod mm;
mod mm_slot;
mod rmap_item;
mod scan;
mod scope;
mod settings;
mod smart_scan;
mod stable_tree;
mod sysfs;
mod unmerge;
mod unstable_tree;
mod zero_page;

use engine::Engine;
use mm::{hotplug::OfflineNotifier, kobject::Directory, kthread::Kthread, provider::Registration};
use scan::Scanner;

module! {
    type: Rksm,
    name: "rksm",
    authors: ["rksm developers"],
    description: "Kernel Samepage Merging, in Rust",
    license: "GPL",
}

/// The module. Its fields drop in this order, each after what could still use it.
struct Rksm {
    /// The knobs: nobody asks for anything any more.
    _sysfs: Directory<Engine>,
    /// The thread: while it runs it may merge.
    _scanner: Kthread<Scanner>,
    /// What tells of memory that goes offline, as long as there can be nodes of it.
    _offline: OfflineNotifier<Engine>,
    /// The hooks. Afterwards the in-tree code provides merging again.
    _registration: Registration<Engine>,
}

impl kernel::Module for Rksm {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let engine = Engine::new()?;
        let sysfs = sysfs::create(engine.clone())?;
        let registration = Registration::new(engine.clone(), sysfs.kobject())?;
        let offline = OfflineNotifier::new(engine.clone())?;
        let scanner = Kthread::spawn(c"rksmd", 5, Scanner::new(engine)?)?;
        pr_info!("merges pages from now on, as /sys/kernel/mm/rksm says\n");
        Ok(Self {
            _sysfs: sysfs,
            _scanner: scanner,
            _offline: offline,
            _registration: registration,
        })
    }
}

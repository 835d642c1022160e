// SPDX-License-Identifier: GPL-2.0

//! rksm: Kernel Samepage Merging as a loadable module.
//!
//! Threads go over the memory of registered processes, find anonymous pages with equal content
//! and map them to one read-only page; each writer gets its own copy again on the first write.
//!
//! # Lock order
//!
//! From the outside to the inside; against it, only trylock.
//!
//! 1. The gate `work`, inside of which all steps happen, and which is closed by who unmerges everything.
//! 2. The turn of an address space ([`MmSlot::turn`](mm_slot::MmSlot::turn)): its records.
//! 3. The gate of an address space, for which the hook `exit` waits. Nobody waits to get inside.
//! 4. Its `mmap_lock`, for reading, which is only tried, and one at a time. The hooks `enter` and `madvise`
//!    come with it held.
//! 5. The folio lock, of a page and then of the merged page to replace it: both are only tried. The
//!    reverse map, migration and swap-in come with it held.
//! 6. `anon_vma` locks, for a walk of the reverse map and for splitting a huge page.
//! 7. The page table lock.
//! 8. The books ([`Ledger::open`](books::Ledger::open)), not inside 6 and 7.
//! 9. The pass ([`Passes`](pass::Passes)).
//! 10. [`Registry`](registry::Registry)'s spinlock, which the hooks take under any of the above.
//! 11. The spinlocks of what is counted for each domain: an address space's, and that of the
//!     [`Census`](mm::census::Census), not one inside the other.

#![deny(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::multiple_unsafe_ops_per_block,
    clippy::panic,
    clippy::todo,
    clippy::undocumented_unsafe_blocks,
    clippy::unimplemented,
    clippy::unreachable,
    clippy::unwrap_used
)]

use kernel::prelude::*;

mod advisor;
mod books;
mod checksum;
mod claimed;
mod commands;
mod control;
mod crew;
mod decide;
mod domains;
mod engine;
mod hooks;
mod huge;
mod intrusive;
mod knobs;
mod merge;
mod mm;
mod mm_slot;
mod pass;
mod pressure;
mod reads;
mod reap;
mod registry;
mod rmap_item;
mod scan;
mod scope;
mod settings;
mod smart_scan;
mod stable_tree;
mod stats;
mod step;
mod sysfs;
mod tact;
mod tally;
mod unmerge;
mod watch;
mod work;

use commands::Desk;
use control::Run;
use crew::{AtWork, Crew};
use engine::Engine;
use kernel::sync::Arc;
use mm::{
    census_file::CensusFile, hotplug::OfflineNotifier, kobject::Directory, provider::Registration,
};

module! {
    type: Rksm,
    name: "rksm",
    authors: ["rksm developers"],
    description: "Kernel Samepage Merging, in Rust",
    license: "GPL",
    params: {
        run: i32 {
            default: crate::CARRIED_OVER,
            description: "whether to merge: 0, 1, or as in-tree KSM is set to (-1, the default)",
        },
    },
}

/// The version, and a byte to end it, which is a newline in the file.
const VERSION: &[u8] = concat!("version=", include_str!("VERSION")).as_bytes();

/// What `modinfo` says of it: `module!` has no key for that.
#[used]
#[link_section = ".modinfo"]
#[expect(
    clippy::indexing_slicing,
    reason = "what is out of range does not compile"
)]
static MODINFO_VERSION: [u8; VERSION.len()] = {
    let mut text = [0; VERSION.len()];
    let mut at = 0;
    while at + 1 < text.len() {
        text[at] = VERSION[at];
        at += 1;
    }
    text
};

/// The parameter `run` where nobody gave it.
const CARRIED_OVER: i32 = -1;

/// What to set `run` to, or `None` where it begins with what in-tree KSM's says.
///
/// # Errors
///
/// `EINVAL`: it is something else.
fn run() -> Result<Option<Run>> {
    match module_parameters::run.value() {
        CARRIED_OVER => Ok(None),
        0 => Ok(Some(Run::Stop)),
        1 => Ok(Some(Run::Merge)),
        _ => Err(EINVAL),
    }
}

/// The module. Its fields drop in this order, each after what could still use it.
struct Rksm {
    /// The file in it that is none of the settings or counters.
    _domains: CensusFile,
    /// The directory. What is written to it until it goes is carried back as well.
    _sysfs: Directory<Desk>,
    /// The threads: while they run they may merge.
    _scanners: AtWork,
    /// What tells of memory that goes offline, as long as there can be nodes of it.
    _offline: OfflineNotifier<Engine>,
    /// The hooks, and the in-tree KSM's directory. Afterwards the in-tree code provides merging again,
    /// with the settings that there were.
    _registration: Registration<Engine, Desk>,
}

impl kernel::Module for Rksm {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let run = run()?;
        let engine = Engine::new()?;
        let crew = Crew::new()?;
        let desk = Desk {
            engine: engine.clone(),
            crew: crew.clone(),
        };
        let files = sysfs::files(Arc::new(desk, GFP_KERNEL)?)?;
        let registration = Registration::new(engine.clone(), files.clone())?;
        let offline = OfflineNotifier::new(engine.clone())?;
        // What is there is ready.
        let sysfs = Directory::new(c"rksm", files)?;
        let domains = CensusFile::new(&sysfs, engine.census.clone())?;
        // Nobody has begun to scan. Should that fail, in-tree KSM gets back what it had.
        let carried = engine.run();
        if let Some(run) = run {
            engine.store_run(run);
        }
        let scanners = AtWork::new(crew, &engine).inspect_err(|_| engine.store_run(carried))?;
        pr_info!("merges pages from now on, as /sys/kernel/mm/rksm says\n");
        Ok(Self {
            _domains: domains,
            _sysfs: sysfs,
            _scanners: scanners,
            _offline: offline,
            _registration: registration,
        })
    }
}

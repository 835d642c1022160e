// SPDX-License-Identifier: GPL-2.0

//! The files in `/sys/kernel/mm/rksm`: names, formats and errors are those of the in-tree KSM.

use crate::{
    control::Control,
    knobs,
    mm::kobject::{Attr, Directory},
};
use core::{
    fmt::{Display, Write},
    marker::PhantomData, //
};
use kernel::{prelude::*, str::Formatter, sync::Arc};

/// Makes the directory.
///
/// # Errors
///
/// As [`Directory::new`].
pub(crate) fn create<C: Control>(control: Arc<C>) -> Result<Directory<C>> {
    Directory::new(c"rksm", control, Files::<C>::ALL)
}

/// The files, for an engine of type `C`.
struct Files<C>(PhantomData<C>);

impl<C: Control> Files<C> {
    const ALL: &'static [Attr<C>] = &[
        // Knobs.
        Attr::read_write(
            c"run",
            |c, out| put(out, u32::from(c.run())),
            |c, text| c.set_run(knobs::run(text)?),
        ),
        Attr::read_write(
            c"pages_to_scan",
            |c, out| put(out, c.pages_to_scan()),
            |c, text| c.set_pages_to_scan(knobs::uint(text)?),
        ),
        Attr::read_write(
            c"sleep_millisecs",
            |c, out| put(out, c.sleep_millisecs()),
            |c, text| {
                c.set_sleep_millisecs(knobs::uint(text)?);
                Ok(())
            },
        ),
        Attr::read_write(
            c"use_zero_pages",
            |c, out| put(out, u32::from(c.use_zero_pages())),
            |c, text| {
                c.set_use_zero_pages(knobs::boolean(text)?);
                Ok(())
            },
        ),
        // Still to come: merge_across_nodes, max_page_sharing, smart_scan,
        // stable_node_chains_prune_millisecs, advisor_mode, advisor_max_cpu,
        // advisor_min_pages_to_scan, advisor_max_pages_to_scan, advisor_target_scan_time.

        // Counters.
        Attr::read_only(c"pages_shared", |c, out| {
            put(out, c.counters().pages_shared)
        }),
        Attr::read_only(c"pages_sharing", |c, out| {
            put(out, c.counters().pages_sharing)
        }),
        Attr::read_only(c"pages_unshared", |c, out| {
            put(out, c.counters().pages_unshared)
        }),
        Attr::read_only(c"pages_volatile", |c, out| {
            put(out, c.counters().pages_volatile)
        }),
        Attr::read_only(c"pages_scanned", |c, out| {
            put(out, c.counters().pages_scanned)
        }),
        Attr::read_only(c"full_scans", |c, out| put(out, c.counters().full_scans)),
        Attr::read_only(c"ksm_zero_pages", |c, out| {
            put(out, c.counters().ksm_zero_pages)
        }),
        Attr::read_only(c"general_profit", |c, out| {
            put(out, c.counters().general_profit)
        }),
        // Still to come: pages_skipped, stable_node_chains, stable_node_dups.
    ];
}

/// A value and a line feed.
fn put(out: &mut Formatter<'_>, value: impl Display) -> Result {
    writeln!(out, "{value}")?;
    Ok(())
}

// SPDX-License-Identifier: GPL-2.0

//! The files in `/sys/kernel/mm/rksm`, and in `/sys/kernel/mm/ksm` where it has them: names, formats and
//! errors are those of the in-tree KSM, which has them all but `scope`, `domain`, `domain_depth`, `content`,
//! `fresh_frames`, `huge_pages`, `scanners`, `advisor_free_high`, `advisor_free_low`, `enrol`, `release`, and
//! those about how long a pass takes.

use crate::{
    advisor::Mode,
    control::Control,
    knobs,
    mm::kobject::{Attr, Files},
    settings::{Content, Scope, Value, Within},
};
use core::{
    fmt::{Display, Write},
    marker::PhantomData, //
};
use kernel::{prelude::*, str::Formatter, sync::Arc};

/// Makes the files, which are nowhere yet.
///
/// # Errors
///
/// `ENOMEM`.
pub(crate) fn files<C: Control>(control: Arc<C>) -> Result<Arc<Files<C>>> {
    Files::new(control, Attrs::<C>::ALL)
}

/// A knob that says nothing to anybody when it changes.
macro_rules! plain {
    ($name:literal, $knob:ident, $parse:path) => {
        Attr::read_write(
            $name,
            |c, out| put(out, c.settings().$knob.get().to_bits()),
            |c, text| {
                c.settings().$knob.set($parse(text)?);
                Ok(())
            },
        )
    };
}

macro_rules! counter {
    ($file:literal, $counter:ident) => {
        Attr::read_only($file, |c, out| put(out, c.counters().$counter))
    };
}

/// What each does, for an engine of type `C`.
struct Attrs<C>(PhantomData<C>);

impl<C: Control> Attrs<C> {
    const ALL: &'static [Attr<C>] = &[
        // Knobs.
        Attr::read_write(
            c"run",
            |c, out| put(out, u32::from(c.run())),
            |c, text| c.set_run(knobs::run(text)?),
        ),
        Attr::read_write(
            c"pages_to_scan",
            |c, out| put(out, c.settings().pages_to_scan.get()),
            |c, text| c.set_pages_to_scan(knobs::number(text)?),
        ),
        Attr::read_write(
            c"sleep_millisecs",
            |c, out| put(out, c.settings().sleep_millisecs.get()),
            |c, text| {
                c.set_sleep_millisecs(knobs::number(text)?);
                Ok(())
            },
        ),
        Attr::read_write(
            c"merge_across_nodes",
            |c, out| put(out, u32::from(c.settings().merge_across_nodes.get())),
            |c, text| c.set_merge_across_nodes(knobs::zero_or_one(text)?),
        ),
        Attr::read_write(
            c"max_page_sharing",
            |c, out| put(out, c.settings().max_page_sharing.get()),
            |c, text| c.set_max_page_sharing(knobs::sharing(text)?),
        ),
        Attr::read_write(
            c"scanners",
            |c, out| put(out, c.scanners()),
            |c, text| c.set_scanners(knobs::scanners(text)?),
        ),
        plain!(c"use_zero_pages", use_zero_pages, knobs::boolean),
        plain!(c"smart_scan", smart_scan, knobs::boolean),
        plain!(
            c"stable_node_chains_prune_millisecs",
            prune_millisecs,
            knobs::number
        ),
        Attr::read_write(
            c"advisor_mode",
            |c, out| {
                let modes = match c.settings().advisor_mode.get() {
                    Mode::None => "[none] scan-time pressure",
                    Mode::ScanTime => "none [scan-time] pressure",
                    Mode::Pressure => "none scan-time [pressure]",
                };
                put(out, modes)
            },
            |c, text| {
                c.set_advisor_mode(knobs::advisor(text)?);
                Ok(())
            },
        ),
        Attr::read_write(
            c"scope",
            |c, out| {
                let scopes = match c.settings().scope.get() {
                    Scope::Madvise => "[madvise] all",
                    Scope::All => "madvise [all]",
                };
                put(out, scopes)
            },
            |c, text| c.set_scope(knobs::scope(text)?),
        ),
        Attr::read_write(
            c"domain",
            |c, out| {
                let domains = match c.settings().domain.get() {
                    None => "[auto] all user cgroup process",
                    Some(Within::All) => "auto [all] user cgroup process",
                    Some(Within::User) => "auto all [user] cgroup process",
                    Some(Within::Cgroup) => "auto all user [cgroup] process",
                    Some(Within::Process) => "auto all user cgroup [process]",
                };
                put(out, domains)
            },
            |c, text| c.set_domain(knobs::domain(text)?),
        ),
        Attr::read_write(
            c"domain_depth",
            |c, out| put(out, c.settings().domain_depth.get()),
            |c, text| c.set_domain_depth(knobs::number(text)?),
        ),
        Attr::read_write(
            c"content",
            |c, out| {
                let contents = match c.settings().content.get() {
                    Content::All => "[all] zero",
                    Content::Zero => "all [zero]",
                };
                put(out, contents)
            },
            |c, text| c.set_content(knobs::content(text)?),
        ),
        plain!(c"huge_pages", huge_pages, knobs::number),
        Attr::read_write(
            c"fresh_frames",
            |c, out| {
                let drawn = match c.settings().fresh_frames.get() {
                    None => "[auto] 0 1",
                    Some(false) => "auto [0] 1",
                    Some(true) => "auto 0 [1]",
                };
                put(out, drawn)
            },
            |c, text| {
                c.set_fresh_frames(knobs::zero_one_or_auto(text)?);
                Ok(())
            },
        ),
        Attr::write_only(c"enrol", |c, text| {
            c.set_merge_any(knobs::process(text)?, true)
        }),
        Attr::write_only(c"release", |c, text| {
            c.set_merge_any(knobs::process(text)?, false)
        }),
        plain!(c"advisor_max_cpu", advisor_max_cpu, knobs::number),
        plain!(
            c"advisor_min_pages_to_scan",
            advisor_min_pages,
            knobs::number
        ),
        plain!(
            c"advisor_max_pages_to_scan",
            advisor_max_pages,
            knobs::number
        ),
        plain!(
            c"advisor_target_scan_time",
            advisor_target_secs,
            knobs::positive
        ),
        Attr::read_write(
            c"advisor_free_high",
            |c, out| put(out, c.settings().advisor_free_high.get()),
            |c, text| c.set_advisor_free_high(knobs::percent(text)?),
        ),
        Attr::read_write(
            c"advisor_free_low",
            |c, out| put(out, c.settings().advisor_free_low.get()),
            |c, text| c.set_advisor_free_low(knobs::percent(text)?),
        ),
        // Counters.
        counter!(c"pages_shared", pages_shared),
        counter!(c"pages_sharing", pages_sharing),
        counter!(c"pages_unshared", pages_unshared),
        counter!(c"pages_volatile", pages_volatile),
        counter!(c"pages_skipped", pages_skipped),
        counter!(c"pages_scanned", pages_scanned),
        counter!(c"full_scans", full_scans),
        counter!(c"pass_millisecs", pass_millisecs),
        counter!(c"last_pass_millisecs", last_pass_millisecs),
        counter!(c"last_pass_cpu_millisecs", last_pass_cpu_millisecs),
        counter!(c"stable_node_chains", stable_node_chains),
        counter!(c"stable_node_dups", stable_node_dups),
        counter!(c"ksm_zero_pages", ksm_zero_pages),
        counter!(c"general_profit", general_profit),
    ];
}

/// A value and a line feed.
fn put(out: &mut Formatter<'_>, value: impl Display) -> Result {
    writeln!(out, "{value}")?;
    Ok(())
}

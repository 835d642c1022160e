// SPDX-License-Identifier: GPL-2.0

//! What the files in `/sys/kernel/mm/rksm` read and change, apart from how it is done.

use crate::{
    advisor::Mode,
    settings::{Content, Scope, Settings, Within},
};
use kernel::prelude::*;

/// So many threads may scan at once.
pub(crate) const MOST_SCANNERS: u32 = 16;

/// What rksm is told to do: the value of `run`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Run {
    /// Scan no more, and leave merged pages as they are.
    Stop = 0,
    /// Scan and merge.
    Merge = 1,
    /// Give every process its own pages back, and scan no more.
    Unmerge = 2,
}

impl From<Run> for u32 {
    fn from(run: Run) -> Self {
        // The discriminants above are the numbers that user space knows.
        run as u32
    }
}

impl TryFrom<u32> for Run {
    type Error = Error;

    /// # Errors
    ///
    /// `EINVAL` for a number without a meaning.
    fn try_from(number: u32) -> Result<Self> {
        match number {
            0 => Ok(Self::Stop),
            1 => Ok(Self::Merge),
            2 => Ok(Self::Unmerge),
            _ => Err(EINVAL),
        }
    }
}

/// The counters at one moment, by the names of their files. They are read one after the other while
/// the scanner runs, so they need not agree to the last page.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    /// Merged pages.
    pub(crate) pages_shared: u64,
    /// Mappings of merged pages beyond the first of each: the pages saved.
    pub(crate) pages_sharing: u64,
    /// Pages that no other is equal to so far.
    pub(crate) pages_unshared: u64,
    /// Pages that change too fast, among those that are tracked.
    pub(crate) pages_volatile: u64,
    /// Pages looked at since the module was loaded.
    pub(crate) pages_scanned: u64,
    /// Pages passed over by smart scan since the module was loaded.
    pub(crate) pages_skipped: u64,
    /// Contents that more than one merged page has, since only so many may share one.
    pub(crate) stable_node_chains: u64,
    /// The merged pages that have those contents.
    pub(crate) stable_node_dups: u64,
    /// Passes completed.
    pub(crate) full_scans: u64,
    /// How long the last pass took.
    pub(crate) last_pass_millisecs: u64,
    /// The CPU time that all scanners used for it.
    pub(crate) last_pass_cpu_millisecs: u64,
    /// How long the pass under way takes so far.
    pub(crate) pass_millisecs: u64,
    /// Mappings of the zero page that were made by merging.
    pub(crate) ksm_zero_pages: i64,
    /// Bytes saved, less the bytes that it took to save them.
    pub(crate) general_profit: i64,
}

/// The engine, as its knobs see it.
pub(crate) trait Control: Send + Sync + 'static {
    /// What it was told to do last.
    fn run(&self) -> Run;

    /// Tells it what to do. [`Run::Unmerge`] returns once no merged page is left. Whatever it is told
    /// meanwhile begins after that.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if there was no memory to unmerge all; it can be tried again.
    /// - `ERESTARTSYS` if a signal came meanwhile.
    /// - `EBUSY` if a process held on to a merged page, or to its mmap lock, for ten seconds.
    fn set_run(&self, run: Run) -> Result;

    /// All other knobs.
    fn settings(&self) -> &Settings;

    /// Says how many pages to look at before each sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL` if an advisor is in charge of them.
    fn set_pages_to_scan(&self, pages: u32) -> Result;

    /// Says how long to sleep between batches; the sleep that goes on is cut short.
    fn set_sleep_millisecs(&self, millisecs: u32);

    /// Says how many may share a page: two or more.
    ///
    /// # Errors
    ///
    /// `EBUSY` if pages are merged.
    fn set_max_page_sharing(&self, limit: u32) -> Result;

    /// Says whether pages on different NUMA nodes are merged.
    ///
    /// # Errors
    ///
    /// `EBUSY` if pages are merged.
    fn set_merge_across_nodes(&self, enable: bool) -> Result;

    /// Says whose memory is merged. Returns when what is merged no more is unmerged.
    ///
    /// # Errors
    ///
    /// As for [`Run::Unmerge`]; the scope is as before then, though some of it may be unmerged.
    fn set_scope(&self, scope: Scope) -> Result;

    /// Says with whose pages a page is merged.
    ///
    /// # Errors
    ///
    /// - `EBUSY` if pages are merged.
    /// - `EOPNOTSUPP` if the kernel does not tell whose an address space is.
    /// - `ERESTARTSYS` if a signal came meanwhile.
    fn set_domain(&self, domain: Option<Within>) -> Result;

    /// Says how far below the root the cgroup lies that counts; with 0 it is the process's own.
    ///
    /// # Errors
    ///
    /// `EBUSY` if pages are merged. `ERESTARTSYS` if a signal came meanwhile.
    fn set_domain_depth(&self, depth: u32) -> Result;

    /// Says which pages are merged.
    ///
    /// # Errors
    ///
    /// `EBUSY` if pages are merged. `ERESTARTSYS` if a signal came meanwhile.
    fn set_content(&self, content: Content) -> Result;

    /// Says whether a page becomes a merged one in a frame that was drawn; `None`: the domain decides. What is
    /// merged stays as it is.
    fn set_fresh_frames(&self, drawn: Option<bool>);

    /// Says who decides on how many pages to look at, which begins with a default.
    fn set_advisor_mode(&self, mode: Mode);

    /// Says with how much memory available nothing is scanned, in percent of all.
    ///
    /// # Errors
    ///
    /// `EINVAL`: the low mark is not below it.
    fn set_advisor_free_high(&self, percent: u32) -> Result;

    /// Says with how much memory available all that the advisor may use is used, in percent of all.
    ///
    /// # Errors
    ///
    /// `EINVAL`: the high mark is not above it.
    fn set_advisor_free_low(&self, percent: u32) -> Result;

    /// Has a process, by its number, merged as if it had asked for it, or left alone.
    ///
    /// # Errors
    ///
    /// - `ESRCH` if there is none, or it has no memory any more; `EINVAL` for a kernel thread.
    /// - `EACCES` if the caller may not look into it by `ptrace()`.
    /// - `EBUSY` if the process held its mmap lock for ten seconds; `EINTR` if the caller was killed meanwhile.
    /// - `ENOMEM`.
    fn set_merge_any(&self, pid: i32, merge: bool) -> Result;

    /// How many threads scan at once.
    fn scanners(&self) -> u32;

    /// Says how many threads scan at once: one or more. What a thread that has to go was scanning is
    /// gone on with in the next pass.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if there is no memory for a thread; there may be more than before then. `EINTR` if the
    /// caller was killed. `EBUSY` while the module is being loaded.
    fn set_scanners(&self, number: u32) -> Result;

    /// All counters.
    fn counters(&self) -> Counters;
}

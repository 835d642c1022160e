// SPDX-License-Identifier: GPL-2.0

//! What the knobs are set to.

use crate::advisor::Mode;
use core::marker::PhantomData;
use kernel::{
    prelude::*,
    sync::atomic::{Atomic, Relaxed},
};

/// What a [`Knob`] can hold.
pub(crate) trait Value: Copy {
    fn to_bits(self) -> u64;
    fn from_bits(bits: u64) -> Self;
}

impl Value for u64 {
    fn to_bits(self) -> u64 {
        self
    }

    fn from_bits(bits: u64) -> Self {
        bits
    }
}

impl Value for u32 {
    fn to_bits(self) -> u64 {
        self.into()
    }

    fn from_bits(bits: u64) -> Self {
        // What `to_bits` widened.
        bits as u32
    }
}

impl Value for bool {
    fn to_bits(self) -> u64 {
        self.into()
    }

    fn from_bits(bits: u64) -> Self {
        bits != 0
    }
}

impl Value for Mode {
    fn to_bits(self) -> u64 {
        // The discriminants above.
        self as u64
    }

    fn from_bits(bits: u64) -> Self {
        match bits {
            0 => Self::None,
            1 => Self::ScanTime,
            _ => Self::Pressure,
        }
    }
}

/// Whose memory is merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// What `madvise()` or `prctl()` has asked for.
    Madvise = 0,
    /// All that can be, but for processes that want to be left out.
    All = 1,
}

impl Value for Scope {
    fn to_bits(self) -> u64 {
        // The discriminants above.
        self as u64
    }

    fn from_bits(bits: u64) -> Self {
        match bits {
            0 => Self::Madvise,
            _ => Self::All,
        }
    }
}

/// Which pages are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Those with equal content, whatever it is.
    All = 0,
    /// Those that are full of zeroes, and no others.
    Zero = 1,
}

impl Value for Content {
    fn to_bits(self) -> u64 {
        // The discriminants above.
        self as u64
    }

    fn from_bits(bits: u64) -> Self {
        match bits {
            0 => Self::All,
            _ => Self::Zero,
        }
    }
}

/// With whose pages a page is merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Within {
    /// Everybody's.
    All = 1,
    /// Those of the same user of the same user namespace.
    User = 2,
    /// Those of the same memory cgroup.
    Cgroup = 3,
    /// Those of the same address space.
    Process = 4,
}

/// `None`: something else decides.
impl Value for Option<bool> {
    fn to_bits(self) -> u64 {
        self.map_or(0, |yes| 1 + u64::from(yes))
    }

    fn from_bits(bits: u64) -> Self {
        match bits {
            1 => Some(false),
            2 => Some(true),
            _ => None,
        }
    }
}

/// `None`: the scope decides.
impl Value for Option<Within> {
    fn to_bits(self) -> u64 {
        // The discriminants above.
        self.map_or(0, |within| within as u64)
    }

    fn from_bits(bits: u64) -> Self {
        match bits {
            1 => Some(Within::All),
            2 => Some(Within::User),
            3 => Some(Within::Cgroup),
            4 => Some(Within::Process),
            _ => None,
        }
    }
}

/// One value. Each stands alone: no reader expects two of them to be of one moment.
pub(crate) struct Knob<T>(Atomic<u64>, PhantomData<fn() -> T>);

impl<T: Value> Knob<T> {
    const fn new(bits: u64) -> Self {
        Self(Atomic::new(bits), PhantomData)
    }

    pub(crate) fn get(&self) -> T {
        T::from_bits(self.0.load(Relaxed))
    }

    pub(crate) fn set(&self, value: T) {
        self.0.store(value.to_bits(), Relaxed);
    }
}

/// The knobs, apart from `run`.
pub(crate) struct Settings {
    /// Pages to look at before each sleep.
    pub(crate) pages_to_scan: Knob<u32>,
    /// Time to sleep between batches.
    pub(crate) sleep_millisecs: Knob<u32>,
    /// Which pages are merged. All of them, while there are merged pages.
    pub(crate) content: Knob<Content>,
    /// How many pages of a huge page must have an equal before it is split; 0: it never is.
    pub(crate) huge_pages: Knob<u32>,
    /// Whether pages full of zeroes are replaced by the kernel's zero page, where others are merged, too.
    pub(crate) use_zero_pages: Knob<bool>,
    /// Whether pages that could not be merged for some passes are passed over in some.
    pub(crate) smart_scan: Knob<bool>,
    /// How many rmap_items share a page at most, unless by a fork. Constant while there are merged
    /// pages.
    pub(crate) max_page_sharing: Knob<u32>,
    /// Whether pages on different NUMA nodes are merged. Constant while there are merged pages.
    pub(crate) merge_across_nodes: Knob<bool>,
    /// Time between two looks for nodes whose page is gone.
    pub(crate) prune_millisecs: Knob<u32>,
    /// Whose memory is merged.
    pub(crate) scope: Knob<Scope>,
    /// With whose pages a page is merged, where not the scope decides. Constant while there are merged pages.
    pub(crate) domain: Knob<Option<Within>>,
    /// How far below the root the cgroup lies that counts; with 0 it is the process's own. Constant while
    /// there are merged pages.
    pub(crate) domain_depth: Knob<u32>,
    /// Whether a page becomes a merged one in a frame that was drawn, if somebody has said so.
    pub(crate) fresh_frames: Knob<Option<bool>>,
    /// Who decides on `pages_to_scan`.
    pub(crate) advisor_mode: Knob<Mode>,
    /// The share of a CPU that the advisor may use, in percent.
    pub(crate) advisor_max_cpu: Knob<u32>,
    /// The least that the advisor sets `pages_to_scan` to.
    pub(crate) advisor_min_pages: Knob<u64>,
    /// The most, which goes before the least.
    pub(crate) advisor_max_pages: Knob<u64>,
    /// How long a pass shall take, in seconds.
    pub(crate) advisor_target_secs: Knob<u64>,
    /// With at least so much memory available nothing is scanned, in percent.
    pub(crate) advisor_free_high: Knob<u32>,
    /// With no more than that, all that the advisor may use is used. Less than the above.
    pub(crate) advisor_free_low: Knob<u32>,
}

/// How often to look at what changes without a word, such as how much memory is available.
pub(crate) const LOOK_MS: u32 = 1000;

/// How many pages are looked at before each sleep, unless somebody says otherwise.
pub(crate) const PAGES_TO_SCAN: u32 = 100;

/// How many rmap_items share a page at most, unless somebody says otherwise.
pub(crate) const MAX_PAGE_SHARING: u32 = 256;

impl Settings {
    /// The defaults of the in-tree KSM, which its documentation gives; it has no scope and no domains, and
    /// merges what was asked for, whatever is in it.
    pub(crate) const fn new() -> Self {
        Self {
            pages_to_scan: Knob::new(PAGES_TO_SCAN as u64),
            sleep_millisecs: Knob::new(20),
            content: Knob::new(Content::All as u64),
            huge_pages: Knob::new(1),
            use_zero_pages: Knob::new(false as u64),
            smart_scan: Knob::new(true as u64),
            max_page_sharing: Knob::new(MAX_PAGE_SHARING as u64),
            merge_across_nodes: Knob::new(true as u64),
            prune_millisecs: Knob::new(2000),
            scope: Knob::new(Scope::Madvise as u64),
            domain: Knob::new(0),
            domain_depth: Knob::new(0),
            fresh_frames: Knob::new(0),
            advisor_mode: Knob::new(Mode::None as u64),
            advisor_max_cpu: Knob::new(70),
            advisor_min_pages: Knob::new(500),
            advisor_max_pages: Knob::new(30_000),
            advisor_target_secs: Knob::new(200),
            advisor_free_high: Knob::new(20),
            advisor_free_low: Knob::new(10),
        }
    }

    /// Whether the zero page takes the place of pages full of zeroes.
    pub(crate) fn places_zero_pages(&self) -> bool {
        self.content.get() == Content::Zero || self.use_zero_pages.get()
    }

    /// Whether nothing is to be scanned since enough memory is available.
    pub(crate) fn waits_for_pressure(&self) -> bool {
        self.advisor_mode.get() == Mode::Pressure && self.pages_to_scan.get() == 0
    }

    /// How long scanners sleep between batches. Where memory is watched, the next look is not to be
    /// overslept, and what limits the share of a CPU is sleep.
    pub(crate) fn rest_millisecs(&self) -> u32 {
        let millisecs = self.sleep_millisecs.get();
        match self.advisor_mode.get() {
            Mode::Pressure => millisecs.clamp(1, LOOK_MS),
            _ => millisecs,
        }
    }

    /// With whose pages a page is merged. Where the scope decides, what was asked for is merged with
    /// everybody's, and what nobody has asked for with as few as make it worthwhile.
    pub(crate) fn within(&self) -> Within {
        self.within_of(self.domain.get())
    }

    /// With whose pages a page is merged where `domain` is that.
    pub(crate) fn within_of(&self, domain: Option<Within>) -> Within {
        domain.unwrap_or(match self.scope.get() {
            Scope::Madvise => Within::All,
            // Without them it is not known whose an address space is.
            Scope::All if cfg!(CONFIG_MEMCG) => Within::User,
            Scope::All => Within::Process,
        })
    }

    /// Whether a page becomes a merged one in a frame that was drawn. Unless somebody has said so, where it is
    /// told apart whose pages are merged with whose: who trusts everybody has nothing to pay for.
    pub(crate) fn draws_frames(&self) -> bool {
        let said = self.fresh_frames.get();
        said.unwrap_or_else(|| self.within() != Within::All)
    }
}

#[kunit_tests(rksm_settings)]
mod tests {
    use super::*;

    #[test]
    fn the_domain_goes_by_the_scope_where_that_decides() {
        let settings = Settings::new();
        assert_eq!(settings.within(), Within::All);
        settings.scope.set(Scope::All);
        assert!(settings.within() != Within::All);
        settings.domain.set(Some(Within::All));
        assert_eq!(settings.within(), Within::All);
        settings.scope.set(Scope::Madvise);
        settings.domain.set(Some(Within::User));
        assert_eq!(settings.within(), Within::User);
    }

    #[test]
    fn zero_pages_go_where_nothing_else_does() {
        let settings = Settings::new();
        for (content, knob, places) in [
            (Content::All, false, false),
            (Content::All, true, true),
            (Content::Zero, false, true),
            (Content::Zero, true, true),
        ] {
            settings.content.set(content);
            settings.use_zero_pages.set(knob);
            assert_eq!(settings.places_zero_pages(), places);
        }
    }

    #[test]
    fn frames_are_drawn_by_the_domain_until_it_is_said() {
        let settings = Settings::new();
        assert!(!settings.draws_frames());
        settings.domain.set(Some(Within::User));
        assert!(settings.draws_frames());
        settings.fresh_frames.set(Some(false));
        assert!(!settings.draws_frames());
        settings.domain.set(Some(Within::All));
        settings.fresh_frames.set(Some(true));
        assert!(settings.draws_frames());
    }

    #[test]
    fn who_watches_memory_sleeps_a_second_at_most() {
        let settings = Settings::new();
        for (millisecs, rest) in [(0, 1), (20, 20), (u32::MAX, LOOK_MS)] {
            settings.sleep_millisecs.set(millisecs);
            settings.advisor_mode.set(Mode::ScanTime);
            assert_eq!(settings.rest_millisecs(), millisecs);
            settings.advisor_mode.set(Mode::Pressure);
            assert_eq!(settings.rest_millisecs(), rest);
        }
    }

    #[test]
    fn nothing_to_scan_is_waiting_only_where_memory_decides() {
        let settings = Settings::new();
        for (mode, pages, waits) in [
            (Mode::None, 0, false),
            (Mode::ScanTime, 0, false),
            (Mode::Pressure, 1, false),
            (Mode::Pressure, 0, true),
        ] {
            settings.advisor_mode.set(mode);
            settings.pages_to_scan.set(pages);
            assert_eq!(settings.waits_for_pressure(), waits);
        }
    }

    #[test]
    fn a_knob_holds_what_it_was_set_to() {
        let knob = Knob::new(0);
        let all = [Within::All, Within::User, Within::Cgroup, Within::Process];
        assert_eq!(knob.get(), None);
        for within in all.map(Some) {
            knob.set(within);
            assert_eq!(knob.get(), within);
        }
    }
}

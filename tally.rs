// SPDX-License-Identifier: GPL-2.0

//! What changes in the counts of one address space while somebody has its turn.

use crate::{
    intrusive::item::{ItemRef, Key},
    rmap_item::Kind,
};

/// Differences, to be added when the turn ends.
#[derive(Default)]
pub(crate) struct Tally {
    /// Tracked pages.
    pub(crate) tracked: i64,
    /// Mappings of merged pages.
    pub(crate) merging: i64,
    /// Zero pages on record.
    pub(crate) zero: i64,
}

impl Tally {
    /// Notes what a page without a place in any tree looks like. False, and nothing done, for one that has
    /// a place.
    #[must_use]
    fn set(&mut self, item: ItemRef<'_>, kind: Kind, key: Key) -> bool {
        let count = |kind: Kind, wanted: Kind| i64::from(kind == wanted);
        let before = item.kind();
        let set = item.set_plain(kind, key);
        if set {
            self.tracked += count(before, Kind::Untracked) - count(kind, Kind::Untracked);
            self.zero += count(kind, Kind::Zero) - count(before, Kind::Zero);
        }
        set
    }

    /// Notes the checksum of a page.
    #[must_use]
    pub(crate) fn see(&mut self, item: ItemRef<'_>, key: Key) -> bool {
        self.set(item, Kind::Seen, key)
    }

    /// Notes that the zero page stands for a page.
    #[must_use]
    pub(crate) fn see_zero(&mut self, item: ItemRef<'_>) -> bool {
        self.set(item, Kind::Zero, item.key())
    }

    /// Notes that there is no page.
    #[must_use]
    pub(crate) fn forget(&mut self, item: ItemRef<'_>) -> bool {
        self.set(item, Kind::Untracked, item.key())
    }
}

// SPDX-License-Identifier: GPL-2.0

//! What is known of one page: the state machine of an rmap_item.
//!
//! ```text
//!                    first seen, not zero
//!       ┌───────────────────────────────────────────┐
//!       │   first seen          seen unchanged      ▼         an equal page came by
//!   Untracked ────────────► Seen ────────────────► Candidate ───────────► Claimed
//!       ▲                  ▲    ◄────────────────      ▲                  │  │  │
//!       │ gone             │    changed, unmerge       └── not merged ────┘  │  │
//!       │                  │ ◄──────────────── could not be merged ──────────┘  │
//!       └──── any    written, unmerged ◄──────── Merged ◄───────────────────────┘
//!                          │
//!                          └──────────────────── Zero  (the zero page was put in its place)
//! ```
//!
//! [`item`] keeps this in a few bits, says who may change what, and makes sure that leaving a kind and
//! leaving the tree that goes with it are one step.
//!
//! [`item`]: crate::intrusive::item

/// What an rmap_item stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing: there is no page at the address, or the scanner has not come to it yet.
    Untracked,
    /// A page whose checksum is known.
    Seen,
    /// A page that waits in the tree of candidates for an equal one.
    Candidate,
    /// A mapping of a merged page.
    Merged,
    /// A mapping of the zero page that stands for a page full of zeroes.
    Zero,
    /// A candidate that somebody is about to merge.
    Claimed,
}

impl Kind {
    /// Whether the kind goes with no tree, so that any other may follow.
    pub(crate) const fn is_plain(self) -> bool {
        matches!(self, Kind::Untracked | Kind::Seen | Kind::Zero)
    }

    pub(crate) const fn to_bits(self) -> i8 {
        match self {
            Kind::Untracked => 0,
            Kind::Seen => 1,
            Kind::Candidate => 2,
            Kind::Merged => 3,
            Kind::Zero => 4,
            Kind::Claimed => 5,
        }
    }

    /// The inverse of `to_bits`. Any other bits stand for `Untracked`.
    pub(crate) const fn from_bits(bits: i8) -> Self {
        match bits {
            1 => Kind::Seen,
            2 => Kind::Candidate,
            3 => Kind::Merged,
            4 => Kind::Zero,
            5 => Kind::Claimed,
            _ => Kind::Untracked,
        }
    }
}

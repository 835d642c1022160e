// SPDX-License-Identifier: GPL-2.0

//! What is wanted for a page that the scanner came to.

use crate::intrusive::item::Key;

/// How well a page is known that an equal one is wanted for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// It may be one that changes all the time.
    First,
    /// It has held still since the last one.
    Second,
}

/// What is wanted for a page.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// To note its checksum.
    See,
    /// To note that it is on the zero page.
    SeeZero,
    /// To put the zero page in its place.
    Zero,
    /// To merge it, if there is one like it.
    Merge(Look),
    /// The same, if it is a candidate no more: it has given way to a page that was read with it.
    MergeIfDislodged,
    /// To note that it is a merged page: a fork left it there, or swap-in.
    Adopt,
    /// To bring its node to where its page stands now.
    Follow,
}

/// A page, and what is wanted for it.
pub(crate) struct Work {
    pub(crate) address: usize,
    pub(crate) want: Want,
    pub(crate) checksum: u64,
    pub(crate) key: Key,
    /// The NUMA node that it lay on when it was read.
    pub(crate) nid: i32,
    /// The large folio that it was in when it was read: its address, to be compared and for nothing else.
    pub(crate) folio: Option<usize>,
}

impl Work {
    /// For a page that was not read.
    pub(crate) fn new(address: usize, want: Want) -> Self {
        Self {
            address,
            want,
            checksum: 0,
            key: Key::of(0),
            nid: 0,
            folio: None,
        }
    }
}

// SPDX-License-Identifier: GPL-2.0

//! An address space that a scanner has claimed, and what it has to do there before it goes on.

use crate::{huge::HugePage, mm_slot::MmSlot, pass::Share};
use core::ops::Range;
use kernel::sync::Arc;

/// An address space that a scanner has claimed.
pub(crate) struct Claimed {
    pub(crate) slot: Arc<MmSlot>,
    pub(crate) share: Share,
    /// Whether its mmap lock is to be looked out for once more in this turn.
    pub(crate) patient: bool,
    /// Whether it may be that it maps merged pages that are not on record.
    pub(crate) looks_back: bool,
    /// The huge page that the scanner has come to.
    pub(crate) huge: HugePage,
    /// What is to be given back first.
    pub(crate) owed: Option<Owed>,
    /// What is to be forgotten next.
    pub(crate) lost: Option<Lost>,
}

/// A range that was gone through, and of which pages are to be forgotten that were not found any more.
pub(crate) struct Lost {
    pub(crate) range: Range<usize>,
    /// Where the scan goes on.
    pub(crate) next: Option<usize>,
    /// Whether it is known that what was merged of it unasked and has become private was given back.
    pub(crate) given_back: bool,
}

/// Whether an address space is done with for this pass.
#[derive(PartialEq)]
pub(crate) enum Turns {
    GoesOn,
    Ends,
}

/// A part of an address space whose private memory may hold merged pages.
pub(crate) struct Owed {
    pub(crate) range: Range<usize>,
    /// What is to be forgotten afterwards.
    pub(crate) lost: Option<Lost>,
    /// Whether something had to be left out.
    pub(crate) kept: bool,
}

impl Owed {
    /// All that may not be on record.
    pub(crate) fn anywhere() -> Self {
        Self {
            range: 0..usize::MAX,
            lost: None,
            kept: false,
        }
    }

    /// What is about to be forgotten.
    pub(crate) fn lost(lost: Lost) -> Self {
        Self {
            range: lost.range.clone(),
            lost: Some(lost),
            kept: false,
        }
    }
}

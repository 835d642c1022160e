// SPDX-License-Identifier: GPL-2.0

//! The candidates: pages that wait for one with the same checksum.
//!
//! They can be written at any time, and are not looked at again when they are: a candidate stands
//! under the checksum that it had. The tree therefore never gets out of order, and need not be
//! thrown away after a pass. A candidate that does not look any more as its checksum says leaves
//! when the scanner comes to it again, or when it was to be merged.
//!
//! No content is compared here. Two pages of one checksum are one content as good as always, and
//! whether they are is seen where they can change no more.

use crate::{
    checksum::Sums,
    intrusive::{
        candidates::{Candidates, Entry},
        items::Item,
        rb::Side,
    },
    merge::page_of,
    mm::page::AnonPage,
};
use core::cmp::Ordering;

/// What a search for a page with the same checksum came to.
pub(crate) enum Found<'c> {
    /// One, which is a candidate no more.
    Like(&'c Item, AnonPage),
    /// None; the page is a candidate itself now.
    Inserted,
    /// One that the page cannot be merged with now.
    NotNow,
}

/// What is to be done about a candidate with the same checksum.
enum Verdict {
    Like(AnonPage),
    NotNow,
    /// It is gone, or changed since.
    Stale,
}

/// How well a page is known that an equal one is wanted for.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Look {
    /// It may be one that changes all the time.
    First,
    /// It has held still since the last one.
    Second,
}

/// Finds a candidate with the checksum of `page`, or makes `item`, whose page that is, a candidate.
pub(crate) fn find_or_insert<'c>(
    candidates: &'c mut Candidates,
    sums: &Sums<'_>,
    item: &Item,
    page: &AnonPage,
    look: Look,
) -> Found<'c> {
    let key = item.key();
    let mut like = None;
    let entry = candidates.entry(key, |candidate| {
        let order = key.cmp(&candidate.key());
        if order.is_ne() {
            return Side::At(order);
        }
        match judge(sums, candidate, page, look) {
            Verdict::Stale => Side::Stale,
            Verdict::NotNow => Side::At(Ordering::Equal),
            Verdict::Like(other) => {
                like = Some(other);
                Side::At(Ordering::Equal)
            }
        }
    });
    match (entry, like) {
        (Entry::Vacant(place), _) => {
            place.insert(item);
            Found::Inserted
        }
        (Entry::Found(found), Some(other)) => Found::Like(found.take(), other),
        (Entry::Found(_), None) => Found::NotNow,
    }
}

fn judge(sums: &Sums<'_>, candidate: &Item, page: &AnonPage, look: Look) -> Verdict {
    let Some(other) = page_of(candidate) else {
        return match candidate.mm().is_busy() {
            true => Verdict::NotNow,
            false => Verdict::Stale,
        };
    };
    // A fork left one page in two address spaces; or somebody else is about to use the page, and
    // what would be made of the other one would have to be undone.
    if other.is(page) || page.is_in_use() {
        return Verdict::NotNow;
    }
    // It would have to be split.
    if look == Look::First && other.is_large() {
        return Verdict::NotNow;
    }
    match other.is_ksm() || !sums.may_meet(other.nid(), page.nid()) {
        true => Verdict::Stale,
        false => Verdict::Like(other),
    }
}

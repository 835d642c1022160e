// SPDX-License-Identifier: GPL-2.0

//! The candidates: pages that were seen twice with one checksum, and wait for an equal page.
//!
//! They can be written at any time, and are not looked at again when they are: a candidate stands
//! under the checksum that it had. The tree therefore never gets out of order, and need not be
//! thrown away after a pass. A candidate that does not look any more as its checksum says leaves
//! when the scanner comes to it again, or when a search comes upon it.

use crate::{
    checksum::Sums,
    intrusive::{
        items::{Candidates, Entry, Item, Key},
        rb::Side,
    },
    merge::page_of,
    mm::{page::AnonPage, page_bytes::PageView},
};
use core::cmp::Ordering;

/// What a search for an equal page came to.
pub(crate) enum Found<'c> {
    /// An equal page, which is a candidate no more.
    Equal(&'c Item, AnonPage),
    /// None; the page is a candidate itself now.
    Inserted,
    /// A candidate that is the very same page, which a fork left in two address spaces.
    Same,
}

/// How a candidate with the same checksum compares.
enum Verdict {
    Order(Ordering),
    Equal(AnonPage),
    /// Nothing is to be done: it is the same page, or one that cannot be looked at now.
    Same,
    /// It is gone, or changed since.
    Stale,
}

/// Finds a candidate equal to `page`, or makes `item`, whose page that is, a candidate.
pub(crate) fn find_or_insert<'c>(
    candidates: &'c mut Candidates,
    sums: &Sums<'_>,
    item: &Item,
    page: &AnonPage,
) -> Found<'c> {
    let key = item.key();
    let mut equal = None;
    let entry = candidates.entry(key, |candidate| {
        let order = key.cmp(&candidate.key());
        if order.is_ne() {
            return Side::At(order);
        }
        match judge(sums, candidate, page) {
            Verdict::Order(order) => Side::At(order),
            Verdict::Stale => Side::Stale,
            Verdict::Same => Side::At(Ordering::Equal),
            Verdict::Equal(other) => {
                equal = Some(other);
                Side::At(Ordering::Equal)
            }
        }
    });
    match (entry, equal) {
        (Entry::Vacant(place), _) => {
            place.insert(item);
            Found::Inserted
        }
        (Entry::Found(found), Some(page)) => Found::Equal(found.take(), page),
        (Entry::Found(_), None) => Found::Same,
    }
}

fn key_of(sums: &Sums<'_>, content: &PageView<'_>, nid: i32) -> Key {
    Key::of(sums.place(sums.checksum(content), nid))
}

/// Looks at the page of a candidate whose checksum is that of `page`.
fn judge(sums: &Sums<'_>, candidate: &Item, page: &AnonPage) -> Verdict {
    let Some(other) = page_of(candidate) else {
        return match candidate.mm().is_busy() {
            true => Verdict::Same,
            false => Verdict::Stale,
        };
    };
    if other.is(page) {
        return Verdict::Same;
    }
    if other.is_ksm() || !sums.may_meet(other.nid(), page.nid()) {
        return Verdict::Stale;
    }
    match page.read(|new| other.read(|old| new.compare(old))) {
        Ordering::Equal => Verdict::Equal(other),
        // Two contents with one checksum are ordered; but far more likely it was written to.
        order if other.read(|old| key_of(sums, old, other.nid())) == candidate.key() => {
            Verdict::Order(order)
        }
        _ => Verdict::Stale,
    }
}

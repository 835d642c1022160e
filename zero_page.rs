// SPDX-License-Identifier: GPL-2.0

//! Pages full of zeroes, which need no merged page: the kernel has one that is shared by all.
//!
//! The kernel counts the mappings that were made here, for a process and in all, by a mark in the
//! page table entry, and counts them down the moment one is written, unmapped or unmerged. An
//! rmap_item of kind [`Zero`](crate::rmap_item::Kind::Zero) says where they are; it finds out when
//! the scanner comes by.

use crate::{
    intrusive::items::Item,
    merge::{freeze, trace_one_page, with_vma, Outcome},
    mm::page::AnonPage,
};

/// Maps the zero page in place of `page`, which is that of `item`, if it is full of zeroes.
pub(crate) fn place(item: &Item, page: &AnonPage) -> Outcome {
    let outcome = with_vma(item, |vma| {
        freeze(vma, item, page, |frozen| {
            if !frozen.is_zero() {
                return Err(Outcome::Changed);
            }
            let placed = frozen.replace_with_zero();
            placed.then_some(Outcome::Merged).ok_or(Outcome::Busy)
        })
    })
    .unwrap_or(Err(Outcome::Gone))
    .unwrap_or_else(|why| why);
    trace_one_page(item, page, outcome);
    outcome
}

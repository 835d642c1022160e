// SPDX-License-Identifier: GPL-2.0

//! Forgetting: records of pages that are gone, and of address spaces that are.

use crate::{
    books::Ledger,
    engine::Engine,
    intrusive::item::ItemRef,
    mm::{kthread, trace},
    mm_slot::Turn,
    tally::Tally,
};

/// How many records are dealt with each time that the books are opened.
const SLICE: usize = 32;

/// How many records are forgotten at a time.
pub(crate) const SOME: usize = 1024;

/// Forgets these pages. Returns how many, and whether all: one may be held now.
pub(crate) fn forget<'r>(
    ledger: &Ledger,
    tally: &mut Tally,
    items: impl Iterator<Item = ItemRef<'r>>,
) -> (usize, bool) {
    let (mut forgotten, mut all) = (0, true);
    let mut items = items.peekable();
    while items.peek().is_some() {
        let mut books = None;
        for item in items.by_ref().take(SLICE) {
            // What is in no tree is nobody's but ours.
            let left = match item.kind().is_plain() {
                true => true,
                false => books
                    .get_or_insert_with(|| ledger.open())
                    .leave(item, tally)
                    .is_ok(),
            };
            let gone = left && tally.forget(item);
            forgotten += usize::from(gone);
            all &= gone;
        }
        drop(books);
        kthread::cond_resched();
    }
    (forgotten, all)
}

/// Forgets all pages in `[from, to)`. False: some are held now.
#[must_use]
pub(crate) fn forget_range(ledger: &Ledger, turn: &mut Turn<'_>, from: usize, to: usize) -> bool {
    let items = turn.records.tracked(from, to);
    let (_, all) = forget(ledger, &mut turn.tally, items);
    turn.records.settle(from, to);
    all
}

impl Engine {
    /// Forgets some records of address spaces that are gone. True: there are more that can be forgotten
    /// at once.
    pub(crate) fn reap_some(&self) -> bool {
        let mut id = 0;
        while let Some(slot) = self.registry.dead_after(id) {
            id = slot.id();
            let mut turn = slot.turn(&self.ledger.stats);
            let Turn { records, tally, .. } = &mut turn;
            let (mut looked_at, mut end) = (0, 0);
            let items = records.tracked(0, usize::MAX).take(SOME).inspect(|item| {
                looked_at += 1;
                end = end.max(item.address() + 1);
            });
            let (forgotten, _) = forget(&self.ledger, tally, items);
            // No farther than records were forgotten: there may be many more.
            records.settle(0, if looked_at < SOME { usize::MAX } else { end });
            let empty = records.is_empty();
            drop(turn);
            trace::forget(slot.space.id(), forgotten);
            if empty {
                self.registry.bury(&slot);
            }
            if forgotten > 0 {
                return true;
            }
        }
        false
    }
}

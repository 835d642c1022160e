// SPDX-License-Identifier: GPL-2.0

//! Giving back what was merged unasked and is not to be merged any more.
//!
//! Memory becomes private when it is locked, left out of core dumps or of children, or when its process is not
//! dumpable any more (`mm/vma.rs`). Nobody is told. From then on a look finds no page there, and of what is
//! recorded there of merged pages it seems that they are gone. So before records of merged pages are
//! forgotten, the range is searched for private memory, and what is merged in it is given back. Where there
//! was nothing to forget, nothing is searched: private memory costs no more than its VMAs.
//!
//! What is merged and not on record, as in the copy of another process, is searched for by itself, when the
//! scanner comes by for the first time.

use crate::{
    claimed::{Claimed, Lost, Owed, Turns},
    engine::Engine,
    mm::{
        address_space::{Away, MOMENT},
        trace,
        vma::unmerge_some_private,
    },
};

impl Engine {
    /// Gives back a part of what is merged in private memory. Whether the turn goes on, and what this took of
    /// `pages_to_scan`.
    pub(crate) fn withdraw(&self, claimed: &mut Claimed, mut owed: Owed) -> (Turns, u64) {
        let slot = claimed.slot.clone();
        let live = match slot.space.enter_within(MOMENT) {
            Ok(live) => live,
            Err(Away::Busy) => {
                trace::cut(slot.space.id(), owed.range.start);
                return (Turns::Ends, 1);
            }
            Err(Away::Gone) => return (Turns::Ends, 1),
        };
        let part = unmerge_some_private(&live, owed.range.clone());
        drop(live);
        let Some(part) = part.unwrap_or_else(|_no_memory| {
            owed.kept = true;
            None
        }) else {
            return (self.withdrawn(claimed, owed), 1);
        };
        trace::unmerge(slot.space.id(), part.done.clone(), part.found, part.tables);
        owed.kept |= part.leaves_out();
        let units = part.charge();
        owed.range.start = part.next;
        if owed.range.is_empty() {
            return (self.withdrawn(claimed, owed), units);
        }
        claimed.owed = Some(owed);
        (Turns::GoesOn, units)
    }

    /// Ends the search. What was left out stays on record, and is come to again in the next pass, in which what
    /// was found just now counts as found once more.
    fn withdrawn(&self, claimed: &mut Claimed, owed: Owed) -> Turns {
        let slot = &claimed.slot;
        match owed.lost {
            Some(lost) if owed.kept => {
                slot.set_at(lost.next.unwrap_or(0));
                match lost.next {
                    Some(_) => Turns::GoesOn,
                    None => Turns::Ends,
                }
            }
            Some(lost) => {
                claimed.lost = Some(Lost {
                    given_back: true,
                    ..lost
                });
                Turns::GoesOn
            }
            None => {
                slot.set_unrecorded(owed.kept);
                Turns::GoesOn
            }
        }
    }
}

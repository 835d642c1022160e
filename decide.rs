// SPDX-License-Identifier: GPL-2.0

//! What becomes of a page that is not as it was when the scanner last came by.
//!
//! Trees are searched with the books open, a few pages at a time, so that others get in between. What is
//! found there is merged with the books closed ([`merge`](crate::merge)).

use crate::{
    books::Books,
    engine::Engine,
    huge::HugePage,
    intrusive::{
        candidates::{Claim, Found},
        item::ItemRef,
    },
    merge::Paired,
    mm_slot::Turn,
    rmap_item::Kind,
    stable_tree::Match,
    tally::Tally,
    work::{Look, Want, Work},
};

/// How many pages are looked up each time that the books are opened.
const SLICE: usize = 16;

/// What is to be done with the books closed.
enum Todo {
    Zero,
    Adopt,
    /// The merged page is like it.
    Join(Match),
    /// The candidate is.
    Pair(Claim, Look),
}

impl Engine {
    /// Does what is wanted.
    pub(crate) fn decide(&self, work: &[Work], turn: &mut Turn<'_>, huge: &mut HugePage) {
        let Turn { records, tally, .. } = turn;
        let mut works = work.iter().peekable();
        while works.peek().is_some() {
            let mut found = None;
            let mut books = self.ledger.open();
            for work in works.by_ref().take(SLICE) {
                let Some(item) = records.find(work.address) else {
                    continue;
                };
                if let Some(todo) = self.look_up(&mut books, tally, item, work, huge) {
                    found = Some((item, work, todo));
                    break;
                }
            }
            drop(books);
            if let Some((item, work, todo)) = found {
                self.carry_out(tally, item, work, todo, huge);
            }
        }
    }

    /// What can be done with the books open is. A page that is held now is left for the next pass.
    fn look_up(
        &self,
        books: &mut Books,
        tally: &mut Tally,
        item: ItemRef<'_>,
        work: &Work,
        huge: &mut HugePage,
    ) -> Option<Todo> {
        if work.want == Want::Follow {
            let Books { stable, token, .. } = books;
            stable.follow(&self.sums_of(item.space()), item, token);
            return None;
        }
        if work.want == Want::MergeIfDislodged && item.kind() == Kind::Candidate {
            return None;
        }
        if books.leave(item, tally).is_err() {
            return None;
        }
        match work.want {
            Want::Follow => None,
            Want::SeeZero => {
                // It was just made plain.
                let _plain = tally.see_zero(item);
                None
            }
            Want::Zero if huge.lets_go(work, self.settings.huge_pages.get()) => Some(Todo::Zero),
            Want::See | Want::Zero => {
                let _plain = tally.see(item, work.key);
                None
            }
            Want::Adopt => {
                let _plain = tally.see(item, work.key);
                Some(Todo::Adopt)
            }
            Want::Merge(look) => {
                let _plain = tally.see(item, work.key);
                self.search(books, item, work, look, huge)
            }
            Want::MergeIfDislodged => {
                let _plain = tally.see(item, work.key);
                self.search(books, item, work, Look::Second, huge)
            }
        }
    }

    /// Finds a page like that of `item`, or else makes it a candidate.
    fn search(
        &self,
        books: &mut Books,
        item: ItemRef<'_>,
        work: &Work,
        look: Look,
        huge: &mut HugePage,
    ) -> Option<Todo> {
        let Books {
            stable,
            candidates,
            token,
        } = books;
        let sums = self.sums_of(item.space());
        let drawn = self.settings.draws_frames();
        match stable.find(&sums, work.checksum, work.nid, drawn, token) {
            Some(found) if huge.lets_go(work, self.settings.huge_pages.get()) => {
                Some(Todo::Join(found))
            }
            Some(found) => {
                stable.expect_no_more(&found.node, token);
                None
            }
            None => match candidates.claim_or_insert(item) {
                Found::Claim(claim) => Some(Todo::Pair(claim, look)),
                // It is looked for again in the next pass, and is a merged page by then.
                Found::Claimed | Found::None => None,
            },
        }
    }

    /// Does what is done with the books closed.
    fn carry_out(
        &self,
        tally: &mut Tally,
        item: ItemRef<'_>,
        work: &Work,
        todo: Todo,
        huge: &mut HugePage,
    ) {
        match todo {
            Todo::Zero => {
                if self.place_zero(item).is_ok() {
                    let _plain = tally.see_zero(item);
                }
            }
            Todo::Adopt => self.adopt(tally, item),
            Todo::Join(found) => {
                // To be compared when it and the page are locked, which takes a while.
                found.folio.read(|content| content.prefetch_all());
                self.join(tally, item, found);
            }
            Todo::Pair(claim, look) => {
                let paired = self.pair(tally, item, claim, work, look, huge);
                self.settle_pair(item, paired);
            }
        }
    }

    /// What becomes of a candidate. One that cannot be merged now gives way: it is looked at again when
    /// its own turn comes, and the page takes its place.
    fn settle_pair(&self, item: ItemRef<'_>, paired: Paired) {
        match paired {
            Paired::Done => {}
            Paired::NotNow(claim) => self.ledger.open().candidates.put_back(claim),
            Paired::GivesWay(claim) => self.ledger.open().candidates.replace(claim, item),
        }
    }
}

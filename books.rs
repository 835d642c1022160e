// SPDX-License-Identifier: GPL-2.0

//! The books: merged pages and candidates of all address spaces.
//!
//! They are opened for tens of microseconds at a time. Whoever has them open waits for nothing: folio
//! locks and mmap locks are tried once, memory is had at once or not at all. What needs more is done
//! before or after, and what was known is looked at again.

use crate::{
    intrusive::{
        candidates::{Abandoned, Candidates},
        item::{ItemRef, Key},
        records::Left,
        stable_node::{StableNode, Token},
    },
    mm::{ksm_folio::FolioLock, kthread, trace},
    rmap_item::Kind,
    settings::MAX_PAGE_SHARING,
    stable_tree::{Held, Next, StableTree},
    stats::Stats,
    tally::Tally,
};
use core::ops::{Deref, DerefMut};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        lock::{mutex::MutexBackend, Guard},
        Arc, Mutex,
    },
};

/// What is known of more than one address space.
pub(crate) struct Books {
    pub(crate) stable: StableTree,
    pub(crate) candidates: Candidates,
    pub(crate) token: Token,
}

impl Books {
    const fn new() -> Self {
        Self {
            stable: StableTree::new(MAX_PAGE_SHARING),
            candidates: Candidates::new(),
            token: Token::new(),
        }
    }

    /// Whether no page is merged, and none is about to be: the first two that are merged with each other
    /// are before they are entered here, and the candidate is claimed then.
    pub(crate) fn is_unmerged(&self) -> bool {
        self.stable.is_empty() && !self.candidates.any_claimed()
    }

    /// Makes `item` a plain one, of which nothing but its checksum is known.
    ///
    /// # Errors
    ///
    /// [`Held`], and nothing is done: the folio of its merged page is locked, or somebody is about to
    /// merge it.
    pub(crate) fn leave(&mut self, item: ItemRef<'_>, tally: &mut Tally) -> Result<(), Held> {
        if self.candidates.remove(item) {
            return Ok(());
        }
        match item.kind() {
            Kind::Merged => {
                if self.stable.unshare(item, &self.token)? {
                    tally.merging -= 1;
                    self.give_room();
                }
                Ok(())
            }
            Kind::Claimed | Kind::Candidate => Err(Held),
            Kind::Untracked | Kind::Seen | Kind::Zero => Ok(()),
        }
    }

    /// Makes a plain item share the page of `node`, which is locked.
    pub(crate) fn share(
        &mut self,
        node: &Arc<StableNode>,
        lock: &FolioLock<'_>,
        item: ItemRef<'_>,
        tally: &mut Tally,
    ) {
        if self.stable.share(node, lock, item, &self.token) {
            tally.merging += 1;
        }
        self.give_room();
    }

    /// Notes that whoever was expected to share the page of `node` does not.
    pub(crate) fn expect_no_more(&mut self, node: &StableNode) {
        self.stable.expect_no_more(node, &self.token);
        self.give_room();
    }

    /// Has the candidate looked for that can share a merged page by now.
    fn give_room(&mut self) {
        if let Some(place) = self.stable.take_room() {
            self.candidates.dislodge(Key::of(place));
        }
    }

    /// Makes `new`, which is free, stand for what `old` does, which is free then. False, and nothing
    /// done, where that cannot be now.
    #[must_use]
    pub(crate) fn relocate(&mut self, old: ItemRef<'_>, new: ItemRef<'_>) -> bool {
        match old.kind() {
            Kind::Untracked | Kind::Seen | Kind::Zero => new.take_over(old),
            Kind::Candidate => {
                // It may be claimed by now.
                let left = self.candidates.remove(old) && new.take_over(old);
                if left {
                    // There is no other with its key.
                    let _none = self.candidates.claim_or_insert(new);
                }
                left
            }
            Kind::Merged => {
                self.stable.relocate(old, new, &self.token)
                    && old.set_plain(Kind::Untracked, old.key())
            }
            Kind::Claimed => false,
        }
    }
}

/// The books, and what can be read without opening them.
#[pin_data]
pub(crate) struct Ledger {
    #[pin]
    books: Mutex<Books>,
    pub(crate) stats: Stats,
}

impl Ledger {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            books <- new_mutex!(Books::new(), "rksm_books"),
            stats: Stats::new(),
        })
    }

    pub(crate) fn open(&self) -> Open<'_> {
        Open {
            books: self.books.lock(),
            stats: &self.stats,
        }
    }

    /// Removes nodes that nobody shares and whose page is gone; see [`StableTree::prune_some`].
    pub(crate) fn prune(&self, detach: bool) {
        let (mut last, mut looked_at) = (None, 0);
        loop {
            let mut books = self.open();
            let Books { stable, token, .. } = &mut *books;
            let pruned = stable.prune_some(last, detach, token);
            drop(books);
            looked_at += pruned.looked_at;
            last = match pruned.next {
                Next::End => break,
                Next::After(last) => last,
            };
            kthread::cond_resched();
        }
        trace::prune(looked_at);
    }

    /// Takes all candidates out of their tree: see [`Candidates::abandon`].
    pub(crate) fn abandon(&self) -> Option<Abandoned> {
        self.open().candidates.abandon()
    }

    pub(crate) fn settle(&self, left: Left) {
        self.open().candidates.settle(left);
    }
}

/// The books, opened. What they say is published when they are closed.
pub(crate) struct Open<'l> {
    books: Guard<'l, Books, MutexBackend>,
    stats: &'l Stats,
}

impl Deref for Open<'_> {
    type Target = Books;

    fn deref(&self) -> &Books {
        &self.books
    }
}

impl DerefMut for Open<'_> {
    fn deref_mut(&mut self) -> &mut Books {
        &mut self.books
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.stats
            .publish(&self.books.stable, &self.books.candidates);
    }
}

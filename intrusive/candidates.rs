// SPDX-License-Identifier: GPL-2.0

//! The tree of candidates: records that are found by the checksum of their page.

use super::{
    forest::{Forest, Hashed},
    items::{Item, Key},
    rb::{Search, Side, Vacancy},
};
use crate::{mm::kthread::cond_resched, rmap_item::Kind};
use core::{cmp::Ordering, ptr::NonNull};

// SAFETY: The key of a candidate does not change: `set_plain` refuses it.
unsafe impl Hashed for Item {
    fn hash(&self) -> u64 {
        self.key().0
    }
}

/// The tree of pages that wait for an equal one.
///
/// # Invariants
///
/// The items in `tree` are those of kind `Candidate`.
pub(crate) struct Candidates {
    tree: Forest<Item>,
}

// SAFETY: As for `Blocks`.
unsafe impl Send for Candidates {}

/// A place for a candidate, for as long as the tree does not change.
pub(crate) struct Vacant<'c> {
    candidates: &'c mut Candidates,
    vacancy: Vacancy,
}

/// A candidate that a search found.
pub(crate) struct Found<'c> {
    candidates: &'c mut Candidates,
    item: NonNull<Item>,
}

/// What a search came to.
pub(crate) enum Entry<'c> {
    Found(Found<'c>),
    Vacant(Vacant<'c>),
}

impl Candidates {
    pub(crate) const fn new() -> Self {
        Self {
            tree: Forest::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.tree.len()
    }

    /// Finds the candidate with this key that `side` says is the one, or the place where it belongs.
    pub(crate) fn entry(&mut self, key: Key, mut side: impl FnMut(&Item) -> Side) -> Entry<'_> {
        loop {
            let mut stale = false;
            let search = self.tree.search(key.0, |item| match side(item) {
                Side::At(order) => order,
                Side::Stale => {
                    stale = true;
                    Ordering::Equal
                }
            });
            let item = match search {
                Search::Found(item) => NonNull::from(item),
                Search::Vacant(vacancy) => {
                    return Entry::Vacant(Vacant {
                        candidates: self,
                        vacancy,
                    })
                }
            };
            if !stale {
                return Entry::Found(Found {
                    candidates: self,
                    item,
                });
            }
            // SAFETY: The search found it in the tree, whose items are live.
            self.remove(unsafe { item.as_ref() });
        }
    }

    /// Makes all candidates plain items. `each` is to go over all items that there are, and to do
    /// nothing else: in the order of their memory that takes far less time than in the order of the
    /// trees. Where it leaves some out, the trees say which they are.
    pub(crate) fn leave_all(&mut self, mut each: impl FnMut(&mut dyn FnMut(&Item))) {
        let mut found = 0;
        if self.len() > 0 {
            each(&mut |item| found += usize::from(item.kind() == Kind::Candidate));
        }
        if found != self.len() {
            self.tree.drain(|item| {
                // SAFETY: It was in the tree, whose items are live.
                let item = unsafe { item.as_ref() };
                // INVARIANT: It is in no tree now.
                item.set_kind(Kind::Seen);
                cond_resched();
            });
        } else if found > 0 {
            each(&mut |item| {
                if item.kind() == Kind::Candidate {
                    item.set_kind(Kind::Seen);
                }
            });
            // INVARIANT: None of those in the tree, which are as many as were found, is a candidate
            // any more, and none is in a tree from here on.
            self.tree.abandon();
        }
    }

    /// Makes a candidate a plain item. Does nothing to others.
    pub(crate) fn remove(&mut self, item: &Item) -> bool {
        if item.kind() != Kind::Candidate {
            return false;
        }
        // SAFETY: By the type invariants a candidate is in the tree, of which there is one.
        unsafe { self.tree.remove(item) };
        // INVARIANT: It is in no tree now.
        item.set_kind(Kind::Seen);
        true
    }
}

impl<'c> Found<'c> {
    /// Takes the candidate out of the tree: it is a plain item then.
    pub(crate) fn take(self) -> &'c Item {
        // SAFETY: The search found it, and `Blocks::clear` cannot free it while `candidates` is
        // borrowed.
        let item = unsafe { self.item.as_ref() };
        self.candidates.remove(item);
        item
    }
}

impl Vacant<'_> {
    /// Makes a plain item a candidate, unless its key is not that of the search.
    pub(crate) fn insert(self, item: &Item) -> bool {
        if !item.get_links() {
            return false;
        }
        // SAFETY: The tree was borrowed since the search, the item is in none, and its block is not
        // freed before it is taken out, which makes it untracked.
        let there = unsafe {
            self.candidates
                .tree
                .insert(self.vacancy, NonNull::from(item))
        };
        if there {
            // INVARIANT: It is in the tree.
            item.set_kind(Kind::Candidate);
        }
        there
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Many small red-black trees in place of one large one.
//!
//! What the page merger looks up stands under a keyed checksum, whose bits are as good as random.
//! The lower ones choose a tree, and in the tree there is little left to go down: with a few
//! elements to a tree a search touches one or two of them, where one tree of a million
//! has twenty levels, each of them a cache miss and a branch that nobody can predict.
//!
//! The number of trees follows that of the elements one at a time (linear hashing: Litwin, "Linear
//! hashing: a new tool for file and table addressing", VLDB '80): where trees get too full, the next
//! one in turn is split in two by one more bit. No insertion ever moves more than one tree's elements.
//! Without memory for more trees the ones that are there grow higher, and all goes on.

use super::rb::{Linked, RawTree, Search, Vacancy};
use crate::mm::memory;
use core::{cmp::Ordering, ptr::NonNull};
use kernel::prelude::*;

/// Elements to a tree, on average. A tree costs a pointer, so this makes one byte for each element.
const LOAD: usize = 8;

/// Trees that are allocated at once: a page of them.
const CHUNK: usize = 512;

/// How many trees an insertion adds at most: few enough that nobody waits for it.
const GROWTH: usize = 64;

/// How many trees there are soon when one will not do any more: elements that come to where they stay
/// need not be moved. One for 1024 pages of memory, half a megabyte of trees at most.
fn first_size() -> usize {
    (memory::total_pages() / 1024).min(1 << 16)
}

/// An element that stands under a number.
///
/// # Safety
///
/// `hash` gives the same number for as long as the element is in a forest.
pub(crate) unsafe trait Hashed: Linked {
    fn hash(&self) -> u64;
}

/// Trees of elements that somebody else keeps alive.
///
/// # Invariants
///
/// An element is in the tree that [`Forest::tree`] gives for its hash, and there are `len` of them.
pub(crate) struct Forest<T: Hashed> {
    first: RawTree<T>,
    /// All trees but the first; place 0 of the first chunk is not used.
    more: KVec<KBox<[RawTree<T>; CHUNK]>>,
    trees: usize,
    len: usize,
    /// With how many elements more trees are wanted again, after there was no memory for one.
    retry_at: usize,
}

impl<T: Hashed> Forest<T> {
    pub(crate) const fn new() -> Self {
        Self {
            first: RawTree::new(),
            more: KVec::new(),
            trees: 1,
            len: 0,
            retry_at: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn at(&self, index: usize) -> &RawTree<T> {
        let chunk = self.more.get(index / CHUNK).filter(|_| index > 0);
        chunk
            .and_then(|chunk| chunk.get(index % CHUNK))
            .unwrap_or(&self.first)
    }

    /// Which tree elements with this hash are in.
    fn index(&self, hash: u64) -> usize {
        // Trees that were split already go by one bit more than the others.
        let split = self.trees.next_power_of_two();
        let index = hash as usize & (split - 1);
        match index < self.trees {
            true => index,
            false => index - split / 2,
        }
    }

    fn tree(&self, hash: u64) -> &RawTree<T> {
        self.at(self.index(hash))
    }

    /// Goes down the tree for `hash` by what `side` says of each element.
    pub(crate) fn search(&self, hash: u64, side: impl FnMut(&T) -> Ordering) -> Search<T> {
        self.tree(hash).search(side)
    }

    /// The tree that `element` is in or belongs into.
    ///
    /// # Safety
    ///
    /// `element` is live.
    unsafe fn tree_of(&self, element: NonNull<T>) -> &RawTree<T> {
        // SAFETY: It is live, says the caller.
        self.tree(unsafe { element.as_ref() }.hash())
    }

    /// Puts `element` where a search found nothing. False, and nothing done, where the search was
    /// for another hash than that of the element.
    ///
    /// # Safety
    ///
    /// `place` came from this forest, which was not changed since. `element` is in none, and stays
    /// alive and in its place until it is removed.
    pub(crate) unsafe fn insert(&mut self, place: Vacancy, element: NonNull<T>) -> bool {
        // SAFETY: The element is alive, says the caller.
        let tree = unsafe { self.tree_of(element) };
        if !place.is_in(tree) {
            return false;
        }
        // INVARIANT: It is the tree for its hash.
        // SAFETY: The contract is the caller's, and the place is in that tree.
        unsafe { tree.insert(place, element) };
        self.len += 1;
        if self.len > self.trees * LOAD || self.trees > 1 && self.trees < first_size() {
            self.grow();
        }
        true
    }

    /// Makes a few more trees. Without memory it is tried again when there are an eighth more elements.
    fn grow(&mut self) {
        if self.len < self.retry_at {
            return;
        }
        let wanted = match self.trees < first_size() {
            true => self.trees + GROWTH,
            false => self.trees + 1,
        };
        while self.trees < wanted {
            if self.split().is_err() {
                self.retry_at = self.len + self.len / 8;
                return;
            }
        }
    }

    /// Makes one more tree, out of the next one in turn.
    fn split(&mut self) -> Result {
        let new = self.trees;
        if new / CHUNK == self.more.len() {
            self.add_chunk()?;
        }
        let bit = 1 << new.ilog2();
        let (old, into) = (self.at(new - bit), self.at(new));
        old.split_off(into, |element| element.hash() as usize & bit != 0);
        // INVARIANT: From now on the tree for those that were moved is the new one.
        self.trees += 1;
        Ok(())
    }

    fn add_chunk(&mut self) -> Result {
        // Elements are added with the books held, which nobody waits for memory with.
        let flags = GFP_NOWAIT | __GFP_NOWARN;
        self.more.reserve(1, flags)?;
        let trees = pin_init::init_array_from_fn(|_| RawTree::new());
        let chunk = KBox::init(trees, flags)?;
        Ok(self.more.push(chunk, flags)?)
    }

    /// Bytes that were allocated for trees.
    pub(crate) fn bytes(&self) -> usize {
        self.more.len() * size_of::<[RawTree<T>; CHUNK]>()
    }

    /// Whether `element`, which is in some forest, is in this one.
    ///
    /// # Safety
    ///
    /// `element` is in a forest that nobody changes meanwhile.
    pub(crate) unsafe fn holds(&self, element: NonNull<T>) -> bool {
        // SAFETY: Elements of a forest are live.
        let tree = unsafe { self.tree_of(element) };
        // SAFETY: It is in a forest, and so in a tree.
        unsafe { tree.holds(element) }
    }

    /// Takes `element` out.
    ///
    /// # Safety
    ///
    /// `element` is in this forest.
    pub(crate) unsafe fn remove(&mut self, element: NonNull<T>) {
        // SAFETY: Elements of a forest are live.
        let tree = unsafe { self.tree_of(element) };
        // SAFETY: By the type invariant it is in that tree.
        unsafe { tree.remove(element) };
        self.len -= 1;
        if self.len == 0 {
            *self = Self::new();
        }
    }

    /// The first element, in the order of the trees.
    pub(crate) fn first(&self) -> Option<NonNull<T>> {
        self.first_from(0)
    }

    fn first_from(&self, index: usize) -> Option<NonNull<T>> {
        (index..self.trees).find_map(|index| self.at(index).first())
    }

    /// Takes out all elements, and gives them to `f`, which may free them.
    pub(crate) fn drain(&mut self, mut f: impl FnMut(NonNull<T>)) {
        for index in 0..self.trees {
            self.at(index).drain(&mut f);
        }
        *self = Self::new();
    }

    /// The element after `element`, in the order of the trees.
    ///
    /// # Safety
    ///
    /// `element` is in this forest.
    pub(crate) unsafe fn next(&self, element: NonNull<T>) -> Option<NonNull<T>> {
        // SAFETY: The contract is the caller's.
        let right = unsafe { self.right(element) };
        // SAFETY: Elements of a forest are live.
        let hash = unsafe { element.as_ref() }.hash();
        right.or_else(|| self.first_from(self.index(hash) + 1))
    }

    /// The element after `element` in the same tree: one that is equal to it is next to it.
    ///
    /// # Safety
    ///
    /// `element` is in this forest.
    pub(crate) unsafe fn right(&self, element: NonNull<T>) -> Option<NonNull<T>> {
        // SAFETY: Elements of a forest are live.
        let tree = unsafe { self.tree_of(element) };
        // SAFETY: By the type invariant it is in that tree.
        unsafe { tree.next(element) }
    }

    /// As `right`, for the one before.
    ///
    /// # Safety
    ///
    /// `element` is in this forest.
    pub(crate) unsafe fn left(&self, element: NonNull<T>) -> Option<NonNull<T>> {
        // SAFETY: Elements of a forest are live.
        let tree = unsafe { self.tree_of(element) };
        // SAFETY: By the type invariant it is in that tree.
        unsafe { tree.prev(element) }
    }
}

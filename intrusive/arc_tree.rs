// SPDX-License-Identifier: GPL-2.0

//! A tree that holds its elements by [`Arc`].

use super::{
    forest::{Forest, Hashed},
    rb::{Search, Vacancy},
};
use core::{cmp::Ordering, marker::PhantomData, ptr::NonNull};
use kernel::sync::{
    atomic::{Atomic, Relaxed},
    Arc,
};

/// An element that can be in one [`ArcTree`] at a time.
///
/// # Safety
///
/// All trees of such elements are guarded by one lock, so that no two threads have any at a time.
/// `in_tree` always gives the same flag, which is false to begin with.
pub(crate) unsafe trait ArcLinked: Hashed {
    /// Says whether a tree holds the element. Only the tree writes it.
    fn in_tree(&self) -> &Atomic<bool>;
}

/// A place in a tree, for as long as the tree does not change.
pub(crate) struct Place<'t, T: ArcLinked> {
    tree: &'t mut ArcTree<T>,
    vacancy: Vacancy,
}

/// What a search came to.
pub(crate) enum Entry<'t, T: ArcLinked> {
    Found(Arc<T>),
    Vacant(Place<'t, T>),
}

/// A tree whose order, among elements of one hash, is what the functions given to its searches agree
/// on.
///
/// # Invariants
///
/// The tree owns one reference to each element in it, and `in_tree` is set on just those.
pub(crate) struct ArcTree<T: ArcLinked> {
    raw: Forest<T>,
    _owned: PhantomData<Arc<T>>,
}

impl<T: ArcLinked> ArcTree<T> {
    pub(crate) const fn new() -> Self {
        Self {
            raw: Forest::new(),
            _owned: PhantomData,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.raw.len()
    }

    /// # Safety
    ///
    /// `element` is in this tree.
    unsafe fn arc_of(element: NonNull<T>) -> Arc<T> {
        // SAFETY: By the type invariant the tree owns a reference, which came from `into_raw`.
        let owned = unsafe { Arc::from_raw(element.as_ptr().cast_const()) };
        let shared = owned.clone();
        // The tree keeps its own.
        let _ = Arc::into_raw(owned);
        shared
    }

    fn place_of(element: &Arc<T>) -> NonNull<T> {
        // SAFETY: An `Arc` is never null.
        unsafe { NonNull::new_unchecked(Arc::as_ptr(element).cast_mut()) }
    }

    /// Bytes that were allocated for the tree.
    pub(crate) fn bytes(&self) -> usize {
        self.raw.bytes()
    }

    /// Finds the element of this hash that `side` says is the one, or the place where it belongs: on which
    /// side of an element that is, or that it is found.
    pub(crate) fn entry(&mut self, hash: u64, side: impl FnMut(&T) -> Ordering) -> Entry<'_, T> {
        match self.raw.search(hash, side) {
            // SAFETY: The search found `element` in this tree.
            Search::Found(element) => Entry::Found(unsafe { Self::arc_of(element) }),
            Search::Vacant(vacancy) => Entry::Vacant(Place {
                tree: self,
                vacancy,
            }),
        }
    }

    /// Takes `element` out. Does nothing where it is not in this tree.
    #[must_use]
    pub(crate) fn remove(&mut self, element: &Arc<T>) -> bool {
        if !element.in_tree().load(Relaxed) {
            return false;
        }
        let there = Self::place_of(element);
        // SAFETY: The flag says that a tree holds it, which by the trait's contract nobody changes
        // meanwhile.
        if !unsafe { self.raw.holds(there) } {
            return false;
        }
        // SAFETY: It is in this tree, as was just seen.
        unsafe { self.raw.remove(there) };
        element.in_tree().store(false, Relaxed);
        // SAFETY: The tree's own reference, which it gives up here.
        drop(unsafe { Arc::from_raw(Arc::as_ptr(element)) });
        true
    }

    /// The first element in order.
    pub(crate) fn first(&self) -> Option<Arc<T>> {
        // SAFETY: `first` is in this tree.
        self.raw.first().map(|first| unsafe { Self::arc_of(first) })
    }

    /// The element after `element`, or `None` at the end or where `element` is not in this tree.
    pub(crate) fn next(&self, element: &Arc<T>) -> Option<Arc<T>> {
        self.step(element, Forest::next)
    }

    /// The element after `element`, if their hashes may be equal.
    pub(crate) fn right(&self, element: &Arc<T>) -> Option<Arc<T>> {
        self.step(element, Forest::right)
    }

    /// As `right`, for the one before.
    pub(crate) fn left(&self, element: &Arc<T>) -> Option<Arc<T>> {
        self.step(element, Forest::left)
    }

    fn step(
        &self,
        element: &Arc<T>,
        step: unsafe fn(&Forest<T>, NonNull<T>) -> Option<NonNull<T>>,
    ) -> Option<Arc<T>> {
        if !element.in_tree().load(Relaxed) {
            return None;
        }
        let there = Self::place_of(element);
        // SAFETY: As in `remove`.
        if !unsafe { self.raw.holds(there) } {
            return None;
        }
        // SAFETY: It is in this tree, as was just seen.
        let found = unsafe { step(&self.raw, there) };
        // SAFETY: `found` is in this tree.
        found.map(|found| unsafe { Self::arc_of(found) })
    }
}

impl<T: ArcLinked> Place<'_, T> {
    /// Puts `element` here. Gives it back where a tree holds it already, or its hash is not that of
    /// the search.
    pub(crate) fn insert(self, element: Arc<T>) -> Result<(), Arc<T>> {
        if element.in_tree().load(Relaxed) {
            return Err(element);
        }
        let raw = Arc::into_raw(element).cast_mut();
        // SAFETY: `into_raw` never gives null.
        let there = unsafe { NonNull::new_unchecked(raw) };
        // SAFETY: `self.tree` was borrowed since the search. The element was in no tree, and the
        // reference given up above keeps it alive in its place.
        if !unsafe { self.tree.raw.insert(self.vacancy, there) } {
            // SAFETY: The tree did not take the reference.
            return Err(unsafe { Arc::from_raw(raw) });
        }
        // SAFETY: The tree keeps it alive.
        unsafe { there.as_ref() }.in_tree().store(true, Relaxed);
        Ok(())
    }
}

impl<T: ArcLinked> Drop for ArcTree<T> {
    fn drop(&mut self) {
        self.raw.drain(|element| {
            // SAFETY: The tree's own reference, which it gives up here.
            let element = unsafe { Arc::from_raw(element.as_ptr().cast_const()) };
            element.in_tree().store(false, Relaxed);
        });
    }
}

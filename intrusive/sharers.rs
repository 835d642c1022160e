// SPDX-License-Identifier: GPL-2.0

//! The rmap_items that share one merged page: what the reverse map goes over.
//!
//! A list through the items. An item in it is tracked, so that its block is not freed.

use super::items::Item;
use crate::mm::ksm_folio::StableNode;
use core::ptr;
use kernel::sync::Arc;

/// What a merged item says of its sharing.
#[derive(Clone, Copy)]
pub(super) struct Sharing {
    next: *const Item,
    previous: *const Item,
    pub(super) node: *const StableNode,
}

/// The items that share the page of a node.
///
/// # Invariants
///
/// The list that begins with `first` is linked in both directions, ends with null, and all in it are
/// items of kind `Merged` whose node is the one that this is part of. While there are any, the list
/// owns a reference to that node.
pub(crate) struct Sharers {
    first: *const Item,
}

impl Sharers {
    pub(crate) const fn new() -> Self {
        // INVARIANT: There is none.
        Self { first: ptr::null() }
    }

    /// Makes a plain item a sharer. False, and nothing done, for one that has a place in a tree or
    /// a list.
    ///
    /// # Safety
    ///
    /// These are the sharers of `node`.
    pub(crate) unsafe fn add(&mut self, item: &Item, node: &Arc<StableNode>) -> bool {
        if !item.kind().is_plain() {
            return false;
        }
        let sharing = Sharing {
            next: self.first,
            previous: ptr::null(),
            node: match self.first.is_null() {
                // INVARIANT: The list keeps this reference until it is empty again.
                true => Arc::into_raw(node.clone()),
                false => Arc::as_ptr(node),
            },
        };
        // SAFETY: It is plain, and enters this list.
        unsafe { item.begin_sharing(sharing) };
        // SAFETY: By the type invariant it is null or a merged item, which lives.
        if let Some(second) = unsafe { self.first.as_ref() } {
            // SAFETY: By the type invariant it is merged, and this is the only thread that has the list.
            unsafe { (*second.sharing()).previous = item };
        }
        // INVARIANT: The item is merged, its node the one that this is of.
        self.first = item;
        true
    }

    /// Makes a sharer a plain item. After the last one the reference to the node is given back.
    ///
    /// # Safety
    ///
    /// `item` is one of these sharers.
    pub(crate) unsafe fn remove(&mut self, item: &Item) -> Option<Arc<StableNode>> {
        // SAFETY: It is a sharer, so this is how it shares, and this is the only thread that has
        // the list.
        let Sharing {
            next,
            previous,
            node,
        } = unsafe { *item.sharing() };
        // SAFETY: By the type invariant it is null or another sharer.
        match unsafe { previous.as_ref() } {
            // SAFETY: As above.
            Some(previous) => unsafe { (*previous.sharing()).next = next },
            None => self.first = next,
        }
        // SAFETY: As above.
        if let Some(next) = unsafe { next.as_ref() } {
            // SAFETY: As above.
            unsafe { (*next.sharing()).previous = previous };
        }
        // SAFETY: It was just taken out.
        unsafe { item.end_sharing() };
        if !self.first.is_null() {
            return None;
        }
        // SAFETY: The reference that `add` took for the first one.
        Some(unsafe { Arc::from_raw(node) })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Item> {
        // SAFETY: By the type invariant it is null or a merged item, which lives.
        let mut next = unsafe { self.first.as_ref() };
        core::iter::from_fn(move || {
            let item = next?;
            // SAFETY: By the type invariant `item` is merged, so this is how it shares.
            let after = unsafe { (*item.sharing()).next };
            // SAFETY: As for the first.
            next = unsafe { after.as_ref() };
            Some(item)
        })
    }
}

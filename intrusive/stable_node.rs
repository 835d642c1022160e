// SPDX-License-Identifier: GPL-2.0

//! A merged page and the rmap_items that share it: what the reverse map goes over.
//!
//! The list of sharers belongs to the lock of the folio. Where the folio is gone, nobody can come by it
//! any more, and the list belongs to who has the books. An item in it is tracked, so that its leaf is
//! not freed.

use super::{
    arc_tree::ArcLinked,
    candidates::Taken,
    forest::Hashed,
    item::{Item, ItemRef},
    rb::{Linked, Links},
};
use crate::{
    mm::{
        ksm_folio::{FolioLock, KsmFolio, Mark, Tie},
        module::ModulePin,
        page::AnonPage,
        rmap_walk::{self, Sharer},
    },
    rmap_item::Kind,
};
use core::{
    cell::UnsafeCell,
    mem::{offset_of, ManuallyDrop},
    ops::ControlFlow,
    ptr::{self, NonNull},
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
};

/// Shows that its owner has the books. There is one, in the books.
pub(crate) struct Token(());

impl Token {
    /// For the books.
    pub(crate) const fn new() -> Self {
        Self(())
    }
}

/// What a merged item says of its sharing.
#[derive(Clone, Copy)]
pub(super) struct Sharing {
    next: *const Item,
    previous: *const Item,
    pub(super) node: *const StableNode,
}

/// A merged page, as the scanner knows it.
///
/// # Invariants
///
/// * The list that begins with `first` is linked in both directions, ends with null, and all in it are
///   items of kind `Merged` whose node is this one. While there are any, the list owns a reference to
///   the node.
/// * Whoever lets go of the last reference to a node that a folio was tied to has had the books since the
///   folio's mark was cleared, or has got the reference from somebody who had.
pub(crate) struct StableNode {
    links: Links,
    /// Where the node stands in its tree: under its checksum, and that of its NUMA node where those
    /// are kept apart. Only changed while it is in none.
    place: Atomic<u64>,
    tie: Tie,
    first: UnsafeCell<*const Item>,
    len: Atomic<u32>,
    /// On which NUMA node the folio was when the place was chosen. There are fewer than 1024.
    nid: Atomic<i16>,
    in_tree: Atomic<bool>,
    /// How many are about to share the page, and whether the node has a twin.
    more: Atomic<i8>,
    _pin: ModulePin,
}

// With the count of an `Arc`, a node fits into 64 bytes.
const _: () = assert!(size_of::<StableNode>() <= 56);

/// What a node takes, with the count.
pub(crate) const NODE_BYTES: usize = 64;

/// The bit of `more` that says that there is a twin. What is below it counts.
const TWIN: i8 = 0x40;

// SAFETY: `OFFSET` is that of the field that nothing but the tree uses.
unsafe impl Linked for StableNode {
    const OFFSET: usize = offset_of!(StableNode, links);
}

// SAFETY: `set_place` refuses a node that is in a tree.
unsafe impl Hashed for StableNode {
    fn hash(&self) -> u64 {
        self.place()
    }
}

// SAFETY: The trees of stable nodes are all part of the books.
unsafe impl ArcLinked for StableNode {
    fn in_tree(&self) -> &Atomic<bool> {
        &self.in_tree
    }
}

// SAFETY: `links` belongs to the tree, with the books; the list to the folio's lock; the rest is atomic or
// constant.
unsafe impl Send for StableNode {}
// SAFETY: As above.
unsafe impl Sync for StableNode {}

impl StableNode {
    /// A node without a folio, which keeps the module loaded for as long as it lives.
    ///
    /// # Errors
    ///
    /// `ENOMEM`. `ENODEV`: the module is being unloaded.
    pub(crate) fn new() -> Result<Arc<Self>> {
        let pin = ModulePin::new()?;
        Ok(Arc::new(
            Self {
                links: Links::new(),
                place: Atomic::new(0),
                tie: Tie::new(),
                // INVARIANT: There is none.
                first: UnsafeCell::new(ptr::null()),
                len: Atomic::new(0),
                nid: Atomic::new(0),
                in_tree: Atomic::new(false),
                more: Atomic::new(0),
                _pin: pin,
            },
            GFP_KERNEL | __GFP_NOWARN,
        )?)
    }

    /// The node of the merged page `page`.
    ///
    /// `None` for an ordinary page, and for a merged one that an unmerge cut off from its node.
    pub(crate) fn of(page: &AnonPage, books: &Token) -> Option<Arc<Self>> {
        // SAFETY: It is read with the books held, and `page` keeps the folio.
        unsafe { Self::of_mark(Mark::of_page(page), books) }
    }

    /// The same for one that is known to be a merged page, or to have been one.
    pub(crate) fn of_folio(folio: &KsmFolio, books: &Token) -> Option<Arc<Self>> {
        // SAFETY: As above.
        unsafe { Self::of_mark(folio.mark(), books) }
    }

    /// # Safety
    ///
    /// The mark was read with the books held since, of a folio that the caller has a reference to.
    unsafe fn of_mark(mark: Mark, _books: &Token) -> Option<Arc<Self>> {
        let tie = mark.tie()?;
        let node = tie
            .as_ptr()
            .wrapping_byte_sub(offset_of!(Self, tie))
            .cast::<Self>();
        // The folio is kept, so its mark was there a moment ago, with the books held as they are now.
        // SAFETY: By the type invariant the node lives. It is only ever made in an `Arc`; the reference
        // that this makes of nothing is forgotten below.
        let borrowed = ManuallyDrop::new(unsafe { Arc::from_raw(node.cast_const()) });
        Some(Arc::clone(&borrowed))
    }

    pub(crate) fn tie(&self) -> &Tie {
        &self.tie
    }

    /// The node's folio. `None`: the node is stale.
    pub(crate) fn folio(&self, _books: &Token) -> Option<KsmFolio> {
        self.tie.folio()
    }

    pub(crate) fn place(&self) -> u64 {
        // All that is not part of the list is read and written with the books held.
        self.place.load(Relaxed)
    }

    /// The NUMA node that the place is for.
    pub(crate) fn nid(&self) -> i32 {
        self.nid.load(Relaxed).into()
    }

    /// Says where the node is going to stand. False, and nothing done, for one that stands somewhere.
    #[must_use]
    pub(crate) fn set_place(&self, place: u64, nid: i32, _books: &Token) -> bool {
        let free = !self.in_tree.load(Relaxed);
        if free {
            self.place.store(place, Relaxed);
            self.nid.store(nid as i16, Relaxed);
        }
        free
    }

    /// Whether another node stands, or once stood, in the same place.
    pub(crate) fn has_twin(&self) -> bool {
        self.more.load(Relaxed) & TWIN != 0
    }

    pub(crate) fn set_twin(&self, _books: &Token) {
        self.more.store(self.more.load(Relaxed) | TWIN, Relaxed);
    }

    /// How many rmap_items share the page.
    pub(crate) fn len(&self) -> u32 {
        self.len.load(Relaxed)
    }

    /// How many there may be when those are through that are about to.
    pub(crate) fn expected(&self) -> u32 {
        let coming = self.more.load(Relaxed) & !TWIN;
        self.len() + u32::from(coming.unsigned_abs())
    }

    /// Notes that somebody is about to make an item share the page. There are fewer than 64 at a time.
    pub(crate) fn expect_one(&self, _books: &Token) {
        self.more.store(self.more.load(Relaxed) + 1, Relaxed);
    }

    /// Notes that it is through with that.
    pub(crate) fn expect_no_more(&self, _books: &Token) {
        self.more.store(self.more.load(Relaxed) - 1, Relaxed);
    }

    /// Makes a plain item one of those that share the page. False, and nothing done, for one that is not
    /// plain, and where `lock` is not that of the node's folio.
    #[must_use]
    pub(crate) fn add(
        self: &Arc<Self>,
        lock: &FolioLock<'_>,
        item: ItemRef<'_>,
        books: &Token,
    ) -> bool {
        let plain = item.kind().is_plain() && lock.is_of(&self.tie);
        if plain {
            // SAFETY: The item is plain, and the caller has the turn, as `item` shows. The folio is ours.
            unsafe { self.link(item, books) };
        }
        plain
    }

    /// The same for a claimed item, which is given back where it does not become a sharer.
    pub(crate) fn add_claimed(
        self: &Arc<Self>,
        lock: &FolioLock<'_>,
        taken: Taken,
        books: &Token,
    ) -> Result<(), Taken> {
        if !lock.is_of(&self.tie) {
            return Err(taken);
        }
        // SAFETY: The item is claimed by the caller and in no tree, and the folio ours.
        unsafe { self.link(taken.item(), books) };
        taken.end();
        Ok(())
    }

    /// # Safety
    ///
    /// The node's folio is locked. The caller has the turn and the item is plain, or the claim of it.
    unsafe fn link(self: &Arc<Self>, item: ItemRef<'_>, _books: &Token) {
        let first = self.first.get();
        // SAFETY: The folio's lock guards the list.
        let second = unsafe { *first };
        let sharing = Sharing {
            next: second,
            previous: ptr::null(),
            node: match second.is_null() {
                // INVARIANT: The list keeps this reference until it is empty again.
                true => Arc::into_raw(self.clone()),
                false => Arc::as_ptr(self),
            },
        };
        // SAFETY: The contract is the caller's, and the item enters the list.
        unsafe { item.begin_sharing(sharing) };
        let there = item.as_ptr().as_ptr().cast_const();
        // SAFETY: By the type invariant it is null or a merged item, which lives.
        if let Some(second) = unsafe { second.as_ref() } {
            // SAFETY: By the type invariant it is merged, and the lock is held.
            unsafe { (*second.sharing()).previous = there };
        }
        // INVARIANT: The item is merged, its node this one.
        // SAFETY: The folio's lock guards the list.
        unsafe { *first = there };
        self.len.store(self.len() + 1, Relaxed);
    }

    /// Makes `item` share the page no more. `lock` is that of the node's folio, or `None` where the node
    /// is stale. False, and nothing done, where that is not so, or `item` is no sharer.
    #[must_use]
    pub(crate) fn remove(
        self: &Arc<Self>,
        lock: Option<&FolioLock<'_>>,
        item: ItemRef<'_>,
        books: &Token,
    ) -> bool {
        let ours = match lock {
            Some(lock) => lock.is_of(&self.tie),
            None => self.folio(books).is_none(),
        };
        if !ours || !item.is_merged_into(self.tie.mark()) {
            return false;
        }
        // SAFETY: The item is merged, so this is how it shares. Either the folio is locked, or it is
        // gone and nobody else gets here.
        let Sharing { next, previous, .. } = unsafe { *item.item().sharing() };
        // SAFETY: By the type invariant it is null or another sharer.
        match unsafe { previous.as_ref() } {
            // SAFETY: As above.
            Some(previous) => unsafe { (*previous.sharing()).next = next },
            // SAFETY: As above.
            None => unsafe { *self.first.get() = next },
        }
        // SAFETY: As above.
        if let Some(next) = unsafe { next.as_ref() } {
            // SAFETY: As above.
            unsafe { (*next.sharing()).previous = previous };
        }
        // SAFETY: It was just taken out, and the caller has the turn, as `item` shows.
        unsafe { item.end_sharing() };
        let left = self.len() - 1;
        self.len.store(left, Relaxed);
        if left == 0 {
            // The caller has another one.
            // SAFETY: The reference that `link` took for the first one.
            drop(unsafe { Arc::from_raw(Arc::as_ptr(self)) });
        }
        true
    }
}

/// The reverse map's way from a tie to the sharers.
pub(crate) struct Reverse;

// SAFETY: Ties that marks name are all part of stable nodes, which live while their folio is locked.
unsafe impl rmap_walk::Sharers for Reverse {
    unsafe fn sharers(
        tie: &Tie,
        lock: &FolioLock<'_>,
        f: &mut dyn FnMut(Sharer<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        debug_assert!(lock.is_of(tie));
        let tie = core::ptr::from_ref(tie);
        let node = tie
            .wrapping_byte_sub(offset_of!(StableNode, tie))
            .cast::<StableNode>();
        // SAFETY: The tie is part of a node, which the lock keeps.
        let first = unsafe { &raw const (*node).first };
        // SAFETY: The folio's lock guards the list.
        let mut next = unsafe { *UnsafeCell::raw_get(first) };
        while let Some(there) = NonNull::new(next.cast_mut()) {
            // SAFETY: An item in the list is merged, so that its leaf lives.
            let item = unsafe { ItemRef::from_ptr(there) };
            debug_assert!(item.kind() == Kind::Merged);
            // SAFETY: It is merged, so this is how it shares.
            next = unsafe { (*item.item().sharing()).next };
            let Some(region) = item.region() else {
                continue;
            };
            f(Sharer {
                space: item.space(),
                region,
                address: item.address(),
            })?;
        }
        ControlFlow::Continue(())
    }
}

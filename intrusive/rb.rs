// SPDX-License-Identifier: GPL-2.0

//! A red-black tree of elements that carry their own links.
//!
//! `kernel::rbtree` owns its nodes and finds them by a key that never changes. The trees of a page
//! merger hold records that live elsewhere, and a search takes a function instead of a key: where an
//! element stands may depend on more than that. A [`Forest`](super::forest::Forest) is made of these trees;
//! [`ArcTree`](super::arc_tree::ArcTree), [`Candidates`](super::candidates::Candidates) and
//! [`Records`](super::records::Records) make that safe.
//!
//! Elements are given as pointers, not as references: whoever put an element in may have put in part of
//! something larger, and gets back a pointer that is good for all of that.

use core::{cell::UnsafeCell, cmp::Ordering, marker::PhantomData, ptr::NonNull};
use kernel::{bindings, types::Opaque};

/// The links of one element in one tree.
#[repr(transparent)]
pub(crate) struct Links(Opaque<bindings::rb_node>);

impl Links {
    /// Links that are in no tree.
    pub(crate) fn new() -> Self {
        Self(Opaque::zeroed())
    }
}

/// An element that carries [`Links`].
///
/// # Safety
///
/// `OFFSET` is the offset of a field of type [`Links`], used by nothing but the tree.
pub(crate) unsafe trait Linked {
    const OFFSET: usize;
}

/// Where an element that was not found belongs.
///
/// # Invariants
///
/// `link` is a null child pointer of `parent`, or of `root` where `parent` is null.
pub(crate) struct Vacancy {
    root: *mut bindings::rb_root,
    parent: *mut bindings::rb_node,
    link: *mut *mut bindings::rb_node,
}

impl Vacancy {
    pub(super) fn is_in<T: Linked>(&self, tree: &RawTree<T>) -> bool {
        self.root == tree.root.get()
    }
}

/// What a search came to.
pub(crate) enum Search<T> {
    Found(NonNull<T>),
    Vacant(Vacancy),
}

/// A red-black tree over elements that somebody else keeps alive.
///
/// # Invariants
///
/// Every node that can be reached from `root` is the [`Links`] of a live `T`, which stays where it
/// is for as long as it is in the tree.
pub(crate) struct RawTree<T: Linked> {
    root: UnsafeCell<bindings::rb_root>,
    _elements: PhantomData<*const T>,
}

// SAFETY: The tree is a root pointer; sending it sends shared references to its elements.
unsafe impl<T: Linked + Send> Send for RawTree<T> {}

impl<T: Linked> RawTree<T> {
    pub(crate) const fn new() -> Self {
        Self {
            // INVARIANT: No node can be reached from a null root.
            root: UnsafeCell::new(bindings::rb_root {
                rb_node: core::ptr::null_mut(),
            }),
            _elements: PhantomData,
        }
    }

    fn top(&self) -> *mut bindings::rb_node {
        // SAFETY: `root` is valid, and only this thread has the tree, which is not `Sync`.
        unsafe { (*self.root.get()).rb_node }
    }

    fn node_of(element: NonNull<T>) -> *mut bindings::rb_node {
        element.as_ptr().wrapping_byte_add(T::OFFSET).cast()
    }

    /// The element whose links are `node`: a pointer with the provenance that it was inserted with.
    ///
    /// # Safety
    ///
    /// `node` is in a tree of `T`s.
    unsafe fn element_of(node: *mut bindings::rb_node) -> NonNull<T> {
        let element = node.wrapping_byte_sub(T::OFFSET).cast::<T>();
        // SAFETY: By the contract and the type invariant it is a live element, which is not at null.
        unsafe { NonNull::new_unchecked(element) }
    }

    /// # Safety
    ///
    /// `node` is null or in a tree of `T`s.
    unsafe fn element_at(node: *mut bindings::rb_node) -> Option<NonNull<T>> {
        // SAFETY: It is in a tree then, says the caller.
        (!node.is_null()).then(|| unsafe { Self::element_of(node) })
    }

    /// Goes down by what `side` says of each element: on which side of it the wanted place is.
    pub(crate) fn search(&self, mut side: impl FnMut(&T) -> Ordering) -> Search<T> {
        let mut parent = core::ptr::null_mut();
        let mut link: *mut *mut bindings::rb_node = self.root.get().cast();
        loop {
            // SAFETY: `link` is the root's or a live node's child pointer by the type invariant.
            let node = unsafe { *link };
            if node.is_null() {
                // INVARIANT: `link` was just read as null.
                return Search::Vacant(Vacancy {
                    root: self.root.get(),
                    parent,
                    link,
                });
            }
            // SAFETY: `node` was reached from the root of a tree borrowed for this call.
            let element = unsafe { Self::element_of(node) };
            parent = node;
            // SAFETY: By the type invariant the element is live.
            link = match side(unsafe { element.as_ref() }) {
                // SAFETY: `node` is live by the type invariant.
                Ordering::Less => unsafe { &raw mut (*node).rb_left },
                // SAFETY: As above.
                Ordering::Greater => unsafe { &raw mut (*node).rb_right },
                Ordering::Equal => return Search::Found(element),
            };
        }
    }

    /// The last element of which `is_beyond` does not say that it is beyond what is looked for.
    pub(crate) fn floor(&self, mut is_beyond: impl FnMut(&T) -> bool) -> Option<NonNull<T>> {
        let (mut node, mut floor) = (self.top(), None);
        while !node.is_null() {
            // SAFETY: `node` was reached from the root of a tree borrowed for this call.
            let element = unsafe { Self::element_of(node) };
            // SAFETY: By the type invariant the element is live.
            node = match is_beyond(unsafe { element.as_ref() }) {
                // SAFETY: `node` is live by the type invariant.
                true => unsafe { (*node).rb_left },
                false => {
                    floor = Some(element);
                    // SAFETY: As above.
                    unsafe { (*node).rb_right }
                }
            };
        }
        floor
    }

    /// Puts `element` where a search found nothing.
    ///
    /// # Safety
    ///
    /// `place` came from this tree, which was not changed since. `element` is in no tree, and
    /// stays alive and in its place until it is removed.
    pub(crate) unsafe fn insert(&self, place: Vacancy, element: NonNull<T>) {
        let node = Self::node_of(element);
        // SAFETY: `place` is still vacant and `element` is live and unlinked, says the caller.
        unsafe { bindings::rb_link_node(node, place.parent, place.link) };
        // SAFETY: `node` was just linked as a leaf of this tree.
        unsafe { bindings::rb_insert_color(node, self.root.get()) };
    }

    /// Moves those elements to `into`, which is empty, that `goes` says.
    pub(crate) fn split_off(&self, into: &RawTree<T>, goes: impl Fn(&T) -> bool) {
        if !into.top().is_null() {
            return;
        }
        let (mut parent, mut link) = (core::ptr::null_mut(), into.root.get().cast());
        let mut next = self.first();
        while let Some(element) = next {
            // SAFETY: It is in this tree.
            next = unsafe { self.next(element) };
            // SAFETY: Elements of a tree are live.
            if !goes(unsafe { element.as_ref() }) {
                continue;
            }
            // SAFETY: As above.
            unsafe { self.remove(element) };
            let last = Self::node_of(element);
            // They come in order, so each goes to the right of the last one, where nothing is.
            // SAFETY: `last` is in no tree now, and `link` is vacant.
            unsafe { bindings::rb_link_node(last, parent, link) };
            // SAFETY: `last` was just linked as a leaf of that tree.
            unsafe { bindings::rb_insert_color(last, into.root.get()) };
            parent = last;
            // SAFETY: `last` is live.
            link = unsafe { &raw mut (*last).rb_right };
        }
    }

    /// Takes out all elements, and gives them to `f`, which may free them.
    pub(crate) fn drain(&self, mut f: impl FnMut(NonNull<T>)) {
        // Children come before their parents, which are still there to go on from.
        // SAFETY: `root` is a valid root, by the type invariant.
        let mut next = unsafe { bindings::rb_first_postorder(self.root.get()) };
        // INVARIANT: From here on nothing can be reached from the root.
        // SAFETY: As in `top`.
        unsafe { (*self.root.get()).rb_node = core::ptr::null_mut() };
        while !next.is_null() {
            // SAFETY: `next` was in this tree, by the type invariant, and was not given away yet.
            let element = unsafe { Self::element_of(next) };
            // SAFETY: As above, and so was none of those above it.
            next = unsafe { bindings::rb_next_postorder(next) };
            f(element);
        }
    }

    /// Whether `element`, which is in some tree, is in this one.
    ///
    /// # Safety
    ///
    /// `element` is in a tree that nobody changes meanwhile.
    pub(crate) unsafe fn holds(&self, element: NonNull<T>) -> bool {
        let mut node = Self::node_of(element);
        loop {
            // SAFETY: `node` is a live node of the tree that holds `element`.
            let parent = unsafe { (*node).__rb_parent_color } & !3;
            if parent == 0 {
                return node == self.top();
            }
            node = parent as *mut bindings::rb_node;
        }
    }

    /// Takes `element` out.
    ///
    /// # Safety
    ///
    /// `element` is in this tree.
    pub(crate) unsafe fn remove(&self, element: NonNull<T>) {
        // SAFETY: `element` is in this tree, says the caller.
        unsafe { bindings::rb_erase(Self::node_of(element), self.root.get()) };
    }

    /// The first element in order.
    pub(crate) fn first(&self) -> Option<NonNull<T>> {
        // SAFETY: `root` is a valid root, by the type invariant.
        let node = unsafe { bindings::rb_first(self.root.get()) };
        // SAFETY: `node` is in this tree, if there is any.
        unsafe { Self::element_at(node) }
    }

    /// The element after `element` in order.
    ///
    /// # Safety
    ///
    /// `element` is in this tree.
    pub(crate) unsafe fn next(&self, element: NonNull<T>) -> Option<NonNull<T>> {
        // SAFETY: `element` is in this tree, says the caller.
        let node = unsafe { bindings::rb_next(Self::node_of(element)) };
        // SAFETY: As for `first`.
        unsafe { Self::element_at(node) }
    }

    /// The element before `element` in order.
    ///
    /// # Safety
    ///
    /// `element` is in this tree.
    pub(crate) unsafe fn prev(&self, element: NonNull<T>) -> Option<NonNull<T>> {
        // SAFETY: `element` is in this tree, says the caller.
        let node = unsafe { bindings::rb_prev(Self::node_of(element)) };
        // SAFETY: As for `first`.
        unsafe { Self::element_at(node) }
    }
}

// SPDX-License-Identifier: GPL-2.0

//! The merged pages. Part of the books.
//!
//! A merged page never changes, so its node is found by checksum. Whether the content is the same is
//! seen where the other page can change no more. There may be several nodes with one content: when
//! as many rmap_items share a page as `max_page_sharing` allows, so that a walk over them stays short,
//! the next ones get another page. Such twins stand side by side in the tree, the full ones to the left;
//! the in-tree KSM calls them the dups of a chain.
//!
//! Where NUMA nodes are kept apart, a page's NUMA node is part of where its node stands. A page that
//! moves to another one is found there no more; its node follows when the scanner comes to one that
//! shares it.
//!
//! So is its domain. That two domains have one place does not happen but by accident; whoever finds a merged
//! page sees by its content whether it is one of its own.
//!
//! Where merged pages are to be in frames that were drawn, those in frames that somebody supplied, or had a say
//! in, are passed over, as full ones are: who shares one goes on doing so, and nobody joins.
//!
//! The kernel frees a merged page without telling us. Its node leaves when the last rmap_item does.
//! One that no rmap_item shares but whose page is still there, because a fork maps it, swap has it, or it
//! is about to go, stands apart, and is looked at from time to time: by the number of such nodes, not of
//! all.

use crate::{
    checksum::Sums,
    intrusive::{
        arc_tree::{ArcTree, Entry},
        candidates::Taken,
        item::ItemRef,
        stable_node::{StableNode, Token, NODE_BYTES},
    },
    mm::{
        address_space::AddressSpace,
        ksm_folio::{FolioLock, KsmFolio, LockedKsm},
        trace,
    },
    rmap_item::Kind,
};
use core::cmp::Ordering;
use kernel::sync::Arc;

/// A merged page of one's domain, found by its content, and a reference that keeps it. Whoever found it is expected
/// to share it; [`StableNode::expect_no_more`] ends that.
pub(crate) struct Match {
    pub(crate) node: Arc<StableNode>,
    pub(crate) folio: KsmFolio,
}

/// Somebody else has the folio locked, so that nothing about its sharers can change now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held;

/// The nodes of merged pages.
pub(crate) struct StableTree {
    /// Those that are shared.
    nodes: ArcTree<StableNode>,
    /// Those that no rmap_item shares any more.
    unshared: ArcTree<StableNode>,
    /// How many rmap_items share a page at most, unless by a fork.
    limit: u32,
    shared: u64,
    sharers: u64,
    chains: u64,
    dups: u64,
    /// The place of a node that has got room for one more.
    room: Option<u64>,
}

impl StableTree {
    pub(crate) const fn new(limit: u32) -> Self {
        Self {
            nodes: ArcTree::new(),
            unshared: ArcTree::new(),
            limit,
            shared: 0,
            sharers: 0,
            chains: 0,
            dups: 0,
            room: None,
        }
    }

    /// Sets how many may share a page. Only while there is none.
    pub(crate) fn set_limit(&mut self, limit: u32) {
        self.limit = limit;
    }

    /// Contents that more than one node has.
    pub(crate) fn chains(&self) -> u64 {
        self.chains
    }

    /// The nodes that have those contents.
    pub(crate) fn dups(&self) -> u64 {
        self.dups
    }

    /// Merged pages that somebody shares.
    pub(crate) fn pages_shared(&self) -> u64 {
        self.shared
    }

    /// Mappings of merged pages beyond the first of each: the pages saved.
    pub(crate) fn pages_sharing(&self) -> u64 {
        self.sharers - self.shared
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.len() + self.unshared.len() == 0
    }

    /// How many nodes no rmap_item shares: their pages are gone or about to go, or a fork maps them that
    /// the scanner has not come to yet.
    pub(crate) fn unshared(&self) -> usize {
        self.unshared.len()
    }

    /// Bytes that are allocated for all nodes.
    pub(crate) fn bytes(&self) -> usize {
        let nodes = (self.nodes.len() + self.unshared.len()) * NODE_BYTES;
        nodes + self.nodes.bytes() + self.unshared.bytes()
    }

    /// Finds a merged page with this checksum, for a page on NUMA node `nid`, and room for one more to
    /// share it. With `drawn`, it is in a frame that was drawn.
    pub(crate) fn find(
        &mut self,
        sums: &Sums<'_>,
        checksum: u64,
        nid: i32,
        drawn: bool,
        books: &Token,
    ) -> Option<Match> {
        let limit = self.limit;
        let place = sums.place(checksum, nid);
        let usable = |node: &StableNode, folio: &KsmFolio| {
            let wanted = !drawn || !node.tie().is_given();
            wanted
                && !folio.is_poisoned()
                && !folio.has_tags()
                && sums.may_meet(folio.nid(), nid)
                && folio.read(|content| sums.own(node, content))
        };
        let (mut found, mut given) = (None, None);
        let entry = self.nodes.entry(place, |node| {
            let order = place.cmp(&node.place());
            if order.is_ne() {
                return order;
            }
            // Full ones are to the left.
            if node.len() >= limit {
                return Ordering::Greater;
            }
            match node.folio(books) {
                Some(folio) if usable(node, &folio) => {
                    found = (node.expected() < limit).then_some(folio);
                    Ordering::Equal
                }
                // A stale one goes when the last rmap_item that shared it was come to.
                folio => {
                    if folio.is_some() && drawn && node.tie().is_given() {
                        given = Some(core::ptr::from_ref(node).addr());
                    }
                    Ordering::Greater
                }
            }
        });
        let found = match (entry, found) {
            (Entry::Found(node), Some(folio)) => Some(Match { node, folio }),
            _ => self.find_unshared(place, usable, books),
        };
        if let Some(given) = given {
            self.put_left(place, given, books);
        }
        let found = found?;
        found.node.expect_one(books);
        Some(found)
    }

    /// Finds a merged page that no rmap_item shares, but that a fork maps.
    fn find_unshared(
        &mut self,
        place: u64,
        usable: impl Fn(&StableNode, &KsmFolio) -> bool,
        books: &Token,
    ) -> Option<Match> {
        let entry = self.unshared.entry(place, |node| place.cmp(&node.place()));
        let Entry::Found(node) = entry else {
            return None;
        };
        // One that nobody maps is about to go.
        let folio = node
            .folio(books)
            .filter(|folio| folio.is_mapped() && usable(&node, folio))?;
        Some(Match { node, folio })
    }

    /// The place of a node that has got room for one more to share it since this was last asked: who waits
    /// for an equal page there need not wait.
    pub(crate) fn take_room(&mut self) -> Option<u64> {
        self.room.take()
    }

    /// Notes that whoever was expected to share the page of `node` does not.
    pub(crate) fn expect_no_more(&mut self, node: &StableNode, books: &Token) {
        node.expect_no_more(books);
        self.room = Some(node.place());
    }

    /// Puts in a node that is in no tree, whose page is `folio` and has this checksum.
    pub(crate) fn insert(
        &mut self,
        sums: &Sums<'_>,
        checksum: u64,
        node: &Arc<StableNode>,
        folio: &KsmFolio,
        books: &Token,
    ) {
        let nid = folio.nid();
        if node.set_place(sums.place(checksum, nid), nid, books) {
            self.put(node, books);
        }
    }

    /// Puts a node in its place: left of its twins when it is full, else to their right.
    fn put(&mut self, node: &Arc<StableNode>, books: &Token) {
        let beside_twin = match node.len() < self.limit {
            true => Ordering::Greater,
            false => Ordering::Less,
        };
        self.put_beside(node, beside_twin, books);
    }

    /// Moves the node at this address, with room, by which a search came and which nobody joins, to the left of
    /// its twins, as the full ones are. One that others can join may be left of it.
    fn put_left(&mut self, place: u64, node: usize, books: &Token) {
        let entry = self.nodes.entry(place, |other| {
            let order = place.cmp(&other.place());
            // As the search went.
            match core::ptr::from_ref(other).addr() == node {
                true => order,
                false => order.then(Ordering::Greater),
            }
        });
        if let Entry::Found(node) = entry {
            if node.has_twin() && self.take_out(&node) {
                self.put_beside(&node, Ordering::Less, books);
            }
        }
    }

    fn put_beside(&mut self, node: &Arc<StableNode>, beside_twin: Ordering, books: &Token) {
        let place = node.place();
        let entry = self.nodes.entry(place, |other| {
            // Whoever comes to stand beside a twin comes by it.
            if other.place() == place {
                other.set_twin(books);
                node.set_twin(books);
            }
            place.cmp(&other.place()).then(beside_twin)
        });
        if let Entry::Vacant(vacant) = entry {
            if vacant.insert(node.clone()).is_ok() {
                self.count_twins(node, |count, by| count + by);
            }
        }
    }

    /// Keeps the full ones among twins to the left, when one has become full, or is so no more.
    fn arrange(&mut self, node: &Arc<StableNode>, books: &Token) {
        if !matches!(self.twins(node), Twins::None) && self.take_out(node) {
            self.put(node, books);
        }
    }

    /// Removes a node for good.
    fn discard(&mut self, node: &Arc<StableNode>) {
        if self.take_out(node) || self.unshared.remove(node) {
            trace::remove_ksm_page(node.tie().pfn());
        }
    }

    /// Takes a node out of the tree of shared ones. False: it is not there.
    fn take_out(&mut self, node: &Arc<StableNode>) -> bool {
        let twins = self.twins(node);
        let there = self.nodes.remove(node);
        if there {
            self.count(twins, |count, by| count - by);
        }
        there
    }

    /// Changes the counts for a node that has come into the tree.
    fn count_twins(&mut self, node: &Arc<StableNode>, change: fn(u64, u64) -> u64) {
        let twins = self.twins(node);
        self.count(twins, change);
    }

    fn count(&mut self, twins: Twins, change: fn(u64, u64) -> u64) {
        let (chains, dups) = match twins {
            Twins::None => (0, 0),
            Twins::One => (1, 2),
            Twins::More => (0, 1),
        };
        self.chains = change(self.chains, chains);
        self.dups = change(self.dups, dups);
    }

    /// How many nodes beside `node` stand in its place. They are its neighbours.
    fn twins(&self, node: &Arc<StableNode>) -> Twins {
        if !node.has_twin() {
            return Twins::None;
        }
        let beside =
            |step: fn(&ArcTree<StableNode>, &Arc<StableNode>) -> Option<Arc<StableNode>>| {
                let near = |from: &Arc<StableNode>| {
                    step(&self.nodes, from).filter(|other| other.place() == node.place())
                };
                match near(node) {
                    None => 0,
                    Some(first) => 1 + usize::from(near(&first).is_some()),
                }
            };
        match beside(ArcTree::left) + beside(ArcTree::right) {
            0 => Twins::None,
            1 => Twins::One,
            _ => Twins::More,
        }
    }

    /// Brings the node of `item` to where its page stands now, which may have been moved to another
    /// NUMA node.
    pub(crate) fn follow(&mut self, sums: &Sums<'_>, item: ItemRef<'_>, books: &Token) {
        let Some(node) = item.node() else {
            return;
        };
        let Some(folio) = node.folio(books) else {
            return;
        };
        if folio.nid() != node.nid() && !folio.is_poisoned() {
            let checksum = folio.read(|content| sums.checksum(content));
            if self.take_out(&node) {
                self.insert(sums, checksum, &node, &folio, books);
            }
        }
    }

    /// Makes a plain item one of those that share the page of `node`, which is locked. False, and
    /// nothing done, for an item that is not plain, and where the page is not the node's.
    #[must_use]
    pub(crate) fn share(
        &mut self,
        node: &Arc<StableNode>,
        lock: &FolioLock<'_>,
        item: ItemRef<'_>,
        books: &Token,
    ) -> bool {
        let shared = node.add(lock, item, books);
        if shared {
            self.count_sharer(node, item.space(), books);
        }
        shared
    }

    /// The same for a claimed item, which is given back where that is not possible.
    pub(crate) fn share_claimed(
        &mut self,
        node: &Arc<StableNode>,
        lock: &FolioLock<'_>,
        taken: Taken,
        books: &Token,
    ) -> Result<(), Taken> {
        let space = taken.space().clone();
        node.add_claimed(lock, taken, books)?;
        self.count_sharer(node, &space, books);
        Ok(())
    }

    fn count_sharer(&mut self, node: &Arc<StableNode>, space: &AddressSpace, books: &Token) {
        let first = node.len() == 1;
        self.sharers += 1;
        self.shared += u64::from(first);
        space.share(first);
        // A fork's page that was found again.
        if self.unshared.remove(node) {
            self.room = Some(node.place());
            self.put(node, books);
        } else if node.len() == self.limit {
            self.arrange(node, books);
        }
    }

    /// Makes `item` share a page no more, if it does. Whether it still maps the page is another matter.
    /// True: it did.
    ///
    /// # Errors
    ///
    /// [`Held`], and nothing is done.
    pub(crate) fn unshare(&mut self, item: ItemRef<'_>, books: &Token) -> Result<bool, Held> {
        let Some(node) = item.node() else {
            return Ok(false);
        };
        let removed = match node.folio(books) {
            None => node.remove(None, item, books),
            Some(folio) => {
                let locked = folio.try_lock(node.tie()).ok_or(Held)?;
                node.remove(Some(locked.lock()), item, books)
            }
        };
        if !removed {
            return Err(Held);
        }
        trace::remove_rmap_item(item.space().id(), item.address(), node.tie().pfn());
        let last = node.len() == 0;
        self.sharers -= 1;
        item.space().unshare(last);
        if last {
            self.shared -= 1;
            self.set_apart(&node, books);
        } else if node.len() + 1 == self.limit {
            self.room = Some(node.place());
            self.arrange(&node, books);
        }
        Ok(true)
    }

    /// Deals with a node that nobody shares any more.
    fn set_apart(&mut self, node: &Arc<StableNode>, books: &Token) {
        if node.folio(books).is_none() {
            self.discard(node);
            return;
        }
        if self.take_out(node) {
            let place = node.place();
            let entry = self.unshared.entry(place, |other| {
                place.cmp(&other.place()).then(Ordering::Greater)
            });
            if let Entry::Vacant(vacant) = entry {
                // It is in no tree now, and stands under its own place.
                let _in = vacant.insert(node.clone());
            }
        }
    }

    /// Makes another item stand for a mapping of a merged page: `new` is plain, and `old` is then. False,
    /// and nothing done, where that cannot be now.
    #[must_use]
    pub(crate) fn relocate(&mut self, old: ItemRef<'_>, new: ItemRef<'_>, books: &Token) -> bool {
        let Some(node) = old.node() else {
            return false;
        };
        let Some(folio) = node.folio(books) else {
            return false;
        };
        let Some(locked) = folio.try_lock(node.tie()) else {
            return false;
        };
        // Both are plain for a moment; `new` has a place of its own by then.
        node.remove(Some(locked.lock()), old, books)
            && new.set_plain(Kind::Seen, old.key())
            && node.add(locked.lock(), new, books)
    }

    /// Looks at some of the nodes that nobody shares, from the one after `last` on, and removes those
    /// whose page is gone; with `detach` also those whose page nobody maps, as it may linger in the swap
    /// cache.
    pub(crate) fn prune_some(
        &mut self,
        last: Option<Arc<StableNode>>,
        detach: bool,
        books: &Token,
    ) -> Pruned {
        const SOME: usize = 32;
        let mut last = last;
        for looked_at in 0..SOME {
            let next = match &last {
                Some(last) => self.unshared.next(last),
                None => self.unshared.first(),
            };
            let Some(next) = next else {
                return Pruned {
                    looked_at,
                    next: Next::End,
                };
            };
            let gone = match next.folio(books) {
                None => true,
                Some(folio) => detach && folio.try_lock(next.tie()).is_some_and(LockedKsm::detach),
            };
            match gone {
                true => self.discard(&next),
                false => last = Some(next),
            }
        }
        Pruned {
            looked_at: SOME,
            next: Next::After(last),
        }
    }
}

/// What a look for nodes of pages that are gone has come to.
pub(crate) struct Pruned {
    pub(crate) looked_at: usize,
    pub(crate) next: Next,
}

/// Where the next look goes on.
pub(crate) enum Next {
    End,
    /// After this one, which is still there; from the first on where none so far is.
    After(Option<Arc<StableNode>>),
}

/// How many have the content of a node, apart from itself.
enum Twins {
    None,
    One,
    More,
}

// SPDX-License-Identifier: GPL-2.0

//! The merged pages.
//!
//! A merged page never changes, so its node is found by checksum. Whether the content is the same is
//! seen where the other page can change no more. There may be several nodes with one content: when
//! as many rmap_items share a page as `max_page_sharing` allows, so that a walk over them stays short,
//! the next ones get another page. Such twins stand side by side in the tree, the full ones to the left; the in-tree KSM calls them
//! the dups of a chain.
//!
//! Where NUMA nodes are kept apart, a page's NUMA node is part of where its node stands. A page that
//! moves to another one is found there no more; its node follows when the scanner comes to one that
//! shares it.
//!
//! The kernel frees a merged page without telling us. A search that comes upon its node finds it
//! stale and removes it; nodes that nobody shares any more are looked at once a pass.

use crate::{
    checksum::Sums,
    intrusive::{
        arc_tree::{ArcTree, Entry},
        items::Item,
        rb::Side,
    },
    mm::{
        ksm_folio::{self, KsmFolio, LockedKsm, StableNode},
        kthread,
        page::AnonPage,
        trace,
    },
};
use core::{cmp::Ordering, ops::Range};
use kernel::sync::Arc;

/// A merged page found by its content, and a reference that keeps it.
pub(crate) struct Match {
    pub(crate) node: Arc<StableNode>,
    pub(crate) folio: KsmFolio,
}

/// The tree of merged pages.
pub(crate) struct StableTree {
    nodes: ArcTree<StableNode>,
    /// How many rmap_items share a page at most, unless by a fork.
    limit: u32,
    shared: u64,
    sharers: u64,
    chains: u64,
    dups: u64,
}

impl StableTree {
    pub(crate) const fn new(limit: u32) -> Self {
        Self {
            nodes: ArcTree::new(),
            limit,
            shared: 0,
            sharers: 0,
            chains: 0,
            dups: 0,
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
        self.nodes.len() == 0
    }

    /// Whether there are nodes that no rmap_item shares: their pages are gone or about to go, or a
    /// fork maps them that was not come to yet.
    pub(crate) fn has_unshared_nodes(&self) -> bool {
        self.nodes.len() as u64 > self.shared
    }

    /// The node that the merged page `page` belongs to.
    pub(crate) fn node_of(&self, page: &AnonPage) -> Option<Arc<StableNode>> {
        ksm_folio::node_of(page, &self.nodes)
    }

    /// Finds a merged page with the checksum of `page`, and room for one more to share it.
    pub(crate) fn find(
        &mut self,
        sums: &Sums<'_>,
        checksum: u64,
        page: &AnonPage,
    ) -> Option<Match> {
        let limit = self.limit;
        let place = sums.place(checksum, page.nid());
        let usable = |node: &StableNode, folio: &KsmFolio| {
            // One that nobody shares, and no fork maps, is about to go.
            let lives = node.len() > 0 || folio.is_mapped();
            lives && !folio.is_poisoned() && sums.may_meet(folio.nid(), page.nid())
        };
        loop {
            let mut found = None;
            let entry = self.nodes.entry(place, |node| {
                let order = place.cmp(&node.place());
                if order.is_ne() {
                    return Side::At(order);
                }
                // Full ones are to the left.
                if node.len() >= limit {
                    return Side::At(Ordering::Greater);
                }
                match node.folio() {
                    Some(folio) if usable(node, &folio) => {
                        found = Some(folio);
                        Side::At(Ordering::Equal)
                    }
                    None if node.len() == 0 => Side::Stale,
                    // A stale one that is shared goes when the last rmap_item that shared it was
                    // come to.
                    _ => Side::At(Ordering::Greater),
                }
            });
            match entry {
                Entry::Found(node) => return found.map(|folio| Match { node, folio }),
                Entry::Vacant(_) => return None,
                Entry::Stale(node) => self.discard(&node),
            }
        }
    }

    /// Puts in a node that is in no tree, whose page is `folio` and has this checksum.
    pub(crate) fn insert(
        &mut self,
        sums: &Sums<'_>,
        checksum: u64,
        node: &Arc<StableNode>,
        folio: &KsmFolio,
    ) {
        let nid = folio.nid();
        if node.set_place(sums.place(checksum, nid), nid) {
            self.put(node);
        }
    }

    /// Puts a node in its place: left of its twins when it is full, else to their right.
    fn put(&mut self, node: &Arc<StableNode>) {
        let beside_twin = match node.len() < self.limit {
            true => Ordering::Greater,
            false => Ordering::Less,
        };
        let place = node.place();
        let entry = self.nodes.entry(place, |other| {
            // Whoever comes to stand beside a twin comes by it.
            if other.place() == place {
                other.set_twin();
                node.set_twin();
            }
            Side::At(place.cmp(&other.place()).then(beside_twin))
        });
        if let Entry::Vacant(vacant) = entry {
            if vacant.insert(node.clone()).is_ok() {
                self.count_twins(node, |count, by| count + by);
            }
        }
    }

    /// Keeps the full ones among twins to the left, when one has become full, or is so no more.
    fn arrange(&mut self, node: &Arc<StableNode>) {
        if !matches!(self.twins(node), Twins::None) {
            self.take_out(node);
            self.put(node);
        }
    }

    /// Removes a node for good.
    fn discard(&mut self, node: &Arc<StableNode>) {
        trace::remove_ksm_page(node.pfn());
        self.take_out(node);
    }

    fn take_out(&mut self, node: &Arc<StableNode>) {
        self.count_twins(node, |count, by| count - by);
        self.nodes.remove(node);
    }

    /// Changes the counts for a node that is in the tree, and was not or will not be.
    fn count_twins(&mut self, node: &Arc<StableNode>, change: fn(u64, u64) -> u64) {
        let (chains, dups) = match self.twins(node) {
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
    pub(crate) fn follow(&mut self, sums: &Sums<'_>, item: &Item) {
        let Some(node) = item.node() else {
            return;
        };
        let Some(folio) = node.folio() else {
            return;
        };
        if folio.nid() != node.nid() && !folio.is_poisoned() {
            let checksum = folio.read(|content| sums.checksum(content));
            self.take_out(&node);
            self.insert(sums, checksum, &node, &folio);
        }
    }

    /// Makes `item` one of those that share the page of `node`.
    pub(crate) fn share(
        &mut self,
        node: &Arc<StableNode>,
        locked: &LockedKsm<'_>,
        item: &Item,
    ) -> bool {
        if !node.add(locked, item) {
            return false;
        }
        self.sharers += 1;
        self.shared += u64::from(node.len() == 1);
        if node.len() == self.limit {
            self.arrange(node);
        }
        true
    }

    /// Makes `item` share a page no more. True: it did. Whether it still maps the page is another
    /// matter.
    pub(crate) fn unshare(&mut self, item: &Item) -> bool {
        let Some(node) = item.node() else {
            return false;
        };
        trace::remove_rmap_item(item.mm().mm(), item.address(), node.pfn());
        loop {
            let Some(folio) = node.folio() else {
                node.remove(None, item);
                break;
            };
            let locked = folio.lock(&node);
            if let Some(locked) = locked {
                node.remove(Some(&locked), item);
                break;
            }
            // It moved to another folio, or was freed, while we waited.
        }
        self.sharers -= 1;
        if node.len() == 0 {
            self.shared -= 1;
            if node.folio().is_none() {
                self.discard(&node);
            }
        } else if node.len() + 1 == self.limit {
            self.arrange(&node);
        }
        true
    }

    /// Removes the nodes that are stale and that nobody shares.
    pub(crate) fn prune(&mut self) {
        if self.has_unshared_nodes() {
            self.remove_if(|node| node.len() == 0 && node.folio().is_none());
        }
    }

    /// Removes the nodes whose page nobody maps, also where it lingers in the swap cache.
    pub(crate) fn detach_unmapped(&mut self) {
        self.remove_if(|node| {
            node.len() == 0
                && node
                    .folio()
                    .is_none_or(|folio| folio.lock(node).is_some_and(LockedKsm::detach))
        });
    }

    /// Notes that frames are gone.
    pub(crate) fn forget_frames(&mut self, frames: &Range<usize>) {
        self.remove_if(|node| {
            node.forget_frame(frames);
            node.len() == 0 && node.folio().is_none()
        });
    }

    fn remove_if(&mut self, mut unwanted: impl FnMut(&StableNode) -> bool) {
        let mut next = self.nodes.first();
        while let Some(node) = next {
            next = self.nodes.next(&node);
            if unwanted(&node) {
                self.discard(&node);
            }
            kthread::cond_resched();
        }
    }
}

/// How many have the content of a node, apart from itself.
enum Twins {
    None,
    One,
    More,
}

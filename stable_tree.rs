// SPDX-License-Identifier: GPL-2.0

//! The merged pages.
//!
//! A merged page never changes, so its node is found by checksum, and by content where checksums
//! are equal. There may be several nodes with one content: when as many rmap_items share a page as
//! `max_page_sharing` allows, so that a walk over them stays short, the next ones get another page.
//! Such twins stand side by side in the tree, the full ones to the left.
//!
//! The kernel frees a merged page without telling us. A search that comes upon its node finds it
//! stale and removes it; nodes that nobody shares any more are looked at once a pass.

use crate::{
    intrusive::{
        arc_tree::{ArcTree, Entry},
        items::Item,
        rb::Side,
    },
    mm::{
        ksm_folio::{self, KsmFolio, LockedKsm, Sharer, StableNode},
        kthread,
        page::AnonPage,
    },
};
use core::{cmp::Ordering, ops::Range};
use kernel::{list::ListArc, sync::Arc};

/// How many rmap_items share a page at most, unless by a fork. The in-tree default.
const MAX_PAGE_SHARING: u32 = 256;

/// A merged page found by its content, and a reference that keeps it.
pub(crate) struct Match {
    pub(crate) node: Arc<StableNode>,
    pub(crate) folio: KsmFolio,
}

/// The tree of merged pages.
pub(crate) struct StableTree {
    nodes: ArcTree<StableNode>,
    shared: u64,
    sharers: u64,
}

impl StableTree {
    pub(crate) const fn new() -> Self {
        Self {
            nodes: ArcTree::new(),
            shared: 0,
            sharers: 0,
        }
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

    /// Finds a merged page with the content of `page`, and room for one more to share it.
    pub(crate) fn find(&mut self, checksum: u64, page: &AnonPage) -> Option<Match> {
        let compare = |folio: &KsmFolio| page.read(|new| folio.read(|old| new.compare(old)));
        let mut found = None;
        let entry = self
            .nodes
            .entry(|node| match side(node, checksum, compare) {
                (side, folio @ Some(_)) if node.len() < MAX_PAGE_SHARING => {
                    found = folio;
                    side
                }
                // A twin that is full. There may be another, to the right.
                (_, Some(_)) => Side::At(Ordering::Greater),
                (side, None) => side,
            });
        match entry {
            Entry::Found(node) => found.map(|folio| Match { node, folio }),
            Entry::Vacant(_) => None,
        }
    }

    /// Puts in a new node, whose page is `folio`.
    pub(crate) fn insert(&mut self, node: Arc<StableNode>, folio: &KsmFolio) {
        let checksum = node.checksum();
        let compare = |old: &KsmFolio| folio.read(|new| old.read(|old| new.compare(old)));
        let entry = self
            .nodes
            .entry(|node| match side(node, checksum, compare) {
                (_, Some(_)) => Side::At(Ordering::Greater),
                (side, None) => side,
            });
        if let Entry::Vacant(place) = entry {
            // It is in no tree: it was just made.
            let _ = place.insert(node);
        }
    }

    /// Makes `item` one of those that share the page of `node`.
    pub(crate) fn share(
        &mut self,
        node: &StableNode,
        locked: &LockedKsm<'_>,
        sharer: ListArc<Sharer>,
        item: &Item,
    ) -> bool {
        let shared = sharer.clone_arc();
        if !node.add(locked, sharer) {
            return false;
        }
        if let Err(shared) = item.set_merged(shared) {
            node.remove(Some(locked), &shared);
            return false;
        }
        self.sharers += 1;
        self.shared += u64::from(node.len() == 1);
        true
    }

    /// Makes `item` share a page no more. True: it did. Whether it still maps the page is another
    /// matter.
    pub(crate) fn unshare(&mut self, item: &Item) -> bool {
        let Some(sharer) = item.take_merged() else {
            return false;
        };
        let node = sharer.node();
        loop {
            let Some(folio) = node.folio() else {
                node.remove(None, &sharer);
                break;
            };
            let locked = folio.lock(node);
            if let Some(locked) = locked {
                node.remove(Some(&locked), &sharer);
                break;
            }
            // It moved to another folio, or was freed, while we waited.
        }
        self.sharers -= 1;
        if node.len() == 0 {
            self.shared -= 1;
            if node.folio().is_none() {
                self.nodes.remove(node);
            }
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
                self.nodes.remove(&node);
            }
            kthread::cond_resched();
        }
    }
}

/// On which side of `node` a page with this checksum and content belongs. Where contents are equal,
/// the folio comes with it.
fn side(
    node: &StableNode,
    checksum: u64,
    compare: impl Fn(&KsmFolio) -> Ordering,
) -> (Side, Option<KsmFolio>) {
    let order = checksum.cmp(&node.checksum());
    if order.is_ne() {
        return (Side::At(order), None);
    }
    let Some(folio) = node.folio() else {
        // One that is still shared goes when the last rmap_item that shared it was come to.
        let side = match node.len() {
            0 => Side::Stale,
            _ => Side::At(Ordering::Greater),
        };
        return (side, None);
    };
    if folio.is_poisoned() {
        // It must not be read, nor found.
        return (Side::At(Ordering::Greater), None);
    }
    match compare(&folio) {
        // Nobody shares it, and no fork maps it: it is about to go.
        Ordering::Equal if node.len() == 0 && !folio.is_mapped() => {
            (Side::At(Ordering::Greater), None)
        }
        Ordering::Equal => (Side::At(Ordering::Equal), Some(folio)),
        order => (Side::At(order), None),
    }
}

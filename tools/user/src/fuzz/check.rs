// SPDX-License-Identifier: GPL-2.0

//! Looks at everything.

use super::{
    model::{Id, Merged, Model, State, Tree},
    world::{address, page_of, Space, World, LIMIT},
};
use crate::{
    books::Books,
    intrusive::{
        item::ItemRef,
        stable_node::{Reverse, Token},
    },
    mm::{
        page::AnonPage,
        rmap_walk::{Sharer, Sharers},
    },
    rmap_item::Kind,
};
use core::ops::ControlFlow;
use kernel::sync::{atomic::Relaxed, Arc};
use std::collections::{BTreeMap, BTreeSet};

fn kind_of(state: State) -> Kind {
    match state {
        State::Untracked => Kind::Untracked,
        State::Seen => Kind::Seen,
        State::Zero => Kind::Zero,
        State::Candidate => Kind::Candidate,
        State::Claimed | State::Taken => Kind::Claimed,
        State::Merged(_) => Kind::Merged,
    }
}

impl World {
    /// Whether all is as the model has it.
    pub(super) fn check(&self) {
        for s in 0..self.spaces.len() {
            self.check_records(s);
        }
        self.check_books();
    }

    pub(super) fn check_item(&self, id: Id, item: ItemRef<'_>) {
        let record = &self.model.records[&id];
        assert_eq!(item.kind(), kind_of(record.state), "{id:?}");
        assert_eq!(item.address(), address(id.1));
        assert!(Arc::ptr_eq(item.space(), &self.spaces[id.0].space));
        assert!(item.is_of(&self.regions[record.region]));
        // What a zero page looked like before is of no interest.
        if !matches!(record.state, State::Untracked | State::Zero) {
            assert_eq!(item.key(), record.key);
        }
        if let State::Merged(index) = record.state {
            let node = &self.model.nodes[index].node;
            assert!(item.node().is_some_and(|own| Arc::ptr_eq(&own, node)));
            assert!(item.is_merged_into(node.tie().mark()));
        }
    }

    fn check_records(&self, s: usize) {
        let Space { records, tally, .. } = &self.spaces[s];
        let mut found = BTreeSet::new();
        for item in records.tracked(0, usize::MAX) {
            let page = page_of(item.address());
            assert!(found.insert(page), "two records of page {page}");
            self.check_item((s, page), item);
        }
        let of_space = |id: &Id| id.0 == s;
        let known = self.model.records.iter().filter(|(id, _)| of_space(id));
        let tracked = known.filter(|(_, record)| record.state != State::Untracked);
        let pages: BTreeSet<usize> = tracked.clone().map(|(id, _)| id.1).collect();
        assert_eq!(found, pages);
        assert_eq!(tally.tracked, pages.len() as i64);
        let zero = tracked.filter(|(_, record)| record.state == State::Zero);
        assert_eq!(tally.zero, zero.count() as i64);
        for page in pages {
            assert!(records.find(address(page)).is_some());
        }
    }

    /// Whether no leaf could be joined with others.
    pub(super) fn check_leaves(&self, s: usize) {
        let records = &self.spaces[s].records;
        // Where the leaf begins, for those that lie in one zone.
        let leaves = |far: bool| {
            let mut lens = BTreeMap::new();
            for item in records.tracked(0, usize::MAX) {
                if (item.address() >> 55 > 0) == far {
                    *lens.entry(item.leaf_start()).or_insert(0) += 1;
                }
            }
            lens.into_values().collect::<Vec<u32>>()
        };
        // Memory for a table may be missing.
        if !self.is_lacking() {
            for lens in [leaves(false), leaves(true)] {
                assert!(lens.windows(2).all(|two| two.iter().sum::<u32>() > 28));
                assert!(lens.windows(3).all(|three| three.iter().sum::<u32>() > 56));
            }
        }
        let (pages, leaves) = (
            leaves(false).iter().chain(&leaves(true)).sum::<u32>() as usize,
            leaves(false).len() + leaves(true).len(),
        );
        assert!(records.bytes() >= leaves * 1024);
        assert!(records.bytes() <= leaves * (1260 + 512));
        if !self.is_lacking() {
            assert!(records.bytes() <= (pages / 19 + 4) * (1260 + 512));
        }
    }

    fn check_books(&self) {
        let books = self.ledger.open();
        let Books {
            stable,
            candidates,
            token,
        } = &*books;
        let Model { waiting, nodes, .. } = &self.model;
        assert_eq!(candidates.len(), waiting.len());
        let shared = nodes.iter().filter(|merged| !merged.sharers.is_empty());
        let sharers: usize = shared.clone().map(|merged| merged.sharers.len()).sum();
        assert_eq!(stable.pages_shared(), shared.clone().count() as u64);
        assert_eq!(stable.pages_sharing(), (sharers - shared.count()) as u64);
        let counted = self.spaces.iter().map(|space| space.space.counted());
        let counted = counted.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        assert_eq!(counted, (stable.pages_shared() as i64, sharers as i64));
        let apart = nodes.iter().filter(|merged| merged.tree == Tree::Apart);
        assert_eq!(stable.unshared(), apart.count());
        let mut places = BTreeMap::new();
        for merged in nodes.iter().filter(|merged| merged.tree == Tree::Shared) {
            *places.entry(merged.place).or_insert(0) += 1;
        }
        let twins = places.values().filter(|count| **count > 1);
        assert_eq!(stable.chains(), twins.clone().count() as u64);
        assert_eq!(stable.dups(), twins.sum());
        assert_eq!(
            stable.is_empty(),
            nodes.iter().all(|merged| merged.tree == Tree::None)
        );
        for merged in nodes {
            self.check_node(merged, token);
        }
        drop(books);
        let stats = &self.ledger.stats;
        assert_eq!(stats.unshared.load(Relaxed), waiting.len() as u64);
    }

    fn check_node(&self, merged: &Merged, token: &Token) {
        let Merged { node, .. } = merged;
        assert_eq!(node.len() as usize, merged.sharers.len());
        assert_eq!(node.expected(), node.len() + merged.expected);
        let folio = node.folio(token);
        assert_eq!(folio.is_some(), merged.page.is_some());
        if merged.tree != Tree::None {
            assert_eq!((node.place(), node.nid()), (merged.place, merged.nid));
        }
        let Some(folio) = folio else {
            return;
        };
        let locked = folio.try_lock(node.tie());
        assert_eq!(locked.is_some(), !merged.held);
        let Some(locked) = locked else {
            return;
        };
        let mut found = BTreeSet::new();
        let mut each = |sharer: Sharer<'_>| {
            let at = |space: &Space| space.space.id() == sharer.space.id();
            let s = self.spaces.iter().position(at).unwrap_or(usize::MAX);
            let id = (s, page_of(sharer.address));
            let region = self.model.records[&id].region;
            assert!(sharer.region.is(&self.regions[region]));
            assert!(found.insert(id));
            ControlFlow::Continue(())
        };
        // SAFETY: The lock is that of the node's folio.
        let _end = unsafe { Reverse::sharers(node.tie(), locked.lock(), &mut each) };
        assert_eq!(found, merged.sharers);
    }
}

impl Model {
    /// Whether a search that had that result for a place should have had it.
    pub(super) fn check_search(&self, place: u64, found: Option<usize>) {
        let good = |merged: &Merged| {
            let nid = merged.page.as_ref().map(AnonPage::nid);
            nid == Some(merged.nid) && !merged.poisoned
        };
        let full = |merged: &Merged| merged.sharers.len() as u32 >= LIMIT;
        if let Some(index) = found {
            let merged = &self.nodes[index];
            assert_eq!(merged.place, place);
            assert!(good(merged));
            match merged.tree {
                Tree::Shared => assert!(merged.sharers.len() as u32 + merged.expected < LIMIT),
                Tree::Apart => assert!(merged.mapped),
                Tree::None => panic!("a node that is in no tree"),
            }
            return;
        }
        // One that is stale, moved, poisoned or expected to be full may hide others.
        let mut shared = self.at(Tree::Shared, place);
        if shared.all(|merged| good(merged) && merged.expected == 0) {
            assert!(self.at(Tree::Shared, place).all(full));
        }
        let mut apart = self.at(Tree::Apart, place);
        if let (Some(only), None) = (apart.next(), apart.next()) {
            assert!(!good(only) || !only.mapped);
        }
    }
}

// SPDX-License-Identifier: GPL-2.0

//! What records and books should say.

use super::world::LIMIT;
use crate::{
    intrusive::{item::Key, stable_node::StableNode},
    mm::page::AnonPage,
};
use kernel::sync::Arc;
use std::collections::{BTreeMap, BTreeSet};

/// An address space, and a page in it.
pub(super) type Id = (usize, usize);

/// What is known of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Untracked,
    Seen,
    Zero,
    Candidate,
    /// In the tree, and somebody is about to merge it.
    Claimed,
    /// In no tree, and the same.
    Taken,
    /// Into the node with this index.
    Merged(usize),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub(super) state: State,
    pub(super) key: Key,
    pub(super) region: usize,
}

/// In which tree a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tree {
    Shared,
    Apart,
    None,
}

/// A merged page.
pub(super) struct Merged {
    pub(super) node: Arc<StableNode>,
    /// `None`: it is gone.
    pub(super) page: Option<AnonPage>,
    pub(super) content: usize,
    /// One of those that it was made for.
    pub(super) space: usize,
    pub(super) place: u64,
    pub(super) nid: i32,
    pub(super) sharers: BTreeSet<Id>,
    pub(super) tree: Tree,
    /// How many are expected to share it.
    pub(super) expected: u32,
    /// Whether somebody else has it locked.
    pub(super) held: bool,
    pub(super) mapped: bool,
    pub(super) poisoned: bool,
}

impl Merged {
    /// Whether its list of sharers can be changed now.
    pub(super) fn is_free(&self) -> bool {
        self.page.is_none() || !self.held
    }

    /// Whether nobody will ask for it again.
    fn is_over(&self) -> bool {
        self.page.is_none() && self.tree == Tree::None && self.expected == 0
    }

    pub(super) fn can_be_locked(&self) -> bool {
        self.page.is_some() && !self.held
    }
}

/// Everything.
#[derive(Default)]
pub(super) struct Model {
    pub(super) records: BTreeMap<Id, Record>,
    /// The candidates, claimed ones too.
    pub(super) waiting: BTreeMap<Key, Id>,
    pub(super) nodes: Vec<Merged>,
    /// The place of a node that has got room for one more.
    room: Option<u64>,
}

impl Model {
    pub(super) fn state(&self, id: Id) -> Option<State> {
        self.records.get(&id).map(|record| record.state)
    }

    pub(super) fn set(&mut self, id: Id, state: State) {
        if let Some(record) = self.records.get_mut(&id) {
            record.state = state;
        }
    }

    /// Makes a record one of which only the checksum is known. False: somebody has it.
    pub(super) fn leave(&mut self, id: Id) -> bool {
        let Some(record) = self.records.get(&id).copied() else {
            return true;
        };
        match record.state {
            State::Untracked | State::Seen | State::Zero => return true,
            State::Claimed | State::Taken => return false,
            State::Candidate => {
                assert_eq!(self.waiting.remove(&record.key), Some(id));
            }
            State::Merged(index) => {
                let merged = &mut self.nodes[index];
                if !merged.is_free() {
                    return false;
                }
                assert!(merged.sharers.remove(&id));
                if merged.sharers.is_empty() {
                    merged.tree = match merged.page {
                        Some(_) => Tree::Apart,
                        None => Tree::None,
                    };
                } else if merged.sharers.len() as u32 + 1 == LIMIT {
                    self.room = Some(merged.place);
                }
                self.set(id, State::Seen);
                self.give_room();
            }
        }
        self.set(id, State::Seen);
        true
    }

    /// Takes a claimed one out of the tree.
    pub(super) fn take_out(&mut self, id: Id) {
        assert_eq!(self.waiting.remove(&self.records[&id].key), Some(id));
        self.set(id, State::Taken);
    }

    /// Puts in a merged page, and lets go of one that is over.
    pub(super) fn add(&mut self, merged: Merged) -> usize {
        match self.nodes.iter().position(Merged::is_over) {
            Some(index) => {
                self.nodes[index] = merged;
                index
            }
            None => {
                self.nodes.push(merged);
                self.nodes.len() - 1
            }
        }
    }

    /// Makes it one that shares a page, without a look at who waits.
    pub(super) fn share(&mut self, index: usize, id: Id) {
        let merged = &mut self.nodes[index];
        assert!(merged.sharers.insert(id));
        if merged.tree == Tree::Apart {
            self.room = Some(merged.place);
        }
        merged.tree = Tree::Shared;
        self.set(id, State::Merged(index));
    }

    pub(super) fn expect_no_more(&mut self, index: usize) {
        self.room = Some(self.nodes[index].place);
        self.give_room();
    }

    /// A candidate that can share a merged page waits no more.
    pub(super) fn give_room(&mut self) {
        let Some(place) = self.room.take() else {
            return;
        };
        let key = Key::of(place);
        let Some(id) = self.waiting.get(&key).copied() else {
            return;
        };
        if self.state(id) == Some(State::Candidate) {
            self.waiting.remove(&key);
            self.set(id, State::Seen);
        }
    }

    pub(super) fn index_of(&self, node: &Arc<StableNode>) -> usize {
        let found = self
            .nodes
            .iter()
            .position(|merged| Arc::ptr_eq(&merged.node, node));
        found.expect("a node that was made here")
    }

    /// The nodes of a tree that stand in a place.
    pub(super) fn at(&self, tree: Tree, place: u64) -> impl Iterator<Item = &Merged> {
        let there = move |merged: &&Merged| merged.tree == tree && merged.place == place;
        self.nodes.iter().filter(there)
    }
}

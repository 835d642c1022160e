// SPDX-License-Identifier: GPL-2.0

//! What is done at random.

use super::{
    model::{Id, Merged, Model, Record, State, Tree},
    world::{
        address, domain_of, nid_of, page_of, InHand, Mapping, Space, World, CONTENTS, PAGES, SPACES,
    },
};
use crate::{
    books::Books,
    intrusive::{
        candidates::{Found, Taken},
        item::{ItemRef, Key},
        leaf::NoRecord,
        stable_node::StableNode,
    },
    mm::{ksm_folio::KsmFolio, page::AnonPage},
};
use kernel::prelude::*;
use std::collections::BTreeSet;

/// What is wanted for a page that is there.
enum Want {
    Nothing,
    GrowOlder,
    SeeZero,
    See,
    Merge,
    Adopt,
    Follow,
}

impl World {
    /// Something.
    pub(super) fn step(&mut self) -> Result {
        self.change_pages();
        match self.numbers.below(24) {
            0..12 => self.turn()?,
            12..15 => self.use_claim()?,
            15..18 => self.change_locks(),
            18..20 => self.change_folios(),
            20 => self.prune(),
            21 => self.leave_one(),
            22 if self.numbers.one_in(8) => self.abandon(),
            _ => {}
        }
        Ok(())
    }

    /// What the processes do.
    fn change_pages(&mut self) {
        let s = self.numbers.below(SPACES);
        let (from, count) = (self.numbers.below(PAGES), self.numbers.below(60));
        // A range that is unmapped, one that has one content, one of another region.
        let (gone, whole) = (self.numbers.one_in(6), self.numbers.below(CONTENTS));
        let region = match self.numbers.below(3) {
            0 => self.numbers.below(self.regions.len()),
            _ => 0,
        };
        let style = self.numbers.below(4);
        for page in from..(from + count).min(PAGES) {
            let content = match style {
                0 => whole,
                _ => self.numbers.below(CONTENTS),
            };
            let own = match style {
                1 => self.numbers.below(self.regions.len()),
                _ => region,
            };
            let mapped = &mut self.spaces[s].mapped;
            if gone || self.numbers.one_in(8) {
                mapped.remove(&page);
            } else if self.numbers.one_in(2) {
                let region = own;
                mapped.insert(page, Mapping { content, region });
            }
        }
    }

    /// What a scanner does with some pages of an address space.
    fn turn(&mut self) -> Result {
        let s = self.numbers.below(SPACES);
        let from = self.numbers.below(PAGES);
        let to = (from + 1 + self.numbers.below(100)).min(PAGES);
        let mut there: Vec<usize> = self.spaces[s]
            .mapped
            .range(from..to)
            .map(|(page, _)| *page)
            .collect();
        if self.numbers.one_in(3) {
            for i in (1..there.len()).rev() {
                there.swap(i, self.numbers.below(i + 1));
            }
        }
        for page in &there {
            self.find(s, *page);
        }
        self.forget(s, from, to);
        for page in there {
            self.decide((s, page))?;
        }
        // Now and then what others stood in the way of is made up for.
        match self.numbers.one_in(4) {
            true => self.tidy(s, 0, usize::MAX),
            false => self.tidy(s, address(from), address(to - 1) + 1),
        }
        let stays = |id: &Id, record: &Record| id.0 != s || record.state != State::Untracked;
        self.model.records.retain(|id, record| stays(id, record));
        for page in from..to {
            let item = self.spaces[s].records.find(address(page));
            assert_eq!(item.is_some(), self.model.records.contains_key(&(s, page)));
        }
        Ok(())
    }

    /// Has no more records than are needed, in no more leaves.
    pub(super) fn tidy(&mut self, s: usize, from: usize, to: usize) {
        let World {
            spaces,
            ledger,
            model,
            ..
        } = self;
        let records = &mut spaces[s].records;
        records.settle(from, to);
        let count = records.tracked(0, usize::MAX).count();
        let (mut moved, mut stuck) = (0, false);
        let joined = records.join(from, to, |old, new| {
            let id = (s, page_of(old.address()));
            assert_eq!(new.address(), old.address());
            let relocated = ledger.open().relocate(old, new);
            assert_eq!(relocated, relocates(model, id));
            moved += usize::from(relocated);
            stuck |= !relocated;
            relocated
        });
        assert_eq!(joined, moved);
        assert_eq!(records.tracked(0, usize::MAX).count(), count);
        if (from, to) == (0, usize::MAX) && !stuck {
            self.check_leaves(s);
        }
    }

    /// Notes that a page was found.
    fn find(&mut self, s: usize, page: usize) {
        let lacking = self.is_lacking();
        let World {
            spaces,
            ledger,
            model,
            regions,
            cache,
            contents,
            ..
        } = self;
        let Space {
            space,
            records,
            spares,
            mapped,
            ..
        } = &mut spaces[s];
        let region = mapped[&page].region;
        spares.fill(cache);
        let mut found = records.found(address(page), space, &regions[region], spares);
        if found == Err(NoRecord::Full) {
            assert!(!model.records.contains_key(&(s, page)));
            let mut moved = 0;
            let mut stuck = false;
            let split = records.split(address(page), spares, |old, new| {
                let id = (s, page_of(old.address()));
                assert_eq!(new.address(), old.address());
                // It is tried once more, with another leaf.
                assert!(!stuck || moved == 0);
                stuck = !relocates(model, id);
                let relocated = ledger.open().relocate(old, new);
                assert_eq!(relocated, !stuck, "{id:?} {:?}", model.state(id));
                moved += u32::from(relocated);
                relocated
            });
            // Of a page that is not tracked yet nothing is relocated.
            assert!(split.is_err() || split.is_ok_and(|records| records >= moved as usize));
            found = match split {
                Ok(_) => records.found(address(page), space, &regions[region], spares),
                Err(error) => {
                    assert_eq!(moved, 0);
                    let reason = [lacking, stuck][usize::from(error == NoRecord::Full)];
                    assert!(reason, "{error:?}");
                    Err(error)
                }
            };
            // One leaf may have to do with records of too many regions.
            let full = split.is_ok() && found == Err(NoRecord::Full);
            let regions = model.records.range((s, 0)..(s + 1, 0));
            let regions: BTreeSet<_> = regions
                .map(|(id, record)| (id.1 / 128, record.region))
                .collect();
            assert!(!full || regions.len() >= 29);
        }
        assert!(lacking || found != Err(NoRecord::NoMemory));
        let known = model.records.contains_key(&(s, page));
        assert!(found.is_ok() || !known);
        if found.is_ok() && !known {
            let new = Record {
                state: State::Untracked,
                key: contents.key(s, 0, 0),
                region,
            };
            model.records.insert((s, page), new);
        }
    }

    /// Forgets what is in `[from, to)` and is not mapped any more.
    pub(super) fn forget(&mut self, s: usize, from: usize, to: usize) {
        let World {
            spaces,
            ledger,
            model,
            ..
        } = self;
        let Space {
            records,
            tally,
            mapped,
            ..
        } = &mut spaces[s];
        let range = model.records.range((s, from)..(s, to));
        let is_lost = |id: &Id, record: &Record| {
            let there = mapped.get(&id.1);
            let same = there.is_some_and(|there| there.region == record.region);
            record.state != State::Untracked && !same
        };
        let expected: BTreeSet<usize> = range
            .filter(|(id, record)| is_lost(id, record))
            .map(|(id, _)| id.1)
            .collect();
        let mut lost = BTreeSet::new();
        for item in records.lost(address(from), address(to - 1) + 1) {
            let page = page_of(item.address());
            assert!(lost.insert(page));
            let left = ledger.open().leave(item, tally);
            assert_eq!(left.is_ok(), model.leave((s, page)));
            assert_eq!(tally.forget(item), left.is_ok());
            if left.is_ok() {
                // It was not found, so that its slot is free.
                model.records.remove(&(s, page));
            }
        }
        assert_eq!(lost, expected);
    }

    fn want(&mut self) -> Want {
        match self.numbers.below(16) {
            0 => Want::Nothing,
            1 => Want::GrowOlder,
            2 => Want::SeeZero,
            3 => Want::See,
            4 => Want::Adopt,
            5 => Want::Follow,
            _ => Want::Merge,
        }
    }

    /// Does something about a page that is there.
    fn decide(&mut self, id: Id) -> Result {
        let want = self.want();
        let picked = self.numbers.below(self.model.nodes.len());
        let World {
            spaces,
            ledger,
            model,
            contents,
            ..
        } = self;
        let Space {
            records,
            tally,
            mapped,
            ..
        } = &mut spaces[id.0];
        let mapping = mapped[&id.1];
        let Some(item) = records.find(address(id.1)) else {
            assert!(!model.records.contains_key(&id));
            return Ok(());
        };
        // The scanner does not come to one of another region: it could not be forgotten just now.
        if model.records[&id].region != mapping.region {
            return Ok(());
        }
        let key = contents.key(id.0, mapping.content, nid_of(id.1));
        let mut books = ledger.open();
        match want {
            Want::Nothing => return Ok(()),
            Want::GrowOlder => {
                let _skip = item.grow_older();
                return Ok(());
            }
            Want::Follow => {
                let Books { stable, token, .. } = &mut *books;
                stable.follow(&contents.sums(id.0), item, token);
                drop(books);
                follow(model, contents, id);
                return Ok(());
            }
            _ => {}
        }
        let left = books.leave(item, tally);
        assert_eq!(left.is_ok(), model.leave(id));
        if left.is_err() {
            return Ok(());
        }
        if matches!(want, Want::SeeZero) {
            assert!(tally.see_zero(item));
            model.set(id, State::Zero);
            return Ok(());
        }
        assert!(tally.see(item, key));
        if let Some(record) = model.records.get_mut(&id) {
            (record.state, record.key) = (State::Seen, key);
        }
        match want {
            Want::Adopt => {
                // A fork's page, which may have any number of sharers.
                let merged = model
                    .nodes
                    .get(picked)
                    .filter(|merged| merged.can_be_locked());
                let Some((page, true)) = merged
                    .and_then(|merged| Some((merged.page.as_ref()?, merged.tree != Tree::None)))
                else {
                    return Ok(());
                };
                let node = StableNode::of(page, &books.token).ok_or(EINVAL)?;
                assert_eq!(model.index_of(&node), picked);
                let folio = node.folio(&books.token).ok_or(EINVAL)?;
                let locked = folio.try_lock(node.tie()).ok_or(EINVAL)?;
                let own = folio.read(|content| contents.sums(id.0).own(&node, content));
                assert_eq!(own, shares_with(&model.nodes[picked], id));
                if !own {
                    return Ok(());
                }
                books.share(&node, locked.lock(), item, tally);
                model.share(picked, id);
                model.give_room();
                // One that shares a page already does not share it twice.
                books.share(&node, locked.lock(), item, tally);
            }
            Want::Merge => {
                let Books {
                    stable,
                    candidates,
                    token,
                } = &mut *books;
                let checksum = contents.checksum(mapping.content);
                let nid = nid_of(id.1);
                let sums = contents.sums(id.0);
                let found = stable.find(&sums, checksum, nid, false, token);
                let index = found.as_ref().map(|found| model.index_of(&found.node));
                model.check_search(sums.place(checksum, nid), index);
                if let Some(index) = index {
                    assert!(shares_with(&model.nodes[index], id));
                }
                let (Some(found), Some(index)) = (found, index) else {
                    let claim = match candidates.claim_or_insert(item) {
                        Found::Claim(claim) => Some(InHand::new(claim)),
                        Found::None => None,
                        Found::Claimed => {
                            let other = model.waiting[&key];
                            assert_eq!(model.state(other), Some(State::Claimed));
                            return Ok(());
                        }
                    };
                    drop(books);
                    return self.compare(id, key, claim);
                };
                let locked = found.folio.try_lock(found.node.tie());
                assert_eq!(locked.is_some(), !model.nodes[index].held);
                match locked {
                    Some(locked) => {
                        found.node.expect_no_more(token);
                        books.share(&found.node, locked.lock(), item, tally);
                        model.share(index, id);
                        model.give_room();
                    }
                    None => {
                        books.expect_no_more(&found.node);
                        model.expect_no_more(index);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A page was looked up among the candidates, with this result.
    fn compare(&mut self, id: Id, key: Key, claim: Option<InHand>) -> Result {
        let other = self.model.waiting.get(&key).copied();
        assert_eq!(claim.is_some(), other.is_some());
        let (Some(claim), Some(other)) = (claim, other) else {
            self.model.waiting.insert(key, id);
            self.model.set(id, State::Candidate);
            return Ok(());
        };
        assert_eq!(self.model.state(other), Some(State::Candidate));
        self.model.set(other, State::Claimed);
        assert_eq!(page_of(claim.address()), other.1);
        assert_eq!(claim.space().id(), self.spaces[other.0].space.id());
        let region = &self.regions[self.model.records[&other].region];
        assert!(claim.region().is_some_and(|own| own.is(region)));
        if self.numbers.one_in(3) {
            self.claims.push((claim, other));
            return Ok(());
        }
        let content = |id: Id| {
            self.spaces[id.0]
                .mapped
                .get(&id.1)
                .map(|there| there.content)
        };
        if content(id) == content(other) {
            self.pair(id, claim, other)
        } else if self.numbers.one_in(2) {
            self.put_back(claim, other);
            Ok(())
        } else {
            let item = self.spaces[id.0]
                .records
                .find(address(id.1))
                .ok_or(EINVAL)?;
            let candidates = &mut self.ledger.open().candidates;
            candidates.replace(InHand::into_inner(claim), item);
            self.model.set(other, State::Seen);
            self.model.set(id, State::Candidate);
            self.model.waiting.insert(key, id);
            Ok(())
        }
    }

    fn put_back(&mut self, claim: InHand, id: Id) {
        self.ledger
            .open()
            .candidates
            .put_back(InHand::into_inner(claim));
        self.model.set(id, State::Candidate);
    }

    /// Makes a merged page of what is claimed, which `id` shares as well.
    fn pair(&mut self, id: Id, claim: InHand, other: Id) -> Result {
        let Ok(node) = StableNode::new() else {
            assert!(self.is_lacking());
            self.put_back(claim, other);
            return Ok(());
        };
        let World {
            spaces,
            ledger,
            model,
            contents,
            ..
        } = self;
        let content = spaces[id.0].mapped[&id.1].content;
        let nid = nid_of(id.1);
        let page = AnonPage::new(content as u64, nid)?;
        let folio = KsmFolio::convert(&page, node.tie()).ok_or(EINVAL)?;
        let locked = folio.try_lock(node.tie()).ok_or(EINVAL)?;
        let checksum = contents.checksum(content);
        let mut books = ledger.open();
        let Books {
            stable,
            candidates,
            token,
        } = &mut *books;
        assert_eq!(domain_of(id.0), domain_of(other.0));
        assert!(StableNode::of(&page, token).is_some());
        stable.insert(&contents.sums(id.0), checksum, &node, &folio, token);
        let index = model.add(Merged {
            node: node.clone(),
            page: Some(page.clone()),
            content,
            place: contents.sums(id.0).place(checksum, nid),
            space: id.0,
            nid,
            sharers: BTreeSet::new(),
            tree: Tree::Shared,
            expected: 0,
            held: false,
            mapped: true,
            poisoned: false,
        });
        let taken = candidates.take_out(InHand::into_inner(claim));
        model.take_out(other);
        let shared = stable.share_claimed(&node, locked.lock(), taken, token);
        assert!(shared.is_ok());
        model.share(index, other);
        let item: ItemRef<'_> = spaces[id.0].records.find(address(id.1)).ok_or(EINVAL)?;
        assert!(stable.share(&node, locked.lock(), item, token));
        model.share(index, id);
        Ok(())
    }

    /// Goes on with a claim that somebody has had for a while.
    fn use_claim(&mut self) -> Result {
        let (claims, taken) = (self.claims.len(), self.taken.len());
        if claims > 0 && self.numbers.one_in(2) {
            let (claim, id) = self.claims.swap_remove(self.numbers.below(claims));
            match self.numbers.one_in(2) {
                true => self.put_back(claim, id),
                false => {
                    let candidates = &mut self.ledger.open().candidates;
                    let taken = candidates.take_out(InHand::into_inner(claim));
                    self.model.take_out(id);
                    self.taken.push((taken, id));
                }
            }
        } else if taken > 0 {
            let (taken, id) = self.taken.swap_remove(self.numbers.below(taken));
            self.use_taken(taken, id)?;
        }
        Ok(())
    }

    fn use_taken(&mut self, taken: Taken, id: Id) -> Result {
        let picked = self.numbers.below(self.model.nodes.len());
        let merged = self
            .model
            .nodes
            .get(picked)
            .filter(|merged| merged.can_be_locked());
        let fits = |merged: &&Merged| merged.tree != Tree::None && shares_with(merged, id);
        let Some(merged) = merged.filter(fits) else {
            drop(taken);
            self.model.set(id, State::Seen);
            return Ok(());
        };
        let mut books = self.ledger.open();
        let Books { stable, token, .. } = &mut *books;
        let node = merged.node.clone();
        let folio = node.folio(token).ok_or(EINVAL)?;
        let locked = folio.try_lock(node.tie()).ok_or(EINVAL)?;
        // The lock of another page is none for this one.
        let taken = match StableNode::new() {
            Ok(wrong) => match stable.share_claimed(&wrong, locked.lock(), taken, token) {
                Ok(()) => return Err(EINVAL),
                Err(taken) => taken,
            },
            Err(_) => taken,
        };
        let shared = stable.share_claimed(&node, locked.lock(), taken, token);
        assert!(shared.is_ok());
        self.model.share(picked, id);
        Ok(())
    }

    pub(super) fn end_claims(&mut self) {
        for (claim, id) in core::mem::take(&mut self.claims) {
            self.put_back(claim, id);
        }
        for (taken, id) in core::mem::take(&mut self.taken) {
            drop(taken);
            self.model.set(id, State::Seen);
        }
    }

    /// Others lock and unlock merged pages, and expect to share them.
    fn change_locks(&mut self) {
        let picked = self.numbers.below(self.model.nodes.len());
        let mut books = self.ledger.open();
        let Some(merged) = self.model.nodes.get_mut(picked) else {
            return;
        };
        if self.numbers.one_in(3) && merged.expected < 2 {
            merged.node.expect_one(&books.token);
            merged.expected += 1;
        } else if merged.expected > 0 {
            books.expect_no_more(&merged.node);
            merged.expected -= 1;
            self.model.expect_no_more(picked);
        }
        let Some(merged) = self.model.nodes.get_mut(picked) else {
            return;
        };
        let Some(page) = &merged.page else {
            return;
        };
        match merged.held {
            true => page.let_go(),
            false => assert!(page.hold()),
        }
        merged.held = !merged.held;
    }

    /// The kernel frees merged pages, moves them, unmaps them, and finds them to be bad.
    fn change_folios(&mut self) {
        let picked = self.numbers.below(self.model.nodes.len());
        let Some(merged) = self.model.nodes.get_mut(picked) else {
            return;
        };
        if !merged.can_be_locked() {
            return;
        }
        let Some(page) = &merged.page else {
            return;
        };
        match self.numbers.below(8) {
            0..2 => merged.page = None,
            2..5 => {
                let nid = self.numbers.below(2) as i32;
                merged.page = KsmFolio::migrate(page, nid);
                assert!(merged.page.is_some());
            }
            5..7 => {
                merged.mapped = !merged.mapped;
                page.set_mapped(merged.mapped);
            }
            _ => {
                merged.poisoned = true;
                page.set_poisoned();
            }
        }
    }

    fn prune(&mut self) {
        let detach = self.numbers.one_in(2);
        self.ledger.prune(detach);
        for merged in self
            .model
            .nodes
            .iter_mut()
            .filter(|merged| merged.tree == Tree::Apart)
        {
            let cut = detach && !merged.held && !merged.mapped;
            if cut {
                merged.page = None;
            }
            if merged.page.is_none() {
                merged.tree = Tree::None;
            }
        }
    }

    /// Somebody changes what is known of one page.
    fn leave_one(&mut self) {
        let picked = self.numbers.below(self.model.records.len());
        let Some(id) = self.model.records.keys().nth(picked).copied() else {
            return;
        };
        let World {
            spaces,
            ledger,
            model,
            ..
        } = self;
        let Space { records, tally, .. } = &mut spaces[id.0];
        if let Some(item) = records.find(address(id.1)) {
            let left = ledger.open().leave(item, tally);
            assert_eq!(left.is_ok(), model.leave(id));
        }
    }

    /// All candidates leave, as when all is unmerged.
    fn abandon(&mut self) {
        let claimed = !self.claims.is_empty();
        let books = self.ledger.open();
        assert_eq!(books.candidates.any_claimed(), claimed);
        assert!(!claimed || !books.is_unmerged());
        drop(books);
        if claimed {
            assert!(self.ledger.abandon().is_none());
        }
        self.end_claims();
        let some = !self.model.waiting.is_empty();
        assert!(self.ledger.abandon().is_some());
        assert_eq!(self.ledger.abandon().is_none(), some);
        self.leave_one_abandoned();
        for space in &mut self.spaces {
            let left = space.records.leave_abandoned();
            self.ledger.settle(left);
        }
        for id in core::mem::take(&mut self.model.waiting).into_values() {
            self.model.set(id, State::Seen);
        }
        // There is nothing left of them.
        assert!(self.ledger.abandon().is_some());
    }

    fn leave_one_abandoned(&mut self) {
        let Some((_, id)) = self.model.waiting.pop_first() else {
            return;
        };
        let mut books = self.ledger.open();
        let item = self.spaces[id.0].records.find(address(id.1));
        assert!(item.is_some_and(|item| books.candidates.remove(item)));
        self.model.set(id, State::Seen);
    }
}

/// Whether a record may get another place in memory.
fn relocates(model: &Model, id: Id) -> bool {
    match model.state(id) {
        Some(State::Claimed | State::Taken) => false,
        Some(State::Merged(index)) => model.nodes[index].can_be_locked(),
        _ => true,
    }
}

/// Whether a merged page is of the domain of an address space.
fn shares_with(merged: &Merged, id: Id) -> bool {
    domain_of(merged.space).meets(domain_of(id.0))
}

/// The node of a page comes to where that lies.
fn follow(model: &mut Model, contents: &super::world::Contents, id: Id) {
    let Some(State::Merged(index)) = model.state(id) else {
        return;
    };
    let merged = &mut model.nodes[index];
    let Some(page) = merged.page.as_ref().filter(|_| !merged.poisoned) else {
        return;
    };
    if page.nid() != merged.nid {
        merged.nid = page.nid();
        merged.place = contents
            .sums(id.0)
            .place(contents.checksum(merged.content), merged.nid);
    }
}

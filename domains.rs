// SPDX-License-Identifier: GPL-2.0

//! In which domain an address space is, and how it gets from one into another.
//!
//! All merged pages that an address space maps are of the domain that it is in, or it is in none. A fork's
//! child begins in its parent's domain, since it maps its merged pages. Each step looks whose the
//! address space is by then. When that is somebody else than before, it is in no domain for a while:
//! nothing of it is merged, and what was is given back and forgotten, part by part, from the lowest address
//! to the highest. Then it is in the other one.
//!
//! What a claim holds meanwhile may still be merged in the old domain. It stays on record then, and the whole is
//! done again.

use crate::{
    claimed::Lost,
    engine::Engine,
    intrusive::records::Records,
    mm::{
        address_space::{Away, MOMENT},
        census::Member,
        domain::Domain,
        owner, trace,
        vma::unmerge_some_shared,
    },
    mm_slot::MmSlot,
    settings::Within,
};
use kernel::{current, error::Result, mm::Mm};

/// Where an address space stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stand {
    /// In the domain where it belongs.
    Settled,
    /// On its way there.
    Leaving,
    /// It is gone, or belongs to nobody any more.
    Nowhere,
}

impl Engine {
    /// The domain where `mm` belongs, which is number `id` of those that are registered.
    fn domain_of(&self, id: u64, mm: &Mm) -> Domain {
        let settings = &self.settings;
        match settings.within() {
            Within::All => Domain::EVERYBODY,
            Within::User => owner::user(mm, Domain::process(id)),
            Within::Cgroup => owner::cgroup(mm, settings.domain_depth.get()),
            Within::Process => Domain::process(id),
        }
    }

    /// The domain of an address space that is being registered. What was not before maps no merged pages, unless
    /// they are those of whom it is a copy of.
    pub(crate) fn first_domain(&self, id: u64, mm: &Mm) -> Domain {
        let current = current!();
        let parent = current.mm().filter(|own| own.as_raw() != mm.as_raw());
        match parent.and_then(|parent| self.registry.of(parent)) {
            Some(parent) => parent.space.domain(),
            None => self.domain_of(id, mm),
        }
    }

    /// Counts `mm` in `domain`.
    pub(crate) fn count(&self, domain: Domain, mm: &Mm) -> Result<Member> {
        self.census.join(domain, owner::pid(mm))
    }

    /// Where an address space stands now. If it is to leave its domain it has done so: nobody merges anything
    /// with what is in it any more.
    pub(crate) fn stand(&self, slot: &MmSlot) -> Stand {
        let Some(alive) = slot.space.alive() else {
            return Stand::Nowhere;
        };
        let domain = self.domain_of(slot.id(), alive.mm());
        if domain == Domain::NOBODY {
            return Stand::Nowhere;
        }
        let now = slot.space.domain();
        if now == domain {
            return Stand::Settled;
        }
        if now != Domain::NOBODY {
            slot.space.leave_domain();
            slot.set_at(0);
            let _before = slot.take_kept();
        }
        Stand::Leaving
    }

    /// Gives back some of what is merged of an address space that is leaving its domain. Zero pages stay. What is to
    /// be forgotten then, and what this took of `pages_to_scan`. `None`: it is not possible now.
    pub(crate) fn give_back(&self, slot: &MmSlot) -> Option<(Lost, u64)> {
        let from = slot.at();
        let live = match slot.space.enter_within(MOMENT) {
            Ok(live) => live,
            Err(Away::Busy) => {
                trace::cut(slot.space.id(), from);
                return None;
            }
            Err(Away::Gone) => return None,
        };
        // Without memory for a copy it is tried again in the next pass.
        let part = unmerge_some_shared(&live, from).ok()?;
        drop(live);
        let Some(part) = part else {
            let rest = Lost {
                range: from..usize::MAX,
                next: None,
                given_back: true,
            };
            return Some((rest, 1));
        };
        trace::unmerge(slot.space.id(), part.done.clone(), part.found, part.tables);
        if part.leaves_out() {
            slot.keep();
        }
        let units = part.charge();
        let lost = Lost {
            range: from..part.done.end,
            next: Some(part.next),
            given_back: true,
        };
        Some((lost, units))
    }

    /// Has an address space that was gone through to its end be in the domain where it belongs, if it was on its way
    /// there and nothing was left behind. True: it is from now on.
    pub(crate) fn arrives(&self, slot: &MmSlot, records: &Records) -> bool {
        if slot.space.domain() != Domain::NOBODY || slot.take_kept() || !records.is_empty() {
            return false;
        }
        let Some(alive) = slot.space.alive() else {
            return false;
        };
        let domain = self.domain_of(slot.id(), alive.mm());
        if domain == Domain::NOBODY {
            return false;
        }
        // Without memory for that it is tried again in the next pass.
        let Ok(member) = self.count(domain, alive.mm()) else {
            return false;
        };
        slot.space.enter_domain(member);
        true
    }
}

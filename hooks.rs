// SPDX-License-Identifier: GPL-2.0

//! What the kernel asks of a provider of page merging.

use crate::{
    control::Run,
    engine::Engine,
    intrusive::stable_node::{Reverse, StableNode},
    mm::{
        address_space::Away,
        domain::Domain,
        hotplug::Frames,
        ksm_folio::KsmFolio,
        provider::Provider,
        trace,
        vma::{any_advised_from, is_advised, may_be_unasked, Sought, VMAS},
    },
    mm_slot::MmSlot,
    registry::Remains,
    settings::Within,
};
use core::ops::Range;
use kernel::{
    mm::{virt::VmaRef, Mm},
    prelude::*,
    sync::atomic::Relaxed,
};

impl Provider for Engine {
    type Sharers = Reverse;

    fn enter(&self, mm: &Mm) -> Result {
        let member = |id| self.count(self.first_domain(id, mm), mm);
        if self.registry.enter(mm, member)? && self.run() == Run::Merge {
            self.wake_all();
        }
        Ok(())
    }

    fn exit(&self, mm: &Mm) {
        trace::exit(mm);
        if self.registry.exit(mm) == Remains::Records {
            self.wake_first();
        }
    }

    fn merges_unasked(&self) -> bool {
        // The scanner merges with the mmap lock held for reading; who asks holds it for writing.
        self.unasked.load(Relaxed)
    }

    fn shares_swapin(&self, vma: &VmaRef, folio: &KsmFolio) -> bool {
        if self.run() == Run::Unmerge || self.work.is_closed() {
            return false;
        }
        let (advised, within) = (is_advised(vma), self.settings.within());
        if advised && within == Within::All {
            return true;
        }
        let slot = self.registry.of(vma.mm());
        let unasked = |slot: &MmSlot| may_be_unasked(vma) && slot.comes_back();
        if !advised && !slot.as_ref().is_some_and(|slot| unasked(slot)) {
            return false;
        }
        if within == Within::All {
            return true;
        }
        // It was pushed out, perhaps, before its owner came into the domain where it is.
        let domain = slot.map_or(Domain::NOBODY, |slot| slot.space.domain());
        let books = self.ledger.open();
        StableNode::of_folio(folio, &books.token)
            .is_some_and(|node| folio.read(|content| self.sums(domain).own(&node, content)))
    }

    fn records(&self, mm: &Mm) -> usize {
        self.registry.of(mm).map_or(0, |slot| slot.bytes())
    }

    fn enrolled(&self, mut give: impl FnMut(&Mm)) {
        for slot in self.registry.iter() {
            let unwanted = match slot.space.try_enter() {
                Ok(live) => {
                    let advised = any_advised_from(&live, 0, &mut { VMAS });
                    let unwanted = matches!(advised, Sought::Nowhere);
                    if unwanted {
                        self.unregister_unmerged(&slot, &live);
                    }
                    unwanted
                }
                Err(Away::Busy) => false,
                Err(Away::Gone) => true,
            };
            if !unwanted {
                if let Some(alive) = slot.space.alive() {
                    give(alive.mm());
                }
                self.registry.remove(&slot);
            }
        }
        // Nothing is merged any more, so nothing is held.
        while self.reap_some() {}
    }
}

impl Frames for Engine {
    fn gone(&self, _frames: Range<usize>) {
        // The frames are offline by now, and nobody comes to one of those by its number. Whoever did so
        // before had the books open.
        drop(self.ledger.open());
    }
}

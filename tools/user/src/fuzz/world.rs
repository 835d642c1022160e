// SPDX-License-Identifier: GPL-2.0

//! What the test works on.

use super::{
    model::{Id, Model},
    numbers::Numbers,
};
use crate::{
    books::Ledger,
    checksum::{PageHasher, Sums},
    intrusive::{
        candidates::{Claim, Taken},
        item::Key,
        leaf::{LeafCache, Spares},
        records::Records,
    },
    mm::{
        address_space::AddressSpace, anon_vma::Region, domain::Domain, fake_mm, page::AnonPage,
        page_bytes::PageView,
    },
    tally::Tally,
};
use core::mem::ManuallyDrop;
use kernel::{alloc::fail_one_in, page::PAGE_SIZE, prelude::*, sync::Arc};
use std::collections::BTreeMap;

pub(super) const SPACES: usize = 3;

/// Pages of an address space.
pub(super) const PAGES: usize = 320;

/// Contents that pages have: few, so that most have an equal one now and then.
pub(super) const CONTENTS: usize = 48;

/// How many share a page at most: few, so that many are full.
pub(super) const LIMIT: u32 = 4;

/// The address of a page. They lie in three groups, far apart for one leaf, the last one too far.
pub(super) fn address(page: usize) -> usize {
    let group = [0, 1 << 28, 1 << 44];
    (page % 128 + group[page / 128]) * PAGE_SIZE
}

/// The NUMA node that an ordinary page lies on.
pub(super) fn nid_of(page: usize) -> i32 {
    i32::from(page % 2 == 1)
}

pub(super) fn page_of(address: usize) -> usize {
    let number = address / PAGE_SIZE;
    let group = match number >> 28 {
        0 => 0,
        1 => 1,
        _ => 2,
    };
    group * 128 + number % (1 << 28)
}

/// A page as its process has it.
#[derive(Clone, Copy)]
pub(super) struct Mapping {
    pub(super) content: usize,
    pub(super) region: usize,
}

/// An address space.
pub(super) struct Space {
    pub(super) space: Arc<AddressSpace>,
    pub(super) records: Records,
    pub(super) spares: Spares,
    pub(super) tally: Tally,
    pub(super) mapped: BTreeMap<usize, Mapping>,
}

/// The first address space is in a domain of its own, the others are in another.
pub(super) fn domain_of(s: usize) -> Domain {
    Domain::process(u64::from(s > 0))
}

/// All that is needed to tell contents apart.
pub(super) struct Contents {
    hasher: PageHasher,
    checksums: Vec<u64>,
}

impl Contents {
    pub(super) fn new() -> Result<Self> {
        let hasher = PageHasher::new()?;
        let mut checksums = Vec::new();
        for content in 0..CONTENTS {
            let page = AnonPage::new(content as u64, 0)?;
            checksums.push(PageView::with_owned(page.bytes(), |view| {
                hasher.checksum(view)
            }));
        }
        Ok(Self { hasher, checksums })
    }

    pub(super) fn sums(&self, s: usize) -> Sums<'_> {
        self.sums_of(domain_of(s))
    }

    pub(super) fn sums_of(&self, domain: Domain) -> Sums<'_> {
        Sums::new(&self.hasher, false, domain)
    }

    pub(super) fn checksum(&self, content: usize) -> u64 {
        self.checksums[content]
    }

    /// The key of a content of an address space on a NUMA node, which two have in common, as if that part of
    /// their checksums were equal.
    pub(super) fn key(&self, s: usize, content: usize, nid: i32) -> Key {
        Key::of(self.sums(s).place(self.checksums[content & !1], nid))
    }
}

/// A claim is ended, not dropped; but a test that fails drops what it has.
pub(super) type InHand = ManuallyDrop<Claim>;

/// Fields drop in this order.
pub(super) struct World {
    pub(super) numbers: Numbers,
    pub(super) claims: Vec<(InHand, Id)>,
    pub(super) taken: Vec<(Taken, Id)>,
    pub(super) spaces: Vec<Space>,
    pub(super) ledger: Pin<KBox<Ledger>>,
    pub(super) model: Model,
    pub(super) contents: Contents,
    pub(super) regions: Vec<Region>,
    pub(super) cache: LeafCache,
    /// One in so many allocations fails.
    lacking: u32,
}

impl World {
    pub(super) fn new(numbers: Numbers, lacking: u32) -> Result<Self> {
        let mut spaces = Vec::new();
        for _ in 0..SPACES {
            spaces.push(Space::new()?);
        }
        let ledger = KBox::pin_init(Ledger::new(), GFP_KERNEL)?;
        ledger.open().stable.set_limit(LIMIT);
        let world = Self {
            numbers,
            claims: Vec::new(),
            taken: Vec::new(),
            spaces,
            ledger,
            model: Model::default(),
            contents: Contents::new()?,
            regions: (0..40).map(fake_mm::region).collect(),
            cache: LeafCache::create(c"rksm_fuzz_leaf")?,
            lacking,
        };
        fail_one_in(lacking);
        Ok(world)
    }

    pub(super) fn is_lacking(&self) -> bool {
        self.lacking > 0
    }

    /// Lets go of everything, which must leave nothing behind.
    pub(super) fn finish(mut self) {
        fail_one_in(0);
        self.lacking = 0;
        self.end_claims();
        for merged in self.model.nodes.iter_mut() {
            if let Some(page) = merged.page.as_ref().filter(|_| merged.held) {
                page.let_go();
            }
            merged.held = false;
        }
        for s in 0..SPACES {
            self.tidy(s, 0, usize::MAX);
        }
        for merged in self.model.nodes.iter_mut() {
            merged.page = None;
        }
        for s in 0..SPACES {
            self.spaces[s].mapped.clear();
            self.forget(s, 0, PAGES);
            let Space { records, tally, .. } = &mut self.spaces[s];
            records.settle(0, usize::MAX);
            assert!(records.is_empty());
            assert_eq!(records.bytes(), 0);
            assert_eq!((tally.tracked, tally.zero), (0, 0));
        }
        self.ledger.prune(false);
        let books = self.ledger.open();
        assert_eq!(books.candidates.len(), 0);
        assert!(books.stable.is_empty());
        assert_eq!((books.stable.pages_shared(), books.stable.bytes()), (0, 0));
    }
}

impl Space {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            space: fake_mm::space()?,
            records: Records::new(),
            spares: Spares::new(),
            tally: Tally::default(),
            mapped: BTreeMap::new(),
        })
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Collecting what an address space maps, many pages for each visit to a page table.

use super::{
    address_space::LiveMm,
    anon_vma::Region,
    entry::Pte,
    ksm_folio::Mark,
    page::AnonPage,
    pagewalk::{Go, Visitor, Walk},
    table::Entry,
    vma::{Sought, Vmas, VMAS},
};
use core::ops::Range;
use kernel::prelude::*;

/// What is mapped at an address.
pub(crate) enum Mapping {
    /// An anonymous page. `watched`: a userfaultfd's mark is on the entry, which must not be changed.
    Page { page: AnonPage, watched: bool },
    /// A merged page. It is not referenced: most often the scanner has nothing to do there, and a
    /// reference would stop it from being migrated.
    Ksm(Mark),
    /// The zero page, which was put there in place of a page full of zeroes.
    KsmZero,
    /// A small page on its way to another frame. It will be there again in a moment, and what is
    /// known of it will hold.
    Moving,
    /// An anonymous page that is not to be merged.
    LeftAlone,
}

/// Which ordinary pages are looked at.
#[derive(Clone, Copy)]
pub(crate) struct Which {
    /// Only those that are full of zeroes.
    pub(crate) zeroes: bool,
    /// Also those in huge pages.
    pub(crate) large: bool,
}

/// One address and what it maps.
pub(crate) struct Visit {
    pub(crate) address: usize,
    pub(crate) mapping: Mapping,
}

/// What a look has found in one VMA.
pub(crate) struct Span {
    /// How the reverse map knows the pages of the VMA.
    pub(crate) region: Region,
    /// Which of [`Batch::visits`] lie in it.
    pub(crate) visits: Range<usize>,
}

/// What one look found.
///
/// Its capacity is fixed: nothing is allocated under a page table lock.
pub(crate) struct Batch {
    visits: KVec<Visit>,
    spans: KVec<Span>,
}

/// How many pages one look collects. Enough that the locks taken for it cost little for each page,
/// and little enough that the references held do not disturb reclaim.
pub(crate) const BATCH_PAGES: usize = 64;

/// In how many VMAs they may lie. More than one, for the sake of those who have many small ones.
const SPANS: usize = 8;

impl Batch {
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            visits: KVec::with_capacity(BATCH_PAGES, GFP_KERNEL)?,
            spans: KVec::with_capacity(SPANS, GFP_KERNEL)?,
        })
    }

    /// Looks at the mergeable VMAs of `live` from `from` on, in place of what was found before. It
    /// ends where `room` pages are collected or left, where so many VMAs or page tables were come by that the
    /// mmap lock has been held for long enough, or where there is nothing more.
    ///
    /// Pages of zeroes are not told from those that only begin so: see [`Batch::keep_zeroes`].
    pub(crate) fn look(
        &mut self,
        live: &LiveMm<'_>,
        from: usize,
        room: usize,
        which: Which,
    ) -> Seen {
        self.clear();
        let mut walk = Walk::new(Collector {
            visits: &mut self.visits,
            room,
            left: 0,
            which,
        });
        let mut vmas = Vmas::new(live, from);
        let mut left = VMAS;
        let next = loop {
            let vma = match vmas.next_mergeable(&mut left) {
                Sought::Found(vma) => vma,
                Sought::Further(next) => break Some(next),
                Sought::Nowhere => break None,
            };
            let start = from.max(vma.start());
            let first = walk.visitor().visits.len();
            if walk.visitor().is_full() || self.spans.len() >= SPANS {
                break Some(start);
            }
            let ended = walk.over(vma.vma(), start);
            let visits = first..walk.visitor().visits.len();
            if !visits.is_empty() {
                let span = Span {
                    region: vma.region(),
                    visits,
                };
                // There is room, as was just asked.
                let _ = self.spans.push_within_capacity(span);
            }
            if ended.is_some() {
                break ended;
            }
        };
        Seen {
            next,
            left: walk.visitor().left,
            tables: walk.tables(),
            full_tables: walk.full_tables(),
            vmas: VMAS - left,
        }
    }

    /// Lets go of pages that are not full of zeroes. Each is read as far as it is. Returns how many went.
    pub(crate) fn keep_zeroes(&mut self) -> usize {
        let mut left = 0;
        for visit in &mut self.visits {
            let is_zero = match &visit.mapping {
                Mapping::Page { page, .. } => page.read(|content| content.is_zero()),
                _ => true,
            };
            if !is_zero {
                visit.mapping = Mapping::LeftAlone;
                left += 1;
            }
        }
        left
    }

    /// What is mapped, in order of address.
    pub(crate) fn visits(&self) -> &[Visit] {
        &self.visits
    }

    /// Where it is mapped, in order of address. All that was looked at beside them maps nothing that
    /// could be merged.
    pub(crate) fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Lets go of all page references.
    pub(crate) fn clear(&mut self) {
        self.visits.clear();
        self.spans.clear();
    }
}

/// How far a look has come and what it took.
#[must_use]
pub(crate) struct Seen {
    /// All that lies before it, from where the look began, was looked at. `None`: to the end of the
    /// address space.
    pub(crate) next: Option<usize>,
    /// How many pages were left, since they are not full of zeroes.
    pub(crate) left: usize,
    /// Page tables and huge pages that were come by, and tables of the level above.
    pub(crate) tables: u32,
    /// How many full page tables take as long.
    full_tables: u32,
    /// VMAs that were come by, mergeable or not.
    pub(crate) vmas: u32,
}

impl Seen {
    /// What the look itself counts for, as if it were so many pages: a full page table takes longer than
    /// reading a page, and 32 VMAs about as long.
    pub(crate) fn charge(&self) -> u64 {
        u64::from(self.full_tables) + u64::from(self.vmas / 32) + 1
    }
}

struct Collector<'b> {
    visits: &'b mut KVec<Visit>,
    room: usize,
    left: usize,
    which: Which,
}

impl Collector<'_> {
    fn is_full(&self) -> bool {
        self.visits.len() >= BATCH_PAGES || self.visits.len() + self.left >= self.room
    }

    /// What an entry maps, if it concerns us.
    fn mapping_of(&mut self, entry: &Entry<'_>) -> Option<Mapping> {
        Some(match entry {
            Entry::Moving => Mapping::Moving,
            Entry::KsmZero => Mapping::KsmZero,
            Entry::Page { page, watched } => match page.mark() {
                Some(mark) => Mapping::Ksm(mark),
                None if !self.which.large && page.is_large() => return None,
                None if self.which.zeroes && page.is_mergeable() && !page.begins_with_zeroes() => {
                    self.left += 1;
                    return None;
                }
                None => Mapping::Page {
                    page: page.take()?,
                    watched: *watched,
                },
            },
        })
    }
}

impl Visitor for Collector<'_> {
    const HUGE: bool = true;

    fn wants(_pte: Pte) -> bool {
        true
    }

    fn reads(&self) -> bool {
        self.which.zeroes
    }

    fn visit(&mut self, address: usize, entry: &Entry<'_>) -> Go {
        if let Some(mapping) = self.mapping_of(entry) {
            // There is room: the walk ends where there is no more.
            let _ = self.visits.push_within_capacity(Visit { address, mapping });
        }
        match self.is_full() {
            true => Go::End,
            false => Go::On,
        }
    }
}

#[kunit_tests(rksm_walk)]
mod tests {
    use super::*;

    #[test]
    fn a_look_is_charged_for_what_it_comes_by() {
        let seen = |tables, vmas| Seen {
            next: None,
            left: 0,
            tables: 0,
            full_tables: tables,
            vmas,
        };
        assert_eq!(seen(0, 0).charge(), 1);
        assert_eq!(seen(0, 31).charge(), 1);
        assert_eq!(seen(3, 64).charge(), 6);
        assert_eq!(seen(u32::MAX, u32::MAX).charge(), (1 << 32) + (1 << 27) - 1);
    }
}

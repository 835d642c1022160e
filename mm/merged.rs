// SPDX-License-Identifier: GPL-2.0

//! Finding merged pages that are to be given back.

use super::{
    entry::Pte,
    pagewalk::{Go, Visitor},
    table::Entry,
};
use kernel::prelude::*;

/// How many one walk finds: what is done about them is done with the mmap lock held.
const MOST: usize = 64;

/// Where merged pages are mapped, and perhaps zero pages that stand for pages full of zeroes.
pub(super) struct Merged {
    addresses: [usize; MOST],
    len: usize,
    /// Which of them nobody else mapped, a bit each.
    sole: u64,
    /// Whether zero pages are taken down.
    zeroes: bool,
}

impl Merged {
    pub(super) fn new(zeroes: bool) -> Self {
        Self {
            addresses: [0; MOST],
            len: 0,
            sole: 0,
            zeroes,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// In order of address; and whether nobody else mapped the page.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, bool)> + '_ {
        let addresses = self.addresses.iter().take(self.len).enumerate();
        addresses.map(|(index, address)| (*address, self.sole & (1 << index) != 0))
    }

    /// Takes down one.
    fn push(&mut self, address: usize, sole: bool) -> Go {
        if let Some(place) = self.addresses.get_mut(self.len) {
            *place = address;
            self.sole |= u64::from(sole) << self.len;
            self.len += 1;
        }
        match self.len < MOST {
            true => Go::On,
            false => Go::End,
        }
    }
}

impl Visitor for Merged {
    /// No part of a huge page is merged.
    const HUGE: bool = false;

    /// Nobody can write to a merged page.
    fn wants(pte: Pte) -> bool {
        !pte.write()
    }

    fn visit(&mut self, address: usize, entry: &Entry<'_>) -> Go {
        match entry {
            // A page on its way might be a merged one when it is there.
            Entry::KsmZero if !self.zeroes => Go::On,
            Entry::KsmZero | Entry::Moving => self.push(address, false),
            Entry::Page { page, .. } if page.mark().is_some() => {
                self.push(address, page.mapcount() == 1)
            }
            Entry::Page { .. } => Go::On,
        }
    }
}

#[kunit_tests(rksm_merged)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_there_is_room_for() {
        let mut merged = Merged::new(true);
        for index in 0..MOST {
            let go = merged.visit(index * 4096, &Entry::KsmZero);
            assert!((go == Go::End) == (index == MOST - 1));
        }
        assert!(merged.visit(MOST * 4096, &Entry::Moving) == Go::End);
        assert_eq!(merged.len(), MOST);
        let mut expected = (0..MOST).map(|index| (index * 4096, false));
        assert!(merged.iter().all(|found| Some(found) == expected.next()));
    }

    #[test]
    fn zero_pages_only_where_they_are_wanted() {
        let mut merged = Merged::new(false);
        assert!(merged.visit(0, &Entry::KsmZero) == Go::On);
        assert_eq!(merged.len(), 0);
        assert!(merged.visit(0, &Entry::Moving) == Go::On);
        assert_eq!(merged.len(), 1);
    }

    #[test]
    fn who_is_alone_is_told_apart() {
        let mut merged = Merged::new(true);
        for index in 0..MOST {
            let _ = merged.push(index * 4096, index % 3 == 0);
        }
        let wrong = merged
            .iter()
            .position(|(address, sole)| sole != (address / 4096 % 3 == 0));
        assert_eq!(wrong, None);
    }
}

// SPDX-License-Identifier: GPL-2.0

//! The pages of a batch that are to be read, and which one is fetched into the cache meanwhile.

use crate::{
    intrusive::item::ItemRef,
    mm::{page::AnonPage, walk::BATCH_PAGES},
};

/// How many pages before it is read a page is fetched: as many as fit into half of a small first-level cache.
const AHEAD: usize = 4;

/// A page that is to be read.
#[derive(Clone, Copy)]
pub(crate) struct Read<'b> {
    pub(crate) item: ItemRef<'b>,
    pub(crate) page: &'b AnonPage,
    pub(crate) watched: bool,
}

/// Those of a batch.
pub(crate) struct Reads<'b> {
    reads: [Option<Read<'b>>; BATCH_PAGES],
    len: usize,
}

impl<'b> Reads<'b> {
    pub(crate) fn new() -> Self {
        Self {
            reads: [None; BATCH_PAGES],
            len: 0,
        }
    }

    pub(crate) fn push(&mut self, read: Read<'b>) {
        // The others are fetched while these are read.
        if self.len < AHEAD {
            read.page.read(|content| content.prefetch_all());
        }
        if let Some(place) = self.reads.get_mut(self.len) {
            *place = Some(read);
            self.len += 1;
        }
    }

    /// Each, and the one that is fetched meanwhile.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Read<'b>, Option<&Read<'b>>)> {
        let at = |place: usize| self.reads.get(place).and_then(Option::as_ref);
        (0..self.len).filter_map(move |place| Some((at(place)?, at(place + AHEAD))))
    }
}

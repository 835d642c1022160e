// SPDX-License-Identifier: GPL-2.0

//! Regions, which own memory that is missed when one is lost, and found when one is dropped twice.

#[derive(Clone)]
pub(crate) struct Region {
    number: Box<usize>,
}

impl Region {
    pub(super) fn new(number: usize) -> Self {
        Self {
            number: Box::new(number),
        }
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

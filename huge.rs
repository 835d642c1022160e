// SPDX-License-Identifier: GPL-2.0

//! Whether a huge page is to be split.
//!
//! That of its pages can be merged is not worth its being split, which makes the owner's memory slower, unless
//! there are enough of them. How many have an equal is counted as the scanner goes over them, one after
//! the other: each that is like a merged page or a candidate, or full of zeroes where those are merged. A page
//! that has an equal is no candidate by then, or is made an ordinary page when its equal finds it, so that
//! it is looked up in its own turn and counts for its own huge page.
//!
//! The count is of one pass, as far as the scanner has come in it without a break: where its turn is cut, it begins
//! anew behind. It belongs to the scanner, which is in one huge page at a time, and so takes no memory that
//! grows with anything.

use crate::work::Work;
use kernel::prelude::*;

/// How many pages of the huge page that the scanner has come to have an equal.
#[derive(Default)]
pub(crate) struct HugePage {
    /// Which one: the address of its folio, to be compared and for nothing else.
    folio: usize,
    equals: u32,
}

impl HugePage {
    /// Notes that one more page has an equal, which was in `folio` when it was read. Returns how many of that
    /// have one.
    fn count(&mut self, folio: usize) -> u32 {
        if self.folio != folio {
            *self = Self { folio, equals: 0 };
        }
        self.equals += 1;
        self.equals
    }

    /// Notes that a page has an equal. Whether it can be merged, as far as that depends on the huge page that
    /// it is in: it is in none, or so many of its pages have an equal that it may be split.
    pub(crate) fn lets_go(&mut self, work: &Work, at_least: u32) -> bool {
        work.folio.is_none_or(|folio| self.count(folio) >= at_least)
    }
}

#[kunit_tests(rksm_huge)]
mod tests {
    use super::*;

    #[test]
    fn each_huge_page_has_its_own_count() {
        let mut huge = HugePage::default();
        for (folio, equals) in [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (1, 1), (1, 2)] {
            assert_eq!(huge.count(folio), equals);
        }
    }
}

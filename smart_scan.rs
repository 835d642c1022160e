// SPDX-License-Identifier: GPL-2.0

//! Which pages to pass over.
//!
//! A page that found no equal in many passes will most likely find none in the next. The longer it
//! has been looked at in vain, the more passes go by without it: after three, one is left out, then
//! two, four, and in the end eight. A candidate stays in its tree meanwhile, so that an equal page
//! that comes up finds it all the same.

use kernel::prelude::*;

/// How often a page was looked at, and how often it is still to be passed over: 4 bits each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Age(u8);

/// Older than this makes no difference.
const OLD: u8 = 9;

impl Age {
    pub(crate) const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    pub(crate) const fn to_bits(self) -> u8 {
        self.0
    }

    /// The scanner comes by. Returns the new age, and whether to pass the page over.
    pub(crate) fn visit(self) -> (Self, bool) {
        let (age, left) = (self.0 & 0xf, self.0 >> 4);
        let next = (age + 1).min(OLD);
        let (left, skip) = match (age, left) {
            (0..3, _) => (0, false),
            (_, 0) => (passes_to_skip(age), false),
            _ => (left - 1, true),
        };
        (Self(left << 4 | next), skip)
    }
}

/// How many passes leave a page of this age out. The steps are those of the in-tree KSM.
fn passes_to_skip(age: u8) -> u8 {
    match age {
        0..=3 => 1,
        4..=5 => 2,
        6..=8 => 4,
        _ => 8,
    }
}

#[kunit_tests(rksm_smart_scan)]
mod tests {
    use super::*;

    /// In which of its first visits a page is passed over.
    #[test]
    fn visits() {
        let mut age = Age::default();
        let mut seen = 0_u64;
        for visit in 0..40 {
            let (next, skip) = age.visit();
            age = next;
            seen |= u64::from(!skip) << visit;
        }
        // Looked at: 0 to 3, one left out, 5, two left out, 8, four, 13, eight, 22, eight, 31.
        let expected = [0, 1, 2, 3, 5, 8, 13, 22, 31].map(|visit| 1_u64 << visit);
        assert_eq!(seen, expected.iter().sum());
    }

    #[test]
    fn any_bits_come_to_an_end() {
        for bits in 0..=u8::MAX {
            let mut age = Age::from_bits(bits);
            let skipped = (0..20).take_while(|_| {
                let (next, skip) = age.visit();
                age = next;
                skip
            });
            assert!(skipped.count() <= 15);
        }
    }
}

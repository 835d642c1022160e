// SPDX-License-Identifier: GPL-2.0

//! What is in the pages of each workload.

use rand::{rngs::SmallRng, RngCore, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::memory::{HUGE_PAGE, PAGE};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// No two alike.
    Unique,
    /// Each content twice.
    Half,
    /// All alike.
    Equal,
    /// Alike but for the last word: to tell two apart takes reading them whole.
    LastWord,
    /// Four guests of one image: zero pages, image, data of their own, some of it rewritten all the
    /// time.
    Guests,
    /// Many processes with little memory, half of it the same in all.
    Small,
    /// A process that forks; its children write to some of what they were given, by twos the same.
    Fork,
    /// Half duplicates again, in huge pages.
    Huge,
    /// No two alike, in several processes: for several scanners.
    SpreadUnique,
    /// Each content twice, in two of several processes.
    SpreadHalf,
    /// No two alike, each process being another user's: for domains.
    UsersUnique,
    /// Each content twice in one of them.
    UsersHalf,
    /// Four guests of one image in huge pages, of which each has more or less in common with the others.
    HugeGuests,
}

/// Pages of a huge page.
const PARTS: usize = HUGE_PAGE / PAGE;

/// Processes of the workloads that are spread.
const SPREAD: usize = 32;

/// Those of the workloads that are several users'.
const USERS: usize = 100;

impl Kind {
    /// Those of the table.
    pub const ALL: [Self; 8] = [
        Self::Unique,
        Self::Half,
        Self::Equal,
        Self::LastWord,
        Self::Guests,
        Self::Small,
        Self::Fork,
        Self::Huge,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Unique => "unique",
            Self::Half => "half duplicates",
            Self::Equal => "all equal",
            Self::LastWord => "last word differs",
            Self::Guests => "guests",
            Self::Small => "small processes",
            Self::Fork => "fork tree",
            Self::Huge => "huge pages",
            Self::SpreadUnique => "unique, 32 processes",
            Self::SpreadHalf => "half duplicates, 32 processes",
            Self::UsersUnique => "unique, 100 users",
            Self::UsersHalf => "half duplicates, 100 users",
            Self::HugeGuests => "guests in huge pages",
        }
    }

    /// Of so many pages, how many each content's second one saves, where that is all that there is.
    pub fn saved(self, pages: usize) -> i64 {
        match self {
            Self::SpreadHalf | Self::UsersHalf => {
                (self.pages_each(pages) * self.processes() / 2) as i64
            }
            _ => 0,
        }
    }

    /// How many processes share the memory.
    pub fn processes(self) -> usize {
        match self {
            Self::Guests | Self::HugeGuests => 4,
            Self::Small => 64,
            Self::SpreadUnique | Self::SpreadHalf => SPREAD,
            Self::UsersUnique | Self::UsersHalf => USERS,
            _ => 1,
        }
    }

    /// How many pages each of them has, of so many in all. Huge pages are not cut.
    pub fn pages_each(self, pages: usize) -> usize {
        match self {
            Self::Huge => pages.next_multiple_of(PARTS),
            Self::HugeGuests => pages.div_ceil(self.processes()).next_multiple_of(PARTS),
            // What eight children write to, a quarter each, comes to twice as much again.
            Self::Fork => pages.div_ceil(3),
            Self::UsersHalf => pages.div_ceil(self.processes()).next_multiple_of(2),
            _ => pages.div_ceil(self.processes()),
        }
    }

    /// Whether its pages lie in huge ones.
    pub fn is_huge(self) -> bool {
        matches!(self, Self::Huge | Self::HugeGuests)
    }

    /// Whose process `who` is, if not the caller's own.
    pub fn user(self, who: usize) -> Option<u32> {
        const FIRST: u32 = 100_000;
        let number = u32::try_from(who).ok()?;
        matches!(self, Self::UsersUnique | Self::UsersHalf).then(|| FIRST + number)
    }
}

/// The content of one page.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Content {
    Zero,
    /// At random; the same number gives the same page.
    Random(u64),
    /// Everything the same but the last word.
    LastWord(u64),
    /// Random, and rewritten all the time.
    Busy(u64),
}

impl Content {
    /// What process `who` has in page `index` of its `pages`.
    pub fn of(kind: Kind, seed: u64, who: usize, index: usize, pages: usize) -> Self {
        let own = || Self::Random(number(seed, 1 + who, index));
        let common = || Self::Random(number(seed, 0, index));
        match kind {
            Kind::Unique | Kind::SpreadUnique | Kind::UsersUnique => own(),
            Kind::UsersHalf => Self::Random(number(seed, 1 + who, index % (pages / 2))),
            Kind::SpreadHalf => Self::Random(number(seed, 1 + who % (SPREAD / 2), index)),
            Kind::Half | Kind::Huge => Self::Random(number(seed, 0, index % pages.div_ceil(2))),
            Kind::Equal => Self::Random(seed),
            Kind::LastWord => Self::LastWord(number(seed, 1 + who, index)),
            Kind::Small | Kind::Fork if index.is_multiple_of(2) => common(),
            Kind::Small | Kind::Fork => own(),
            // A quarter comes from the image, and a quarter is the guest's own; an eighth was freed in part. Of
            // the rest a page in two, in 16, in 128 and in 512 is in common.
            Kind::HugeGuests => match index / PARTS % 8 {
                0 | 1 => common(),
                2 if index.is_multiple_of(2) => common(),
                3 if index.is_multiple_of(16) => common(),
                4 if index.is_multiple_of(128) => common(),
                5 if index.is_multiple_of(512) => common(),
                6 if index % PARTS < PARTS / 4 => Self::Zero,
                _ => own(),
            },
            Kind::Guests => match index % 20 {
                0..4 => Self::Zero,
                4..12 => common(),
                12..19 => own(),
                _ => Self::Busy(number(seed, 1 + who, index)),
            },
        }
    }

    pub fn fill(self, page: &mut [u64; PAGE / 8]) {
        match self {
            Self::Zero => page.fill(0),
            Self::Random(seed) | Self::Busy(seed) => {
                let mut random = SmallRng::seed_from_u64(seed);
                page.fill_with(|| random.next_u64());
            }
            Self::LastWord(last) => {
                page.fill(0x5a);
                page[PAGE / 8 - 1] = last;
            }
        }
    }
}

/// A number of its own for each page of each process.
fn number(seed: u64, who: usize, index: usize) -> u64 {
    SmallRng::seed_from_u64(seed ^ ((who as u64) << 40) ^ index as u64).next_u64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn distinct(kind: Kind, pages: usize) -> usize {
        let each = kind.pages_each(pages);
        let contents = (0..kind.processes())
            .flat_map(|who| (0..each).map(move |index| Content::of(kind, 1, who, index, each)));
        contents.collect::<HashSet<_>>().len()
    }

    #[test]
    fn as_many_as_the_names_say() {
        assert_eq!(distinct(Kind::Unique, 1000), 1000);
        assert_eq!(distinct(Kind::Half, 1000), 500);
        assert_eq!(distinct(Kind::Equal, 1000), 1);
        assert_eq!(distinct(Kind::LastWord, 1000), 1000);
        // Each has 52 zero pages, 102 of the image, 96 of its own.
        assert_eq!(distinct(Kind::Guests, 1000), 1 + 102 + 4 * 96);
        assert_eq!(distinct(Kind::Small, 640), 5 + 64 * 5);
        assert_eq!(distinct(Kind::Huge, 1024), 512);
        assert_eq!(distinct(Kind::SpreadUnique, 800), 800);
        assert_eq!(distinct(Kind::SpreadHalf, 800), 400);
        assert_eq!(distinct(Kind::UsersUnique, 800), 800);
        assert_eq!(distinct(Kind::UsersHalf, 800), 400);
        let common = 2 * 512 + 256 + 32 + 4 + 1;
        let own = 8 * 512 - common - 128;
        assert_eq!(
            distinct(Kind::HugeGuests, 4 * 8 * 512),
            common + 1 + 4 * own
        );
    }
}

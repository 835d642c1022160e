// SPDX-License-Identifier: GPL-2.0

//! The keyed 64-bit checksum of a page.
//!
//! It orders the trees and tells whether a page changed since it was last looked at. It never
//! decides a merge: equal checksums lead to a full comparison.
//!
//! # The hash
//!
//! A page is a row of 64-bit words `m[0]`, `m[1]`, …, and the key has a word `k[i]` for each. The
//! first stage is NH, from UMAC (Black, Halevi, Krawczyk, Krovetz and Rogaway, "UMAC: Fast and Secure
//! Message Authentication", CRYPTO '99), in one of two forms, as the processor is quicker. With words of
//! 64 bits:
//!
//! ```text
//! n = sum over i of (m[2i] + k[2i] mod 2^64) * (m[2i+1] + k[2i+1] mod 2^64)   mod 2^128
//! ```
//!
//! With words of 32 bits, the halves of those above, and vector registers ([`vector`](crate::mm::vector)):
//!
//! ```text
//! n[s] = sum over i of (low(m[i]) + low(k[i+s]) mod 2^32) * (high(m[i]) + high(k[i+s]) mod 2^32)   mod 2^64
//! n    = n[0] + n[4] * 2^64
//! ```
//!
//! The second stage folds the two halves of `n` to 64 bits by multiply-shift with a key of three
//! 128-bit numbers (Dietzfelbinger, "Universal hashing and k-wise independent random variables via
//! integer arithmetic without primes", STACS '96):
//!
//! ```text
//! checksum = (f[0] + f[1] * low(n) + f[2] * high(n)   mod 2^128) / 2^64
//! ```
//!
//! # How often it collides
//!
//! Take any two different pages, chosen without knowledge of the key. Over the random choice of the
//! key, NH of words of `w` bits gives both the same sum with a probability of at most `2^-w`. With words
//! of 64 bits that is `2^-64` for the same `n`. With words of 32 bits there are two sums, the second under
//! the key shifted by whole pairs (the Toeplitz construction of that paper): where the pages differ last,
//! it depends on a part of the key that the first one does not, so that both are the same with a probability
//! of at most `2^-32 * 2^-32`, the same again. Two different `n` are folded to the same checksum with a
//! probability of `2^-64`. Together: **at most `2^-63` for each pair**. Among `2^28` different pages (a
//! terabyte) there are fewer than `2^55` pairs, so the chance that any of them collide is below `2^-8`.
//!
//! The bound speaks of pages that were chosen before anything about the key was learnt. NH is linear
//! enough that somebody who could observe checksums would find the key; rksm shows them to nobody,
//! and the key is drawn anew each time the module is loaded. A prepared file of colliding pages, which
//! an unkeyed hash allows, is therefore not possible. Should collisions be found all the same, they
//! cost savings, not correctness: whether two pages are equal is seen by comparing them.
//!
//! # Why not xxhash
//!
//! It is not keyed, and slower: this takes one multiplication for 16 bytes where xxhash takes four.

use crate::{
    intrusive::stable_node::StableNode,
    mm::{
        domain::Domain,
        page_bytes::{PageView, PAGE_WORDS},
        random,
        vector::{self, Avx2, Registers},
    },
};
use kernel::prelude::*;

// The product of two 64-bit words is one instruction on a 64-bit machine. On others the compiler
// calls a function that the kernel does not have.
#[cfg(not(CONFIG_64BIT))]
compile_error!("rksm needs a 64-bit kernel: the page checksum multiplies 64-bit words");

/// The key of the first stage: a word for each word of a page, by pairs that are multiplied, and
/// four pairs by four for the compiler to unroll the loop over them.
type PageKey = [[[u64; 2]; 4]; PAGE_WORDS / 8];

/// The key of the second stage.
#[derive(Clone, Copy)]
struct FoldKey([u128; 3]);

/// The first stage and its key.
enum Stage {
    /// With words of 64 bits.
    Words(KBox<PageKey>),
    /// With words of 32 bits in vector registers.
    Vectors(KBox<[u64; vector::KEY_WORDS]>, Avx2),
}

/// Computes page checksums under a key of its own.
pub(crate) struct PageHasher {
    stage: Stage,
    fold_key: FoldKey,
    zero: u64,
}

impl PageHasher {
    /// Draws a key.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if there is no memory for it.
    /// - `ERESTARTSYS` if a signal came while the kernel was not ready yet to give random numbers.
    pub(crate) fn new() -> Result<Self> {
        match Avx2::detect() {
            Some(avx2) => Self::with_vectors(avx2),
            None => Self::with_words(),
        }
    }

    fn with_words() -> Result<Self> {
        let mut key = KBox::init(pin_init::init_zeroed::<PageKey>(), GFP_KERNEL)?;
        random::fill(key.as_flattened_mut().as_flattened_mut())?;
        let zero = nh(&key, |_| 0, |_| ());
        Self::fold(Stage::Words(key), zero)
    }

    fn with_vectors(avx2: Avx2) -> Result<Self> {
        let mut key = KBox::init(
            pin_init::init_zeroed::<[u64; vector::KEY_WORDS]>(),
            GFP_KERNEL,
        )?;
        random::fill(&mut *key)?;
        let zero = join(vector::sums_of(&key, |_| 0));
        Self::fold(Stage::Vectors(key, avx2), zero)
    }

    /// `zero` is what the first stage makes of zeroes.
    fn fold(stage: Stage, zero: u128) -> Result<Self> {
        let mut words = [0; 6];
        random::fill(&mut words)?;
        let [a, b, c, d, e, f] = words;
        let fold_key = FoldKey([[a, b], [c, d], [e, f]].map(join));
        Ok(Self {
            stage,
            fold_key,
            zero: fold(&fold_key, zero),
        })
    }

    /// Begins to read a few pages.
    #[inline]
    pub(crate) fn reading(&self) -> Reading<'_> {
        Reading {
            stage: match &self.stage {
                Stage::Words(key) => ReadingBy::Words(key),
                Stage::Vectors(key, avx2) => ReadingBy::Vectors(key, avx2.begin()),
            },
            fold_key: &self.fold_key,
        }
    }

    /// The checksum of a page.
    pub(crate) fn checksum(&self, page: &PageView<'_>) -> u64 {
        self.reading().checksum(page)
    }

    /// The checksum of a page full of zeroes.
    #[inline]
    pub(crate) fn zero(&self) -> u64 {
        self.zero
    }
}

enum ReadingBy<'h> {
    Words(&'h PageKey),
    Vectors(&'h [u64; vector::KEY_WORDS], Registers),
}

/// A few pages are being read, which is not interrupted by anything that sleeps.
pub(crate) struct Reading<'h> {
    stage: ReadingBy<'h>,
    fold_key: &'h FoldKey,
}

impl Reading<'_> {
    /// The checksum of a page.
    ///
    /// If the page is written to meanwhile, the result is the checksum of a mixture of both contents.
    #[inline]
    pub(crate) fn checksum(&self, page: &PageView<'_>) -> u64 {
        let n = match &self.stage {
            ReadingBy::Words(key) => nh(key, |i| page.word(i), |_| ()),
            ReadingBy::Vectors(key, registers) => join(registers.sums(key, page, page)),
        };
        fold(self.fold_key, n)
    }

    /// The same, while the content of `ahead`, which is to be read soon, is fetched from memory.
    #[inline]
    pub(crate) fn checksum_ahead(&self, page: &PageView<'_>, ahead: &PageView<'_>) -> u64 {
        let n = match &self.stage {
            ReadingBy::Words(key) => nh(key, |i| page.word(i), |i| ahead.prefetch(i)),
            ReadingBy::Vectors(key, registers) => join(registers.sums(key, page, ahead)),
        };
        fold(self.fold_key, n)
    }
}

/// By what the pages of a domain are told apart, and from others: by their content, the domain and, where NUMA
/// nodes are kept apart, their node.
///
/// Domain and node are mixed into the checksum, so that one tree serves for all: pages of two domains or nodes
/// stand in different places of it.
#[derive(Clone, Copy)]
pub(crate) struct Sums<'h> {
    hasher: &'h PageHasher,
    across_nodes: bool,
    domain: Domain,
}

impl<'h> Sums<'h> {
    pub(crate) fn new(hasher: &'h PageHasher, across_nodes: bool, domain: Domain) -> Self {
        Self {
            hasher,
            across_nodes,
            domain,
        }
    }

    pub(crate) fn checksum(&self, page: &PageView<'_>) -> u64 {
        self.hasher.checksum(page)
    }

    /// Begins to read a few pages.
    pub(crate) fn reading(&self) -> Reading<'h> {
        self.hasher.reading()
    }

    pub(crate) fn zero(&self) -> u64 {
        self.hasher.zero()
    }

    /// Whether pages of the two nodes may be merged.
    pub(crate) fn may_meet(&self, a: i32, b: i32) -> bool {
        self.across_nodes || a == b
    }

    /// Where in a tree a page of the domain with this checksum stands that lies on node `nid`.
    pub(crate) fn place(&self, checksum: u64, nid: i32) -> u64 {
        // 2^64 divided by the golden ratio: neighbouring nodes come to lie far apart.
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let place = checksum.wrapping_add(self.domain.shift());
        match self.across_nodes {
            true => place,
            false => place.wrapping_add(STEP.wrapping_mul(nid.unsigned_abs().into())),
        }
    }

    /// Whether the merged page of `node`, which has this content, is of the domain.
    ///
    /// Two domains may have one place, by accident, but only for two checksums. Since a merged page never
    /// changes, the checksum that it has now is the one by which it was put there, so this is exact.
    pub(crate) fn own(&self, node: &StableNode, content: &PageView<'_>) -> bool {
        match self.domain {
            Domain::EVERYBODY => true,
            Domain::NOBODY => false,
            _ => self.place(self.checksum(content), node.nid()) == node.place(),
        }
    }
}

/// The first stage over words, of which `word` gives the one at an index. `at_line` is called with the
/// index of every eighth: so many are a cache line, or less than one.
#[inline(always)]
fn nh(page_key: &PageKey, word: impl Fn(usize) -> u64, at_line: impl Fn(usize)) -> u128 {
    let mut sum = 0_u128;
    let mut i = 0;
    for four in page_key {
        at_line(i);
        for [k0, k1] in four {
            sum = sum.wrapping_add(product(word(i), *k0, word(i + 1), *k1));
            i += 2;
        }
    }
    sum
}

/// A term of the sum. The product of two 64-bit numbers always fits into 128 bits: it is wrapping only
/// for a kernel that checks for overflow not to check this one.
#[inline(always)]
fn product(m0: u64, k0: u64, m1: u64, k1: u64) -> u128 {
    u128::from(m0.wrapping_add(k0)).wrapping_mul(u128::from(m1.wrapping_add(k1)))
}

#[inline(always)]
fn fold(key: &FoldKey, n: u128) -> u64 {
    let FoldKey([f0, f1, f2]) = *key;
    let (low, high) = split(n);
    let sum = f0
        .wrapping_add(f1.wrapping_mul(u128::from(low)))
        .wrapping_add(f2.wrapping_mul(u128::from(high)));
    split(sum).1
}

/// The low and the high half: the casts cut off what is not asked for.
#[inline(always)]
fn split(n: u128) -> (u64, u64) {
    (n as u64, (n >> 64) as u64)
}

#[inline(always)]
fn join([low, high]: [u64; 2]) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}

#[kunit_tests(rksm_checksum)]
mod tests {
    use super::*;
    use crate::mm::page_bytes::test_page;
    use kernel::page::Page;

    /// The formulas at the head of the file, word for word.
    fn reference(hasher: &PageHasher, word: impl Fn(usize) -> u64) -> u64 {
        let (low, high) = match &hasher.stage {
            Stage::Words(key) => {
                let key = key.as_flattened().as_flattened();
                let sum_with_key =
                    |i: usize| u128::from(word(i).wrapping_add(key.get(i).copied().unwrap_or(0)));
                let n = (0..PAGE_WORDS / 2).fold(0_u128, |n, i| {
                    n.wrapping_add(sum_with_key(2 * i).wrapping_mul(sum_with_key(2 * i + 1)))
                });
                (n % (1 << 64), n >> 64)
            }
            Stage::Vectors(key, _) => {
                let half = |sum: u64, by: u32| (sum >> by) % (1 << 32);
                let n = |s: usize| {
                    (0..PAGE_WORDS).fold(0_u64, |n, i| {
                        let (m, k) = (word(i), key.get(i + s).copied().unwrap_or(0));
                        let sum = |by| (half(m, by) + half(k, by)) % (1 << 32);
                        n.wrapping_add(sum(0) * sum(32))
                    })
                };
                (n(0).into(), n(4).into())
            }
        };
        let [f0, f1, f2] = hasher.fold_key.0;
        let folded = f0
            .wrapping_add(f1.wrapping_mul(low))
            .wrapping_add(f2.wrapping_mul(high));
        (folded >> 64) as u64
    }

    /// One for each form of the first stage that this processor has.
    fn hashers() -> Result<impl Iterator<Item = PageHasher>> {
        let vectors = Avx2::detect().map(PageHasher::with_vectors).transpose()?;
        Ok([Some(PageHasher::with_words()?), vectors]
            .into_iter()
            .flatten())
    }

    /// Different content for each `page`, all 64 bits of it in use.
    fn pattern(page: u64, i: usize) -> u64 {
        (i as u64 + 1 + page)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(23)
            .wrapping_mul(0xff51_afd7_ed55_8ccd)
    }

    fn fill(page: &Page, word: impl Fn(usize) -> u64) -> Result {
        (0..PAGE_WORDS).try_for_each(|i| test_page::set_word(page, i, word(i)))
    }

    fn sum(hasher: &PageHasher, page: &Page) -> u64 {
        PageView::with_owned(page, |view| hasher.checksum(view))
    }

    #[test]
    fn agrees_with_the_formula() -> Result {
        let page = test_page::zeroed()?;
        for hasher in hashers()? {
            let same = |word: &dyn Fn(usize) -> u64| -> Result<bool> {
                fill(&page, word)?;
                Ok(sum(&hasher, &page) == reference(&hasher, word))
            };
            assert!(same(&|_| 0)?);
            assert_eq!(sum(&hasher, &page), hasher.zero());
            assert!(same(&|_| u64::MAX)?);
            for n in 0..20 {
                assert!(same(&|i| pattern(n, i))?);
            }
        }
        Ok(())
    }

    #[test]
    fn pages_that_are_fetched_ahead_change_nothing() -> Result {
        let (page, ahead) = (test_page::zeroed()?, test_page::zeroed()?);
        fill(&page, |i| pattern(0, i))?;
        fill(&ahead, |i| pattern(1, i))?;
        for hasher in hashers()? {
            let reading = hasher.reading();
            let sum_ahead = PageView::with_owned(&page, |view| {
                PageView::with_owned(&ahead, |ahead| reading.checksum_ahead(view, ahead))
            });
            drop(reading);
            assert_eq!(sum_ahead, sum(&hasher, &page));
            assert!(sum_ahead != sum(&hasher, &ahead));
        }
        Ok(())
    }

    #[test]
    fn every_bit_counts() -> Result {
        let page = test_page::zeroed()?;
        for hasher in hashers()? {
            fill(&page, |i| pattern(0, i))?;
            let original = sum(&hasher, &page);
            for changed in 0..PAGE_WORDS {
                let word = pattern(0, changed);
                for bit in 0..u64::BITS {
                    test_page::set_word(&page, changed, word ^ 1 << bit)?;
                    assert!(sum(&hasher, &page) != original);
                }
                test_page::set_word(&page, changed, word)?;
            }
            assert_eq!(sum(&hasher, &page), original);
        }
        Ok(())
    }

    #[test]
    fn the_order_of_words_counts() -> Result {
        let page = test_page::zeroed()?;
        for hasher in hashers()? {
            fill(&page, |i| pattern(0, i))?;
            let original = sum(&hasher, &page);
            // Neighbours in a pair, the same place in two pairs, that in two registers, and the ends.
            for (a, b) in [(0, 1), (0, 2), (1, 3), (1, 5), (4, 12), (0, PAGE_WORDS - 1)] {
                let swapped = |i: usize| match i {
                    i if i == a => b,
                    i if i == b => a,
                    i => i,
                };
                fill(&page, |i| pattern(0, swapped(i)))?;
                assert!(sum(&hasher, &page) != original);
            }
        }
        Ok(())
    }

    #[test]
    fn the_halves_of_a_word_are_no_sum() -> Result {
        let page = test_page::zeroed()?;
        for hasher in hashers()? {
            fill(&page, |i| pattern(0, i))?;
            let original = sum(&hasher, &page);
            fill(&page, |i| pattern(0, i).rotate_left(32))?;
            assert!(sum(&hasher, &page) != original);
        }
        Ok(())
    }

    #[test]
    fn each_key_gives_other_checksums() -> Result {
        let page = test_page::zeroed()?;
        for (first, second) in hashers()?.zip(hashers()?) {
            assert!(first.zero() != second.zero());
            for n in 0..20 {
                fill(&page, |i| pattern(n, i))?;
                assert!(sum(&first, &page) != sum(&second, &page));
            }
        }
        Ok(())
    }
}

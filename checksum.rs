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
//! Message Authentication", CRYPTO '99), with words of 64 bits:
//!
//! ```text
//! n = sum over i of (m[2i] + k[2i] mod 2^64) * (m[2i+1] + k[2i+1] mod 2^64)   mod 2^128
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
//! key, NH of words of `w` bits gives both the same `n` with a probability of at most `2^-w`, so
//! `2^-64` here; two different `n` are folded to the same checksum with a probability of `2^-64`.
//! Together: **at most `2^-63` for each pair**. Among `2^28` different pages (a terabyte) there are
//! fewer than `2^55` pairs, so the chance that any of them collide is below `2^-8`.
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

use crate::mm::{
    page_bytes::{PageView, PAGE_WORDS},
    random, //
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

/// Computes page checksums under a key of its own.
pub(crate) struct PageHasher {
    page_key: KBox<PageKey>,
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
        let mut page_key = KBox::init(pin_init::init_zeroed::<PageKey>(), GFP_KERNEL)?;
        random::fill(page_key.as_flattened_mut().as_flattened_mut())?;

        let mut words = [0; 6];
        random::fill(&mut words)?;
        let [a, b, c, d, e, f] = words;
        let fold_key = FoldKey([join(a, b), join(c, d), join(e, f)]);

        let zero = hash(&page_key, &fold_key, |_| 0, |_| ());
        Ok(Self {
            page_key,
            fold_key,
            zero,
        })
    }

    /// The checksum of a page.
    ///
    /// If the page is written to meanwhile, the result is the checksum of a mixture of both contents.
    #[inline]
    pub(crate) fn checksum(&self, page: &PageView<'_>) -> u64 {
        hash(&self.page_key, &self.fold_key, |i| page.word(i), |_| ())
    }

    /// The same, while the content of `next`, which is to be read after this, is fetched from memory.
    #[inline]
    pub(crate) fn checksum_ahead(&self, page: &PageView<'_>, next: &PageView<'_>) -> u64 {
        let word = |i| page.word(i);
        hash(&self.page_key, &self.fold_key, word, |i| next.prefetch(i))
    }

    /// The checksum of a page full of zeroes.
    #[inline]
    pub(crate) fn zero(&self) -> u64 {
        self.zero
    }
}

/// By what pages are told apart: their content and, where NUMA nodes are kept apart, their node.
///
/// The node is mixed into the checksum, so that one tree serves for all nodes: pages of two nodes
/// stand in different places of it.
#[derive(Clone, Copy)]
pub(crate) struct Sums<'h> {
    hasher: &'h PageHasher,
    across_nodes: bool,
}

impl<'h> Sums<'h> {
    pub(crate) fn new(hasher: &'h PageHasher, across_nodes: bool) -> Self {
        Self {
            hasher,
            across_nodes,
        }
    }

    pub(crate) fn checksum(&self, page: &PageView<'_>) -> u64 {
        self.hasher.checksum(page)
    }

    pub(crate) fn checksum_ahead(&self, page: &PageView<'_>, next: &PageView<'_>) -> u64 {
        self.hasher.checksum_ahead(page, next)
    }

    pub(crate) fn zero(&self) -> u64 {
        self.hasher.zero()
    }

    /// Whether pages of the two nodes may be merged.
    pub(crate) fn may_meet(&self, a: i32, b: i32) -> bool {
        self.across_nodes || a == b
    }

    /// Where in a tree a page with this checksum stands that lies on node `nid`.
    pub(crate) fn place(&self, checksum: u64, nid: i32) -> u64 {
        // 2^64 divided by the golden ratio: neighbouring nodes come to lie far apart.
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        match self.across_nodes {
            true => checksum,
            false => checksum.wrapping_add(STEP.wrapping_mul(nid.unsigned_abs().into())),
        }
    }
}

/// Hashes a page of words, of which `word` gives the one at an index. `at_line` is called with the
/// index of every eighth: so many are a cache line, or less than one.
#[inline(always)]
fn hash(
    page_key: &PageKey,
    fold_key: &FoldKey,
    word: impl Fn(usize) -> u64,
    at_line: impl Fn(usize),
) -> u64 {
    let mut sum = 0_u128;
    let mut i = 0;
    for four in page_key {
        at_line(i);
        for [k0, k1] in four {
            sum = sum.wrapping_add(product(word(i), *k0, word(i + 1), *k1));
            i += 2;
        }
    }
    fold(fold_key, sum)
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
fn join(low: u64, high: u64) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}

#[kunit_tests(rksm_checksum)]
mod tests {
    use super::*;
    use crate::mm::page_bytes::test_page;

    /// The formulas at the head of the file, word for word.
    fn reference(hasher: &PageHasher, word: impl Fn(usize) -> u64) -> u64 {
        let key = hasher.page_key.as_flattened().as_flattened();
        let sum_with_key =
            |i: usize| u128::from(word(i).wrapping_add(key.get(i).copied().unwrap_or(0)));
        let n = (0..PAGE_WORDS / 2).fold(0_u128, |n, i| {
            n.wrapping_add(sum_with_key(2 * i).wrapping_mul(sum_with_key(2 * i + 1)))
        });

        let [f0, f1, f2] = hasher.fold_key.0;
        let (low, high) = (n % (1 << 64), n >> 64);
        let folded = f0
            .wrapping_add(f1.wrapping_mul(low))
            .wrapping_add(f2.wrapping_mul(high));
        (folded >> 64) as u64
    }

    /// Different content for each `page`, all 64 bits of it in use.
    fn pattern(page: u64, i: usize) -> u64 {
        (i as u64 + 1 + page)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(23)
            .wrapping_mul(0xff51_afd7_ed55_8ccd)
    }

    fn checksum_of(hasher: &PageHasher, word: impl Fn(usize) -> u64) -> u64 {
        hash(&hasher.page_key, &hasher.fold_key, word, |_| ())
    }

    #[test]
    fn agrees_with_the_formula() -> Result {
        let hasher = PageHasher::new()?;
        let same =
            |word: &dyn Fn(usize) -> u64| checksum_of(&hasher, word) == reference(&hasher, word);
        assert!(same(&|_| 0));
        assert!(same(&|_| u64::MAX));
        for page in 0..20 {
            assert!(same(&|i| pattern(page, i)));
        }
        Ok(())
    }

    #[test]
    fn a_mapped_page_has_the_checksum_of_its_words() -> Result {
        let hasher = PageHasher::new()?;
        let (page, twin) = (test_page::zeroed()?, test_page::zeroed()?);
        let sum = |page| PageView::with_owned(page, |view| hasher.checksum(view));
        assert_eq!(sum(&page), hasher.zero());

        for i in 0..PAGE_WORDS {
            test_page::set_word(&page, i, pattern(0, i))?;
            test_page::set_word(&twin, i, pattern(0, i))?;
        }
        assert_eq!(sum(&page), reference(&hasher, |i| pattern(0, i)));
        assert_eq!(sum(&page), sum(&twin));
        let ahead = PageView::with_owned(&page, |view| {
            PageView::with_owned(&twin, |next| hasher.checksum_ahead(view, next))
        });
        assert_eq!(ahead, sum(&page));

        test_page::set_word(&twin, PAGE_WORDS - 1, 0)?;
        assert!(sum(&page) != sum(&twin));
        Ok(())
    }

    #[test]
    fn every_bit_counts() -> Result {
        let hasher = PageHasher::new()?;
        let original = checksum_of(&hasher, |i| pattern(0, i));
        for changed in 0..PAGE_WORDS {
            for bit in 0..u64::BITS {
                let flip = |i: usize| if i == changed { 1 << bit } else { 0 };
                let sum = checksum_of(&hasher, |i| pattern(0, i) ^ flip(i));
                assert!(sum != original);
            }
        }
        Ok(())
    }

    #[test]
    fn the_order_of_words_counts() -> Result {
        let hasher = PageHasher::new()?;
        let original = checksum_of(&hasher, |i| pattern(0, i));
        // Neighbours in a pair, the same place in two pairs, and the ends of the page.
        for (a, b) in [(0, 1), (0, 2), (1, 3), (4, 12), (0, PAGE_WORDS - 1)] {
            let swapped = |i: usize| match i {
                i if i == a => b,
                i if i == b => a,
                i => i,
            };
            let sum = checksum_of(&hasher, |i| pattern(0, swapped(i)));
            assert!(sum != original);
        }
        Ok(())
    }

    #[test]
    fn each_key_gives_other_checksums() -> Result {
        let (first, second) = (PageHasher::new()?, PageHasher::new()?);
        assert!(first.zero() != second.zero());
        for page in 0..20 {
            let sum = |hasher| checksum_of(hasher, |i| pattern(page, i));
            assert!(sum(&first) != sum(&second));
        }
        Ok(())
    }
}

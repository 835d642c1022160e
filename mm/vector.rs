// SPDX-License-Identifier: GPL-2.0

//! The vector registers, which are user space's but where the kernel says that it uses them.
//!
//! C header: `arch/x86/include/asm/fpu/api.h`

use super::page_bytes::{PageView, PAGE_WORDS};
use kernel::{bindings, types::NotThreadSafe};

/// How many words the key is shifted by for the second sum: a register.
const SHIFT: usize = 4;

/// Words of the key.
pub(crate) const KEY_WORDS: usize = PAGE_WORDS + SHIFT;

/// The CPUs have AVX2.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// `None`: they do not, or are of another kind.
    pub(crate) fn detect() -> Option<Self> {
        // SAFETY: Asks for a constant.
        unsafe { bindings::cpu_has_avx2() }.then_some(Self(()))
    }

    /// Takes the registers. The thread is not preempted until they are given back.
    pub(crate) fn begin(self) -> Registers {
        // SAFETY: The scanner's threads never are in an interrupt, and have the registers once at a time:
        // who has them begins nothing else.
        unsafe { bindings::kernel_fpu_begin() };
        // INVARIANT: As `self` says, and just taken.
        Registers(NotThreadSafe)
    }
}

/// The registers are ours until this is dropped. Nothing sleeps meanwhile.
///
/// # Invariants
///
/// The CPU has AVX2, and lies between `kernel_fpu_begin()` and `kernel_fpu_end()`.
pub(crate) struct Registers(NotThreadSafe);

impl Registers {
    /// Two sums of products over a page, while `ahead` is fetched, as [`sums_of`] says.
    #[inline]
    pub(crate) fn sums(
        &self,
        key: &[u64; KEY_WORDS],
        page: &PageView<'_>,
        ahead: &PageView<'_>,
    ) -> [u64; 2] {
        #[cfg(target_arch = "x86_64")]
        {
            let mut lanes = [[0_u64; 4]; 2];
            // Each round takes a cache line. `ymm8` has the key for its first half, from the round before.
            // SAFETY: Of `page` and `key` as many bytes are read as they have, and `lanes` has as many as
            // are written. The registers are ours by the type invariant. A prefetch never faults.
            unsafe {
                core::arch::asm!(
                    "vpxor xmm0, xmm0, xmm0",
                    "vpxor xmm1, xmm1, xmm1",
                    "vmovdqu ymm8, [{key}]",
                    "2:",
                    "prefetchnta [{ahead} + {at}]",
                    "vmovdqa ymm2, [{page} + {at}]",
                    "vmovdqa ymm5, [{page} + {at} + 32]",
                    "vmovdqu ymm9, [{key} + {at} + 32]",
                    "vpaddd ymm3, ymm2, ymm8",
                    "vpaddd ymm2, ymm2, ymm9",
                    "vmovdqu ymm8, [{key} + {at} + 64]",
                    "vpaddd ymm6, ymm5, ymm9",
                    "vpaddd ymm5, ymm5, ymm8",
                    "vpsrlq ymm4, ymm3, 32",
                    "vpsrlq ymm7, ymm2, 32",
                    "vpmuludq ymm3, ymm3, ymm4",
                    "vpmuludq ymm2, ymm2, ymm7",
                    "vpaddq ymm0, ymm0, ymm3",
                    "vpaddq ymm1, ymm1, ymm2",
                    "vpsrlq ymm4, ymm6, 32",
                    "vpsrlq ymm7, ymm5, 32",
                    "vpmuludq ymm6, ymm6, ymm4",
                    "vpmuludq ymm5, ymm5, ymm7",
                    "vpaddq ymm0, ymm0, ymm6",
                    "vpaddq ymm1, ymm1, ymm5",
                    "add {at:e}, 64",
                    "cmp {at:e}, {size}",
                    "jb 2b",
                    "vmovdqu [{lanes}], ymm0",
                    "vmovdqu [{lanes} + 32], ymm1",
                    "vzeroupper",
                    at = inout(reg) 0_usize => _,
                    key = in(reg) key.as_ptr(),
                    page = in(reg) page.as_ptr(),
                    ahead = in(reg) ahead.as_ptr(),
                    lanes = in(reg) lanes.as_mut_ptr(),
                    size = const kernel::page::PAGE_SIZE,
                    options(nostack),
                )
            };
            lanes.map(|sum| sum.into_iter().fold(0, u64::wrapping_add))
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            let _ = ahead;
            sums_of(key, |i| page.word(i))
        }
    }
}

impl Drop for Registers {
    fn drop(&mut self) {
        // SAFETY: They were taken, by the type invariant.
        unsafe { bindings::kernel_fpu_end() };
    }
}

/// For `s` of 0 and 4 the sum over `i`, modulo 2^64, of the products of
/// `low(m[i]) + low(k[i + s])` and `high(m[i]) + high(k[i + s])`, each modulo 2^32: `low` and `high` are the
/// halves of a word, and `m` is what `word` gives.
pub(crate) fn sums_of(key: &[u64; KEY_WORDS], word: impl Fn(usize) -> u64) -> [u64; 2] {
    [0, SHIFT].map(|shift| {
        let keys = key.iter().skip(shift).take(PAGE_WORDS);
        keys.enumerate().fold(0_u64, |sum, (i, k)| {
            let m = word(i);
            let low = (m as u32).wrapping_add(*k as u32);
            let high = ((m >> 32) as u32).wrapping_add((k >> 32) as u32);
            sum.wrapping_add(u64::from(low) * u64::from(high))
        })
    })
}

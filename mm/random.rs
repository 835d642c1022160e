// SPDX-License-Identifier: GPL-2.0

//! Random numbers that nobody outside the kernel can know.
//!
//! C header: [`include/linux/random.h`](srctree/include/linux/random.h)

use kernel::{bindings, error::to_result, prelude::*};

/// Fills `words`, for a key.
///
/// Waits until the kernel's generator has been seeded, which early in boot can take a second.
///
/// # Errors
///
/// `ERESTARTSYS` if a signal came before that.
pub(crate) fn fill(words: &mut [u64]) -> Result {
    // SAFETY: Always allowed where sleeping is.
    to_result(unsafe { bindings::wait_for_random_bytes() })?;

    // SAFETY: `words` is valid for writing as many bytes as it has, and any bytes make a `u64`.
    unsafe { bindings::get_random_bytes(words.as_mut_ptr().cast(), size_of_val(words)) };
    Ok(())
}

/// One of the numbers below `LIMIT`, each as likely as the others.
pub(crate) fn below<const LIMIT: usize>() -> usize {
    const { assert!(LIMIT.is_power_of_two() && LIMIT <= 1 << 32) };
    // SAFETY: Always allowed. The generator was seeded before the module had its key.
    let bits = unsafe { bindings::get_random_u32() };
    // By a power of two the remainder is as even as the bits are.
    bits as usize % LIMIT
}

#[kunit_tests(rksm_random)]
mod tests {
    use super::*;

    #[test]
    fn all_below_and_none_else() {
        let mut seen = 0_u32;
        for _ in 0..1000 {
            seen |= 1 << below::<16>();
        }
        // One is missing once in 10^27.
        assert_eq!(seen, 0xffff);
        assert_eq!(below::<1>(), 0);
    }
}

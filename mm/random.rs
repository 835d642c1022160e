// SPDX-License-Identifier: GPL-2.0

//! Random numbers for keys.
//!
//! C header: [`include/linux/random.h`](srctree/include/linux/random.h)

use kernel::{bindings, error::to_result, prelude::*};

/// Fills `words` with numbers that nobody outside the kernel can know.
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

// SPDX-License-Identifier: GPL-2.0

//! Fetching memory into the caches before it is looked at.

/// Has all of `object` fetched into all caches. Only a hint, and none on machines other than x86.
#[inline(always)]
pub(crate) fn fetch<T>(object: *const T) {
    /// Of the machines of today.
    const LINE: usize = 64;
    for offset in (0..size_of::<T>()).step_by(LINE) {
        let line = object.wrapping_byte_add(offset);
        // `prefetch()` of `linux/prefetch.h` is a built-in of the compiler, for which clang generates
        // nothing where it may not use SSE registers, though this instruction needs none.
        #[cfg(target_arch = "x86_64")]
        // SAFETY: The instruction changes nothing but caches, and never faults.
        unsafe {
            core::arch::asm!(
                "prefetcht0 [{}]",
                in(reg) line,
                options(nostack, preserves_flags, readonly),
            )
        };
        #[cfg(not(target_arch = "x86_64"))]
        let _ = line;
    }
}

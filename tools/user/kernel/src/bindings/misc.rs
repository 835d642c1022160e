// SPDX-License-Identifier: GPL-2.0

use crate::page::PAGE_SIZE;
use core::{
    ffi::{c_int, c_void},
    sync::atomic::{AtomicI64, Ordering},
};
use std::hash::{BuildHasher, RandomState};

#[repr(C, align(4096))]
pub struct page {
    bytes: [u8; PAGE_SIZE],
}

impl page {
    pub(crate) fn zeroed() -> Self {
        Self {
            bytes: [0; PAGE_SIZE],
        }
    }
}

pub struct atomic_long_t {
    pub counter: i64,
}

/// So little that tests come to where trees are added one by one.
pub static _totalram_pages: atomic_long_t = atomic_long_t { counter: 1 << 17 };

pub unsafe fn nr_nodes() -> u32 {
    1
}

pub unsafe fn si_mem_available() -> isize {
    1 << 16
}

pub unsafe fn kmap_local_page(page: *mut page) -> *mut c_void {
    page.cast()
}

pub unsafe fn kunmap_local(_: *const c_void) {}

pub unsafe fn wait_for_random_bytes() -> c_int {
    0
}

pub unsafe fn get_random_u32() -> u32 {
    let mut number = 0_u32;
    // SAFETY: The bytes of a number.
    unsafe { get_random_bytes((&raw mut number).cast(), 4) };
    number
}

pub unsafe fn get_random_bytes(at: *mut c_void, len: usize) {
    for i in 0..len {
        // Each new state of the standard library's hash has a key of its own.
        let byte = RandomState::new().hash_one(i) as u8;
        // SAFETY: The range is valid, says the caller.
        unsafe { at.cast::<u8>().wrapping_add(i).write(byte) };
    }
}

pub enum module {}

static PINS: AtomicI64 = AtomicI64::new(0);

pub unsafe fn try_module_get(_: *mut module) -> bool {
    PINS.fetch_add(1, Ordering::Relaxed);
    true
}

pub unsafe fn module_put(_: *mut module) {
    assert!(PINS.fetch_sub(1, Ordering::Relaxed) > 0);
}

pub unsafe fn cpu_has_avx2() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        std::arch::is_x86_feature_detected!("avx2")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

/// The registers are user space's own.
pub unsafe fn kernel_fpu_begin() {}

pub unsafe fn kernel_fpu_end() {}

// SPDX-License-Identifier: GPL-2.0

//! The tracepoints of the group `rksm`: `include/trace/events/rksm.h` says what they tell.

use kernel::{mm::Mm, prelude::*};

/// As the kernel declares them.
mod raw {
    use kernel::{bindings::mm_struct, ffi::*};

    kernel::declare_trace! {
        pub(super) unsafe fn rksm_start_scan(pass: c_ulong, tracked: c_ulong);
        pub(super) unsafe fn rksm_stop_scan(pass: c_ulong, tracked: c_ulong);
        pub(super) unsafe fn rksm_enter(mm: *mut mm_struct);
        pub(super) unsafe fn rksm_exit(mm: *mut mm_struct);
        pub(super) unsafe fn rksm_merge_one_page(
            mm: *mut mm_struct,
            address: c_ulong,
            pfn: c_ulong,
            err: c_int,
        );
        pub(super) unsafe fn rksm_merge_with_ksm_page(
            mm: *mut mm_struct,
            address: c_ulong,
            pfn: c_ulong,
            ksm_pfn: c_ulong,
            err: c_int,
        );
        pub(super) unsafe fn rksm_remove_ksm_page(pfn: c_ulong);
        pub(super) unsafe fn rksm_remove_rmap_item(
            mm: *mut mm_struct,
            address: c_ulong,
            pfn: c_ulong,
        );
        pub(super) unsafe fn rksm_advisor(
            scan_time: u64,
            pages_to_scan: c_ulong,
            cpu_percent: c_uint,
        );
    }
}

/// An error as the events give it: 0 is none.
fn number(result: Result) -> i32 {
    result.err().map_or(0, |error| error.to_errno())
}

pub(crate) fn start_scan(pass: u64, tracked: u64) {
    // SAFETY: It takes numbers.
    unsafe { raw::rksm_start_scan(pass as usize, tracked as usize) }
}

pub(crate) fn stop_scan(pass: u64, tracked: u64) {
    // SAFETY: It takes numbers.
    unsafe { raw::rksm_stop_scan(pass as usize, tracked as usize) }
}

pub(crate) fn enter(mm: &Mm) {
    // SAFETY: It notes the address.
    unsafe { raw::rksm_enter(mm.as_raw()) }
}

pub(crate) fn exit(mm: &Mm) {
    // SAFETY: It notes the address.
    unsafe { raw::rksm_exit(mm.as_raw()) }
}

pub(crate) fn merge_one_page(mm: &Mm, address: usize, pfn: usize, result: Result) {
    // SAFETY: It notes addresses and numbers.
    unsafe { raw::rksm_merge_one_page(mm.as_raw(), address, pfn, number(result)) }
}

pub(crate) fn merge_with_ksm_page(
    mm: &Mm,
    address: usize,
    pfn: usize,
    ksm_pfn: usize,
    result: Result,
) {
    // SAFETY: It notes addresses and numbers.
    unsafe { raw::rksm_merge_with_ksm_page(mm.as_raw(), address, pfn, ksm_pfn, number(result)) }
}

pub(crate) fn remove_ksm_page(pfn: usize) {
    // SAFETY: It takes a number.
    unsafe { raw::rksm_remove_ksm_page(pfn) }
}

pub(crate) fn remove_rmap_item(mm: &Mm, address: usize, pfn: usize) {
    // SAFETY: It notes addresses and a number.
    unsafe { raw::rksm_remove_rmap_item(mm.as_raw(), address, pfn) }
}

pub(crate) fn advisor(pass_ms: u64, pages_to_scan: u32, cpu_percent: u32) {
    // SAFETY: It takes numbers.
    unsafe { raw::rksm_advisor(pass_ms, pages_to_scan as usize, cpu_percent) }
}

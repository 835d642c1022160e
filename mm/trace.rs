// SPDX-License-Identifier: GPL-2.0

//! The tracepoints of the group `rksm`: `include/trace/events/rksm.h` says what they tell.

use core::ops::Range;
use kernel::{bindings::mm_struct, mm::Mm, prelude::*};

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
        pub(super) unsafe fn rksm_fresh_frame(pfn: c_ulong, ksm_pfn: c_ulong, slot: c_uint);
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
        pub(super) unsafe fn rksm_look(
            mm: *mut mm_struct,
            start: c_ulong,
            end: c_ulong,
            pages: c_uint,
            tables: c_uint,
            vmas: c_uint,
        );
        pub(super) unsafe fn rksm_cut(mm: *mut mm_struct, address: c_ulong);
        pub(super) unsafe fn rksm_unmerge(
            mm: *mut mm_struct,
            start: c_ulong,
            end: c_ulong,
            found: c_uint,
            tables: c_uint,
        );
        pub(super) unsafe fn rksm_step(mm: *mut mm_struct, units: c_uint);
        pub(super) unsafe fn rksm_forget(mm: *mut mm_struct, records: c_ulong);
        pub(super) unsafe fn rksm_prune(nodes: c_ulong);
    }
}

/// An error as the events give it: 0 is none.
fn number(result: Result) -> i32 {
    result.err().map_or(0, |error| error.to_errno())
}

/// An address space, as the events give it.
fn address(id: usize) -> *mut mm_struct {
    core::ptr::without_provenance_mut(id)
}

pub(crate) fn start_scan(pass: i64, tracked: i64) {
    // SAFETY: It takes numbers.
    unsafe { raw::rksm_start_scan(pass as usize, tracked as usize) }
}

pub(crate) fn stop_scan(pass: i64, tracked: i64) {
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

pub(crate) fn look(mm: usize, range: Range<usize>, pages: usize, tables: u32, vmas: u32) {
    // There are no more pages than a batch has.
    let pages = pages as u32;
    // SAFETY: It notes an address and numbers.
    unsafe { raw::rksm_look(address(mm), range.start, range.end, pages, tables, vmas) }
}

pub(crate) fn cut(mm: usize, at: usize) {
    // SAFETY: It notes addresses.
    unsafe { raw::rksm_cut(address(mm), at) }
}

pub(crate) fn unmerge(mm: usize, range: Range<usize>, found: u32, tables: u32) {
    // SAFETY: It notes an address and numbers.
    unsafe { raw::rksm_unmerge(address(mm), range.start, range.end, found, tables) }
}

pub(crate) fn step(mm: usize, units: u64) {
    // A step is charged for far fewer than 2^32.
    // SAFETY: It notes an address and a number.
    unsafe { raw::rksm_step(address(mm), units as u32) }
}

pub(crate) fn forget(mm: usize, records: usize) {
    // SAFETY: It notes an address and a number.
    unsafe { raw::rksm_forget(address(mm), records) }
}

pub(crate) fn prune(nodes: usize) {
    // SAFETY: It takes a number.
    unsafe { raw::rksm_prune(nodes) }
}

pub(crate) fn merge_one_page(mm: usize, at: usize, pfn: usize, result: Result) {
    // SAFETY: It notes addresses and numbers.
    unsafe { raw::rksm_merge_one_page(address(mm), at, pfn, number(result)) }
}

pub(crate) fn merge_with_ksm_page(
    mm: usize,
    at: usize,
    pfn: usize,
    ksm_pfn: usize,
    result: Result,
) {
    // SAFETY: It notes addresses and numbers.
    unsafe { raw::rksm_merge_with_ksm_page(address(mm), at, pfn, ksm_pfn, number(result)) }
}

pub(crate) fn fresh_frame(pfn: usize, ksm_pfn: usize, slot: usize) {
    // There are far fewer than 2^32.
    // SAFETY: It takes numbers.
    unsafe { raw::rksm_fresh_frame(pfn, ksm_pfn, slot as u32) }
}

pub(crate) fn remove_ksm_page(pfn: usize) {
    // SAFETY: It takes a number.
    unsafe { raw::rksm_remove_ksm_page(pfn) }
}

pub(crate) fn remove_rmap_item(mm: usize, at: usize, pfn: usize) {
    // SAFETY: It notes addresses and a number.
    unsafe { raw::rksm_remove_rmap_item(address(mm), at, pfn) }
}

pub(crate) fn advisor(pass_ms: u64, pages_to_scan: u32, cpu_percent: u32) {
    // SAFETY: It takes numbers.
    unsafe { raw::rksm_advisor(pass_ms, pages_to_scan as usize, cpu_percent) }
}

// SPDX-License-Identifier: GPL-2.0

//! Slab caches that notice what was not freed, freed twice, or is none of theirs.

use crate::{
    alloc::{self, Flags},
    sync::Mutex,
};
use core::ffi::{c_char, c_void};
use std::{alloc::Layout, collections::BTreeMap};

pub struct kmem_cache(Layout);

#[derive(Default)]
pub struct kmem_cache_args {
    pub align: u32,
    pub flags: u32,
}

// SAFETY: Two numbers.
unsafe impl pinned_init::Zeroable for kmem_cache_args {}

pub const SLAB_NO_MERGE: u32 = 1;

/// By address: the cache, and the layout.
static OBJECTS: Mutex<BTreeMap<usize, (usize, Layout)>> = Mutex::new(BTreeMap::new());

pub unsafe fn __kmem_cache_create_args(
    _name: *const c_char,
    size: u32,
    args: *mut kmem_cache_args,
    _flags: u32,
) -> *mut kmem_cache {
    // SAFETY: `args` is valid, says the caller.
    let align = unsafe { (*args).align };
    let layout = Layout::from_size_align(size as usize, align as usize);
    Box::into_raw(Box::new(kmem_cache(layout.expect("a layout"))))
}

pub unsafe fn kmem_cache_alloc(cache: *mut kmem_cache, flags: u32) -> *mut c_void {
    if alloc::may(Flags::from_raw(flags)).is_err() {
        return core::ptr::null_mut();
    }
    // SAFETY: The cache is valid, says the caller.
    let layout = unsafe { (*cache).0 };
    // SAFETY: No object is of no size.
    let object = unsafe { std::alloc::alloc(layout) };
    // What was there before is no good.
    // SAFETY: Just allocated.
    unsafe { object.write_bytes(0x5a, layout.size()) };
    OBJECTS.lock().insert(object.addr(), (cache.addr(), layout));
    object.cast()
}

pub unsafe fn kfree(object: *mut c_void) {
    let known = OBJECTS.lock().remove(&object.addr());
    let (_, layout) = known.expect("freed twice, or nothing of a slab");
    // SAFETY: The object is valid, says the caller.
    unsafe { object.cast::<u8>().write_bytes(0x6b, layout.size()) };
    // SAFETY: It was allocated so.
    unsafe { std::alloc::dealloc(object.cast(), layout) };
}

pub unsafe fn kmem_cache_destroy(cache: *mut kmem_cache) {
    let mine = |(owner, _): &&(usize, Layout)| *owner == cache.addr();
    let left = OBJECTS.lock().values().filter(mine).count();
    // SAFETY: The cache is valid and not used any more, says the caller.
    drop(unsafe { Box::from_raw(cache) });
    assert!(
        left == 0 || std::thread::panicking(),
        "{left} objects were not freed"
    );
}

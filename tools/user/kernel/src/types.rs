// SPDX-License-Identifier: GPL-2.0

//! Wrappers.

use core::{cell::UnsafeCell, marker::PhantomData, mem::MaybeUninit};

/// A C object, of which Rust assumes nothing.
#[repr(transparent)]
pub struct Opaque<T>(UnsafeCell<MaybeUninit<T>>);

impl<T> Opaque<T> {
    pub const fn zeroed() -> Self {
        Self(UnsafeCell::new(MaybeUninit::zeroed()))
    }

    pub const fn get(&self) -> *mut T {
        self.0.get().cast()
    }
}

pub type NotThreadSafe = PhantomData<*mut ()>;

#[allow(non_upper_case_globals)]
pub const NotThreadSafe: NotThreadSafe = PhantomData;

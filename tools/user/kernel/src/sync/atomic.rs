// SPDX-License-Identifier: GPL-2.0

//! Atomic variables. Orderings are types here.

use core::{
    cell::UnsafeCell,
    sync::atomic::{self, Ordering},
};

pub trait AsOrdering {
    const ORDERING: Ordering;
}

macro_rules! orderings {
    ($($name:ident)*) => { $(
        pub struct $name;

        impl AsOrdering for $name {
            const ORDERING: Ordering = Ordering::$name;
        }
    )* };
}

orderings!(Relaxed Acquire Release);

/// What can be atomic.
pub trait Word: Copy {
    /// # Safety
    ///
    /// `at` is valid, aligned, and accessed by these functions only.
    unsafe fn load(at: *mut Self, ordering: Ordering) -> Self;

    /// # Safety
    ///
    /// As above.
    unsafe fn store(at: *mut Self, value: Self, ordering: Ordering);
}

/// What can be added to.
pub trait Number: Word {
    /// # Safety
    ///
    /// As for [`Word`].
    unsafe fn add(at: *mut Self, value: Self, ordering: Ordering) -> Self;
}

macro_rules! words {
    ($($word:ty: $atomic:ident)*) => { $(
        impl Word for $word {
            unsafe fn load(at: *mut Self, ordering: Ordering) -> Self {
                // SAFETY: The contract is the caller's.
                unsafe { atomic::$atomic::from_ptr(at) }.load(ordering)
            }

            unsafe fn store(at: *mut Self, value: Self, ordering: Ordering) {
                // SAFETY: The contract is the caller's.
                unsafe { atomic::$atomic::from_ptr(at) }.store(value, ordering)
            }
        }
    )* };
}

macro_rules! numbers {
    ($($word:ty: $atomic:ident)*) => { $(
        impl Number for $word {
            unsafe fn add(at: *mut Self, value: Self, ordering: Ordering) -> Self {
                // SAFETY: The contract is the caller's.
                unsafe { atomic::$atomic::from_ptr(at) }.fetch_add(value, ordering)
            }
        }
    )* };
}

words!(bool: AtomicBool i8: AtomicI8 i16: AtomicI16 u32: AtomicU32);
words!(u64: AtomicU64 i64: AtomicI64 usize: AtomicUsize);
numbers!(u64: AtomicU64 i64: AtomicI64);

#[repr(transparent)]
pub struct Atomic<T>(UnsafeCell<T>);

// SAFETY: All access is atomic.
unsafe impl<T: Send> Sync for Atomic<T> {}

impl<T> Atomic<T> {
    pub const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }
}

impl<T: Word> Atomic<T> {
    pub fn load<O: AsOrdering>(&self, _: O) -> T {
        // SAFETY: Our own value.
        unsafe { T::load(self.0.get(), O::ORDERING) }
    }

    pub fn store<O: AsOrdering>(&self, value: T, _: O) {
        // SAFETY: Our own value.
        unsafe { T::store(self.0.get(), value, O::ORDERING) }
    }
}

impl<T: Number> Atomic<T> {
    pub fn add<O: AsOrdering>(&self, value: T, _: O) {
        // SAFETY: Our own value.
        unsafe { T::add(self.0.get(), value, O::ORDERING) };
    }
}

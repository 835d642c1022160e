// SPDX-License-Identifier: GPL-2.0

//! Locks and counted references.

pub mod atomic;

use crate::alloc::{self, AllocError, Flags};
use core::{
    cell::UnsafeCell,
    mem::{offset_of, ManuallyDrop},
    ops::Deref,
    ptr::NonNull,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

/// A lock of atomic operations and nothing else: ThreadSanitizer knows what it orders, which it does not
/// of that of the standard library, unless that is built anew.
pub struct Mutex<T> {
    locked: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: Only one thread at a time gets at the value.
unsafe impl<T: Send> Sync for Mutex<T> {}

impl<T> Mutex<T> {
    pub const fn new(value: T) -> Self {
        Self {
            locked: AtomicBool::new(false),
            value: UnsafeCell::new(value),
        }
    }

    pub fn lock(&self) -> lock::Guard<'_, T, lock::mutex::MutexBackend> {
        while self.locked.swap(true, Ordering::Acquire) {
            std::thread::yield_now();
        }
        lock::Guard::new(self)
    }
}

pub mod lock {
    use super::{Mutex, Ordering};
    use core::{
        marker::PhantomData,
        ops::{Deref, DerefMut},
    };

    pub mod mutex {
        pub struct MutexBackend;
    }

    /// What is locked, by this.
    pub struct Guard<'a, T, B>(&'a Mutex<T>, PhantomData<(B, *mut ())>);

    impl<'a, T, B> Guard<'a, T, B> {
        pub(super) fn new(mutex: &'a Mutex<T>) -> Self {
            Self(mutex, PhantomData)
        }
    }

    impl<T, B> Deref for Guard<'_, T, B> {
        type Target = T;

        fn deref(&self) -> &T {
            // SAFETY: It is locked by this.
            unsafe { &*self.0.value.get() }
        }
    }

    impl<T, B> DerefMut for Guard<'_, T, B> {
        fn deref_mut(&mut self) -> &mut T {
            // SAFETY: It is locked by this, which is borrowed mutably.
            unsafe { &mut *self.0.value.get() }
        }
    }

    impl<T, B> Drop for Guard<'_, T, B> {
        fn drop(&mut self) {
            self.0.locked.store(false, Ordering::Release);
        }
    }
}

/// A value and the number of references to it. As above, ThreadSanitizer knows nothing of the fence that
/// the standard library's has.
#[repr(C)]
struct Counted<T> {
    count: AtomicUsize,
    value: T,
}

pub struct Arc<T>(NonNull<Counted<T>>);

// SAFETY: Any thread may be the one that drops the value, and all may use it.
unsafe impl<T: Send + Sync> Send for Arc<T> {}
// SAFETY: As above.
unsafe impl<T: Send + Sync> Sync for Arc<T> {}

impl<T> Arc<T> {
    pub fn new(value: T, flags: Flags) -> Result<Self, AllocError> {
        alloc::may(flags)?;
        let count = AtomicUsize::new(1);
        Ok(Self(NonNull::from(Box::leak(Box::new(Counted {
            count,
            value,
        })))))
    }

    fn counted(&self) -> &Counted<T> {
        // SAFETY: Our reference keeps it.
        unsafe { self.0.as_ref() }
    }

    pub fn into_raw(self) -> *const T {
        Self::as_ptr(&*ManuallyDrop::new(self))
    }

    /// # Safety
    ///
    /// `raw` came from `into_raw`, whose reference this takes up.
    pub unsafe fn from_raw(raw: *const T) -> Self {
        let counted = raw.wrapping_byte_sub(offset_of!(Counted<T>, value));
        // SAFETY: It came from `into_raw`, says the caller.
        Self(unsafe { NonNull::new_unchecked(counted.cast_mut().cast()) })
    }

    pub fn as_ptr(this: &Self) -> *const T {
        // With the provenance of all of it.
        let counted = this.0.as_ptr().cast_const();
        counted
            .wrapping_byte_add(offset_of!(Counted<T>, value))
            .cast()
    }

    pub fn ptr_eq(this: &Self, other: &Self) -> bool {
        this.0 == other.0
    }

    pub fn into_unique_or_drop(self) -> Option<T> {
        let this = ManuallyDrop::new(self);
        // SAFETY: It was ours to give up, and where it was the last, there is nobody else.
        unsafe { Self::give_up(this.0) }.map(|counted| counted.value)
    }

    /// # Safety
    ///
    /// The caller owns a reference, which it gives up.
    unsafe fn give_up(counted: NonNull<Counted<T>>) -> Option<Box<Counted<T>>> {
        // SAFETY: The caller's reference keeps it.
        let before = unsafe { counted.as_ref() }
            .count
            .fetch_sub(1, Ordering::AcqRel);
        assert!(before > 0, "more references were given up than there were");
        // SAFETY: It came from a box, and that was the last reference.
        (before == 1).then(|| unsafe { Box::from_raw(counted.as_ptr()) })
    }
}

impl<T> Drop for Arc<T> {
    fn drop(&mut self) {
        // SAFETY: Our reference.
        drop(unsafe { Self::give_up(self.0) });
    }
}

impl<T> Clone for Arc<T> {
    fn clone(&self) -> Self {
        self.counted().count.fetch_add(1, Ordering::Relaxed);
        Self(self.0)
    }
}

impl<T> Deref for Arc<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.counted().value
    }
}

/// A reference that somebody else owns.
pub struct ArcBorrow<'a, T>(ManuallyDrop<Arc<T>>, core::marker::PhantomData<&'a ()>);

impl<T> ArcBorrow<'_, T> {
    /// # Safety
    ///
    /// Somebody owns a reference for that long.
    pub unsafe fn from_raw(raw: *const T) -> Self {
        // SAFETY: The contract is the caller's.
        let borrowed = ManuallyDrop::new(unsafe { Arc::from_raw(raw) });
        Self(borrowed, core::marker::PhantomData)
    }
}

impl<T> Deref for ArcBorrow<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> From<ArcBorrow<'_, T>> for Arc<T> {
    fn from(borrowed: ArcBorrow<'_, T>) -> Self {
        Arc::clone(&borrowed.0)
    }
}

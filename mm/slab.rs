// SPDX-License-Identifier: GPL-2.0

//! Slab caches for one type of object.
//!
//! rksm keeps an item for every page it looks at, so the size and the number of these objects
//! decide what it costs. Each kind has a cache of its own: objects are packed without the rounding
//! of `kmalloc()`, and `/proc/slabinfo` shows how many there are.
//!
//! C header: [`include/linux/slab.h`](srctree/include/linux/slab.h)

use core::{
    marker::PhantomData,
    ops::{Deref, DerefMut},
    ptr::NonNull, //
};
use kernel::{
    alloc::{AllocError, Flags},
    bindings,
    prelude::*, //
};

/// A slab cache whose objects are `T`.
///
/// Dropping the cache with objects still allocated is a bug: the kernel warns, leaks the cache and
/// leaves those objects as they are. They can still be used and freed, so this is not unsafe. A
/// structure that holds both declares the cache below everything that holds its objects, for
/// fields drop in the order of their declaration.
///
/// # Invariants
///
/// `raw` is a valid cache, owned by this value, whose objects have the size and the alignment of
/// `T`.
pub(crate) struct SlabCache<T> {
    raw: NonNull<bindings::kmem_cache>,
    // The cache hands out `T`s and owns none.
    _objects: PhantomData<fn() -> T>,
}

// SAFETY: A `kmem_cache` has its own locking and may be used and destroyed by any thread; values of
// `T` are not part of it.
unsafe impl<T> Send for SlabCache<T> {}

// SAFETY: As above; the methods that take `&self` only allocate.
unsafe impl<T> Sync for SlabCache<T> {}

impl<T> SlabCache<T> {
    // A `kmem_cache` counts in `unsigned int`: the casts in `create()` lose nothing. An object of
    // no size has no address of its own.
    const SIZE_FITS: () = assert!(size_of::<T>() > 0 && size_of::<T>() <= u32::MAX as usize);

    /// Creates a cache, listed as `name` in `/proc/slabinfo`.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if the kernel could not create it.
    pub(crate) fn create(name: &'static CStr) -> Result<Self> {
        const { Self::SIZE_FITS };
        let mut args = bindings::kmem_cache_args {
            align: align_of::<T>() as u32,
            ..pin_init::zeroed()
        };

        // SLAB_NO_MERGE: merged with a cache of the same object size, the figures of this cache
        // would count the objects of strangers.
        //
        // SAFETY: `name` and `args` are valid for the call, and the kernel copies both.
        let raw = unsafe {
            bindings::__kmem_cache_create_args(
                name.as_char_ptr(),
                size_of::<T>() as u32,
                &raw mut args,
                bindings::SLAB_NO_MERGE,
            )
        };

        // INVARIANT: The cache was just created for the layout of `T`, and nobody else has it.
        Ok(Self {
            raw: NonNull::new(raw).ok_or(ENOMEM)?,
            _objects: PhantomData,
        })
    }

    /// Allocates memory for an object.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if there is no memory.
    #[inline]
    pub(crate) fn room(&self, flags: Flags) -> Result<Room<T>, AllocError> {
        // SAFETY: `raw` is a valid cache by the type invariant.
        let object = unsafe { bindings::kmem_cache_alloc(self.raw.as_ptr(), flags.as_raw()) };
        let object = NonNull::new(object.cast()).ok_or(AllocError)?;
        // INVARIANT: Allocated just now, with the layout of `T`.
        Ok(Room { object })
    }
}

/// Memory of a [`SlabCache`] for an object that is made later.
///
/// # Invariants
///
/// `object` is memory for a `T` that a slab cache gave out, and owned by this value.
pub(crate) struct Room<T> {
    object: NonNull<T>,
}

// SAFETY: It is memory and nothing else.
unsafe impl<T> Send for Room<T> {}

impl<T> Room<T> {
    /// Makes the object.
    #[inline]
    pub(crate) fn fill(self, init: impl Init<T>) -> SlabBox<T> {
        let object = core::mem::ManuallyDrop::new(self).object;
        // SAFETY: `object` is memory for a `T`, ours alone. It cannot fail.
        let Ok(()) = unsafe { init.__init(object.as_ptr()) };
        // SAFETY: `object` came from a slab cache and holds a `T` that nobody else owns.
        unsafe { SlabBox::from_raw(object) }
    }
}

impl<T> Drop for Room<T> {
    fn drop(&mut self) {
        // SAFETY: The memory came from a slab cache, which `kfree()` accepts, and there is no object in it.
        unsafe { bindings::kfree(self.object.as_ptr().cast()) };
    }
}

impl<T> Drop for SlabCache<T> {
    fn drop(&mut self) {
        // SAFETY: The cache is valid and ours by the type invariant, and not used after this.
        unsafe { bindings::kmem_cache_destroy(self.raw.as_ptr()) };
    }
}

/// An object of a [`SlabCache`], and its owner.
///
/// It is one pointer: `kfree()` finds the cache through the object.
///
/// # Invariants
///
/// `object` is a valid `T`, owned by this value, in memory that a slab cache gave out.
#[repr(transparent)]
pub(crate) struct SlabBox<T> {
    object: NonNull<T>,
    _owns: PhantomData<T>,
}

// SAFETY: A `SlabBox<T>` is a `T`, as far as threads are concerned.
unsafe impl<T: Send> Send for SlabBox<T> {}

// SAFETY: As above.
unsafe impl<T: Sync> Sync for SlabBox<T> {}

impl<T> SlabBox<T> {
    /// Takes ownership of an object.
    ///
    /// # Safety
    ///
    /// `object` is a valid `T` in memory that a slab cache gave out, and nothing else refers to it.
    #[inline]
    pub(crate) unsafe fn from_raw(object: NonNull<T>) -> Self {
        // INVARIANT: The caller hands over a valid object and its ownership.
        Self {
            object,
            _owns: PhantomData,
        }
    }

    /// Gives up the ownership of the object, which [`SlabBox::from_raw`] takes up again.
    #[inline]
    pub(crate) fn into_raw(this: Self) -> NonNull<T> {
        core::mem::ManuallyDrop::new(this).object
    }
}

impl<T> Deref for SlabBox<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: The object is valid and owned by this value, which is borrowed.
        unsafe { self.object.as_ref() }
    }
}

impl<T> DerefMut for SlabBox<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: The object is valid and owned by this value, which is borrowed mutably.
        unsafe { self.object.as_mut() }
    }
}

impl<T> Drop for SlabBox<T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: The object is valid and owned by this value, and not used after this.
        unsafe { self.object.drop_in_place() };
        // SAFETY: The object is memory from a slab cache, which `kfree()` accepts, and its value was
        // dropped above.
        unsafe { bindings::kfree(self.object.as_ptr().cast()) };
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Memory, which runs out when a test says so.

use crate::error::{Error, Result};
use core::{
    cell::Cell,
    mem::MaybeUninit,
    ops::{BitOr, Deref, DerefMut},
};
use pinned_init::{Init, PinInit};
use std::pin::Pin;

#[derive(Clone, Copy, Debug)]
pub struct AllocError;

#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Flags(u32);

impl Flags {
    pub fn as_raw(self) -> u32 {
        self.0
    }

    pub(crate) const fn from_raw(raw: u32) -> Self {
        Self(raw)
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

pub mod flags {
    use super::Flags;

    pub const GFP_KERNEL: Flags = Flags(1);
    pub const GFP_NOWAIT: Flags = Flags(2);
    pub const __GFP_NOWARN: Flags = Flags(4);
    pub const __GFP_ZERO: Flags = Flags(8);
}

thread_local! {
    /// How many allocations there are to the next that fails, and how many then.
    static SCARCE: Cell<Option<(u32, u32)>> = const { Cell::new(None) };
}

/// From now on one of so many allocations by this thread fails that are not sure to succeed. 0: none.
pub fn fail_one_in(every: u32) {
    SCARCE.set((every > 0).then_some((every, every)));
}

/// Whether this allocation succeeds. One that may wait and warn always does.
pub(crate) fn may(flags: Flags) -> Result<(), AllocError> {
    if flags.0 & flags::__GFP_NOWARN.0 == 0 {
        return Ok(());
    }
    match SCARCE.get() {
        None => Ok(()),
        Some((1, every)) => {
            SCARCE.set(Some((every, every)));
            Err(AllocError)
        }
        Some((left, every)) => {
            SCARCE.set(Some((left - 1, every)));
            Ok(())
        }
    }
}

pub struct KVec<T>(Vec<T>);

impl<T> KVec<T> {
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    pub fn reserve(&mut self, more: usize, flags: Flags) -> Result<(), AllocError> {
        may(flags)?;
        self.0.reserve(more);
        Ok(())
    }

    pub fn push(&mut self, value: T, flags: Flags) -> Result<(), AllocError> {
        if self.0.len() == self.0.capacity() {
            self.reserve(1, flags)?;
        }
        self.0.push(value);
        Ok(())
    }

    pub fn pop(&mut self) -> Option<T> {
        self.0.pop()
    }
}

impl<T> Default for KVec<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Deref for KVec<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> DerefMut for KVec<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

pub struct KBox<T>(Box<T>);

impl<T> KBox<T> {
    pub fn new(value: T, flags: Flags) -> Result<Self, AllocError> {
        may(flags)?;
        Ok(Self(Box::new(value)))
    }
}

impl<T> Deref for KBox<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for KBox<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

/// Types that give a place to an initializer.
pub trait InPlaceInit<T>: Sized {
    fn init<E>(init: impl Init<T, E>, flags: Flags) -> Result<Self>
    where
        Error: From<E>;

    fn pin_init<E>(init: impl PinInit<T, E>, flags: Flags) -> Result<Pin<Self>>
    where
        Error: From<E>;
}

impl<T> InPlaceInit<T> for KBox<T> {
    fn init<E>(init: impl Init<T, E>, flags: Flags) -> Result<Self>
    where
        Error: From<E>,
    {
        may(flags)?;
        let mut place: Box<MaybeUninit<T>> = Box::new_uninit();
        // SAFETY: The place is valid for a `T`; where this fails it is one no more.
        unsafe { init.__init(place.as_mut_ptr()) }?;
        // SAFETY: It was just made.
        Ok(Self(unsafe { place.assume_init() }))
    }

    fn pin_init<E>(init: impl PinInit<T, E>, flags: Flags) -> Result<Pin<Self>>
    where
        Error: From<E>,
    {
        may(flags)?;
        let mut place: Box<MaybeUninit<T>> = Box::new_uninit();
        // SAFETY: The place is valid for a `T`, and what is in a box stays where it is.
        unsafe { init.__pinned_init(place.as_mut_ptr()) }?;
        // SAFETY: It was just made.
        let made = Self(unsafe { place.assume_init() });
        // SAFETY: Nobody gets at the box inside.
        Ok(unsafe { Pin::new_unchecked(made) })
    }
}

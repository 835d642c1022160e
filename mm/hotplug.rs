// SPDX-License-Identifier: GPL-2.0

//! Hearing of memory that has gone offline.
//!
//! C header: `include/linux/memory.h`

use core::{ops::Range, ptr::NonNull};
use kernel::{bindings, error::to_result, ffi, prelude::*, sync::Arc, types::Opaque};

/// Somebody who keeps frame numbers.
pub(crate) trait Frames: Send + Sync + 'static {
    /// The frames are gone, and in a moment what describes them will be. May sleep.
    fn gone(&self, frames: Range<usize>);
}

#[repr(C)]
struct Block<F> {
    /// First, so that a pointer to it is one to the whole.
    notifier: Opaque<bindings::notifier_block>,
    frames: Arc<F>,
}

/// Passes on what happens to memory, until it is dropped.
///
/// # Invariants
///
/// `block` came from `KBox::into_raw`, and its notifier is registered.
pub(crate) struct OfflineNotifier<F: Frames> {
    block: NonNull<Block<F>>,
}

// SAFETY: Registering and unregistering are not bound to a thread.
unsafe impl<F: Frames> Send for OfflineNotifier<F> {}
// SAFETY: There are no methods.
unsafe impl<F: Frames> Sync for OfflineNotifier<F> {}

impl<F: Frames> OfflineNotifier<F> {
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(frames: Arc<F>) -> Result<Self> {
        let notifier = Opaque::new(bindings::notifier_block {
            notifier_call: Some(Self::call),
            ..pin_init::zeroed()
        });
        let block = KBox::into_raw(KBox::new(Block { notifier, frames }, GFP_KERNEL)?);
        // SAFETY: The notifier stays where it is until it is unregistered.
        if let Err(error) = to_result(unsafe { register(block.cast()) }) {
            // SAFETY: `block` came from a box and is not registered.
            drop(unsafe { KBox::from_raw(block) });
            return Err(error);
        }
        // INVARIANT: Registered just now. A box is never null.
        Ok(Self {
            // SAFETY: As said.
            block: unsafe { NonNull::new_unchecked(block) },
        })
    }

    /// # Safety
    ///
    /// Called by the chain of notifiers, with the notifier of a [`Block`].
    unsafe extern "C" fn call(
        notifier: *mut bindings::notifier_block,
        action: ffi::c_ulong,
        data: *mut ffi::c_void,
    ) -> ffi::c_int {
        if action == bindings::memory_block_state_MEM_OFFLINE as usize {
            // SAFETY: `data` is that of a memory notifier.
            let memory = unsafe { &*data.cast::<bindings::memory_notify>() };
            // SAFETY: The notifier is the first field of a block that is alive while registered.
            let block = unsafe { &*notifier.cast::<Block<F>>() };
            let end = memory.start_pfn + memory.nr_pages;
            block.frames.gone(memory.start_pfn..end);
        }
        bindings::NOTIFY_OK as ffi::c_int
    }
}

impl<F: Frames> Drop for OfflineNotifier<F> {
    fn drop(&mut self) {
        // SAFETY: Registered by the type invariant. Waits for calls that run.
        unsafe { unregister(self.block.as_ptr().cast()) };
        // SAFETY: `block` came from a box, and nobody refers to it any more.
        drop(unsafe { KBox::from_raw(self.block.as_ptr()) });
    }
}

/// # Safety
///
/// `notifier` is valid until it is unregistered.
#[cfg(CONFIG_MEMORY_HOTPLUG)]
unsafe fn register(notifier: *mut bindings::notifier_block) -> ffi::c_int {
    // SAFETY: The contract is the function's.
    unsafe { bindings::register_memory_notifier(notifier) }
}

/// # Safety
///
/// `notifier` is registered.
#[cfg(CONFIG_MEMORY_HOTPLUG)]
unsafe fn unregister(notifier: *mut bindings::notifier_block) {
    // SAFETY: The contract is the function's.
    unsafe { bindings::unregister_memory_notifier(notifier) };
}

/// # Safety
///
/// None: memory never goes offline here.
#[cfg(not(CONFIG_MEMORY_HOTPLUG))]
unsafe fn register(_notifier: *mut bindings::notifier_block) -> ffi::c_int {
    0
}

/// # Safety
///
/// None: nothing was registered.
#[cfg(not(CONFIG_MEMORY_HOTPLUG))]
unsafe fn unregister(_notifier: *mut bindings::notifier_block) {}

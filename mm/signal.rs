// SPDX-License-Identifier: GPL-2.0

//! What a long operation on behalf of a user must look at.

use core::marker::PhantomData;
use kernel::{bindings, current, types::NotThreadSafe};

/// Whether the user wants the current task to stop what it does.
pub(crate) fn pending() -> bool {
    current!().signal_pending()
}

/// Makes the current task the first choice of the OOM killer, for as long as this lives: it is what
/// makes memory scarce.
pub(crate) struct OomOrigin(PhantomData<NotThreadSafe>);

impl OomOrigin {
    pub(crate) fn new() -> Self {
        // SAFETY: It sets a flag of the current task.
        unsafe { bindings::set_current_oom_origin() };
        Self(PhantomData)
    }
}

impl Drop for OomOrigin {
    fn drop(&mut self) {
        // SAFETY: It clears a flag of the current task: a `NotThreadSafe` stays with its task.
        unsafe { bindings::clear_current_oom_origin() };
    }
}

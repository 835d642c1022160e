// SPDX-License-Identifier: GPL-2.0

//! Keeping the module loaded.

use kernel::{bindings, module::this_module, prelude::*};

/// Keeps the module from being unloaded. It takes no space.
///
/// # Invariants
///
/// Owns a reference to the module.
pub(crate) struct ModulePin(());

fn module() -> *mut bindings::module {
    this_module::<crate::LocalModule>().as_ptr()
}

impl ModulePin {
    /// # Errors
    ///
    /// `ENODEV`: the module is being unloaded.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: The module is valid while its own code runs.
        if !unsafe { bindings::try_module_get(module()) } {
            return Err(ENODEV);
        }
        // INVARIANT: The reference was just taken.
        Ok(Self(()))
    }
}

impl Drop for ModulePin {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the reference is ours to drop. The code that runs after
        // this is kept by what unloading waits for: the thread, the sysfs files, the hooks.
        unsafe { bindings::module_put(module()) };
    }
}

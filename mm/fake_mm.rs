// SPDX-License-Identifier: GPL-2.0

//! An address space that is none, for tests that need something to name.

use core::ptr::NonNull;
use kernel::{bindings, mm::Mm, sync::aref::ARef, types::Opaque};

struct Fake(Opaque<bindings::mm_struct>);

// SAFETY: All that is ever used of it are its counts.
unsafe impl Sync for Fake {}

static FAKE: Fake = Fake(Opaque::zeroed());

/// A counted reference to an address space without users, of which nothing is used but the counts.
///
/// The count starts at zero, so that the one given up here is never dropped to it: each call leaves
/// one reference more behind.
pub(crate) fn get() -> ARef<Mm> {
    let mm = FAKE.0.get();
    // SAFETY: `FAKE` lives for ever.
    unsafe { bindings::mmgrab(mm) };
    // SAFETY: As above.
    unsafe { bindings::mmgrab(mm) };
    // SAFETY: A static is not at null, and the reference was taken above.
    unsafe { ARef::from_raw(NonNull::new_unchecked(mm.cast())) }
}

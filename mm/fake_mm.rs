// SPDX-License-Identifier: GPL-2.0

//! An address space and an `anon_vma` that are none, for tests that need something to name.

use super::{
    address_space::AddressSpace,
    anon_vma::{AnonVma, Region},
    census::Census,
    domain::Domain,
};
use core::ptr::NonNull;
use kernel::{
    bindings,
    mm::Mm,
    prelude::*,
    sync::{aref::ARef, Arc},
    types::Opaque,
};

struct Fake(Opaque<bindings::mm_struct>);

// SAFETY: All that is ever used of it are its counts.
unsafe impl Sync for Fake {}

static FAKE: Fake = Fake(Opaque::zeroed());

/// A counted reference to an address space without users, of which nothing is used but the counts.
///
/// The count starts at zero, so that the one given up here is never dropped to it: each call leaves
/// one reference more behind.
fn get() -> ARef<Mm> {
    let mm = FAKE.0.get();
    // SAFETY: `FAKE` lives for ever.
    unsafe { bindings::mmgrab(mm) };
    // SAFETY: As above.
    unsafe { bindings::mmgrab(mm) };
    // SAFETY: A static is not at null.
    let mm = unsafe { NonNull::new_unchecked(mm.cast()) };
    // SAFETY: The reference was taken above.
    unsafe { ARef::from_raw(mm) }
}

/// That, as if it had been registered.
pub(crate) fn space() -> Result<Arc<AddressSpace>> {
    AddressSpace::new(&get(), Census::new()?.join(Domain::EVERYBODY, 0)?)
}

struct FakeAnonVma(Opaque<bindings::anon_vma>);

// SAFETY: All that is ever used of it is its count.
unsafe impl Sync for FakeAnonVma {}

static ANON_VMA: FakeAnonVma = FakeAnonVma(Opaque::zeroed());

/// A region of that address space, in which the index of a page is its number and `offset`.
pub(crate) fn region(offset: usize) -> Region {
    // SAFETY: A static is not at null.
    let anon_vma = unsafe { NonNull::new_unchecked(ANON_VMA.0.get()) };
    // Left behind, as above.
    // SAFETY: `ANON_VMA` lives for ever.
    core::mem::forget(unsafe { AnonVma::get(anon_vma) });
    // SAFETY: As above.
    Region::new(unsafe { AnonVma::get(anon_vma) }, 0, offset)
}

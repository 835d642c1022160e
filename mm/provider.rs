// SPDX-License-Identifier: GPL-2.0

//! Standing behind the kernel's page merging interface.
//!
//! C header: `include/linux/ksm.h`

use super::{
    kobject::Files,
    ksm_folio::{KsmFolio, Tie},
    rmap_walk::{self, Sharers},
};
use core::{
    marker::PhantomData,
    ptr::{self, NonNull},
    sync::atomic::{AtomicPtr, Ordering},
};
use kernel::{
    bindings,
    error::{from_result, to_result},
    ffi,
    mm::{virt::VmaRef, Mm},
    module::this_module,
    prelude::*,
    sync::Arc,
};

/// An implementation of page merging.
///
/// The hooks run in many contexts: under an mmap lock, with a folio locked, in reclaim. None of
/// them may take a lock under which memory is allocated or a fault is handled, but for `exit`,
/// which comes without any lock, and may wait for whoever looks at the address space.
pub(crate) trait Provider: Send + Sync + 'static {
    /// Enrols an address space. `Ok` where it is enrolled already.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    fn enter(&self, mm: &Mm) -> Result;

    /// Forgets an address space, whose page tables are about to be torn down.
    fn exit(&self, mm: &Mm);

    /// Whether there may be merged pages that nobody asked for.
    fn merges_unasked(&self) -> bool;

    /// Whether a merged page that was found in the swap cache, and is locked, may be mapped in `vma` as it
    /// is. If not, it is copied, and merged again later.
    fn shares_swapin(&self, vma: &VmaRef, folio: &KsmFolio) -> bool;

    /// Hands over each address space that was enrolled and that asked for merging, once, when the
    /// provider is gone.
    fn enrolled(&self, give: impl FnMut(&Mm));

    /// The bytes that records of `mm` take: counted against the profit of a process.
    fn records(&self, mm: &Mm) -> usize;

    /// Who knows the sharers of a merged page.
    type Sharers: Sharers;
}

/// The one provider that is registered, for the hooks, which get no argument that leads to it.
///
/// # Invariants
///
/// Null, or a pointer that came from `Arc::into_raw`, of the type with whose hooks `ksm_ops` was
/// registered. It is set before the first hook can run, and cleared after the last one has.
static PROVIDER: AtomicPtr<ffi::c_void> = AtomicPtr::new(ptr::null_mut());

/// A registered provider, which is unregistered on drop.
///
/// # Invariants
///
/// `ops` is registered, its hooks are those of `P`, and `PROVIDER` is a `P`. `attrs`, to which it
/// points, ends with a null pointer; the others are those of `files`.
pub(crate) struct Registration<P: Provider, S: Send + Sync + 'static> {
    ops: NonNull<bindings::ksm_ops>,
    _attrs: KVec<*mut bindings::kobj_attribute>,
    _files: Arc<Files<S>>,
    _provider: PhantomData<Arc<P>>,
}

// SAFETY: Registering and unregistering are not bound to a thread.
unsafe impl<P: Provider, S: Send + Sync> Send for Registration<P, S> {}
// SAFETY: There are no methods.
unsafe impl<P: Provider, S: Send + Sync> Sync for Registration<P, S> {}

impl<P: Provider, S: Send + Sync + 'static> Registration<P, S> {
    /// Takes over from the in-tree code: it unmerges what it merged and hands over the address
    /// spaces enrolled with it. Its values are written to those of `files` that have its files' names,
    /// which are in its directory from then on.
    ///
    /// # Errors
    ///
    /// * `EBUSY`: another module provides merging, or the in-tree code could not unmerge.
    /// * `ENOMEM`, `EINTR`: the same, for want of memory or for a signal.
    ///
    /// Everything is as before then.
    pub(crate) fn new(provider: Arc<P>, files: Arc<Files<S>>) -> Result<Self> {
        let mut attrs = KVec::new();
        for attr in files.as_ptrs() {
            attrs.push(attr, GFP_KERNEL)?;
        }
        attrs.push(ptr::null_mut(), GFP_KERNEL)?;
        let ops = KBox::new(Self::ops(attrs.as_mut_ptr()), GFP_KERNEL)?;
        let raw = Arc::into_raw(provider).cast_mut();
        let free = PROVIDER.compare_exchange(
            ptr::null_mut(),
            raw.cast(),
            // `Release`: what the provider holds is there for the hooks that load it.
            Ordering::Release,
            Ordering::Relaxed,
        );
        // SAFETY: A box is never null.
        let ops = unsafe { NonNull::new_unchecked(KBox::into_raw(ops)) };
        let registered = match free {
            // SAFETY: `ops` is valid until it is unregistered, and so is what its hooks use.
            Ok(_) => to_result(unsafe { bindings::ksm_register_ops(ops.as_ptr()) }),
            Err(_) => Err(EBUSY),
        };
        if let Err(error) = registered {
            if free.is_ok() {
                Self::give_back();
            } else {
                // SAFETY: `raw` came from `into_raw` above, and nobody has seen it.
                drop(unsafe { Arc::from_raw(raw) });
            }
            // SAFETY: `ops` came from a box, and is not registered.
            drop(unsafe { KBox::from_raw(ops.as_ptr()) });
            return Err(error);
        }
        // INVARIANT: Both were done just now.
        Ok(Self {
            ops,
            _attrs: attrs,
            _files: files,
            _provider: PhantomData,
        })
    }

    /// Returns the address spaces to the in-tree code and clears `PROVIDER`. No hook runs any more.
    fn give_back() {
        let raw = PROVIDER
            .swap(ptr::null_mut(), Ordering::Acquire)
            .cast::<P>();
        // SAFETY: By the invariant of `PROVIDER` this is our reference, given up there.
        let provider = unsafe { Arc::from_raw(raw.cast_const()) };
        provider.enrolled(|mm| {
            // SAFETY: The reference to `mm` lasts for the call.
            unsafe { bindings::ksm_return_mm(mm.as_raw()) }
        });
    }

    fn ops(attrs: *mut *mut bindings::kobj_attribute) -> bindings::ksm_ops {
        bindings::ksm_ops {
            owner: this_module::<crate::LocalModule>().as_ptr(),
            attrs,
            records: Some(Self::records),
            madvise: Some(Self::madvise),
            enter: Some(Self::enter),
            exit: Some(Self::exit),
            rmap_walk: Some(rmap_walk_hook::<P::Sharers>),
            folio_migrate: Some(folio_migrate),
            swapin_shared: Some(Self::swapin_shared),
        }
    }

    /// # Safety
    ///
    /// Called by a hook.
    unsafe fn provider<'h>() -> &'h P {
        let raw = PROVIDER.load(Ordering::Acquire).cast::<P>();
        // SAFETY: While a hook runs, `PROVIDER` is a `P` by its invariant.
        unsafe { &*raw }
    }

    /// `MADV_MERGEABLE` and `MADV_UNMERGEABLE` on one VMA. What is not suited is passed over silently,
    /// as advice is.
    ///
    /// # Safety
    ///
    /// Called as `ksm_ops::madvise`: `vma` is valid with its mmap lock held for writing, `flags` too.
    unsafe extern "C" fn madvise(
        vma: *mut bindings::vm_area_struct,
        start: ffi::c_ulong,
        end: ffi::c_ulong,
        advice: ffi::c_int,
        flags: *mut bindings::vm_flags_t,
    ) -> ffi::c_int {
        let (mergeable, none) = (bindings::VM_MERGEABLE, bindings::VM_MERGE_NONE);
        // SAFETY: `flags` is valid, says the caller.
        let now = unsafe { *flags };
        // SAFETY: `vma` is valid, says the caller.
        let compatible = unsafe { bindings::ksm_vma_compatible(vma) };
        match advice as u32 {
            bindings::MADV_MERGEABLE if compatible => {
                // SAFETY: `flags` is valid, says the caller.
                unsafe { *flags = now & !none | mergeable };
            }
            bindings::MADV_UNMERGEABLE => {
                // SAFETY: This is a hook.
                let unasked = unsafe { Self::provider() }.merges_unasked();
                // SAFETY: `vma` is valid, says the caller.
                let has_pages = !unsafe { (*vma).anon_vma }.is_null();
                // What nobody has advised may be merged too, and about to be moved.
                if has_pages && (now & mergeable != 0 || unasked) {
                    // SAFETY: The mmap lock is held for writing, says the caller.
                    let err = unsafe { bindings::ksm_unmerge_range(vma, start, end, true) };
                    if err != 0 {
                        return err;
                    }
                }
                // What can never be merged needs no mark. For memory that moves nothing changes: whoever moves
                // it throws away what is said here.
                let mark = if compatible { none } else { 0 };
                // SAFETY: `flags` is valid, says the caller.
                unsafe { *flags = now & !mergeable | mark };
            }
            _ => {}
        }
        0
    }

    /// # Safety
    ///
    /// Called as `ksm_ops::enter`.
    unsafe extern "C" fn enter(mm: *mut bindings::mm_struct) -> ffi::c_int {
        // SAFETY: This is a hook.
        let provider = unsafe { Self::provider() };
        // SAFETY: The hook's `mm` is live for the call.
        let mm = unsafe { Mm::from_raw(mm) };
        from_result(|| provider.enter(mm).map(|()| 0))
    }

    /// # Safety
    ///
    /// Called as `ksm_ops::exit`.
    unsafe extern "C" fn exit(mm: *mut bindings::mm_struct) {
        // SAFETY: This is a hook.
        let provider = unsafe { Self::provider() };
        // SAFETY: The hook's `mm` is live for the call.
        provider.exit(unsafe { Mm::from_raw(mm) });
    }

    /// # Safety
    ///
    /// Called as `ksm_ops::records`.
    unsafe extern "C" fn records(mm: *mut bindings::mm_struct) -> ffi::c_ulong {
        // SAFETY: This is a hook.
        let provider = unsafe { Self::provider() };
        // SAFETY: The hook's `mm` is live for the call.
        provider.records(unsafe { Mm::from_raw(mm) })
    }

    /// # Safety
    ///
    /// Called as `ksm_ops::swapin_shared`: `folio` is live and a merged page.
    unsafe extern "C" fn swapin_shared(
        vma: *mut bindings::vm_area_struct,
        folio: *mut bindings::folio,
    ) -> bool {
        // SAFETY: This is a hook.
        let provider = unsafe { Self::provider() };
        // SAFETY: The hook's `vma` is valid for the call, and locked.
        let vma = unsafe { VmaRef::from_raw(vma) };
        // SAFETY: The hook's `folio` is live for the call.
        let folio = unsafe { KsmFolio::get(folio) };
        provider.shares_swapin(vma, &folio)
    }
}

impl<P: Provider, S: Send + Sync + 'static> Drop for Registration<P, S> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant `ops` is registered. No merged page is left: each holds a
        // reference to the module, and this runs when there are none.
        unsafe { bindings::ksm_unregister_ops(self.ops.as_ptr()) };
        Self::give_back();
        // SAFETY: `ops` came from a box and is registered no more.
        drop(unsafe { KBox::from_raw(self.ops.as_ptr()) });
    }
}

/// # Safety
///
/// Called as `ksm_ops::rmap_walk`.
unsafe extern "C" fn rmap_walk_hook<S: Sharers>(
    folio: *mut bindings::folio,
    control: *mut bindings::rmap_walk_control,
) {
    // SAFETY: The hook's contract is the function's.
    unsafe { rmap_walk::walk::<S>(folio, control) };
}

/// # Safety
///
/// Called as `ksm_ops::folio_migrate`: both folios are locked.
unsafe extern "C" fn folio_migrate(new: *mut bindings::folio, old: *mut bindings::folio) {
    // SAFETY: `old` is locked, says the caller.
    let Some(tie) = (unsafe { Tie::of_locked(old) }) else {
        return;
    };
    // SAFETY: `new` is valid.
    let pfn = unsafe { bindings::folio_pfn(new) };
    // SAFETY: `old` is locked, and the caller clears its mapping after a write barrier.
    unsafe { tie.migrate(pfn) };
}

/// Enrols an address space that has not asked for it, unless it wants to be left out.
///
/// # Errors
///
/// `ENOMEM`. `EAGAIN`: its mmap lock is taken.
pub(crate) fn enrol(mm: &Mm) -> Result {
    // SAFETY: `mm` is live.
    to_result(unsafe { bindings::ksm_enrol_mm(mm.as_raw()) })
}

/// Does to a process, which has this number for the caller, what `prctl(PR_SET_MEMORY_MERGE)` does in it.
///
/// # Errors
///
/// - `ESRCH` if there is none, or it has no memory any more; `EINVAL` for a kernel thread.
/// - `EACCES` if the caller may not look into it by `ptrace()`.
/// - `EBUSY` if the process held its mmap lock for ten seconds; `EINTR` if the caller was killed meanwhile.
/// - `ENOMEM`.
pub(crate) fn set_merge_any(pid: i32, merge: bool) -> Result {
    // SAFETY: It takes any number, and no lock is held.
    to_result(unsafe { bindings::ksm_set_merge_any(pid, merge) })
}

/// Says that a full walk found nothing mergeable in `mm`: its next madvise enrols it again.
pub(crate) fn forget(mm: &Mm) {
    // SAFETY: `mm` is live.
    unsafe { bindings::ksm_mm_forget(mm.as_raw()) };
}

#[kunit_tests(rksm_provider)]
mod tests {
    use super::*;
    use crate::mm::module::ModulePin;

    // The tests run in the loaded module, which provides merging, and is kept from going meanwhile.
    #[test]
    fn second_is_refused() -> Result {
        let _loaded = ModulePin::new()?;
        let ops: bindings::ksm_ops = pin_init::zeroed();
        // SAFETY: Nothing of it is used: there is a provider, and will be as long as `_loaded`.
        let refused = unsafe { bindings::ksm_register_ops(&ops) };
        assert_eq!(to_result(refused), Err(EBUSY));
        Ok(())
    }
}

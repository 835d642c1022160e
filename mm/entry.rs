// SPDX-License-Identifier: GPL-2.0

//! Page table entries as values.
//!
//! What is asked of such a value, or made of it, depends on nothing else: neither on the page table
//! it was read from nor on the page that it maps. Whether the value still holds is up to the lock of
//! that table.
//!
//! C header: `include/linux/pgtable.h`, `include/linux/leafops.h`

use kernel::{bindings, prelude::*};

/// An entry of the lowest level, which maps a page.
#[derive(Clone, Copy)]
pub(super) struct Pte(bindings::pte_t);

impl Pte {
    pub(super) fn new(pte: bindings::pte_t) -> Self {
        Self(pte)
    }

    /// An entry that maps the frame `pfn`.
    pub(super) fn from_pfn(pfn: usize, prot: bindings::pgprot_t) -> Self {
        // SAFETY: Pure function of the values.
        Self(unsafe { bindings::pfn_pte(pfn, prot) })
    }

    pub(super) fn raw(self) -> bindings::pte_t {
        self.0
    }

    pub(super) fn present(self) -> bool {
        // SAFETY: Pure function of the value.
        unsafe { bindings::pte_present(self.0) }
    }

    pub(super) fn write(self) -> bool {
        // SAFETY: Pure function of the value.
        unsafe { bindings::pte_write(self.0) }
    }

    pub(super) fn dirty(self) -> bool {
        // SAFETY: Pure function of the value.
        unsafe { bindings::pte_dirty(self.0) }
    }

    pub(super) fn soft_dirty(self) -> bool {
        // SAFETY: Pure function of the value.
        unsafe { bindings::pte_soft_dirty(self.0) }
    }

    /// Whether a userfaultfd watches the page. Only asked of an entry that is present.
    pub(super) fn uffd(self) -> bool {
        // SAFETY: Pure function of the value.
        unsafe { bindings::pte_uffd(self.0) }
    }

    /// The frame that the entry maps, if it is present.
    pub(super) fn pfn(self) -> usize {
        // SAFETY: Pure function of the value.
        unsafe { bindings::pte_pfn(self.0) }
    }

    /// Whether it maps the zero page in place of a page that was full of zeroes.
    pub(super) fn is_ksm_zero(self) -> bool {
        // SAFETY: Pure function of the value.
        self.present() && unsafe { bindings::is_ksm_zero_pte(self.0) }
    }

    /// Whether it stands for a page that is on its way to another frame.
    pub(super) fn is_migration(self) -> bool {
        // SAFETY: Pure function of the value.
        let entry = unsafe { bindings::softleaf_from_pte(self.0) };
        // SAFETY: As above.
        unsafe { bindings::softleaf_is_migration(entry) }
    }

    pub(super) fn mkclean(self) -> Self {
        // SAFETY: Pure function of the value.
        Self(unsafe { bindings::pte_mkclean(self.0) })
    }

    pub(super) fn wrprotect(self) -> Self {
        // SAFETY: Pure function of the value.
        Self(unsafe { bindings::pte_wrprotect(self.0) })
    }

    pub(super) fn mkdirty(self) -> Self {
        // SAFETY: Pure function of the value.
        Self(unsafe { bindings::pte_mkdirty(self.0) })
    }

    pub(super) fn mksoft_dirty(self) -> Self {
        // SAFETY: Pure function of the value.
        Self(unsafe { bindings::pte_mksoft_dirty(self.0) })
    }

    pub(super) fn mkspecial(self) -> Self {
        // SAFETY: Pure function of the value.
        Self(unsafe { bindings::pte_mkspecial(self.0) })
    }
}

/// An entry of the level above, which maps a page table or a huge page.
#[derive(Clone, Copy)]
pub(super) struct Pmd(bindings::pmd_t);

impl Pmd {
    pub(super) fn new(pmd: bindings::pmd_t) -> Self {
        Self(pmd)
    }

    #[cfg(CONFIG_TRANSPARENT_HUGEPAGE)]
    pub(super) fn raw(self) -> bindings::pmd_t {
        self.0
    }

    pub(super) fn present(self) -> bool {
        // SAFETY: Pure function of the value.
        unsafe { bindings::pmd_present(self.0) }
    }

    /// Whether it maps a huge page, if it is present.
    pub(super) fn leaf(self) -> bool {
        // SAFETY: Pure function of the value.
        unsafe { bindings::pmd_leaf(self.0) }
    }
}

#[kunit_tests(rksm_entry)]
mod tests {
    use super::*;

    fn entry(pfn: usize) -> Pte {
        let flags = bindings::VM_READ | bindings::VM_MAYREAD | bindings::VM_MAYWRITE;
        // SAFETY: Pure function of the value.
        Pte::from_pfn(pfn, unsafe { bindings::vm_get_page_prot(flags) })
    }

    #[test]
    fn a_private_mapping_starts_read_only() {
        let entry = entry(12345);
        assert!(entry.present());
        assert!(!entry.write());
        assert!(!entry.is_migration());
        assert!(!entry.is_ksm_zero());
        assert_eq!(entry.pfn(), 12345);
    }

    #[test]
    fn changes_leave_the_frame_alone() {
        let clean = entry(12345).mkclean();
        assert!(!clean.dirty());
        let dirty = clean.mkdirty();
        assert!(dirty.dirty());
        assert!(!dirty.wrprotect().write());
        assert!(!dirty.mkclean().dirty());
        for entry in [clean, dirty, dirty.mkspecial(), dirty.mksoft_dirty()] {
            assert!(entry.present());
            assert_eq!(entry.pfn(), 12345);
        }
    }

    #[test]
    fn the_zero_page_counts_when_it_is_marked() {
        // SAFETY: Pure function of the address.
        let pfn = unsafe { bindings::zero_page_pfn(0) };
        let zero = entry(pfn).mkspecial().mkclean();
        assert!(!zero.is_ksm_zero());
        assert!(zero.mkdirty().is_ksm_zero());
    }

    #[test]
    fn nothing_is_there_in_an_empty_entry() {
        let none = Pte::new(pin_init::zeroed());
        assert!(!none.present());
        assert!(!none.is_ksm_zero());
        assert!(!none.is_migration());
        assert!(!Pmd::new(pin_init::zeroed()).present());
    }
}

// SPDX-License-Identifier: GPL-2.0
/*
 * What patches mend in the middle of a function, around it: in dup_mmap() the
 * count of zero pages (kernel/upstream/0003), in do_wp_page() the copies that
 * unsharing makes (kernel/upstream/0001, kernel/patches/0001).
 */

#include <linux/ksm.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/pagewalk.h>
#include <linux/rmap.h>
#include <linux/sched.h>
#include "internal.h"
#include "hooks.h"
#include "private.h"

/*
 * Can whoever unshares do without the copy? rksm says so; break_ksm() of this kernel
 * does not, but is known by its flags where a kernel thread calls it.
 */
static bool may_fail(const struct vm_fault *vmf)
{
	const unsigned int flags = vmf->flags & ~FAULT_FLAG_ORIG_PTE_VALID;

	return (flags & FAULT_FLAG_MAY_FAIL) ||
	       ((current->flags & PF_KTHREAD) &&
		flags == (FAULT_FLAG_UNSHARE | FAULT_FLAG_REMOTE));
}

/*
 * Is there room for a copy, so that nobody is killed for it? What others take before
 * the copy is made is not seen.
 */
static bool has_room(struct vm_fault *vmf)
{
	const gfp_t gfp = GFP_HIGHUSER_MOVABLE | __GFP_NORETRY | __GFP_NOWARN;
	struct folio *folio;
	bool room;

	folio = vma_alloc_folio(gfp, 0, vmf->vma, vmf->address);
	if (!folio)
		return false;
	room = !mem_cgroup_charge(folio, vmf->vma->vm_mm,
				  GFP_KERNEL | __GFP_NORETRY);
	folio_put(folio);
	return room;
}

/* The page table is locked. */
static bool takes_copy(struct vm_fault *vmf)
{
	struct page *page = vm_normal_page(vmf->vma, vmf->address,
					   ptep_get(vmf->pte));

	return !page || !PageAnon(page) || !PageAnonExclusive(page);
}

/*
 * The copy is clean, in its page table entry and by itself. Whoever shares it
 * after a fork and says MADV_FREE would have it dropped for the others as well.
 * No fork comes in between: the caller holds mmap_lock or the lock of the VMA.
 */
static void mark_copy_dirty(struct vm_fault *vmf)
{
	struct folio *folio;
	spinlock_t *ptl;
	pte_t *ptep, pte;

	ptep = pte_offset_map_lock(vmf->vma->vm_mm, vmf->pmd, vmf->address, &ptl);
	if (!ptep)
		return;
	pte = ptep_get(ptep);
	if (pte_present(pte) && pte_pfn(pte) != pte_pfn(vmf->orig_pte)) {
		folio = vm_normal_folio(vmf->vma, vmf->address, pte);
		if (folio && folio_test_anon(folio) && !folio_test_ksm(folio) &&
		    !folio_test_large(folio))
			folio_mark_dirty(folio);
	}
	pte_unmap_unlock(ptep, ptl);
}

vm_fault_t seam_do_wp_page(struct vm_fault *vmf)
{
	bool unshare = vmf->flags & FAULT_FLAG_UNSHARE;
	vm_fault_t ret;

	if (unshare && may_fail(vmf) && takes_copy(vmf)) {
		pte_unmap_unlock(vmf->pte, vmf->ptl);
		if (!has_room(vmf))
			return VM_FAULT_OOM;
		vmf->pte = pte_offset_map_lock(vmf->vma->vm_mm, vmf->pmd,
					       vmf->address, &vmf->ptl);
		if (!vmf->pte)
			return 0;
		if (!pte_same(ptep_get(vmf->pte), vmf->orig_pte)) {
			pte_unmap_unlock(vmf->pte, vmf->ptl);
			return 0;
		}
	}

	ret = in_tree_do_wp_page(vmf);

	if (unshare && !(ret & (VM_FAULT_ERROR | VM_FAULT_RETRY)))
		mark_copy_dirty(vmf);
	return ret;
}

static int count_zero_ptes(pmd_t *pmdp, unsigned long addr, unsigned long end,
			   struct mm_walk *walk)
{
	long *count = walk->private;
	pte_t *start, *ptep;
	spinlock_t *ptl;

	start = pte_offset_map_lock(walk->mm, pmdp, addr, &ptl);
	if (!start)
		return 0;
	for (ptep = start; addr < end; ptep++, addr += PAGE_SIZE) {
		pte_t pte = ptep_get(ptep);

		if (pte_present(pte) && is_ksm_zero_pte(pte))
			++*count;
	}
	pte_unmap_unlock(start, ptl);
	cond_resched();

	return 0;
}

static const struct mm_walk_ops count_zero_ops = {
	.pmd_entry = count_zero_ptes,
	.walk_lock = PGWALK_WRLOCK,
};

/*
 * A child starts with its parent's count of zero pages that KSM placed, whatever
 * it gets of them. Start with none, and count where the parent had any: with the
 * child's mmap_lock held nobody places or takes one away.
 */
static void count_zero_pages(struct mm_struct *mm)
{
	struct vm_area_struct *vma;
	long count = 0;

	VMA_ITERATOR(vmi, mm, 0);

	mmap_write_lock(mm);
	for_each_vma(vmi, vma) {
		if (vma->anon_vma)
			walk_page_range_vma(vma, vma->vm_start, vma->vm_end,
					    &count_zero_ops, &count);
	}
	count -= mm_ksm_zero_pages(mm);
	atomic_long_add(count, &mm->ksm_zero_pages);
	atomic_long_add(count, &ksm_zero_pages);
	mmap_write_unlock(mm);
}

int counted_dup_mmap(struct mm_struct *mm, struct mm_struct *oldmm)
{
	bool had_any = mm_ksm_zero_pages(oldmm);
	long count;
	int err;

	atomic_long_set(&mm->ksm_zero_pages, 0);
	err = in_tree_dup_mmap(mm, oldmm);
	if (err) {
		/* What was copied is unmapped again, and was never counted. */
		count = mm_ksm_zero_pages(mm);
		atomic_long_sub(count, &mm->ksm_zero_pages);
		atomic_long_sub(count, &ksm_zero_pages);
	} else if (had_any || mm_ksm_zero_pages(oldmm)) {
		count_zero_pages(mm);
	}

	return err;
}

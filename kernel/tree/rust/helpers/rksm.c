// SPDX-License-Identifier: GPL-2.0
/*
 * What page merging in Rust uses of the memory manager that is a macro or an
 * inline function.
 */

#include <linux/cacheflush.h>
#include <linux/cgroup.h>
#include <linux/freezer.h>
#include <linux/gfp.h>
#include <linux/highmem.h>
#include <linux/huge_mm.h>
#include <linux/ksm.h>
#include <linux/leafops.h>
#include <linux/memcontrol.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/nodemask.h>
#include <linux/oom.h>
#include <linux/pagemap.h>
#include <linux/pagewalk.h>
#include <linux/pgtable.h>
#include <linux/rmap.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/user_namespace.h>
#ifdef CONFIG_X86_64
#include <linux/cpufeature.h>
#include <asm/fpu/api.h>
#endif
#ifdef CONFIG_ARM64_MTE
#include <asm/mte.h>
#endif

#include "../../mm/internal.h"

__rust_helper void rust_helper_vma_iter_init(struct vma_iterator *vmi,
					     struct mm_struct *mm,
					     unsigned long addr)
{
	vma_iter_init(vmi, mm, addr);
}

__rust_helper struct vm_area_struct *
rust_helper_vma_next(struct vma_iterator *vmi)
{
	return vma_next(vmi);
}

__rust_helper struct folio *rust_helper_page_folio(struct page *page)
{
	return page_folio(page);
}

__rust_helper struct page *rust_helper_folio_page(struct folio *folio,
						  unsigned long n)
{
	return folio_page(folio, n);
}

__rust_helper unsigned long rust_helper_folio_pfn(const struct folio *folio)
{
	return folio_pfn(folio);
}

#ifndef CONFIG_MEMORY_HOTPLUG
__rust_helper struct page *rust_helper_pfn_to_online_page(unsigned long pfn)
{
	return pfn_to_online_page(pfn);
}
#endif

__rust_helper unsigned long rust_helper_page_to_pfn(const struct page *page)
{
	return page_to_pfn(page);
}

__rust_helper void rust_helper_folio_get(struct folio *folio)
{
	folio_get(folio);
}

__rust_helper bool rust_helper_folio_try_get(struct folio *folio)
{
	return folio_try_get(folio);
}

__rust_helper void rust_helper_folio_put(struct folio *folio)
{
	folio_put(folio);
}

__rust_helper bool rust_helper_folio_trylock(struct folio *folio)
{
	return folio_trylock(folio);
}

__rust_helper bool rust_helper_folio_test_anon(const struct folio *folio)
{
	return folio_test_anon(folio);
}

__rust_helper bool rust_helper_folio_test_ksm(const struct folio *folio)
{
	return folio_test_ksm(folio);
}

__rust_helper bool rust_helper_folio_test_locked(const struct folio *folio)
{
	return folio_test_locked(folio);
}

__rust_helper bool rust_helper_folio_test_large(const struct folio *folio)
{
	return folio_test_large(folio);
}

__rust_helper bool rust_helper_folio_test_swapcache(const struct folio *folio)
{
	return folio_test_swapcache(folio);
}

__rust_helper bool rust_helper_folio_is_zone_device(const struct folio *folio)
{
	return folio_is_zone_device(folio);
}

__rust_helper int rust_helper_folio_mapcount(const struct folio *folio)
{
	return folio_mapcount(folio);
}

__rust_helper bool rust_helper_folio_mapped(const struct folio *folio)
{
	return folio_mapped(folio);
}

__rust_helper int rust_helper_folio_ref_count(const struct folio *folio)
{
	return folio_ref_count(folio);
}

__rust_helper bool rust_helper_folio_maybe_dma_pinned(struct folio *folio)
{
	return folio_maybe_dma_pinned(folio);
}

__rust_helper int rust_helper_PageAnonExclusive(const struct page *page)
{
	return PageAnonExclusive(page);
}

__rust_helper bool rust_helper_folio_test_writeback(const struct folio *folio)
{
	return folio_test_writeback(folio);
}

__rust_helper int rust_helper_folio_expected_ref_count(const struct folio *folio)
{
	return folio_expected_ref_count(folio);
}

__rust_helper void rust_helper_lru_add_drain(void)
{
	lru_add_drain();
}

#ifdef CONFIG_TRANSPARENT_HUGEPAGE
__rust_helper unsigned long rust_helper_folio_nr_pages(const struct folio *folio)
{
	return folio_nr_pages(folio);
}

__rust_helper bool rust_helper_folio_isolate_lru(struct folio *folio)
{
	return folio_isolate_lru(folio);
}

__rust_helper struct anon_vma *
rust_helper_folio_get_anon_vma(const struct folio *folio)
{
	return folio_get_anon_vma(folio);
}

__rust_helper void rust_helper_try_to_unmap_flush(void)
{
	try_to_unmap_flush();
}

__rust_helper void rust_helper_count_vm_event(enum vm_event_item item)
{
	count_vm_event(item);
}

__rust_helper void rust_helper_anon_vma_lock_write(struct anon_vma *anon_vma)
{
	anon_vma_lock_write(anon_vma);
}

__rust_helper void rust_helper_anon_vma_unlock_write(struct anon_vma *anon_vma)
{
	anon_vma_unlock_write(anon_vma);
}
#endif

/* Whether its owner has given the memory tags that a merged page would not have. */
__rust_helper bool rust_helper_page_has_tags(struct page *page)
{
#ifdef CONFIG_ARM64_MTE
	return system_supports_mte() && page_mte_tagged(page);
#else
	return false;
#endif
}

#if !ARCH_IMPLEMENTS_FLUSH_DCACHE_PAGE
__rust_helper void rust_helper_flush_dcache_page(struct page *page)
{
	flush_dcache_page(page);
}
#endif

__rust_helper void rust_helper_flush_anon_page(struct vm_area_struct *vma,
					       struct page *page,
					       unsigned long addr)
{
	flush_anon_page(vma, page, addr);
}

__rust_helper void rust_helper_flush_cache_page(struct vm_area_struct *vma,
						unsigned long addr,
						unsigned long pfn)
{
	flush_cache_page(vma, addr, pfn);
}

__rust_helper void
rust_helper_mmu_notifier_range_init(struct mmu_notifier_range *range,
				    enum mmu_notifier_event event,
				    unsigned int flags, struct mm_struct *mm,
				    unsigned long start, unsigned long end)
{
	mmu_notifier_range_init(range, event, flags, mm, start, end);
}

__rust_helper void
rust_helper_mmu_notifier_invalidate_range_start(struct mmu_notifier_range *range)
{
	mmu_notifier_invalidate_range_start(range);
}

__rust_helper void
rust_helper_mmu_notifier_invalidate_range_end(struct mmu_notifier_range *range)
{
	mmu_notifier_invalidate_range_end(range);
}

__rust_helper void rust_helper_set_current_oom_origin(void)
{
	set_current_oom_origin();
}

__rust_helper void rust_helper_clear_current_oom_origin(void)
{
	clear_current_oom_origin();
}

__rust_helper pmd_t rust_helper_pmdp_get(pmd_t *pmdp)
{
	return pmdp_get(pmdp);
}

__rust_helper pmd_t rust_helper_pmdp_get_lockless(pmd_t *pmdp)
{
	return pmdp_get_lockless(pmdp);
}

__rust_helper bool rust_helper_pmd_present(pmd_t pmd)
{
	return pmd_present(pmd);
}

__rust_helper bool rust_helper_pmd_leaf(pmd_t pmd)
{
	return pmd_leaf(pmd);
}

__rust_helper spinlock_t *rust_helper_pmd_lock(struct mm_struct *mm, pmd_t *pmdp)
{
	return pmd_lock(mm, pmdp);
}

__rust_helper void rust_helper_pte_unmap_unlock(pte_t *ptep, spinlock_t *ptl)
{
	pte_unmap_unlock(ptep, ptl);
}

__rust_helper pte_t rust_helper_ptep_get(pte_t *ptep)
{
	return ptep_get(ptep);
}

__rust_helper bool rust_helper_pte_present(pte_t pte)
{
	return pte_present(pte);
}

__rust_helper softleaf_t rust_helper_softleaf_from_pte(pte_t pte)
{
	return softleaf_from_pte(pte);
}

__rust_helper bool rust_helper_softleaf_is_migration(softleaf_t entry)
{
	return softleaf_is_migration(entry);
}

__rust_helper bool rust_helper_pte_write(pte_t pte)
{
	return pte_write(pte);
}

__rust_helper bool rust_helper_pte_dirty(pte_t pte)
{
	return pte_dirty(pte);
}

__rust_helper bool rust_helper_pte_soft_dirty(pte_t pte)
{
	return pte_soft_dirty(pte);
}

__rust_helper bool rust_helper_pte_uffd(pte_t pte)
{
	return pte_uffd(pte);
}

__rust_helper unsigned long rust_helper_pte_pfn(pte_t pte)
{
	return pte_pfn(pte);
}

__rust_helper pte_t rust_helper_pte_mkclean(pte_t pte)
{
	return pte_mkclean(pte);
}

__rust_helper pte_t rust_helper_pte_mkdirty(pte_t pte)
{
	return pte_mkdirty(pte);
}

__rust_helper pte_t rust_helper_pte_mkspecial(pte_t pte)
{
	return pte_mkspecial(pte);
}

__rust_helper pte_t rust_helper_pte_mksoft_dirty(pte_t pte)
{
	return pte_mksoft_dirty(pte);
}

__rust_helper pte_t rust_helper_pte_wrprotect(pte_t pte)
{
	return pte_wrprotect(pte);
}

__rust_helper pte_t rust_helper_pfn_pte(unsigned long pfn, pgprot_t prot)
{
	return pfn_pte(pfn, prot);
}

__rust_helper void rust_helper_set_pte_at(struct mm_struct *mm,
					  unsigned long addr, pte_t *ptep,
					  pte_t pte)
{
	set_pte_at(mm, addr, ptep, pte);
}

__rust_helper void rust_helper_folio_walk_end(struct folio_walk *fw,
					      struct vm_area_struct *vma)
{
	folio_walk_end(fw, vma);
}

__rust_helper unsigned long rust_helper_zero_page_pfn(unsigned long addr)
{
	return page_to_pfn(ZERO_PAGE(addr));
}

__rust_helper bool rust_helper_is_ksm_zero_pte(pte_t pte)
{
	return is_ksm_zero_pte(pte);
}

__rust_helper void rust_helper_ksm_map_zero_page(struct mm_struct *mm)
{
	ksm_map_zero_page(mm);
}

__rust_helper void rust_helper_dec_mm_counter(struct mm_struct *mm, int member)
{
	dec_mm_counter(mm, member);
}

__rust_helper void rust_helper_get_anon_vma(struct anon_vma *anon_vma)
{
	get_anon_vma(anon_vma);
}

__rust_helper void rust_helper_put_anon_vma(struct anon_vma *anon_vma)
{
	put_anon_vma(anon_vma);
}

__rust_helper void rust_helper_anon_vma_lock_read(struct anon_vma *anon_vma)
{
	anon_vma_lock_read(anon_vma);
}

__rust_helper int rust_helper_anon_vma_trylock_read(struct anon_vma *anon_vma)
{
	return anon_vma_trylock_read(anon_vma);
}

__rust_helper void rust_helper_anon_vma_unlock_read(struct anon_vma *anon_vma)
{
	anon_vma_unlock_read(anon_vma);
}

__rust_helper pgoff_t
rust_helper_linear_anon_page_index(const struct vm_area_struct *vma,
				   unsigned long addr)
{
	return linear_anon_page_index(vma, addr);
}

__rust_helper int
rust_helper_folio_try_share_anon_rmap_pte(struct folio *folio, struct page *page)
{
	return folio_try_share_anon_rmap_pte(folio, page);
}

__rust_helper void rust_helper_folio_remove_rmap_pte(struct folio *folio,
						     struct page *page,
						     struct vm_area_struct *vma)
{
	folio_remove_rmap_pte(folio, page, vma);
}

__rust_helper void rust_helper_folio_add_anon_rmap_pte(struct folio *folio,
						       struct page *page,
						       struct vm_area_struct *vma,
						       unsigned long addr,
						       rmap_t flags)
{
	folio_add_anon_rmap_pte(folio, page, vma, addr, flags);
}

__rust_helper struct folio *rust_helper___folio_alloc_node(gfp_t gfp,
							   unsigned int order,
							   int nid)
{
	return __folio_alloc_node(gfp, order, nid);
}

__rust_helper unsigned int rust_helper_nr_nodes(void)
{
	return nr_node_ids;
}

__rust_helper int rust_helper_copy_mc_user_highpage(struct page *to,
						    struct page *from,
						    unsigned long vaddr,
						    struct vm_area_struct *vma)
{
	return copy_mc_user_highpage(to, from, vaddr, vma);
}

__rust_helper void rust_helper___folio_set_swapbacked(struct folio *folio)
{
	__folio_set_swapbacked(folio);
}

__rust_helper void rust_helper___folio_mark_uptodate(struct folio *folio)
{
	__folio_mark_uptodate(folio);
}

__rust_helper int rust_helper_PageHWPoison(const struct page *page)
{
	return PageHWPoison(page);
}

__rust_helper bool rust_helper_mm_flags_test(int flag,
					     const struct mm_struct *mm)
{
	return mm_flags_test(flag, mm);
}

__rust_helper u64 rust_helper_user_ns_id(const struct user_namespace *ns)
{
	return ns->ns.ns_id;
}

#ifndef CONFIG_MEMCG
__rust_helper void rust_helper_mem_cgroup_replace_folio(struct folio *old,
							struct folio *new)
{
	mem_cgroup_replace_folio(old, new);
}
#endif

#ifdef CONFIG_MEMCG
__rust_helper bool rust_helper_mem_cgroup_disabled(void)
{
	return mem_cgroup_disabled();
}

__rust_helper struct cgroup *rust_helper_cgroup_ancestor(struct cgroup *cgrp,
							 int level)
{
	return cgroup_ancestor(cgrp, level);
}

__rust_helper u64 rust_helper_cgroup_id(const struct cgroup *cgrp)
{
	return cgroup_id(cgrp);
}
#endif

__rust_helper bool rust_helper_cpu_has_avx2(void)
{
#ifndef CONFIG_X86_64
	return false;
#elif defined(CONFIG_UML)
	return test_bit(X86_FEATURE_AVX2,
			(unsigned long *)boot_cpu_data.x86_capability);
#else
	return boot_cpu_has(X86_FEATURE_AVX2) &&
	       cpu_has_xfeatures(XFEATURE_MASK_SSE | XFEATURE_MASK_YMM, NULL);
#endif
}

__rust_helper void rust_helper_kernel_fpu_begin(void)
{
#ifdef CONFIG_X86_64
	kernel_fpu_begin();
#endif
}

__rust_helper void rust_helper_kernel_fpu_end(void)
{
#ifdef CONFIG_X86_64
	kernel_fpu_end();
#endif
}

__rust_helper void *__must_check
rust_helper_kmem_cache_alloc(struct kmem_cache *s, gfp_t flags)
{
	return kmem_cache_alloc(s, flags);
}

__rust_helper int rust_helper_cond_resched(void)
{
	return cond_resched();
}

#ifndef CONFIG_FREEZER
__rust_helper void rust_helper_set_freezable(void)
{
	set_freezable();
}
#endif

__rust_helper bool rust_helper_freezing(struct task_struct *p)
{
	return freezing(p);
}

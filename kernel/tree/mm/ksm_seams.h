/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _MM_KSM_SEAMS_H
#define _MM_KSM_SEAMS_H
/*
 * The functions of the kernel that a provider of page merging stands behind.
 * With CONFIG_KSM_PROVIDER, mm/ksm_provider.c defines each of them, and what was
 * there before is in_tree_*().  KSM_SEAM() in a definition names the latter.
 *
 * On a kernel that is built without it a livepatch redirects each function, and
 * in_tree_*() is a way around that.
 */

#ifdef CONFIG_KSM_PROVIDER
#define KSM_SEAM(f)	in_tree_##f

int in_tree_ksm_madvise(struct vm_area_struct *vma, unsigned long start,
			unsigned long end, int advice, vm_flags_t *vm_flags);
int in_tree_ksm_enable_merge_any(struct mm_struct *mm);
int in_tree_ksm_disable_merge_any(struct mm_struct *mm);
int in_tree___ksm_enter(struct mm_struct *mm);
void in_tree___ksm_exit(struct mm_struct *mm);
struct folio *in_tree_ksm_might_need_to_copy(struct folio *folio,
					     struct vm_area_struct *vma,
					     unsigned long addr);
void in_tree_rmap_walk_ksm(struct folio *folio, struct rmap_walk_control *rwc);
void in_tree_folio_migrate_ksm(struct folio *newfolio, struct folio *folio);
void in_tree_collect_procs_ksm(const struct folio *folio,
			       const struct page *page,
			       struct list_head *to_kill, int force_early);
long in_tree_ksm_process_profit(struct mm_struct *mm);
int in_tree_dup_mmap(struct mm_struct *mm, struct mm_struct *oldmm);
int in_tree_create_init_stack_vma(struct mm_struct *mm,
				  struct vm_area_struct **vmap,
				  unsigned long *top_mem_p);
int create_init_stack_vma(struct mm_struct *mm, struct vm_area_struct **vmap,
			  unsigned long *top_mem_p);
#else
#define KSM_SEAM(f)	f
#endif /* CONFIG_KSM_PROVIDER */

#endif /* _MM_KSM_SEAMS_H */

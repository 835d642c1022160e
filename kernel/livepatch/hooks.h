/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _RKSM_HOOKS_H
#define _RKSM_HOOKS_H

#include <linux/mm.h>

/*
 * A function that is redirected begins with so many bytes that in_tree_*() leaves
 * out: a call, and before it endbr64 in what may be called by a pointer.
 */
#if defined(CONFIG_X86_64) && defined(CONFIG_X86_KERNEL_IBT)
#define ENTRY_STATIC	5
#define ENTRY_GLOBAL	9
#else
#error "Nobody has tried how functions begin on this kernel."
#endif

/*
 * What is redirected, how it begins, and what it returns and takes (BTF). Kbuild
 * reads the names.
 */
#define SEAMS(X) \
	X(ksm_madvise, ENTRY_GLOBAL, \
	  "int(vm_area_struct*,long unsigned int,long unsigned int,int,vm_flags_t*)") \
	X(ksm_enable_merge_any, ENTRY_GLOBAL, \
	  "int(mm_struct*)") \
	X(ksm_disable_merge_any, ENTRY_GLOBAL, \
	  "int(mm_struct*)") \
	X(__ksm_enter, ENTRY_GLOBAL, \
	  "int(mm_struct*)") \
	X(__ksm_exit, ENTRY_GLOBAL, \
	  "void(mm_struct*)") \
	X(ksm_might_need_to_copy, ENTRY_GLOBAL, \
	  "folio*(folio*,vm_area_struct*,long unsigned int)") \
	X(rmap_walk_ksm, ENTRY_GLOBAL, \
	  "void(folio*,rmap_walk_control*)") \
	X(folio_migrate_ksm, ENTRY_GLOBAL, \
	  "void(folio*,folio*)") \
	X(collect_procs_ksm, ENTRY_GLOBAL, \
	  "void(folio*,page*,list_head*,int)") \
	X(ksm_process_profit, ENTRY_GLOBAL, \
	  "long int(mm_struct*)") \
	X(dup_mmap, ENTRY_GLOBAL, \
	  "int(mm_struct*,mm_struct*)") \
	X(create_init_stack_vma, ENTRY_GLOBAL, \
	  "int(mm_struct*,vm_area_struct**,long unsigned int*)") \
	X(do_wp_page, ENTRY_STATIC, \
	  "vm_fault_t(vm_fault*)")

/* Of mm/memory.c, which has it for itself. */
vm_fault_t seam_do_wp_page(struct vm_fault *vmf);
vm_fault_t in_tree_do_wp_page(struct vm_fault *vmf);

int in_tree_dup_mmap(struct mm_struct *mm, struct mm_struct *oldmm);
int counted_dup_mmap(struct mm_struct *mm, struct mm_struct *oldmm);

/* For the provider interface, which has the seams closed while there is a provider. */
int seams_close(void);
void seams_open(void);

/* Nobody is in the provider interface any more when this returns. */
void drain_provider(void);

/* 0; -ENOEXEC, and the log says what does not fit. */
int look_at_kernel(void);

#endif /* _RKSM_HOOKS_H */

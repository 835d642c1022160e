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

/* Of mm/memory.c, which has it for itself. */
vm_fault_t seam_do_wp_page(struct vm_fault *vmf);
vm_fault_t in_tree_do_wp_page(struct vm_fault *vmf);

int in_tree_dup_mmap(struct mm_struct *mm, struct mm_struct *oldmm);
int counted_dup_mmap(struct mm_struct *mm, struct mm_struct *oldmm);

/* 0; -ENOEXEC, and the log says what does not fit. */
int look_at_kernel(void);

#endif /* _RKSM_HOOKS_H */

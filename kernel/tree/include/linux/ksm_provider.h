/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _LINUX_KSM_PROVIDER_H
#define _LINUX_KSM_PROVIDER_H
/*
 * Page merging by a module.
 *
 * A module that calls ksm_register_ops() becomes the provider of page merging:
 * what the rest of the kernel asks of KSM (include/linux/ksm.h) reaches its
 * struct ksm_ops. Without such a module mm/ksm.c provides it.
 *
 * When a module takes over, ksmd stops, everything that it has merged is
 * unmerged, each enrolled process is enrolled with the module, and the files in
 * /sys/kernel/mm/ksm show and take what is the module's, which begins with the
 * settings that ksmd had. When the module goes, all of this happens in the other
 * direction. There are never merged pages of two providers.
 */

#include <linux/bits.h>
#include <linux/mm_types.h>
#include <linux/types.h>

struct kobj_attribute;
struct module;
struct rmap_walk_control;

/* The process has opted out of merging, except where madvise() asks for it. */
#define MMF_VM_MERGE_NONE	15

/*
 * The VMA has opted out by MADV_UNMERGEABLE, and MADV_MERGEABLE has not been used on
 * it since. Like any VMA flag it is split, copied and moved with the VMA. The kernel
 * does not use the highest bits so far; /proc/PID/smaps shows this one as "??".
 */
#define VM_MERGE_NONE_BIT	62
#define VM_MERGE_NONE		BIT_ULL(VM_MERGE_NONE_BIT)

/**
 * struct ksm_ops - an implementation of page merging
 * @owner: the module that provides it
 * @attrs: its sysfs files, terminated by NULL, which include those of in-tree KSM.
 *	A file of in-tree KSM that is missing here keeps its last value, and cannot
 *	be written.  The show and store functions may be called for files in two
 *	directories.
 * @madvise: decide on MADV_MERGEABLE or MADV_UNMERGEABLE for a range of @vma by
 *	changing VM_MERGEABLE and VM_MERGE_NONE in *@vm_flags, after unmerging if the
 *	former is taken away.
 *	MADV_UNMERGEABLE comes for all memory that is about to be moved, too.
 *	mmap_lock is held for writing.  An mm whose first range becomes mergeable
 *	is then enrolled by the caller.
 * @enter: enrol an mm.  mmap_lock is held: for writing, unless the provider
 *	asked for it by ksm_enrol_mm().  It is not held if the mm comes from the
 *	in-tree code in ksm_register_ops(): then nobody else can enrol it, and
 *	its users are referenced.  0 if it is enrolled already; -ENOMEM is
 *	the only error, after which fork() tries again.  The caller maintains
 *	MMF_VM_MERGEABLE.
 * @exit: forget an mm.  On return nothing of the provider touches its page
 *	tables any more, unless the mm is still in use by others.  The mm may be
 *	unknown.
 * @rmap_walk: call rwc->rmap_one() for each mapping of @folio, which is locked
 * @folio_migrate: make the stable node of @folio refer to @newfolio.  Both are
 *	locked.  The caller then clears the stable node in the mapping of @folio,
 *	behind a write barrier.
 * @swapin_shared: may @folio, found in the swap cache and locked, be mapped as
 *	it is in @vma?  Its lock or mmap_lock is held.  Otherwise it is copied.
 *	The provider must find it there when it unmerges.
 * @records: bytes of metadata that are kept for an mm, counted against the
 *	profit of its processes.  The caller has a reference to the users of the
 *	mm, which may be unknown.
 *
 * Those that get a folio are called only if it carries a stable node, that is,
 * if folio_test_ksm() holds and folio_raw_mapping() is not NULL.
 *
 * Every hook may sleep, and none may wait for a change of provider.  @records is
 * read from /proc and may not wait for anything long.
 */
struct ksm_ops {
	struct module *owner;
	struct kobj_attribute **attrs;
	int (*madvise)(struct vm_area_struct *vma, unsigned long start,
		       unsigned long end, int advice, vm_flags_t *vm_flags);
	int (*enter)(struct mm_struct *mm);
	void (*exit)(struct mm_struct *mm);
	void (*rmap_walk)(struct folio *folio, struct rmap_walk_control *rwc);
	void (*folio_migrate)(struct folio *newfolio, struct folio *folio);
	bool (*swapin_shared)(struct vm_area_struct *vma, struct folio *folio);
	unsigned long (*records)(struct mm_struct *mm);
};

int ksm_register_ops(const struct ksm_ops *ops);
void ksm_unregister_ops(const struct ksm_ops *ops);
void ksm_return_mm(struct mm_struct *mm);
void ksm_mm_forget(struct mm_struct *mm);
int ksm_enrol_mm(struct mm_struct *mm);
int ksm_set_merge_any(pid_t nr, bool merge);
vm_fault_t ksm_unshare_page(struct vm_area_struct *vma, unsigned long addr);
int ksm_unmerge_range(struct vm_area_struct *vma, unsigned long start,
		      unsigned long end, bool lock_vma);
bool ksm_vma_compatible(struct vm_area_struct *vma);

#endif /* _LINUX_KSM_PROVIDER_H */

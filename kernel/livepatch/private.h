/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _RKSM_PRIVATE_H
#define _RKSM_PRIVATE_H
/*
 * What mm/ksm.c and mm/memory.c have for themselves. looks.c compares it with what
 * the kernel says of itself (BTF).
 */

#include <linux/kobject.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include "mm_slot.h"

/* See kernel/patches: here do_wp_page() is mended around it. */
#define FAULT_FLAG_MAY_FAIL	(1 << 13)

#define KSM_RUN_STOP	0
#define KSM_RUN_MERGE	1
#define KSM_RUN_UNMERGE	2
#define KSM_RUN_OFFLINE	4

/* The beginning of it */
struct ksm_mm_slot {
	struct mm_slot slot;
};

extern struct ksm_mm_slot ksm_mm_head;
extern spinlock_t ksm_mmlist_lock;
extern struct mutex ksm_thread_mutex;
extern wait_queue_head_t ksm_thread_wait;
extern unsigned long ksm_run;
extern unsigned long ksm_pages_sharing;
extern unsigned long ksm_pages_scanned;
extern const struct attribute_group ksm_attr_group;

ssize_t run_store(struct kobject *kobj, struct kobj_attribute *attr,
		  const char *buf, size_t count);
int remove_all_stable_nodes(void);
int break_ksm(struct vm_area_struct *vma, unsigned long addr,
	      unsigned long end, bool lock_vma);
bool ksm_compatible(const struct file *file, vma_flags_t vma_flags);
vm_fault_t do_wp_page(struct vm_fault *vmf);

#endif /* _RKSM_PRIVATE_H */

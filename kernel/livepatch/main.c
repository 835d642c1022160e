// SPDX-License-Identifier: GPL-2.0
/*
 * Lets a module provide page merging on a kernel that was not built for that.
 *
 * A livepatch redirects the functions that a provider stands behind to
 * mm/ksm_provider.c, the text that is compiled into a kernel built for it. What is
 * private to mm/ksm.c, or not exported, is found by relocations that the livepatch
 * core resolves.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/cleanup.h>
#include <linux/hashtable.h>
#include <linux/ksm.h>
#include <linux/livepatch.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/module.h>
#include <linux/oom.h>
#include <linux/rmap.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/srcu.h>
#include <linux/swap.h>
#include <linux/sysfs.h>
#include "hooks.h"
#include "internal.h"
#include "mm_slot.h"
#include <linux/ksm_provider.h>
#include "private.h"

#define KSM_SEAMS_BY_LIVEPATCH
#include "ksm_seams.h"

/* The text below defines the functions under these names. */
#define ksm_madvise			seam_ksm_madvise
#define ksm_enable_merge_any		seam_ksm_enable_merge_any
#define ksm_disable_merge_any		seam_ksm_disable_merge_any
#define __ksm_enter			seam___ksm_enter
#define __ksm_exit			seam___ksm_exit
#define ksm_might_need_to_copy		seam_ksm_might_need_to_copy
#define rmap_walk_ksm			seam_rmap_walk_ksm
#define folio_migrate_ksm		seam_folio_migrate_ksm
#define collect_procs_ksm		seam_collect_procs_ksm
#define ksm_process_profit		seam_ksm_process_profit
#define dup_mmap			seam_dup_mmap
#define create_init_stack_vma		seam_create_init_stack_vma

typeof(in_tree_ksm_madvise) seam_ksm_madvise;
typeof(in_tree_ksm_enable_merge_any) seam_ksm_enable_merge_any;
typeof(in_tree_ksm_disable_merge_any) seam_ksm_disable_merge_any;
typeof(in_tree___ksm_enter) seam___ksm_enter;
typeof(in_tree___ksm_exit) seam___ksm_exit;
typeof(in_tree_ksm_might_need_to_copy) seam_ksm_might_need_to_copy;
typeof(in_tree_rmap_walk_ksm) seam_rmap_walk_ksm;
typeof(in_tree_folio_migrate_ksm) seam_folio_migrate_ksm;
typeof(in_tree_collect_procs_ksm) seam_collect_procs_ksm;
typeof(in_tree_ksm_process_profit) seam_ksm_process_profit;
typeof(in_tree_dup_mmap) seam_dup_mmap;
typeof(in_tree_create_init_stack_vma) seam_create_init_stack_vma;

static int seams_close(void);
static void seams_open(void);

#define in_tree_dup_mmap counted_dup_mmap
#undef pr_fmt
#define pr_fmt(fmt) fmt
#include "ksm_provider.c"
#undef pr_fmt
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#undef ksm_madvise
#undef ksm_enable_merge_any
#undef ksm_disable_merge_any
#undef __ksm_enter
#undef __ksm_exit
#undef ksm_might_need_to_copy
#undef rmap_walk_ksm
#undef folio_migrate_ksm
#undef collect_procs_ksm
#undef ksm_process_profit
#undef dup_mmap
#undef create_init_stack_vma

#define REDIRECT(f) { .old_name = #f, .new_func = seam_##f }

static struct klp_func funcs[] = {
	REDIRECT(ksm_madvise),
	REDIRECT(ksm_enable_merge_any),
	REDIRECT(ksm_disable_merge_any),
	REDIRECT(__ksm_enter),
	REDIRECT(__ksm_exit),
	REDIRECT(ksm_might_need_to_copy),
	REDIRECT(rmap_walk_ksm),
	REDIRECT(folio_migrate_ksm),
	REDIRECT(collect_procs_ksm),
	REDIRECT(ksm_process_profit),
	REDIRECT(dup_mmap),
	REDIRECT(create_init_stack_vma),
	REDIRECT(do_wp_page),
	{ }
};

/*
 * The seams, as far as the livepatch core has come. A provider needs each task to
 * come by them, and keeps them closed as long as it is there.
 */
static DEFINE_MUTEX(seams_mutex);
static DECLARE_WAIT_QUEUE_HEAD(seams_wait);
static bool seams_complete;
static bool seams_closed;

static void post_patch(struct klp_object *obj)
{
	mutex_lock(&seams_mutex);
	seams_complete = true;
	mutex_unlock(&seams_mutex);
}

/*
 * Nobody is asked before a livepatch is disabled. While there is a provider the
 * knob for it cannot be opened; who has opened it before waits here.
 */
static void pre_unpatch(struct klp_object *obj)
{
	mutex_lock(&seams_mutex);
	while (seams_closed) {
		mutex_unlock(&seams_mutex);
		pr_warn("not disabled before the provider of page merging is gone\n");
		wait_event(seams_wait, !READ_ONCE(seams_closed));
		mutex_lock(&seams_mutex);
	}
	seams_complete = false;
	mutex_unlock(&seams_mutex);
}

static struct klp_object objs[] = {
	{
		.funcs = funcs,
		.callbacks = {
			.post_patch = post_patch,
			.pre_unpatch = pre_unpatch,
		},
	},
	{ }
};

static struct klp_patch patch = {
	.mod = THIS_MODULE,
	.objs = objs,
};

static void let_disable(bool allowed)
{
	static const struct attribute enabled = { .name = "enabled" };

	/* Another livepatch may have replaced this one: then its knob is gone. */
	if (READ_ONCE(patch.enabled) &&
	    sysfs_chmod_file(&patch.kobj, &enabled, allowed ? 0644 : 0444))
		pr_warn("the mode of 'enabled' stays as it is\n");
}

/* The livepatch core wakes tasks that sleep in a seam after 15 seconds. */
#define SEAMS_TIMEOUT	(60 * HZ)

static int seams_close(void)
{
	unsigned long timeout = jiffies + SEAMS_TIMEOUT;

	for (;;) {
		mutex_lock(&seams_mutex);
		if (seams_complete && READ_ONCE(patch.enabled))
			break;
		mutex_unlock(&seams_mutex);
		schedule_timeout_interruptible(1);
		if (signal_pending(current))
			return -EINTR;
		if (time_after(jiffies, timeout)) {
			pr_err("the livepatch is not complete, or not in force\n");
			return -EBUSY;
		}
	}
	seams_closed = true;
	mutex_unlock(&seams_mutex);
	let_disable(false);
	return 0;
}

static void seams_open(void)
{
	let_disable(true);
	mutex_lock(&seams_mutex);
	WRITE_ONCE(seams_closed, false);
	mutex_unlock(&seams_mutex);
	wake_up_all(&seams_wait);
}

static int __init hooks_init(void)
{
	int err;

	err = look_at_kernel();
	if (err)
		return err;
	return klp_enable_patch(&patch);
}

/* The livepatch core lets the module go when it is disabled. */
static void __exit hooks_exit(void)
{
	/* A take-over that failed may not have waited for its grace period. */
	synchronize_srcu(&ksm_srcu);
	srcu_barrier(&ksm_srcu);
}

module_init(hooks_init);
module_exit(hooks_exit);
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
MODULE_VERSION(RKSM_VERSION);
MODULE_AUTHOR("rksm developers");
MODULE_DESCRIPTION("Lets a module provide page merging, by livepatch");

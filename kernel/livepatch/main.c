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

#include <linux/ksm.h>
#include <linux/livepatch.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/rmap.h>
#include <linux/sched/signal.h>
#include <linux/sysfs.h>
#include <linux/wait.h>
#include "hooks.h"
#include "ksm_seams.h"

#define DECLARE(f, entry, type) typeof(in_tree_##f) seam_##f;
SEAMS(DECLARE)

#define REDIRECT(f, entry, type) { .old_name = #f, .new_func = seam_##f },

static struct klp_func funcs[] = {
	SEAMS(REDIRECT)
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

int seams_close(void)
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

void seams_open(void)
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
	drain_provider();
}

module_init(hooks_init);
module_exit(hooks_exit);
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
MODULE_VERSION(RKSM_VERSION);
MODULE_AUTHOR("rksm developers");
MODULE_DESCRIPTION("Lets a module provide page merging, by livepatch");

// SPDX-License-Identifier: GPL-2.0
/*
 * The provider interface, in the text that is compiled into a kernel built for it.
 * Kbuild renames each F that is redirected to seam_F here.
 */

#include <linux/cleanup.h>
#include <linux/hashtable.h>
#include <linux/ksm.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/module.h>
#include <linux/oom.h>
#include <linux/rcupdate.h>
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

#define in_tree_dup_mmap counted_dup_mmap
#include "ksm_provider.c"

void drain_provider(void)
{
	/* A take-over that failed may not have waited for its grace period. */
	synchronize_srcu(&ksm_srcu);
	srcu_barrier(&ksm_srcu);

	/*
	 * The files in sysfs are the in-tree code's. Who has found a callback of ours
	 * there is about to enter its SRCU domain, or inside, or about to return; and
	 * sleeps nowhere else than inside.
	 */
	synchronize_rcu_tasks();
	synchronize_srcu(&ksm_files_srcu);
	synchronize_rcu_tasks();
}

/* SPDX-License-Identifier: GPL-2.0 */
/* What page merging in Rust uses of the memory manager. */

#include <linux/cgroup.h>
#include <linux/cred.h>
#include <linux/gfp.h>
#include <linux/ksm.h>
#include <linux/ksm_provider.h>
#include <linux/memcontrol.h>
#include <linux/memory.h>
#include <linux/memory_hotplug.h>
#include <linux/mman.h>
#include <linux/mmu_notifier.h>
#include <linux/oom.h>
#include <linux/pagewalk.h>
#include <linux/rmap.h>
#include <linux/sched/exec_state.h>
#include <linux/swap.h>
#include <linux/user_namespace.h>
#include <trace/events/rksm.h>

const gfp_t RUST_CONST_HELPER_GFP_HIGHUSER = GFP_HIGHUSER;
const gfp_t RUST_CONST_HELPER___GFP_NOMEMALLOC = __GFP_NOMEMALLOC;
const gfp_t RUST_CONST_HELPER___GFP_RECLAIM = __GFP_RECLAIM;
const gfp_t RUST_CONST_HELPER___GFP_THISNODE = __GFP_THISNODE;
const slab_flags_t RUST_CONST_HELPER_SLAB_NO_MERGE = SLAB_NO_MERGE;
const vm_flags_t RUST_CONST_HELPER_VM_LOCKED = VM_LOCKED;
const vm_flags_t RUST_CONST_HELPER_VM_MERGE_NONE = VM_MERGE_NONE;

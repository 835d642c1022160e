// SPDX-License-Identifier: GPL-2.0

//! Whose an address space is: which user's, and which memory cgroup's; and whether its owner may look into it.
//!
//! All of it is asked of the task that the kernel takes for the owner of an address space when it charges its
//! memory (`mm->owner`). There is none once the last process that used it has ended, and none in kernels
//! without memory cgroups.
//!
//! C headers: `include/linux/cred.h`, `include/linux/memcontrol.h`, `include/linux/sched/exec_state.h`

use super::domain::Domain;
use kernel::{bindings, mm::Mm};
#[cfg(CONFIG_MEMCG)]
use {
    core::ptr::{read_volatile, NonNull},
    kernel::sync::rcu,
};

/// Whether it is known which user an address space is of.
pub(crate) const fn users_are_known() -> bool {
    cfg!(CONFIG_MEMCG)
}

/// Whether it is known which memory cgroup an address space is of.
#[cfg(CONFIG_MEMCG)]
pub(crate) fn cgroups_are_known() -> bool {
    // With `cgroup_disable=memory` all would be of one.
    // SAFETY: It reads a switch of the kernel's.
    !unsafe { bindings::mem_cgroup_disabled() }
}

#[cfg(not(CONFIG_MEMCG))]
pub(crate) fn cgroups_are_known() -> bool {
    false
}

/// The task that owns `mm`, which RCU keeps.
#[cfg(CONFIG_MEMCG)]
fn owner(mm: &Mm, _rcu: &rcu::Guard) -> Option<NonNull<bindings::task_struct>> {
    // SAFETY: `mm` is live.
    let owner = unsafe { &raw const (*mm.as_raw()).__bindgen_anon_1.owner };
    // SAFETY: As above. The field is a word, so a read is never torn.
    NonNull::new(unsafe { read_volatile(owner) })
}

/// The process that owns `mm`, as a number in the first namespace. 0: that is not known.
#[cfg(CONFIG_MEMCG)]
pub(crate) fn pid(mm: &Mm) -> i32 {
    let rcu = rcu::read_lock();
    let Some(owner) = owner(mm, &rcu) else {
        return 0;
    };
    // SAFETY: RCU keeps the task, and its process is always the same.
    unsafe { (*owner.as_ptr()).tgid }
}

#[cfg(not(CONFIG_MEMCG))]
pub(crate) fn pid(_mm: &Mm) -> i32 {
    0
}

/// The task that owns `mm`, if it has been started. Until then it is of no cgroup but the root, and nobody runs in it.
#[cfg(CONFIG_MEMCG)]
fn started_owner(mm: &Mm, rcu: &rcu::Guard) -> Option<NonNull<bindings::task_struct>> {
    let owner = owner(mm, rcu)?;
    // SAFETY: RCU keeps the task.
    let state = unsafe { &raw const (*owner.as_ptr()).__state };
    // SAFETY: As above. The field is a word, so a read is never torn.
    let state = unsafe { read_volatile(state) };
    (state & bindings::TASK_NEW == 0).then_some(owner)
}

/// Whether a task is dumpable: `prctl(PR_GET_DUMPABLE)` is 1.
#[cfg(CONFIG_MEMCG)]
fn dumpable(task: NonNull<bindings::task_struct>, _rcu: &rcu::Guard) -> bool {
    // SAFETY: RCU keeps the task.
    let state = unsafe { &raw const (*task.as_ptr()).exec_state };
    // SAFETY: As above. The field is a word, so a read is never torn.
    let state = unsafe { read_volatile(state) };
    // SAFETY: A task has such a state from when it may own memory, and RCU keeps it.
    let dumpable = unsafe { &raw const (*state).dumpable };
    // SAFETY: As above. The field is a word.
    unsafe { read_volatile(dumpable) == bindings::task_dumpable_TASK_DUMPABLE_OWNER }
}

/// The domain of the user that `mm` is of. `alone` is that of a process which is not wholly one user's:
/// one whose real, effective and saved IDs differ, of users or of groups, or that is not dumpable, as after
/// it has changed its user or read a program that its user may not read. The user could not
/// look into it by `ptrace()`, and is not to find out by merging what is in it.
#[cfg(CONFIG_MEMCG)]
pub(crate) fn user(mm: &Mm, alone: Domain) -> Domain {
    let rcu = rcu::read_lock();
    let Some(owner) = started_owner(mm, &rcu) else {
        return Domain::NOBODY;
    };
    // What a task may do for a while on behalf of somebody else does not count.
    // SAFETY: RCU keeps the task.
    let cred = unsafe { &raw const (*owner.as_ptr()).real_cred };
    // SAFETY: As above. The field is a word, so a read is never torn.
    let cred = unsafe { read_volatile(cred) };
    // SAFETY: A task has credentials, which never change and which RCU keeps.
    let cred = unsafe { &*cred };
    let one_user = cred.uid.val == cred.euid.val && cred.uid.val == cred.suid.val;
    let one_group = cred.gid.val == cred.egid.val && cred.gid.val == cred.sgid.val;
    if !one_user || !one_group || !dumpable(owner, &rcu) {
        return alone;
    }
    // SAFETY: Credentials keep their namespace.
    let namespace = unsafe { bindings::user_ns_id(cred.user_ns) };
    Domain::user(namespace, cred.uid.val).unwrap_or(alone)
}

#[cfg(not(CONFIG_MEMCG))]
pub(crate) fn user(_mm: &Mm, _alone: Domain) -> Domain {
    Domain::NOBODY
}

/// Whether `mm` is dumpable: its user may have its memory. One that belongs
/// to nobody any more counts as such: it is about to go, and nothing is to be copied for it.
#[cfg(CONFIG_MEMCG)]
pub(super) fn is_dumpable(mm: &Mm) -> bool {
    let rcu = rcu::read_lock();
    owner(mm, &rcu).is_none_or(|owner| dumpable(owner, &rcu))
}

/// Whether `mm` is dumpable. That is not known; where users are not known either, nobody else finds out what
/// is in it by merging, unless somebody says that all are to be merged with all.
#[cfg(not(CONFIG_MEMCG))]
pub(super) fn is_dumpable(_mm: &Mm) -> bool {
    true
}

/// The domain of the memory cgroup that `mm` is of, or of the one above it that is `depth` levels below
/// the root. With 0, and where it lies no deeper, it is that of the cgroup itself.
#[cfg(CONFIG_MEMCG)]
pub(crate) fn cgroup(mm: &Mm, depth: u32) -> Domain {
    let rcu = rcu::read_lock();
    let Some(owner) = started_owner(mm, &rcu) else {
        return Domain::NOBODY;
    };
    // SAFETY: RCU keeps the task.
    let group = unsafe { bindings::mem_cgroup_from_task(owner.as_ptr()) };
    // SAFETY: RCU keeps the group; a task that is there has one.
    let leaf = unsafe { (*group).css.cgroup };
    let level = match depth {
        0 => i32::MAX,
        depth => i32::try_from(depth).unwrap_or(i32::MAX),
    };
    // SAFETY: The group keeps its cgroup.
    let above = unsafe { bindings::cgroup_ancestor(leaf, level) };
    let cgroup = if above.is_null() { leaf } else { above };
    // SAFETY: A cgroup keeps those above it.
    Domain::cgroup(unsafe { bindings::cgroup_id(cgroup) })
}

#[cfg(not(CONFIG_MEMCG))]
pub(crate) fn cgroup(_mm: &Mm, _depth: u32) -> Domain {
    Domain::NOBODY
}

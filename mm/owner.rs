// SPDX-License-Identifier: GPL-2.0

//! Whose an address space is: which user's, and which memory cgroup's.
//!
//! Both are asked of the task that the kernel takes for the owner of an address space when it charges its
//! memory (`mm->owner`). There is none once the last process that used it has ended, and none in kernels
//! without memory cgroups.
//!
//! C headers: `include/linux/cred.h`, `include/linux/memcontrol.h`

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

/// The domain of the user that `mm` is of. `alone` is that of a process which is not wholly one user's:
/// one whose real, effective and saved IDs differ, of users or of groups. The owner of either could not
/// look into it by `ptrace()`, and is not to find out by merging what is in it.
#[cfg(CONFIG_MEMCG)]
pub(crate) fn user(mm: &Mm, alone: Domain) -> Domain {
    let rcu = rcu::read_lock();
    let Some(owner) = owner(mm, &rcu) else {
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
    match one_user && one_group {
        // SAFETY: Credentials keep their namespace.
        true => Domain::user(unsafe { bindings::user_ns_id(cred.user_ns) }, cred.uid.val),
        false => alone,
    }
}

#[cfg(not(CONFIG_MEMCG))]
pub(crate) fn user(_mm: &Mm, _alone: Domain) -> Domain {
    Domain::NOBODY
}

/// The domain of the memory cgroup that `mm` is of, or of the one above it that is `depth` levels below
/// the root. With 0, and where it lies no deeper, it is that of the cgroup itself.
#[cfg(CONFIG_MEMCG)]
pub(crate) fn cgroup(mm: &Mm, depth: u32) -> Domain {
    let rcu = rcu::read_lock();
    let Some(owner) = owner(mm, &rcu) else {
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

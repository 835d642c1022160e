// SPDX-License-Identifier: GPL-2.0

//! All address spaces of user space.
//!
//! C headers: `include/linux/pid.h`, `include/linux/sched/mm.h`

use core::ptr::NonNull;
use kernel::{
    bindings,
    mm::{MmWithUser, MmWithUserAsync},
    sync::{aref::ARef, rcu},
};

/// The address spaces, one after the other: those of all threads, so that one whose main thread has
/// ended is not missed, and one of many threads comes many times.
///
/// Between two of them only a number is kept. What starts meanwhile may be missed.
pub(crate) fn address_spaces() -> impl Iterator<Item = ARef<MmWithUserAsync>> {
    let mut next = 1;
    core::iter::from_fn(move || loop {
        let (pid, task) = thread_from(next)?;
        next = pid + 1;
        let Some(task) = task else {
            continue;
        };
        // SAFETY: We own a reference to the task. It has no address space if it is a kernel thread,
        // or has exited.
        let mm = unsafe { bindings::get_task_mm(task.as_ptr()) };
        // SAFETY: `thread_from` gave us a reference.
        unsafe { bindings::put_task_struct(task.as_ptr()) };
        if let Some(mm) = NonNull::new(mm) {
            // SAFETY: `get_task_mm` took a reference to its users for us.
            let mm = unsafe { ARef::<MmWithUser>::from_raw(mm.cast()) };
            // The last user tears it down, and a scanner has better things to do.
            return Some(MmWithUser::into_mmput_async(mm));
        }
    })
}

/// The first number from `next` on that stands for something, and a reference to the thread, if it
/// stands for one.
fn thread_from(next: i32) -> Option<(i32, Option<NonNull<bindings::task_struct>>)> {
    let _rcu = rcu::read_lock();
    let namespace = &raw mut bindings::init_pid_ns;
    // SAFETY: The namespace is there for ever.
    let pid = unsafe { bindings::find_ge_pid(next, namespace) };
    let pid = NonNull::new(pid)?;
    // SAFETY: It is kept by RCU.
    let numbers = unsafe { (*pid.as_ptr()).numbers.as_ptr() };
    // SAFETY: The first number is that in the namespace in which it was found.
    let number = unsafe { (*numbers).nr };
    // SAFETY: As above.
    let task = unsafe { bindings::get_pid_task(pid.as_ptr(), bindings::pid_type_PIDTYPE_PID) };
    Some((number, NonNull::new(task)))
}

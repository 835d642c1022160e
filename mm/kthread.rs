// SPDX-License-Identifier: GPL-2.0

//! Kernel threads that can be frozen, and the queue they sleep on.
//!
//! # No wake-up is lost
//!
//! A sleeper puts itself on the queue and leaves the running state under the queue's lock, and only
//! then looks at its condition. A waker first makes the condition true and then takes the same lock
//! to walk the queue. Whichever of the two takes the lock first:
//!
//! - the sleeper does: the waker finds it on the queue, not running, and makes it run;
//! - the waker does: what it wrote before it released the lock is seen by the sleeper, which takes
//!   the lock afterwards and then reads the condition.
//!
//! So the condition needs no ordering of its own; a relaxed atomic will do. Stopping a thread works
//! the same way without the queue: `kthread_stop()` sets the flag and then wakes the thread, and the
//! sleeper reads the flag after it left the running state, with a full barrier in between on either
//! side.
//!
//! C headers: [`include/linux/kthread.h`](srctree/include/linux/kthread.h),
//! [`include/linux/freezer.h`](srctree/include/linux/freezer.h),
//! [`include/linux/wait.h`](srctree/include/linux/wait.h)

use core::{
    marker::{PhantomData, PhantomPinned},
    ptr::{self, NonNull}, //
};
use kernel::{
    bindings,
    error::from_err_ptr,
    prelude::*,
    sync::LockClassKey,
    task::{
        Task, MAX_SCHEDULE_TIMEOUT, TASK_FREEZABLE, TASK_INTERRUPTIBLE, TASK_NORMAL,
        TASK_UNINTERRUPTIBLE,
    },
    time::msecs_to_jiffies,
    types::{NotThreadSafe, Opaque}, //
};

/// Lets another task run if one is due; does nothing on a kernel that preempts by itself.
#[inline]
pub(crate) fn cond_resched() {
    // SAFETY: Always allowed where sleeping is.
    unsafe { bindings::cond_resched() };
}

/// Where a [`Kthread`] sleeps until somebody wakes it.
///
/// `kernel::sync::CondVar` has no wait that is both freezable and bounded in time, and it wants the
/// condition under a lock, which a freezable sleep must not hold.
#[pin_data]
pub(crate) struct WaitQueue {
    #[pin]
    head: Opaque<bindings::wait_queue_head>,
    // The head is a list head, which refers to itself.
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: A `wait_queue_head` has its own lock, and any thread may use it.
unsafe impl Send for WaitQueue {}

// SAFETY: As above.
unsafe impl Sync for WaitQueue {}

impl WaitQueue {
    /// An empty queue; `key` is its lock's class. [`new_wait_queue!`] makes one.
    pub(crate) fn new(name: &'static CStr, key: Pin<&'static LockClassKey>) -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: `slot` is valid for writing, and `name` and `key` are static.
            head <- Opaque::ffi_init(|slot| unsafe {
                bindings::__init_waitqueue_head(slot, name.as_char_ptr(), key.as_ptr())
            }),
            _pin: PhantomPinned,
        })
    }

    /// Sleeps until `condition` is true, which runs when the task is already set to sleep: it must not
    /// sleep itself.
    pub(crate) fn wait(&self, condition: impl FnMut() -> bool) {
        // A sleep that no signal ends has no other result.
        let _ = self.wait_in(TASK_UNINTERRUPTIBLE, condition);
    }

    /// The same, but a signal ends the sleep.
    ///
    /// # Errors
    ///
    /// `ERESTARTSYS`: a signal came.
    pub(crate) fn wait_interruptible(&self, condition: impl FnMut() -> bool) -> Result {
        self.wait_in(TASK_INTERRUPTIBLE, condition)
    }

    fn wait_in(&self, state: c_int, mut condition: impl FnMut() -> bool) -> Result {
        let entry = Opaque::<bindings::wait_queue_entry>::uninit();
        // SAFETY: `entry` is memory for an entry.
        unsafe { bindings::init_wait(entry.get()) };
        let result = loop {
            // SAFETY: `entry` was initialised, stays where it is, and leaves the queue below.
            unsafe { bindings::prepare_to_wait(self.head.get(), entry.get(), state) };
            if condition() {
                break Ok(());
            }
            if state == TASK_INTERRUPTIBLE && kernel::current!().signal_pending() {
                break Err(ERESTARTSYS);
            }
            // SAFETY: The task may sleep here.
            unsafe { bindings::schedule() };
        };
        // SAFETY: `entry` was prepared on this queue.
        unsafe { bindings::finish_wait(self.head.get(), entry.get()) };
        result
    }

    /// Wakes every thread that sleeps here. What it waits for has to be true before the call.
    pub(crate) fn wake(&self) {
        // SAFETY: `head` is an initialised wait queue.
        unsafe { bindings::__wake_up(self.head.get(), TASK_NORMAL, 0, ptr::null_mut()) };
    }
}

/// An initialiser for a [`WaitQueue`], with a lock class of its own.
macro_rules! new_wait_queue {
    ($name:literal) => {
        $crate::mm::kthread::WaitQueue::new(::kernel::c_str!($name), ::kernel::static_lock_class!())
    };
}
pub(crate) use new_wait_queue;

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// The condition is true.
    Condition,
    /// The time is over.
    Timeout,
    /// The thread has to stop.
    Stop,
}

/// The running thread, as its [`Body`] sees it.
pub(crate) struct ThisThread {
    _not_thread_safe: NotThreadSafe,
}

impl ThisThread {
    /// Whether [`Kthread`] is being dropped, so that [`Body::run`] has to return.
    #[inline]
    pub(crate) fn should_stop(&self) -> bool {
        // SAFETY: The current task is a kernel thread: only `Kthread` makes values of this type.
        unsafe { bindings::kthread_should_stop() }
    }

    /// Whether the system waits for this thread to freeze: long work should be cut short and end in
    /// [`ThisThread::wait`] or [`ThisThread::wait_ms`].
    #[inline]
    pub(crate) fn freezing(&self) -> bool {
        // SAFETY: `current_raw()` is the current task, which is valid.
        unsafe { bindings::freezing(Task::current_raw()) }
    }

    /// The CPU time that the thread has used, as of its last tick or sleep.
    pub(crate) fn cpu_ns(&self) -> u64 {
        // SAFETY: `current_raw()` is the current task, which is valid.
        let used = unsafe { &raw const (*Task::current_raw()).se.sum_exec_runtime };
        // SAFETY: As above; the scheduler may write it meanwhile, but not in part.
        unsafe { used.read_volatile() }
    }

    /// Sleeps on `queue` until `condition` is true or the thread has to stop. The thread can be
    /// frozen meanwhile, so the caller holds no lock.
    ///
    /// `condition` runs when the task is already set to sleep: it must not sleep itself.
    pub(crate) fn wait(&self, queue: &WaitQueue, condition: impl FnMut() -> bool) -> Wake {
        self.wait_jiffies(queue, MAX_SCHEDULE_TIMEOUT, condition)
    }

    /// As [`ThisThread::wait`], for `timeout_ms` milliseconds at most. Zero does not sleep, but the
    /// thread is frozen if that is asked for.
    pub(crate) fn wait_ms(
        &self,
        queue: &WaitQueue,
        timeout_ms: u32,
        condition: impl FnMut() -> bool,
    ) -> Wake {
        // The conversion returns at most half of `c_long::MAX`.
        let jiffies = msecs_to_jiffies(timeout_ms) as c_long;
        self.wait_jiffies(queue, jiffies, condition)
    }

    fn wait_jiffies(
        &self,
        queue: &WaitQueue,
        mut left: c_long,
        mut condition: impl FnMut() -> bool,
    ) -> Wake {
        self.freeze_if_asked();

        let entry = Opaque::<bindings::wait_queue_entry>::uninit();
        // SAFETY: `entry` is memory for an entry.
        unsafe { bindings::init_wait(entry.get()) };

        let state = TASK_INTERRUPTIBLE | TASK_FREEZABLE;
        let wake = loop {
            // The order of this step and the next two is what the head of the file relies on.
            //
            // SAFETY: `entry` was initialised, stays where it is, and leaves the queue below.
            unsafe { bindings::prepare_to_wait(queue.head.get(), entry.get(), state) };
            if self.should_stop() {
                break Wake::Stop;
            }
            if condition() {
                break Wake::Condition;
            }
            if left == 0 {
                break Wake::Timeout;
            }
            // SAFETY: The task may sleep here; any number of jiffies from zero is allowed.
            left = unsafe { bindings::schedule_timeout(left) };
        };

        // SAFETY: `entry` was prepared on this queue.
        unsafe { bindings::finish_wait(queue.head.get(), entry.get()) };
        wake
    }

    /// A sleep that never happens (a timeout of zero) is no place to freeze in, and without this a
    /// thread that never sleeps would hold up suspend.
    fn freeze_if_asked(&self) {
        // Not `try_to_freeze()`: a frozen thread must still follow a request to stop.
        //
        // SAFETY: The current task is a kernel thread, and a null pointer means that whether it was
        // frozen is of no interest.
        unsafe { bindings::kthread_freezable_should_stop(ptr::null_mut()) };
    }
}

/// What a [`Kthread`] does.
pub(crate) trait Body: Send + 'static {
    /// Runs in the thread, once, until [`ThisThread::should_stop`] says so. It may also return
    /// earlier.
    fn run(&mut self, thread: &ThisThread);
}

/// A kernel thread, which is stopped and joined on drop.
///
/// # Invariants
///
/// - `task` is a kernel thread that runs [`Kthread::main`] on `body`, and this value owns a
///   reference to it.
/// - `body` came from `KBox::into_raw()`. Until the thread is joined only the thread uses it.
pub(crate) struct Kthread<B: Body> {
    task: NonNull<bindings::task_struct>,
    body: NonNull<B>,
    _owns: PhantomData<B>,
}

// SAFETY: Any thread may stop a kernel thread, and `B` may be dropped by another thread than the one
// that used it, for `Body` requires `Send`.
unsafe impl<B: Body> Send for Kthread<B> {}

// SAFETY: There is no method that takes `&self`.
unsafe impl<B: Body> Sync for Kthread<B> {}

impl<B: Body> Kthread<B> {
    /// Starts a freezable thread with the given name (15 bytes of it show in `comm`) and nice value.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if there is no memory for the thread.
    /// - `EINTR` if the caller was killed meanwhile.
    pub(crate) fn spawn(name: &CStr, nice: c_long, body: B) -> Result<Self> {
        let body = KBox::into_raw(KBox::new(body, GFP_KERNEL)?);
        // SAFETY: `main` accepts `body`; the format fits its argument, and both are C strings.
        let task = unsafe {
            bindings::kthread_create_on_node(
                Some(Self::main),
                body.cast(),
                bindings::NUMA_NO_NODE,
                c"%s".as_char_ptr(),
                name.as_char_ptr(),
            )
        };
        let task = from_err_ptr(task).inspect_err(|_| {
            // SAFETY: `body` came from `into_raw()` above, and there is no thread to use it.
            drop(unsafe { KBox::from_raw(body) });
        })?;

        // SAFETY: The thread has not run yet, so its task is valid.
        unsafe { bindings::get_task_struct(task) };
        // SAFETY: As above, and any nice value is allowed: the kernel ignores one out of range.
        unsafe { bindings::set_user_nice(task, nice) };
        // SAFETY: The task is valid.
        unsafe { bindings::wake_up_process(task) };

        // INVARIANT: The thread runs `main` on `body`, and the reference was taken above. Neither
        // pointer is null: one passed `from_err_ptr()` and is no task otherwise, the other is a box.
        Ok(Self {
            task: NonNull::new(task).ok_or(ENOMEM)?,
            body: NonNull::new(body).ok_or(ENOMEM)?,
            _owns: PhantomData,
        })
    }

    /// What the thread runs.
    ///
    /// # Safety
    ///
    /// `body` points to a `B` that nothing else uses until this returns. The current task is a kernel
    /// thread.
    unsafe extern "C" fn main(body: *mut c_void) -> c_int {
        // SAFETY: The current task is a kernel thread by the contract of this function.
        unsafe { bindings::set_freezable() };
        let thread = ThisThread {
            _not_thread_safe: NotThreadSafe,
        };
        // SAFETY: `body` is valid and ours alone by the contract of this function.
        let body = unsafe { &mut *body.cast::<B>() };
        body.run(&thread);
        0
    }
}

impl<B: Body> Drop for Kthread<B> {
    fn drop(&mut self) {
        // The result is what `main` returned, or `EINTR` if the thread was stopped before it came
        // that far: nobody needs it.
        //
        // SAFETY: `task` is a kernel thread and the reference to it is ours, by the type invariant.
        unsafe { bindings::kthread_stop_put(self.task.as_ptr()) };
        // SAFETY: `body` came from `into_raw()`, and the thread that used it is gone.
        drop(unsafe { KBox::from_raw(self.body.as_ptr()) });
    }
}

#[kunit_tests(rksm_kthread)]
mod tests {
    use super::*;
    use kernel::{
        sync::{
            atomic::{Atomic, Relaxed},
            Arc,
            Completion, //
        }, //
    };

    /// What a test and its thread both see.
    #[pin_data]
    struct Shared {
        #[pin]
        queue: WaitQueue,
        #[pin]
        done: Completion,
        go: Atomic<bool>,
        last_wake: Atomic<u32>,
        bodies_dropped: Atomic<u32>,
    }

    impl Shared {
        fn new() -> Result<Arc<Self>> {
            let init = try_pin_init!(Self {
                queue <- new_wait_queue!("rksm_test"),
                done <- Completion::new(),
                go: Atomic::new(false),
                last_wake: Atomic::new(0),
                bodies_dropped: Atomic::new(0),
            });
            Arc::pin_init(init, GFP_KERNEL)
        }
    }

    /// Waits once in one of the two ways, and says how that ended.
    struct WaitOnce {
        shared: Arc<Shared>,
        timeout_ms: Option<u32>,
    }

    impl Body for WaitOnce {
        fn run(&mut self, thread: &ThisThread) {
            let shared = &self.shared;
            let condition = || shared.go.load(Relaxed);
            let wake = match self.timeout_ms {
                None => thread.wait(&shared.queue, condition),
                Some(ms) => thread.wait_ms(&shared.queue, ms, condition),
            };
            shared.last_wake.store(code(wake), Relaxed);
            shared.done.complete_all();
        }
    }

    impl Drop for WaitOnce {
        fn drop(&mut self) {
            self.shared.bodies_dropped.fetch_add(1, Relaxed);
        }
    }

    fn code(wake: Wake) -> u32 {
        match wake {
            Wake::Condition => 1,
            Wake::Timeout => 2,
            Wake::Stop => 3,
        }
    }

    fn spawn(shared: &Arc<Shared>, timeout_ms: Option<u32>) -> Result<Kthread<WaitOnce>> {
        let body = WaitOnce {
            shared: shared.clone(),
            timeout_ms,
        };
        Kthread::spawn(c"rksm_test", 5, body)
    }

    #[test]
    fn waking_ends_the_wait_whenever_it_comes() -> Result {
        // The thread is anywhere between its start and its sleep when the wake-up comes. One that
        // gets lost hangs this test.
        for _ in 0..200 {
            let shared = Shared::new()?;
            let thread = spawn(&shared, None)?;
            shared.go.store(true, Relaxed);
            shared.queue.wake();
            shared.done.wait_for_completion();
            assert_eq!(shared.last_wake.load(Relaxed), code(Wake::Condition));
            drop(thread);
            assert_eq!(shared.bodies_dropped.load(Relaxed), 1);
        }
        Ok(())
    }

    #[test]
    fn time_ends_the_wait() -> Result {
        for timeout_ms in [0, 1, 20] {
            let shared = Shared::new()?;
            let thread = spawn(&shared, Some(timeout_ms))?;
            shared.done.wait_for_completion();
            assert_eq!(shared.last_wake.load(Relaxed), code(Wake::Timeout));
            drop(thread);
            assert_eq!(shared.bodies_dropped.load(Relaxed), 1);
        }
        Ok(())
    }

    #[test]
    fn dropping_stops_the_thread_whenever_it_comes() -> Result {
        // Stopped at once, the thread may not have run at all; the body is freed all the same.
        for timeout_ms in [None, Some(u32::MAX)] {
            for _ in 0..200 {
                let shared = Shared::new()?;
                drop(spawn(&shared, timeout_ms)?);
                let wake = shared.last_wake.load(Relaxed);
                assert!(wake == 0 || wake == code(Wake::Stop));
                assert_eq!(shared.bodies_dropped.load(Relaxed), 1);
            }
        }
        Ok(())
    }
}

// SPDX-License-Identifier: GPL-2.0

//! The scanner threads.

use crate::{engine::Engine, mm::kthread::Kthread, scan::Scanner};
use kernel::{
    c_str, new_mutex,
    prelude::*,
    str::CString,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc, Mutex,
    },
};

/// How nice scanners are.
const NICE: c_long = 5;

/// All scanners.
#[pin_data]
pub(crate) struct Crew {
    len: Atomic<u32>,
    #[pin]
    threads: Mutex<KVec<Kthread<Scanner>>>,
}

/// The scanners are at work, until this is dropped.
pub(crate) struct AtWork(Arc<Crew>);

impl AtWork {
    /// Begins with one.
    ///
    /// # Errors
    ///
    /// As [`Crew::set_len`].
    pub(crate) fn new(crew: Arc<Crew>, engine: &Arc<Engine>) -> Result<Self> {
        crew.set_len(engine, 1)?;
        Ok(Self(crew))
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.threads.lock().clear();
    }
}

impl Crew {
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                len: Atomic::new(0),
                threads <- new_mutex!(KVec::new(), "rksm_crew"),
            }),
            GFP_KERNEL,
        )
    }

    pub(crate) fn len(&self) -> u32 {
        self.len.load(Relaxed)
    }

    /// Has so many threads scan. One that has to go ends with the step that it is in.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `EINTR`: not all could be started.
    pub(crate) fn set_len(&self, engine: &Arc<Engine>, len: u32) -> Result {
        let wanted = len as usize;
        let mut threads = self.threads.lock();
        // Those that have to go end with their step, all at once.
        engine.passes.with_advisors(|advisors| {
            engine.scanners.store(len, Relaxed);
            engine.decide_anew(advisors);
        });
        engine.wake_all();
        while threads.len() > wanted {
            drop(threads.pop());
        }
        let mut result = Ok(());
        while threads.len() < wanted && result.is_ok() {
            let number = threads.len();
            result = Self::start(engine, number)
                .and_then(|thread| Ok(threads.push(thread, GFP_KERNEL)?));
        }
        // At most `MOST_SCANNERS`.
        let len = threads.len() as u32;
        engine.scanners.store(len, Relaxed);
        self.len.store(len, Relaxed);
        result
    }

    fn start(engine: &Arc<Engine>, number: usize) -> Result<Kthread<Scanner>> {
        let scanner = Scanner::new(engine.clone(), number)?;
        match number {
            0 => Kthread::spawn(c_str!("rksmd"), NICE, scanner),
            _ => {
                let name = CString::try_from_fmt(fmt!("rksmd/{number}"))?;
                Kthread::spawn(&name, NICE, scanner)
            }
        }
    }
}

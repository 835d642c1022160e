// SPDX-License-Identifier: GPL-2.0

//! Passes: who is scanned next, by which scanner, and when all have been.
//!
//! A pass is over what was registered when it began. Several scanners take part; each claims one address
//! space after the other. The last one to be done ends the pass.

use crate::{
    advisor::{Advisor, Pass as Figures},
    control::MOST_SCANNERS,
    mm_slot::MmSlot,
    pressure::Pressure,
    registry::Registry,
    settings::LOOK_MS,
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc, Mutex,
    },
    time::{Delta, Instant, Monotonic},
};

/// What a scanner is to do next.
pub(crate) enum Next {
    /// To begin a pass, and say so by [`Passes::begun`].
    Begin,
    /// To scan this address space, which is its own until [`Passes::done`].
    Scan(Arc<MmSlot>),
    /// Nothing for now.
    Wait(Pause),
    /// The pass has ended.
    End(Ended),
}

/// What a scanner waits for.
#[derive(Clone, Copy)]
pub(crate) enum Pause {
    /// Others, as long as they are not done with theirs.
    Others,
    /// So many ms, since the last pass began only just now.
    Apart(u32),
}

impl Pause {
    /// How long to wait at the most before looking again.
    pub(crate) fn ms(self) -> u32 {
        match self {
            Self::Others => OTHERS_MS,
            Self::Apart(ms) => ms,
        }
    }
}

/// A pass that has ended.
#[derive(Clone, Copy, Default)]
pub(crate) struct Ended {
    pub(crate) figures: Figures,
    pub(crate) ms: u64,
}

struct Pass {
    /// Changes when passes begin anew because everything was unmerged.
    era: u64,
    under_way: bool,
    /// The last address space that was claimed, and the last that belongs to the pass.
    claimed: u64,
    last: u64,
    /// Scanners that have claimed one, or begin the pass.
    busy: u32,
    begin: Option<Instant<Monotonic>>,
    /// The last one that has ended.
    ended: Ended,
    /// How many pages each scanner has scanned.
    pages: [u64; SCANNERS],
    cpu_ns: u64,
    advisors: Advisors,
}

/// Those who decide on `pages_to_scan`.
pub(crate) struct Advisors {
    pub(crate) scan_time: Advisor,
    pub(crate) pressure: Pressure,
    /// When it was last looked at how much memory is available, if somebody is to look.
    looked: Option<Instant<Monotonic>>,
}

/// When to look at how much memory is available.
const LOOK: Delta = Delta::from_millis(LOOK_MS as i64);

/// What was seen so long ago says nothing about now.
const STALE: Delta = Delta::from_millis(10 * LOOK_MS as i64);

impl Advisors {
    pub(crate) const fn new() -> Self {
        Self {
            scan_time: Advisor::new(),
            pressure: Pressure::new(),
            looked: None,
        }
    }

    /// Whether it is time to look at how much memory is available, which the caller does then.
    pub(crate) fn looks(&mut self) -> bool {
        let age = self.looked.map(|looked| looked.elapsed());
        if age.is_some_and(|age| age < LOOK) {
            return false;
        }
        if age.is_none_or(|age| age >= STALE) {
            self.pressure.forget();
        }
        self.looked = Some(Instant::now());
        true
    }

    /// Has the next look be due now, and as if it were the first.
    pub(crate) fn look_anew(&mut self) {
        self.looked = None;
    }
}

impl Pass {
    /// How long ago it began.
    fn ms(&self) -> u64 {
        let ms = self.begin.map_or(0, |begin| begin.elapsed().as_millis());
        u64::try_from(ms).unwrap_or(0)
    }

    /// How long it is until the next one may begin.
    fn rest_ms(&self) -> u32 {
        let left = |begin: Instant<Monotonic>| APART_MS - begin.elapsed().as_millis();
        u32::try_from(self.begin.map_or(0, left)).unwrap_or(0)
    }
}

const SCANNERS: usize = MOST_SCANNERS as usize;

/// How long others may take before they are looked at again.
const OTHERS_MS: u32 = 10;

/// How long after one pass the next begins, at the least. Who sees `full_scans` grow, changes pages and waits
/// for it to grow once more is done with that before the next pass looks at them. A pass that is over sooner
/// has found next to nothing to do.
const APART_MS: i64 = 4;

/// The pass under way, and what is remembered of those before.
#[pin_data]
pub(crate) struct Passes {
    /// Changes when somebody who waits for others may go on.
    changes: Atomic<u64>,
    /// Held for a few look-ups at most.
    #[pin]
    pass: Mutex<Pass>,
}

/// Shows that its owner is one of the busy scanners.
pub(crate) struct Share {
    era: u64,
}

impl Passes {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            changes: Atomic::new(0),
            pass <- new_mutex!(Pass {
                era: 0,
                under_way: false,
                claimed: 0,
                last: 0,
                busy: 0,
                begin: None,
                ended: Ended::default(),
                pages: [0; SCANNERS],
                cpu_ns: 0,
                advisors: Advisors::new(),
            }, "rksm_pass"),
        })
    }

    /// A number that changes when somebody who waits for others may go on.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Relaxed)
    }

    /// What a scanner that has nothing is to do, and its share in the pass if it is to do something.
    pub(crate) fn next(&self, registry: &Registry) -> (Next, Option<Share>) {
        let mut pass = self.pass.lock();
        let share = Some(Share { era: pass.era });
        if !pass.under_way {
            if pass.busy > 0 {
                return (Next::Wait(Pause::Others), None);
            }
            let rest_ms = pass.rest_ms();
            if rest_ms > 0 {
                return (Next::Wait(Pause::Apart(rest_ms)), None);
            }
            pass.busy = 1;
            return (Next::Begin, share);
        }
        if let Some(slot) = registry.between(pass.claimed, pass.last).next() {
            pass.claimed = slot.id();
            pass.busy += 1;
            return (Next::Scan(slot), share);
        }
        if pass.busy > 0 {
            return (Next::Wait(Pause::Others), None);
        }
        pass.under_way = false;
        let ended = Ended {
            figures: Figures {
                pages: pass.pages.iter().sum(),
                busiest: pass.pages.iter().copied().max().unwrap_or(0),
                cpu_ns: pass.cpu_ns,
            },
            ms: pass.ms(),
        };
        pass.ended = ended;
        (Next::End(ended), None)
    }

    /// A pass over all that are registered now has begun.
    pub(crate) fn begun(&self, registry: &Registry, share: Share) {
        let mut pass = self.pass.lock();
        if pass.era != share.era {
            return;
        }
        self.changes.add(1, Relaxed);
        pass.busy -= 1;
        pass.under_way = true;
        pass.claimed = 0;
        pass.last = registry.last_id();
        pass.begin = Some(Instant::now());
        pass.pages = [0; SCANNERS];
        pass.cpu_ns = 0;
    }

    /// A scanner is done with the address space that it has claimed. True: it was the last one that others
    /// wait for.
    pub(crate) fn done(&self, share: Share) -> bool {
        let mut pass = self.pass.lock();
        if pass.era != share.era {
            return false;
        }
        self.changes.add(1, Relaxed);
        pass.busy -= 1;
        pass.busy == 0
    }

    /// Whether a share is one in the pass under way.
    pub(crate) fn counts(&self, share: &Share) -> bool {
        self.pass.lock().era == share.era
    }

    /// Adds what a step of scanner number `scanner` came to.
    pub(crate) fn add(&self, scanner: usize, units: u64, pages: u64, cpu_ns: u64) {
        let mut pass = self.pass.lock();
        if let Some(sum) = pass.pages.get_mut(scanner) {
            *sum += pages;
        }
        pass.cpu_ns += cpu_ns;
        pass.advisors.pressure.add(scanner, units, cpu_ns);
    }

    /// Has passes begin anew.
    pub(crate) fn restart(&self) {
        let mut pass = self.pass.lock();
        pass.era += 1;
        pass.under_way = false;
        pass.ended = Ended::default();
        pass.busy = 0;
    }

    /// What the last pass came to, zeroes before there is one, and for how many ms one has been under way.
    pub(crate) fn last(&self) -> (Ended, u64) {
        let pass = self.pass.lock();
        let ms = if pass.under_way { pass.ms() } else { 0 };
        (pass.ended, ms)
    }

    /// Runs `f` on the advisors. What they decide on is only changed in here.
    pub(crate) fn with_advisors<R>(&self, f: impl FnOnce(&mut Advisors) -> R) -> R {
        f(&mut self.pass.lock().advisors)
    }
}

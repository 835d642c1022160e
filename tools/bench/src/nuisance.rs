// SPDX-License-Identifier: GPL-2.0

//! The neighbour's process, and its children.

use std::{
    ffi::c_void,
    io::{self, Read, Write},
    num::NonZeroUsize,
    os::fd::OwnedFd,
    ptr::NonNull,
    sync::{
        atomic::{AtomicU64, Ordering},
        Arc,
    },
    thread,
    time::Duration,
};

use anyhow::{bail, Context, Result};
use nix::{
    errno::Errno,
    libc,
    sys::{
        mman::{madvise, mmap_anonymous, mprotect, MapFlags, MmapAdvise, ProtFlags},
        prctl,
        signal::{kill, Signal},
        wait::waitpid,
    },
    unistd::{fork, getppid, pause, ForkResult, Pid},
};
use serde::{Deserialize, Serialize};

use crate::{
    content::{Content, Kind},
    held,
    memory::{Memory, PAGE},
    neighbour::{Measures, Neighbour},
    stuck,
    talk::{commands, say, say_done},
};

/// What it is told at its start.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Role {
    pub neighbour: Neighbour,
    pub seed: u64,
    pub measures: Measures,
}

pub const READY: &str = "ready";

/// The process itself. It is ready when the scanner may look at it; `go` has it begin to hold locks
/// or to fork; `count` asks how often it forked, or how many TiB it has.
pub fn act(role: &str) -> Result<()> {
    let role: Role = serde_json::from_str(role)?;
    let mut body = Body::new(&role)?;
    body.prepare()?;
    say(READY)?;
    for command in commands() {
        match &*command {
            "go" => {
                body.go()?;
                say_done()?;
            }
            "count" => say(&body.count.load(Ordering::Relaxed).to_string())?,
            other => bail!("unknown command {other:?}"),
        }
    }
    body.end()
}

struct Body {
    role: Role,
    memory: Option<Memory>,
    /// Whoever keeps the pages in use.
    keeper: Option<OwnedFd>,
    children: Vec<Pid>,
    stuck: Option<Stuck>,
    count: Arc<AtomicU64>,
}

/// The file server, in this process, and the start signal of the child that is to be stuck in it.
struct Stuck {
    server: stuck::Server,
    go: io::PipeWriter,
}

impl Body {
    fn new(role: &Role) -> Result<Self> {
        // Of this process and of its children, all memory may be merged.
        if role.neighbour == Neighbour::ForkStorm {
            merge_everything()?;
        }
        Ok(Self {
            role: *role,
            memory: None,
            keeper: None,
            children: Vec::new(),
            stuck: None,
            count: Arc::default(),
        })
    }

    fn prepare(&mut self) -> Result<()> {
        let measures = self.role.measures;
        match self.role.neighbour {
            Neighbour::None | Neighbour::ForkStorm => {}
            Neighbour::Busy => self.memory = Some(self.like_the_victim()?),
            Neighbour::Pinned | Neighbour::Watched => {
                let memory = self.like_the_victim()?;
                self.keeper = Some(match self.role.neighbour {
                    Neighbour::Pinned => held::pin(&memory)?,
                    _ => held::watch(&memory)?,
                });
                self.memory = Some(memory);
            }
            Neighbour::Stuck => self.prepare_stuck()?,
            Neighbour::Sparse => drop(self.sparse()?),
            Neighbour::SparseCrowd => {
                let places = self.sparse()?;
                self.fork_many(measures.sparse, || {
                    for place in &places {
                        touch(*place);
                    }
                    Ok(())
                })?;
            }
            Neighbour::Mappings => mappings(measures.mappings, false)?,
            Neighbour::Emptied => mappings(measures.mappings, true)?,
            Neighbour::ExitStorm => {
                let seed = self.role.seed;
                // So that each child is registered from its beginning.
                self.memory = Some(own_pages(seed)?);
                self.fork_many(measures.sleepers, || own_pages(seed).map(std::mem::forget))?;
            }
            Neighbour::Batch => {
                let mut memory = Memory::new(measures.batch, false)?;
                memory.populate()?;
                for index in 0..measures.batch {
                    // Of the second process, and the victim is the first.
                    Content::of(Kind::Unique, self.role.seed, 1, index, measures.batch)
                        .fill(memory.page(index));
                }
                memory.mergeable()?;
                self.memory = Some(memory);
            }
        }
        Ok(())
    }

    fn go(&mut self) -> Result<()> {
        match self.role.neighbour {
            Neighbour::Busy => hold_nearly_always(self.role.measures.busy),
            Neighbour::Stuck => {
                let stuck = self.stuck.as_mut().context("not prepared")?;
                stuck.go.write_all(&[0])?;
                stuck.server.serve(self.children[0])
            }
            Neighbour::ForkStorm => {
                let count = Arc::clone(&self.count);
                thread::spawn(move || storm(&count, 1, || {}));
                Ok(())
            }
            Neighbour::ExitStorm => {
                let (count, seed) = (Arc::clone(&self.count), self.role.seed);
                thread::spawn(move || storm(&count, LIVING, || short_life(seed)));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Each content of the victim's once.
    fn like_the_victim(&self) -> Result<Memory> {
        let pages = self.role.measures.pages;
        let mut memory = Memory::new(pages / 2, false)?;
        memory.populate()?;
        for index in 0..pages / 2 {
            Content::of(Kind::Half, self.role.seed, 0, index, pages).fill(memory.page(index));
        }
        memory.mergeable()?;
        Ok(memory)
    }

    fn prepare_stuck(&mut self) -> Result<()> {
        let (mut started, go) = io::pipe()?;
        let (mut filled, fill) = io::pipe()?;
        let server = std::process::id();
        // SAFETY: There is no other thread yet.
        match unsafe { fork() }? {
            ForkResult::Parent { child } => self.children.push(child),
            ForkResult::Child => {
                // Not the file server's end: that one has to see this process's end.
                drop(go);
                die_with_the_parent(server)?;
                let memory = self.like_the_victim()?;
                (&fill).write_all(&[0])?;
                started.read_exact(&mut [0])?;
                let result = stuck::get_stuck(server);
                drop(memory);
                // The server ends it when all is measured, before that it is an error.
                eprintln!("bench: {result:?}");
                std::process::exit(1);
            }
        }
        filled.read_exact(&mut [0])?;
        let server = stuck::Server::mount()?;
        self.stuck = Some(Stuck { server, go });
        Ok(())
    }

    /// All the address space that there is, by halves, with a page at the beginning of each piece.
    fn sparse(&mut self) -> Result<Vec<NonNull<c_void>>> {
        const TIB: usize = 1 << 40;
        let mut places = Vec::new();
        let mut tib = 128;
        while tib > 0 {
            let length = NonZeroUsize::new(tib * TIB).context("no length")?;
            let prot = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
            let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
            // SAFETY: A new mapping, at no fixed address, is nobody else's.
            match unsafe { mmap_anonymous(None, length, prot, flags) } {
                Ok(place) => {
                    advise(place, length.get(), MmapAdvise::MADV_NOHUGEPAGE).ok();
                    advise(place, length.get(), MmapAdvise::MADV_MERGEABLE)?;
                    touch(place);
                    places.push(place);
                    self.count.fetch_add(tib as u64, Ordering::Relaxed);
                }
                Err(_) => tib /= 2,
            }
        }
        Ok(places)
    }

    /// Children that do something, say so, and sleep.
    fn fork_many(&mut self, number: usize, first: impl Fn() -> Result<()>) -> Result<()> {
        let (mut ready, done) = io::pipe()?;
        let parent = std::process::id();
        for _ in 0..number {
            // SAFETY: There is no other thread yet.
            match unsafe { fork() }? {
                ForkResult::Parent { child } => self.children.push(child),
                ForkResult::Child => {
                    die_with_the_parent(parent)?;
                    first()?;
                    (&done).write_all(&[0])?;
                    loop {
                        pause();
                    }
                }
            }
        }
        // Else there is no end of file should one of them fail.
        drop(done);
        ready.read_exact(&mut vec![0; number])?;
        Ok(())
    }

    fn end(self) -> Result<()> {
        for &child in &self.children {
            kill(child, Signal::SIGKILL).ok();
        }
        // Who is stuck ends when this has.
        drop(self.stuck);
        for child in self.children {
            waitpid(child, None)?;
        }
        Ok(())
    }
}

pub fn die_with_the_parent(parent: u32) -> Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid().as_raw().cast_unsigned() != parent {
        std::process::exit(1);
    }
    Ok(())
}

/// For this process and its children.
fn merge_everything() -> Result<()> {
    // SAFETY: Numbers only.
    let status = unsafe { libc::prctl(libc::PR_SET_MEMORY_MERGE, 1, 0, 0, 0) };
    Errno::result(status).context("PR_SET_MEMORY_MERGE")?;
    Ok(())
}

fn advise(place: NonNull<c_void>, length: usize, advice: MmapAdvise) -> Result<()> {
    // SAFETY: A range that was mapped here, and advice that no reference into it would notice.
    Ok(unsafe { madvise(place, length, advice) }?)
}

/// Gives it a page of its own.
fn touch(place: NonNull<c_void>) {
    // Not what any other has there: what is equal everywhere gets merged.
    let own = u64::from(std::process::id());
    // SAFETY: It is mapped for writing, and aligned.
    unsafe { place.cast::<u64>().as_ptr().write_volatile(own) };
}

/// Mappings of a page each. Neighbours have different protections, or they would be one. All share
/// what the first one got when a page was touched, so that the scanner cannot know that they never had
/// any.
fn mappings(number: usize, emptied: bool) -> Result<()> {
    let memory = Memory::new(number, false)?;
    memory.mergeable()?;
    let (base, length) = memory.range();
    touch(base);
    if emptied {
        memory.populate()?;
        advise(base, length, MmapAdvise::MADV_DONTNEED)?;
    }
    for index in (0..number).step_by(2) {
        // SAFETY: Inside of the mapping.
        let place = unsafe { base.byte_add(index * PAGE) };
        // SAFETY: Nobody writes to it any more.
        unsafe { mprotect(place, PAGE, ProtFlags::PROT_READ) }.context("not so many mappings")?;
    }
    // The process keeps it until its end.
    std::mem::forget(memory);
    Ok(())
}

/// Changes the protection of so many pages, all the time: the lock is held nearly always.
fn hold_nearly_always(pages: usize) -> Result<()> {
    let memory = Memory::new(pages, false)?;
    memory.populate()?;
    let (base, length) = memory.range();
    let base = base.addr();
    std::mem::forget(memory);
    thread::spawn(move || {
        let base = NonNull::without_provenance(base);
        for prot in [ProtFlags::PROT_READ, ProtFlags::PROT_WRITE].iter().cycle() {
            // SAFETY: Nobody reads or writes what is there.
            unsafe { mprotect(base, length, *prot) }.ok();
        }
    });
    Ok(())
}

/// Children that exit, so many at a time, for ever.
fn storm(count: &AtomicU64, at_a_time: usize, life: impl Fn()) {
    loop {
        let mut children = Vec::new();
        for _ in 0..at_a_time {
            match child(&life) {
                Ok(child) => children.push(child),
                Err(_) => thread::sleep(Duration::from_millis(1)),
            }
        }
        for child in children {
            waitpid(child, None).ok();
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A child that does no more than this.
pub fn child(life: impl FnOnce()) -> nix::Result<Pid> {
    // SAFETY: Another thread, if there is one, holds no lock that the child will want: it sits in
    // a read.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            life();
            // SAFETY: It ends at once, and has nothing to be tidied up.
            unsafe { libc::_exit(0) }
        }
    }
}

/// Children of the exit storm that live at the same time, and for how long.
const LIVING: usize = 20;
const LIFE: Duration = Duration::from_millis(20);
/// Pages of each, and of each sleeper.
const OWN: usize = 4;

fn short_life(seed: u64) {
    let pages = own_pages(seed);
    thread::sleep(LIFE);
    drop(pages);
}

fn own_pages(seed: u64) -> Result<Memory> {
    let mut memory = Memory::new(OWN, false)?;
    let process = u64::from(std::process::id());
    for index in 0..OWN {
        let number = seed ^ (process << 20) ^ index as u64;
        Content::Random(number).fill(memory.page(index));
    }
    memory.mergeable()?;
    Ok(memory)
}

// SPDX-License-Identifier: GPL-2.0

//! What the livepatch costs the rest of the kernel, on a kernel that needs one.

use std::{
    ffi::CStr,
    fs::File,
    hint::black_box,
    io::Write,
    path::Path,
    process::abort,
    time::{Duration, Instant},
};

use anyhow::{ensure, Result};
use nix::{
    sys::{
        memfd::{memfd_create, MFdFlags},
        signal::{kill, Signal},
        wait::{waitpid, WaitStatus},
    },
    unistd::{fexecve, pause},
};
use serde::{Deserialize, Serialize};

use crate::{
    figures::Figure,
    knobs,
    measure::{add_ratios, in_turn, passes, Figures},
    memory::Memory,
    nuisance::{child, die_with_the_parent},
    provider::{insert, remove, Provider},
};

/// What a page table maps.
const PAGES: usize = 512;
/// Faults that are timed together: a clock may take as long as one, and a busy host lets few pass
/// undisturbed.
const FAULTS: usize = 32;

/// For how long each is done.
const EACH: Duration = Duration::from_secs(2);

const LIVEPATCH: &str = "/sys/kernel/livepatch/rksm_hooks";

/// What passes by a function that is redirected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Case {
    /// A fault that copies the page of zeroes which was read before.
    CopyOfZero,
    /// A fault that copies a page which a child has as well.
    CopyOfShared,
    Fork,
    /// The same of a process with zero pages that were placed by merging, which are counted.
    ForkOfZeroes,
    Exec,
}

impl Case {
    pub const ALL: [Self; 5] = [
        Self::CopyOfZero,
        Self::CopyOfShared,
        Self::Fork,
        Self::ForkOfZeroes,
        Self::Exec,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::CopyOfZero => "write to a zero page",
            Self::CopyOfShared => "write to a page shared by fork",
            Self::Fork => "fork and exit",
            Self::ForkOfZeroes => "fork and exit, merged zero pages",
            Self::Exec => "fork and exec",
        }
    }

    /// How many the process has mapped.
    pub fn pages(self) -> usize {
        match self {
            Self::Exec => 1,
            _ => PAGES,
        }
    }

    /// How long a fault takes, or a child, in µs: the least of what is done for so long. What else the
    /// host does only adds to it.
    fn take(self) -> Result<f64> {
        let pages = self.pages();
        let mut memory = Memory::new(pages, false)?;
        if self != Self::CopyOfZero {
            memory.populate()?;
        }
        if self == Self::ForkOfZeroes {
            merge_zeroes(&memory, pages)?;
        }
        let program = exiting()?;
        let mut least = f64::INFINITY;
        let begin = Instant::now();
        while begin.elapsed() < EACH {
            least = least.min(match self {
                Self::CopyOfZero => {
                    memory = Memory::new(pages, false)?;
                    black_box(memory.read_all());
                    write(&mut memory)
                }
                Self::CopyOfShared => beside_child(|| write(&mut memory))?,
                Self::Fork | Self::ForkOfZeroes => child_us(|| {})?,
                Self::Exec => child_us(|| exec(&program))?,
            });
        }
        Ok(least)
    }
}

/// Has them all placed by merging.
fn merge_zeroes(memory: &Memory, pages: usize) -> Result<()> {
    knobs::for_measuring(&[("pages_to_scan", "1000"), ("sleep_millisecs", "0")])?;
    let before = knobs::get("ksm_zero_pages")?;
    memory.mergeable()?;
    knobs::set("run", 1)?;
    passes(3)?;
    knobs::set("run", 0)?;
    let placed = knobs::get("ksm_zero_pages")? - before;
    ensure!(placed == pages as i64, "{placed} zero pages were placed");
    Ok(())
}

/// Writes to each page.
fn write(memory: &mut Memory) -> f64 {
    let batch = |first| {
        let start = Instant::now();
        for index in first..first + FAULTS {
            memory.page(index)[0] = 1;
        }
        us(start) / FAULTS as f64
    };
    let batches = (0..PAGES).step_by(FAULTS).map(batch);
    batches.fold(f64::INFINITY, f64::min)
}

fn us(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e6
}

/// While a child has the same memory.
fn beside_child<T>(work: impl FnOnce() -> T) -> Result<T> {
    let parent = std::process::id();
    let child = child(|| {
        die_with_the_parent(parent).ok();
        loop {
            pause();
        }
    })?;
    let result = work();
    kill(child, Signal::SIGKILL)?;
    waitpid(child, None)?;
    Ok(result)
}

/// A child from its beginning to its end.
fn child_us(life: impl FnOnce()) -> Result<f64> {
    let start = Instant::now();
    let child = child(life)?;
    let status = waitpid(child, None)?;
    let took = us(start);
    ensure!(
        status == WaitStatus::Exited(child, 0),
        "a child: {status:?}"
    );
    Ok(took)
}

/// A program that does nothing but exit: one with a loader takes longer than a busy host lets it run
/// undisturbed.
const EXIT: [u64; 17] = [
    // `struct elf64_hdr`: an executable for x86-64, entered behind the headers.
    0x0001_0102_464c_457f,
    0,
    0x0000_0001_003e_0002,
    0x40_0078,
    0x40,
    0,
    0x0038_0040_0000_0000,
    1,
    // `struct elf64_phdr`: all of it is loaded, to be read and executed.
    0x0000_0005_0000_0001,
    0,
    0x40_0000,
    0,
    0x88,
    0x88,
    0x1000,
    // xor %edi, %edi; mov $60, %eax; syscall
    0x0f00_0000_3cb8_ff31,
    0x05,
];

fn exiting() -> Result<File> {
    let mut file = File::from(memfd_create(c"exit", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(&EXIT.map(u64::to_le_bytes).concat())?;
    Ok(file)
}

fn exec(program: &File) {
    let environment: [&CStr; 0] = [];
    // It comes back only if it fails.
    fexecve(program, &[c"exit"], &environment).ok();
    abort();
}

#[derive(Clone, Copy, PartialEq)]
enum Loaded {
    Nothing,
    Hooks,
    Rksm,
}

impl Loaded {
    /// Loads and unloads the modules; the hooks lie beside rksm.
    fn reach(self, module: &Path) -> Result<()> {
        let there = Path::new(LIVEPATCH).exists();
        if self == Self::Nothing {
            Provider::InTree.take_over(module)?;
            if there {
                knobs::write(&Path::new(LIVEPATCH).join("enabled"), "0")?;
                remove(c"rksm_hooks")?;
            }
            return Ok(());
        }
        if !there {
            insert(&module.with_file_name("rksm_hooks.ko"))?;
        }
        // It waits until all tasks pass by the hooks.
        Provider::Rksm.take_over(module)?;
        if self == Self::Hooks {
            Provider::InTree.take_over(module)?;
        }
        Ok(())
    }
}

/// Without the hooks, with them, and with rksm as well, one after the other.
pub fn measure(case: Case, seed: u64, module: &Path) -> Result<Figures> {
    let mut figures = Figures::new();
    let all = [
        (Loaded::Nothing, Figure::WithoutHooksUs),
        (Loaded::Hooks, Figure::WithHooksUs),
        (Loaded::Rksm, Figure::WithRksmUs),
    ];
    for (loaded, figure) in in_turn(all, seed) {
        loaded.reach(module)?;
        figures.insert(figure, case.take()?);
    }
    // As it was found.
    Loaded::Rksm.reach(module)?;
    let ratios = [
        (
            Figure::HooksCost,
            Figure::WithHooksUs,
            Figure::WithoutHooksUs,
        ),
        (Figure::RksmCost, Figure::WithRksmUs, Figure::WithoutHooksUs),
    ];
    add_ratios(&mut figures, ratios);
    Ok(figures)
}

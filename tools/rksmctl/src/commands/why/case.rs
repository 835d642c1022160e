// SPDX-License-Identifier: GPL-2.0

//! All that is known when the reasons are gone through. Of each process a few files are read once.

use std::{io, thread, time::Duration};

use anyhow::{bail, Result};

use crate::system::{
    counters::Counters,
    guests::{self, Obstacles},
    knobs::Settings,
    mappings::{self, Mapping},
    memory::Memory,
    nodes,
    patience::Patience,
    pins::Pins,
    processes::{self, Merged},
    usage::Usage,
    Provider, System,
};

pub struct Case {
    pub provider: Provider,
    pub settings: Settings,
    /// At the end of the sample.
    pub counters: Counters,
    /// Pages scanned, or passed over, in the sample.
    pub scanned: u64,
    pub sample: Duration,
    /// Those that have memory.
    pub nodes: Vec<u32>,
    pub memory: Memory,
    /// The one that is asked about.
    pub pid: Option<i32>,
    /// That one, or all that have memory.
    pub subjects: Vec<Subject>,
    /// Those that need root to be read.
    pub hidden: usize,
    /// Whether a process can be enrolled by others.
    pub can_enrol: bool,
}

/// A process.
#[derive(Default)]
pub struct Subject {
    pub pid: i32,
    pub usage: Usage,
    /// `None` where it is hidden, or busy.
    pub merged: Option<Merged>,
    /// It does not answer: its address space is locked.
    pub busy: bool,
    /// If it is a guest: what QEMU was told that is in the way.
    pub obstacles: Option<Obstacles>,
    /// What it has open that pins pages.
    pub pins: Pins,
    /// Only of the one that is asked about.
    pub mappings: Option<Vec<Mapping>>,
}

impl Case {
    pub fn read(system: &System, pid: Option<i32>, sample: u64) -> Result<Self> {
        let provider = system.need_provider()?;
        let before = Counters::read(system, provider)?;
        let sample = Duration::from_secs(sample);
        thread::sleep(sample);
        let counters = Counters::read(system, provider)?;
        let progress =
            |counters: &Counters| counters.pages_scanned + counters.pages_skipped.unwrap_or(0);
        let mut case = Self {
            provider,
            settings: Settings::read(system, provider)?,
            scanned: progress(&counters).saturating_sub(progress(&before)),
            counters,
            sample,
            nodes: nodes::with_memory(system),
            memory: Memory::read(system)?,
            pid,
            subjects: Vec::new(),
            hidden: 0,
            can_enrol: system.exists(provider.file("enrol")),
        };
        case.read_subjects(system)?;
        Ok(case)
    }

    fn read_subjects(&mut self, system: &System) -> Result<()> {
        let patience = Patience::default();
        let Some(pid) = self.pid else {
            for pid in processes::pids(system)? {
                self.read_subject(system, &patience, pid);
            }
            return Ok(());
        };
        if !system.exists(format!("/proc/{pid}")) {
            bail!("there is no process {pid}");
        }
        self.read_subject(system, &patience, pid);
        let all = self.is_for_all();
        let Some(subject) = self.subjects.first_mut() else {
            bail!("process {pid} has no memory of its own: it is a kernel thread, or dead");
        };
        if subject.merged.is_some() {
            match mappings::read(system, &patience, pid, all) {
                Ok(mappings) => subject.mappings = Some(mappings),
                Err(error) => subject.busy = error.kind() == io::ErrorKind::TimedOut,
            }
        }
        Ok(())
    }

    fn read_subject(&mut self, system: &System, patience: &Patience, pid: i32) {
        let Some(usage) = Usage::read(system, pid) else {
            return;
        };
        let mut subject = Subject {
            pid,
            usage,
            ..Subject::default()
        };
        match Merged::read(system, patience, pid) {
            Ok(Some(merged)) => subject.merged = Some(merged),
            Ok(None) => return,
            Err(error) => match error.kind() {
                io::ErrorKind::PermissionDenied => self.hidden += 1,
                io::ErrorKind::TimedOut => subject.busy = true,
                // It has gone.
                _ => return,
            },
        }
        if subject.may_be_a_guest() {
            // It waits for the lock as well.
            let cmdline = patience.read(&system.path(format!("/proc/{pid}/cmdline")));
            subject.obstacles = guests::obstacles(&cmdline.unwrap_or_default());
        }
        if subject.has_asked() || subject.usage.pinned + subject.usage.locked > 0 {
            subject.pins = Pins::read(system, pid).unwrap_or_default();
        }
        self.subjects.push(subject);
    }

    pub fn is_running(&self) -> bool {
        self.settings.get("run") == Some("1")
    }

    /// Whether the memory of all is merged, whoever asks.
    pub fn is_for_all(&self) -> bool {
        self.settings.get("scope") == Some("all")
    }

    pub fn only(&self) -> Option<&Subject> {
        self.subjects.first().filter(|_| self.pid.is_some())
    }

    /// Those whose memory is to be merged, as far as it can be seen.
    pub fn concerned(&self) -> impl Iterator<Item = &Subject> {
        let all = self.is_for_all();
        self.subjects
            .iter()
            .filter(move |subject| all || subject.has_asked())
    }

    /// Pages that are saved, or that are merged of the one that is asked about.
    pub fn merged(&self) -> Option<u64> {
        match self.only() {
            Some(subject) => subject.merged.map(|merged| merged.pages()),
            None => Some(self.counters.saved()),
        }
    }
}

impl Subject {
    pub fn has_asked(&self) -> bool {
        self.merged.is_some_and(|merged| {
            let on_record = merged.rmap_items > 0 || merged.pages() > 0;
            let told = merged.has_asked();
            told.unwrap_or_else(|| on_record || self.has_advised())
        })
    }

    /// Whether it is known if it has asked.
    pub fn is_known(&self) -> bool {
        let told = self.merged.and_then(|merged| merged.has_asked());
        told.is_some() || self.mappings.is_some()
    }

    fn has_advised(&self) -> bool {
        let mut mappings = self.mappings.iter().flatten();
        mappings.any(|mapping| mapping.why_not.is_none())
    }

    /// Bytes, as far as the kernel counts them.
    pub fn pinned(&self) -> u64 {
        self.usage.pinned.max(self.pins.registered)
    }

    fn may_be_a_guest(&self) -> bool {
        let name = &self.usage.command;
        name.contains("qemu") || name.contains("kvm")
    }

    pub fn name(&self) -> String {
        format!("{} ({})", self.pid, self.usage.command)
    }
}

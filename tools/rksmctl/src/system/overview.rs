// SPDX-License-Identifier: GPL-2.0

//! Page merging as a whole, looked at again and again, while its provider may come and go.

use std::time::Duration;

use anyhow::Result;

use super::{
    counters::Counters, knobs::Settings, memory::Memory, scanners::Clock, Provider, System,
};

#[derive(Clone, Debug)]
pub struct Overview {
    pub provider: Provider,
    pub counters: Counters,
    pub settings: Settings,
    pub memory: Memory,
    /// It never falls while the provider is the same.
    pub scanner_cpu: Duration,
}

impl Overview {
    /// Bytes that merging and the zero page save, before anything is paid for it.
    pub fn saved(&self) -> u64 {
        self.counters.saved() * self.memory.page
    }
}

/// Remembers from one look to the next which threads scan.
#[derive(Debug, Default)]
pub struct Looker {
    clock: Clock,
}

impl Looker {
    /// `None` where nobody merges pages now.
    pub fn look(&mut self, system: &System) -> Result<Option<Overview>> {
        // A file that is missing may mean that the provider goes or comes just now.
        for _ in 0..2 {
            if let Ok(overview) = self.once(system) {
                return Ok(overview);
            }
        }
        self.once(system)
    }

    fn once(&mut self, system: &System) -> Result<Option<Overview>> {
        let Some(provider) = system.provider() else {
            return Ok(None);
        };
        let settings = Settings::read(system, provider)?;
        let threads = settings.number("scanners").unwrap_or(1);
        Ok(Some(Overview {
            provider,
            counters: Counters::read(system, provider)?,
            memory: Memory::read(system)?,
            scanner_cpu: self.clock.read(system, provider, threads)?,
            settings,
        }))
    }
}

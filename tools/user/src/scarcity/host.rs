// SPDX-License-Identifier: GPL-2.0

//! A host whose memory is filled by others, and merged by whoever scans.

/// How merging goes.
#[derive(Clone, Copy)]
pub(super) struct Merging {
    /// MiB that a whole CPU goes through in a second.
    pub(super) speed: f64,
    /// The part of what is taken that can be freed by merging.
    pub(super) mergeable: f64,
    /// The part of what is merged that is written to each second.
    pub(super) unmerged: f64,
}

#[derive(Clone)]
pub(super) struct Host {
    all: f64,
    /// MiB available each second if nothing is merged.
    left: Vec<f64>,
    at: usize,
    /// MiB that are freed now.
    merged: f64,
    merging: Merging,
}

impl Host {
    pub(super) fn recorded(text: &str, merging: Merging) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let numbers: Vec<f64> = lines
            .flat_map(str::split_whitespace)
            .map(|number| number.parse().unwrap())
            .collect();
        Self {
            all: numbers[0],
            left: numbers[1..].to_vec(),
            at: 0,
            merged: 0.0,
            merging,
        }
    }

    /// The same part of all memory is taken for so many seconds.
    pub(super) fn steady(all: f64, taken: f64, seconds: usize, merging: Merging) -> Self {
        Self {
            all,
            left: vec![all * (1.0 - taken); seconds],
            at: 0,
            merged: 0.0,
            merging,
        }
    }

    /// MiB that could be freed.
    fn mergeable(&self) -> f64 {
        (self.all - self.left[self.at]) * self.merging.mergeable
    }

    /// In percent. `None`: it is over.
    pub(super) fn available(&self) -> Option<f64> {
        let left = self.left.get(self.at)?;
        Some((left + self.merged).clamp(0.0, self.all) * 100.0 / self.all)
    }

    /// Others go on, and what is mergeable is scanned with this share of what the advisor is allowed.
    pub(super) fn second_passes(&mut self, share: f64) {
        let mergeable = self.mergeable();
        let cpu = share * f64::from(super::LIMITS.max_cpu) / 100.0;
        let scanned = (cpu * self.merging.speed).min(mergeable);
        // Of what is scanned, so much is merged already.
        let new = match mergeable > 0.0 {
            true => scanned * (1.0 - self.merged / mergeable).max(0.0),
            false => 0.0,
        };
        self.merged = self.merged * (1.0 - self.merging.unmerged) + new;
        self.at += 1;
        if self.at < self.left.len() {
            // Who goes takes along what was merged of its memory.
            self.merged = self.merged.min(self.mergeable());
        }
    }
}

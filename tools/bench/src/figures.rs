// SPDX-License-Identifier: GPL-2.0

//! What is measured, and what is asked of it.

use serde::{Deserialize, Serialize};

use crate::content::Kind;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// Until 99 % of what can be saved is saved.
    MergeSeconds,
    MergeCpuSeconds,
    MergePasses,
    SavedPages,
    /// When nothing more merges: of the scanner's CPU time, for each page that it looked at.
    RestNsPerPage,
    /// The same with smart scan, for each page that it looked at or skipped.
    SmartRestNsPerPage,
    /// Reading each page once, in the process that has it: what nobody can do without who looks at
    /// everything.
    ReadNsPerPage,
    RecordBytesPerPage,
    UnmergeSeconds,
    FaultP50Us,
    FaultP99Us,
    FaultMaxUs,
    /// The same faults while nothing is scanned.
    QuietFaultP50Us,
    QuietFaultP99Us,
    /// By the scanner, and by whoever has everything unmerged.
    LockHeldMaxUs,
}

impl Figure {
    pub fn name(self) -> &'static str {
        match self {
            Self::MergeSeconds => "time to merge, s",
            Self::MergeCpuSeconds => "CPU to merge, s",
            Self::MergePasses => "passes to merge",
            Self::SavedPages => "pages saved",
            Self::RestNsPerPage => "CPU per page at rest, ns",
            Self::SmartRestNsPerPage => "the same, smart scan, ns",
            Self::ReadNsPerPage => "reading a page once, ns",
            Self::RecordBytesPerPage => "records per page, bytes",
            Self::UnmergeSeconds => "unmerge, s",
            Self::FaultP50Us => "fault p50, µs",
            Self::FaultP99Us => "fault p99, µs",
            Self::FaultMaxUs => "fault max, µs",
            Self::QuietFaultP50Us => "fault p50 unscanned, µs",
            Self::QuietFaultP99Us => "fault p99 unscanned, µs",
            Self::LockHeldMaxUs => "mmap lock held at most, µs",
        }
    }

    /// The ratio to in-tree KSM that rksm is to stay at or below.
    pub fn target(self, kind: Kind) -> Option<f64> {
        match (self, kind) {
            (Self::RestNsPerPage, Kind::Unique) => Some(0.15),
            (Self::RestNsPerPage, Kind::LastWord) => Some(0.3),
            (Self::MergeSeconds | Self::MergeCpuSeconds, Kind::Half) => Some(0.4),
            (Self::RecordBytesPerPage, Kind::Unique) => Some(0.6),
            // Nothing is merged there.
            (Self::UnmergeSeconds, Kind::Unique | Kind::LastWord) => None,
            (Self::MergePasses | Self::UnmergeSeconds, _)
            | (Self::FaultP99Us | Self::LockHeldMaxUs, _) => Some(1.0),
            _ => None,
        }
    }

    /// The ratio that it is to reach.
    pub fn least(self, kind: Kind) -> Option<f64> {
        match (self, kind) {
            // There is nothing to save.
            (_, Kind::Unique | Kind::LastWord) => None,
            // Pages of the stack and the heap come and go.
            (Self::SavedPages, _) => Some(0.999),
            _ => None,
        }
    }
}

/// How much more a page may cost among the most pages of the growth curve than among the fewest.
pub const GROWTH_TARGET: f64 = 1.25;

pub fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

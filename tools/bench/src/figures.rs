// SPDX-License-Identifier: GPL-2.0

//! What is measured, and what is asked of it.

use serde::{Deserialize, Serialize};

use crate::{
    content::Kind,
    neighbour::Neighbour,
    record::{Group, Workload},
};

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
    /// At rest without smart scan, what is read of the content of pages, by wall time: each page that
    /// is not merged, once in a pass. The least that is taken of the memory's bandwidth; comparing
    /// pages takes more.
    RestMibPerSecond,
    /// Reading each page once, in the process that has it: what nobody can do without who looks at
    /// everything.
    ReadNsPerPage,
    RecordBytesPerPage,
    UnmergeSeconds,
    /// Page faults while nothing is scanned.
    QuietFaultP50Us,
    QuietFaultP99Us,
    QuietFaultMaxUs,
    /// Of a process that is scanned without a pause.
    FaultP50Us,
    FaultP99Us,
    FaultMaxUs,
    FaultPagesPerSecond,
    /// Of one that is scanned by the thousand pages, with the default pause in between.
    PacedFaultP50Us,
    PacedFaultP99Us,
    PacedFaultMaxUs,
    PacedFaultPagesPerSecond,
    /// By the scanner, and by whoever has everything unmerged.
    LockHeldMaxUs,
    /// What a page costs at rest, by what reading it once costs in user space.
    RestTimesReading,
    /// Until the victim's pages are merged, beside a neighbour.
    VictimSeconds,
    /// The same, by what it takes without a neighbour.
    VictimTimesAlone,
    VictimCpuSeconds,
    /// Of one CPU, while it was watched.
    ScannerPercent,
    /// Writing to `pages_to_scan` what it holds already.
    KnobP99Ms,
    KnobMaxMs,
    EchoTwoSeconds,
    /// Where it took too long, until it ended by a signal.
    KillSeconds,
    /// What the neighbour came to.
    ForksPerSecond,
    AddressSpaceTib,
    /// Pages a second at rest, by wall time.
    OneScannerRate,
    TwoScannersRate,
    RateGain,
    /// What two CPUs are worth here: what two threads read of memory of their own, by what one reads.
    ReadersGain,
    OneScannerSeconds,
    TwoScannersSeconds,
    MergeGain,
    /// Where there is one domain for all, and where each process is in its own.
    OneDomainRestNs,
    DomainsRestNs,
    DomainsRestCost,
    OneDomainSeconds,
    DomainsSeconds,
    DomainsMergeCost,
    /// Where all content is merged, and where only zeroes are.
    AllRestNs,
    ZeroRestNs,
    ZeroRestCost,
    /// Where huge pages are split for one page that has an equal, for eight, for 64, and never.
    HugeBefore,
    SavedForOne,
    SavedForEight,
    SavedForMany,
    SavedForNone,
    HugeForOne,
    HugeForEight,
    HugeForMany,
    HugeForNone,
    /// Of a pass at rest, for each page that is mapped.
    PassNsForOne,
    PassNsForEight,
    PassNsForMany,
    PassNsForNone,
    /// In frames that one of those who merge supplied, and in frames that were drawn; CPU for each page saved.
    SuppliedSeconds,
    DrawnSeconds,
    DrawnMergeCost,
    SuppliedCpuUs,
    DrawnCpuUs,
    DrawnCpuCost,
    /// Of one fault, or of one child.
    WithoutHooksUs,
    WithHooksUs,
    WithRksmUs,
    HooksCost,
    RksmCost,
    /// Of a page of a file that was never asked to merge any, that has others in common, and that has it in common.
    PlainUs,
    ArmedUs,
    MergedUs,
    ArmedCost,
    MergedCost,
    /// Faults a second of several threads: on pages of their own, and on one that all have in common.
    OwnFaultRate,
    CommonFaultRate,
    CommonFaultGain,
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
            Self::RestMibPerSecond => "read at rest, MiB/s",
            Self::ReadNsPerPage => "reading a page once, ns",
            Self::RecordBytesPerPage => "records per page, bytes",
            Self::UnmergeSeconds => "unmerge, s",
            Self::QuietFaultP50Us => "fault unscanned, p50, µs",
            Self::QuietFaultP99Us => "fault unscanned, p99, µs",
            Self::QuietFaultMaxUs => "fault unscanned, max, µs",
            Self::FaultP50Us => "fault, no pause, p50, µs",
            Self::FaultP99Us => "fault, no pause, p99, µs",
            Self::FaultMaxUs => "fault, no pause, max, µs",
            Self::FaultPagesPerSecond => "scanned, no pause, pages/s",
            Self::PacedFaultP50Us => "fault, 20 ms pauses, p50, µs",
            Self::PacedFaultP99Us => "fault, 20 ms pauses, p99, µs",
            Self::PacedFaultMaxUs => "fault, 20 ms pauses, max, µs",
            Self::PacedFaultPagesPerSecond => "scanned, 20 ms pauses, pages/s",
            Self::LockHeldMaxUs => "mmap lock held at most, µs",
            Self::RestTimesReading => "CPU per page at rest, times reading once",
            Self::VictimSeconds => "victim merged, s",
            Self::VictimTimesAlone => "the same, times that of none",
            Self::VictimCpuSeconds => "scanner's CPU until then, s",
            Self::ScannerPercent => "scanner's CPU, % of one",
            Self::KnobP99Ms => "knob write, p99, ms",
            Self::KnobMaxMs => "knob write, max, ms",
            Self::EchoTwoSeconds => "echo 2, s",
            Self::KillSeconds => "echo 2 ends when killed, s",
            Self::ForksPerSecond => "forks a second",
            Self::AddressSpaceTib => "address space, TiB",
            Self::OneScannerRate => "1 scanner, pages/s",
            Self::TwoScannersRate => "2 scanners, pages/s",
            Self::RateGain => "pages/s, 2 scanners to 1",
            Self::ReadersGain => "plain reading, 2 threads to 1",
            Self::OneScannerSeconds => "1 scanner, time to merge, s",
            Self::TwoScannersSeconds => "2 scanners, time to merge, s",
            Self::MergeGain => "speed of merging, 2 scanners to 1",
            Self::OneDomainRestNs => "domain=all, CPU per page at rest, ns",
            Self::DomainsRestNs => "domain=user, CPU per page at rest, ns",
            Self::DomainsRestCost => "CPU per page at rest, user to all",
            Self::OneDomainSeconds => "domain=all, time to merge, s",
            Self::DomainsSeconds => "domain=user, time to merge, s",
            Self::DomainsMergeCost => "time to merge, user to all",
            Self::AllRestNs => "content=all, CPU per page at rest, ns",
            Self::ZeroRestNs => "content=zero, CPU per page at rest, ns",
            Self::ZeroRestCost => "CPU per page at rest, zero to all",
            Self::HugeBefore => "huge pages before",
            Self::SavedForOne => "huge_pages=1, pages saved",
            Self::SavedForEight => "huge_pages=8, pages saved",
            Self::SavedForMany => "huge_pages=64, pages saved",
            Self::SavedForNone => "huge_pages=0, pages saved",
            Self::HugeForOne => "huge_pages=1, huge pages left",
            Self::HugeForEight => "huge_pages=8, huge pages left",
            Self::HugeForMany => "huge_pages=64, huge pages left",
            Self::HugeForNone => "huge_pages=0, huge pages left",
            Self::PassNsForOne => "huge_pages=1, CPU at rest, ns a page",
            Self::PassNsForEight => "huge_pages=8, CPU at rest, ns a page",
            Self::PassNsForMany => "huge_pages=64, CPU at rest, ns a page",
            Self::PassNsForNone => "huge_pages=0, CPU at rest, ns a page",
            Self::SuppliedSeconds => "fresh_frames=0, time to merge, s",
            Self::DrawnSeconds => "fresh_frames=1, time to merge, s",
            Self::DrawnMergeCost => "time to merge, 1 to 0",
            Self::SuppliedCpuUs => "fresh_frames=0, CPU per page saved, µs",
            Self::DrawnCpuUs => "fresh_frames=1, CPU per page saved, µs",
            Self::DrawnCpuCost => "CPU per page saved, 1 to 0",
            Self::WithoutHooksUs => "without hooks, µs",
            Self::WithHooksUs => "with hooks, µs",
            Self::WithRksmUs => "with hooks and rksm, µs",
            Self::HooksCost => "with hooks, to without",
            Self::RksmCost => "with hooks and rksm, to without",
            Self::PlainUs => "plain file, a page, µs",
            Self::ArmedUs => "armed file, a page, µs",
            Self::MergedUs => "merged, a page, µs",
            Self::ArmedCost => "armed to plain",
            Self::MergedCost => "merged to plain",
            Self::OwnFaultRate => "own pages, faults/s",
            Self::CommonFaultRate => "common page, faults/s",
            Self::CommonFaultGain => "faults/s, common to own",
        }
    }

    /// What is asked of it.
    pub fn target(self, workload: Workload) -> Option<Target> {
        match workload.group {
            Group::Table => self.table_target(workload.kind),
            Group::Growth | Group::Hooks(_) | Group::Splits | Group::Frames | Group::Shared(_) => {
                None
            }
            // What is left after its first word, as it is asked for.
            Group::Content => (self == Self::ZeroRestNs).then_some(Target::AtMost(40.0)),
            Group::Neighbours(neighbour, _) => self.neighbour_target(neighbour),
            Group::Scanners => self.scanners_target(),
            Group::Domains => self.domains_target(),
        }
    }

    fn table_target(self, kind: Kind) -> Option<Target> {
        let nothing_merges = matches!(kind, Kind::Unique | Kind::LastWord);
        match (self, kind) {
            (Self::RestNsPerPage, Kind::Unique) => Some(Target::RatioAtMost(0.15)),
            (Self::RestNsPerPage, Kind::LastWord) => Some(Target::RatioAtMost(0.3)),
            (Self::RestTimesReading, Kind::Unique) => Some(Target::AtMost(1.15)),
            (Self::MergeSeconds | Self::MergeCpuSeconds, Kind::Half) => {
                Some(Target::RatioAtMost(0.4))
            }
            (Self::RecordBytesPerPage, Kind::Unique) => Some(Target::RatioAtMost(0.6)),
            (Self::SavedPages | Self::UnmergeSeconds, _) if nothing_merges => None,
            // Pages of the stack and the heap come and go.
            (Self::SavedPages, _) => Some(Target::RatioAtLeast(0.999)),
            (Self::MergePasses, _)
            | (Self::UnmergeSeconds, _)
            | (Self::FaultP99Us | Self::PacedFaultP99Us, _)
            | (Self::LockHeldMaxUs, _) => Some(Target::RatioAtMost(1.0)),
            _ => None,
        }
    }

    /// Nothing to speak of more than in-tree KSM, and control never waits.
    fn neighbour_target(self, neighbour: Neighbour) -> Option<Target> {
        match self {
            // Where in-tree KSM waits for ever it needs no CPU.
            Self::VictimCpuSeconds | Self::ScannerPercent if neighbour == Neighbour::Stuck => None,
            Self::VictimSeconds
            | Self::VictimCpuSeconds
            | Self::ScannerPercent
            | Self::EchoTwoSeconds => Some(Target::RatioAtMost(1.1)),
            Self::ForksPerSecond => Some(Target::RatioAtLeast(1.0 / 1.1)),
            Self::KnobP99Ms => Some(Target::AtMost(5.0)),
            Self::KnobMaxMs => Some(Target::AtMost(20.0)),
            _ => None,
        }
    }

    fn scanners_target(self) -> Option<Target> {
        (self == Self::RateGain).then_some(Target::AtLeast(1.7))
    }

    fn domains_target(self) -> Option<Target> {
        matches!(self, Self::DomainsRestCost | Self::DomainsMergeCost)
            .then_some(Target::AtMost(1.05))
    }
}

/// Of the ratio to in-tree KSM, or of rksm's figure alone.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    RatioAtMost(f64),
    RatioAtLeast(f64),
    AtMost(f64),
    AtLeast(f64),
}

impl Target {
    pub fn is_met(self, value: f64) -> bool {
        match self {
            Self::RatioAtMost(most) | Self::AtMost(most) => value <= most,
            Self::RatioAtLeast(least) | Self::AtLeast(least) => value >= least,
        }
    }

    pub fn is_of_ratio(self) -> bool {
        matches!(self, Self::RatioAtMost(_) | Self::RatioAtLeast(_))
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

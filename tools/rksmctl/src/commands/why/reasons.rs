// SPDX-License-Identifier: GPL-2.0

//! The known reasons, each a function from what is known to what is wrong. They stand in the order in
//! which one should look at them.

use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

use serde::Serialize;

use super::{
    case::{Case, Subject},
    pace::{self, By},
};
use crate::{
    show::{counted, duration, grouped, mib, percent},
    system::{mappings::WhyNot, Provider},
};

/// A reason that applies.
#[derive(Serialize)]
pub struct Finding {
    /// Its name, for programs.
    pub reason: &'static str,
    /// The reason, in one sentence.
    pub what: String,
    pub evidence: Vec<String>,
    pub remedy: String,
}

pub const ALL: [fn(&Case) -> Option<Finding>; 16] = [
    stopped,
    waits,
    zeroes,
    unasked,
    left_out,
    guests,
    unmergeable,
    partly_asked,
    busy,
    first_pass,
    slow,
    nodes,
    pinned,
    volatile,
    dear,
    different,
];

/// So many processes are named, and no more.
const NAMED: usize = 5;
/// A pass that takes longer leaves pages alone for too long.
const LONG: Duration = Duration::from_secs(30 * 60);
/// How long a pass should take, as the advisor has it.
const GOAL_SECONDS: u64 = 200;

fn finding(
    reason: &'static str,
    what: impl Into<String>,
    evidence: Vec<String>,
    remedy: impl Into<String>,
) -> Option<Finding> {
    Some(Finding {
        reason,
        what: what.into(),
        evidence,
        remedy: remedy.into(),
    })
}

/// Behind what the counters say, which do not say it of one process.
fn of_the_system(case: &Case) -> &'static str {
    match case.pid {
        Some(_) => " of the system",
        None => "",
    }
}

/// The first few, and how many are left.
fn few(mut lines: Vec<String>) -> Vec<String> {
    let left = lines.len().saturating_sub(NAMED);
    lines.truncate(NAMED);
    if left > 0 {
        lines.push(format!("and {left} more"));
    }
    lines
}

fn stopped(case: &Case) -> Option<Finding> {
    if case.is_running() {
        return None;
    }
    let run = case.settings.get("run").unwrap_or("?");
    finding(
        "stopped",
        "Nothing is scanned",
        vec![format!("run is {run}")],
        "rksmctl tune run=1",
    )
}

fn waits(case: &Case) -> Option<Finding> {
    if !case.settings.wait_for_pressure() {
        return None;
    }
    let high = case.settings.get("advisor_free_high").unwrap_or("?");
    let available = percent(case.memory.available as f64, case.memory.total as f64);
    finding(
        "waits",
        "Nothing is scanned, since enough memory is available",
        vec![
            "advisor_mode is pressure".into(),
            format!("{available} of memory is available, and merging begins at {high} %"),
        ],
        "none, if that is what you want; else a higher advisor_free_high, or rksmctl tune auto",
    )
}

fn zeroes(case: &Case) -> Option<Finding> {
    (case.settings.get("content") == Some("zero")).then_some(())?;
    finding(
        "zeroes",
        "Only pages full of zeroes are merged",
        vec!["content is zero".into()],
        "none, if that is what you want; else rksmctl tune content=all, with nothing merged",
    )
}

/// How to have the memory of a process merged that has not asked.
fn how_to_ask(case: &Case) -> String {
    let mut ways = vec!["madvise(MADV_MERGEABLE) or prctl(PR_SET_MEMORY_MERGE, 1) in the program, MemoryKSM=yes in its systemd unit"];
    if case.can_enrol {
        ways.push("its number written to /sys/kernel/mm/rksm/enrol");
    }
    if case.provider == Provider::Rksm {
        ways.push("or, for all processes, rksmctl tune scope=all");
    }
    ways.join("; ")
}

fn unasked(case: &Case) -> Option<Finding> {
    // Where it is not known of some, that something is tracked says that somebody has.
    if case.is_for_all() || case.concerned().next().is_some() {
        return None;
    }
    let all_known = case.subjects.iter().all(Subject::is_known);
    let is_tracked = case.counters.tracked() > 0 || case.counters.ksm_zero_pages > 0;
    if !all_known && (case.pid.is_some() || is_tracked) {
        return None;
    }
    if let Some(subject) = case.only() {
        let seen = match subject.merged.and_then(|merged| merged.has_asked()) {
            Some(_) => "ksm_mergeable and ksm_merge_any are no",
            None => "no mapping has the flag mg",
        };
        let size = mib(subject.usage.anonymous.into());
        return finding(
            "unasked",
            "The process has not asked for merging",
            vec![format!("{seen}, with {size} of anonymous memory")],
            how_to_ask(case),
        );
    }
    let mut largest: Vec<&Subject> = case
        .subjects
        .iter()
        .filter(|subject| subject.usage.anonymous > 0)
        .collect();
    largest.sort_by_key(|subject| Reverse(subject.usage.anonymous));
    let known = case.subjects.iter().filter(|subject| subject.is_known());
    let mut evidence = vec![match known.count() {
        0 => "no page is on record".to_owned(),
        known => format!(
            "ksm_mergeable and ksm_merge_any are no for {}",
            counted(known as u64, "process", "processes")
        ),
    }];
    evidence.extend(largest.iter().take(NAMED).map(|subject| {
        let size = mib(subject.usage.anonymous.into());
        format!("{} could: {size} of anonymous memory", subject.name())
    }));
    finding(
        "unasked",
        "No process has asked for merging",
        evidence,
        how_to_ask(case),
    )
}

fn left_out(case: &Case) -> Option<Finding> {
    let subject = case.only()?;
    let merged = subject.merged?;
    let seen = case.is_running() && case.counters.full_scans > 1;
    if !case.is_for_all() || !seen || merged.rmap_items > 0 || subject.has_asked() {
        return None;
    }
    let could = subject.mappings.as_ref()?.iter();
    let could: u64 = could
        .filter(|mapping| mapping.why_not.is_none())
        .map(|mapping| mapping.anonymous)
        .sum();
    if could == 0 {
        return None;
    }
    finding(
        "left-out",
        "The process is left out, although scope is all",
        vec![format!(
            "ksm_rmap_items is 0 after {} passes, with {} that could be merged",
            case.counters.full_scans,
            mib(could.into())
        )],
        "it, or who started it, said no by prctl(PR_SET_MEMORY_MERGE, 0), as systemd does with MemoryKSM=no: have it say 1; or it is not dumpable (prctl(PR_GET_DUMPABLE)): rksmctl enrol has it merged",
    )
}

fn guests(case: &Case) -> Option<Finding> {
    let lines: Vec<String> = case
        .subjects
        .iter()
        .filter_map(|subject| {
            let obstacles = subject.obstacles.as_ref()?;
            let merged_all_the_same = case.is_for_all() || subject.has_asked();
            let off = obstacles.off.iter().filter(|_| !merged_all_the_same);
            let told: Vec<&str> = off.chain(&obstacles.kind).map(String::as_str).collect();
            (!told.is_empty()).then(|| format!("{}: {}", subject.name(), told.join(", ")))
        })
        .collect();
    if lines.is_empty() {
        return None;
    }
    finding(
        "guests",
        "Guests were started so that their memory cannot be merged",
        few(lines),
        "start them with -machine mem-merge=on and memory-backend-ram; in libvirt without <nosharepages/>, <hugepages/>, <source type='memfd'/> and <access mode='shared'/>",
    )
}

fn unmergeable(case: &Case) -> Option<Finding> {
    if let Some(mappings) = case.only().and_then(|subject| subject.mappings.as_ref()) {
        let mut by_reason = BTreeMap::new();
        let mut all = 0;
        for mapping in mappings {
            all += mapping.resident;
            let Some(why_not) = mapping.why_not else {
                continue;
            };
            if !matches!(why_not, WhyNot::Unadvised | WhyNot::Private) {
                *by_reason.entry(why_not).or_insert(0) += mapping.resident;
            }
        }
        let not: u64 = by_reason.values().sum();
        if not * 2 <= all {
            return None;
        }
        let lines = by_reason
            .iter()
            .filter(|(_, size)| **size > 0)
            .map(|(why_not, size)| format!("{}: {why_not}", mib((*size).into())));
        return finding(
            "unmergeable",
            format!(
                "{} of the {} that the process uses can never be merged",
                mib(not.into()),
                mib(all.into())
            ),
            lines.collect(),
            "only private anonymous memory is merged: have the program use that",
        );
    }
    let lines: Vec<String> = case
        .concerned()
        .filter(|subject| {
            let usage = &subject.usage;
            let told = subject.obstacles.as_ref();
            usage.shared + usage.huge > usage.anonymous && told.is_none_or(|o| o.kind.is_empty())
        })
        .map(|subject| {
            let usage = &subject.usage;
            format!(
                "{}: {} shared, {} of hugetlbfs, {} anonymous",
                subject.name(),
                mib(usage.shared.into()),
                mib(usage.huge.into()),
                mib(usage.anonymous.into())
            )
        })
        .collect();
    if lines.is_empty() {
        return None;
    }
    finding(
        "unmergeable",
        "Processes have most of their memory where it can never be merged",
        few(lines),
        "only private anonymous memory is merged: have the programs use that",
    )
}

fn partly_asked(case: &Case) -> Option<Finding> {
    let subject = case.only().filter(|subject| subject.has_asked())?;
    let mappings = subject.mappings.as_ref()?;
    let of = |why_not| -> u64 {
        let these = mappings.iter().filter(|m| m.why_not == why_not);
        these.map(|mapping| mapping.anonymous).sum()
    };
    let advised = of(None);
    let unadvised = of(Some(WhyNot::Unadvised));
    if unadvised <= advised {
        return None;
    }
    finding(
        "partly-asked",
        "The process has asked for a small part of its memory",
        vec![format!(
            "{} of anonymous memory are advised, {} are not",
            mib(advised.into()),
            mib(unadvised.into())
        )],
        how_to_ask(case),
    )
}

fn busy(case: &Case) -> Option<Finding> {
    let lines: Vec<String> = case
        .subjects
        .iter()
        .filter(|subject| subject.busy)
        .map(|subject| format!("{} does not let its memory be looked at", subject.name()))
        .collect();
    if lines.is_empty() {
        return None;
    }
    finding(
        "busy",
        "Processes are busy with their address space, and nothing of them can be merged meanwhile",
        few(lines),
        "have the call come to its end that holds the mmap lock: /proc/PID/task/*/stack says which one it is",
    )
}

fn first_pass(case: &Case) -> Option<Finding> {
    // In-tree KSM has to see a page twice.
    let needed = match case.provider {
        Provider::Rksm => 1,
        Provider::InTree => 2,
    };
    let done = case.counters.full_scans;
    if !case.is_running() || done >= needed || case.concerned().next().is_none() {
        return None;
    }
    let mut evidence = vec![format!("full_scans is {done}")];
    if let Some((time, _)) = pace::of_a_pass(case) {
        evidence.push(format!("a pass takes about {}", duration(time)));
    }
    finding(
        "first-pass",
        "Not all pages have been looked at yet",
        evidence,
        "wait until the pass is over",
    )
}

fn slow(case: &Case) -> Option<Finding> {
    let (time, by) = pace::of_a_pass(case)?;
    if !case.is_running() || case.settings.wait_for_pressure() || time < LONG {
        return None;
    }
    let setting = |name| case.settings.get(name).unwrap_or("?");
    let pages = pace::pages(case);
    let evidence = vec![
        format!(
            "{}, pages_to_scan={}, sleep_millisecs={}",
            counted(pages, "page", "pages"),
            setting("pages_to_scan"),
            setting("sleep_millisecs")
        ),
        match by {
            By::LastPass => format!("a pass took {}", duration(time)),
            By::Sample => format!(
                "{} looked at in {}",
                counted(case.scanned, "page", "pages"),
                duration(case.sample)
            ),
            By::Settings => "as the settings have it, without what else takes time".to_owned(),
        },
    ];
    let remedy = match setting("advisor_mode") {
        "none" => match pace::pages_to_scan(case, GOAL_SECONDS) {
            Some(advised) => format!("rksmctl tune pages_to_scan={advised}, which has a pass take {GOAL_SECONDS} s, or advisor_mode=scan-time"),
            None => "none, if merging was stopped meanwhile; else rksmctl tune advisor_mode=scan-time, or a smaller sleep_millisecs".into(),
        },
        "pressure" => "none, while memory is hardly short; else let the advisor have more: rksmctl tune advisor_max_cpu=..., or a higher advisor_free_low".into(),
        _ => "let the advisor have more: rksmctl tune advisor_max_cpu=..., advisor_max_pages_to_scan=... or a shorter advisor_target_scan_time".into(),
    };
    finding(
        "slow",
        format!("A pass takes about {}", duration(time)),
        evidence,
        remedy,
    )
}

fn nodes(case: &Case) -> Option<Finding> {
    let apart = case.settings.get("merge_across_nodes") == Some("0");
    let alone = case.counters.pages_unshared;
    if !apart || case.nodes.len() < 2 || alone == 0 {
        return None;
    }
    let nodes: Vec<String> = case.nodes.iter().map(u32::to_string).collect();
    finding(
        "nodes",
        "Equal pages on different NUMA nodes are kept apart",
        vec![
            format!(
                "merge_across_nodes is 0, and the nodes {} have memory",
                nodes.join(", ")
            ),
            format!(
                "{}{} found no equal on their node",
                counted(alone, "page", "pages"),
                of_the_system(case)
            ),
        ],
        "rksmctl tune run=2, then merge_across_nodes=1 and run=1: it saves more, and some memory is farther away",
    )
}

fn is_pinned(subject: &Subject) -> bool {
    let pinned = subject.pinned();
    // A few pages are pinned by many a program.
    subject.pins.has_device() || pinned > 0 && pinned * 10 >= subject.usage.anonymous
}

fn pinned(case: &Case) -> Option<Finding> {
    let lines: Vec<String> = case
        .concerned()
        .filter(|subject| is_pinned(subject))
        .map(|subject| {
            let mut text = format!(
                "{}: {} pinned and {} locked",
                subject.name(),
                mib(subject.pinned().into()),
                mib(subject.usage.locked.into())
            );
            for name in &subject.pins.names {
                text += ", ";
                text += name;
            }
            text
        })
        .collect();
    if lines.is_empty() {
        return None;
    }
    finding(
        "pinned",
        "Pages are pinned, for a device or by the kernel, and cannot be merged",
        few(lines),
        "a guest with a device of its own (VFIO) has all its memory pinned: use virtio; a program: register less memory with io_uring",
    )
}

fn volatile(case: &Case) -> Option<Finding> {
    let counters = &case.counters;
    let pinned: u64 = case.concerned().map(Subject::pinned).sum();
    let tracked = counters.tracked();
    let volatile = counters
        .pages_volatile
        .saturating_sub(pinned / case.memory.page);
    if counters.full_scans < 2 || tracked == 0 || volatile * 2 < tracked {
        return None;
    }
    let mut evidence = vec![format!(
        "{} of {} tracked pages{} are volatile ({}), after {} passes",
        grouped(volatile.into()),
        grouped(tracked.into()),
        of_the_system(case),
        percent(volatile as f64, tracked as f64),
        grouped(counters.full_scans.into())
    )];
    if let Some((time, _)) = pace::of_a_pass(case) {
        evidence.push(format!("a pass takes about {}", duration(time)));
    }
    finding(
        "volatile",
        format!("Most pages{} change between two looks", of_the_system(case)),
        evidence,
        "memory that is written to all the time is not worth merging; if it rests now and then, shorter passes find that: a larger pages_to_scan, or more scanners",
    )
}

fn dear(case: &Case) -> Option<Finding> {
    let (profit, tracked) = match case.only() {
        Some(subject) => {
            let merged = subject.merged?;
            (merged.profit, merged.rmap_items)
        }
        None => (case.counters.general_profit, case.counters.tracked()),
    };
    if profit >= 0 || tracked == 0 {
        return None;
    }
    let mut worst: Vec<(i64, &Subject)> = case
        .subjects
        .iter()
        .filter_map(|subject| Some((subject.merged?.profit, subject)))
        .filter(|(profit, _)| *profit < 0 && case.pid.is_none())
        .collect();
    worst.sort_by_key(|(profit, subject)| (*profit, subject.pid));
    let mut evidence = vec![format!(
        "records cost {} more than merging saves, with {} tracked",
        mib((-profit).into()),
        counted(tracked, "page", "pages")
    )];
    evidence.extend(few(worst
        .iter()
        .map(|(profit, subject)| format!("{}: {}", subject.name(), mib((*profit).into())))
        .collect()));
    finding(
        "dear",
        "Records cost more than is saved",
        evidence,
        "leave out who gains nothing: MADV_UNMERGEABLE or prctl(PR_SET_MEMORY_MERGE, 0) in the program, MemoryKSM=no in its systemd unit, -machine mem-merge=off",
    )
}

fn different(case: &Case) -> Option<Finding> {
    let counters = &case.counters;
    let tracked = counters.tracked();
    let alone = counters.pages_unshared;
    if tracked == 0 || alone * 2 < tracked || nodes(case).is_some() {
        return None;
    }
    finding(
        "different",
        format!("Most pages{} have no equal", of_the_system(case)),
        vec![format!(
            "{} of {} tracked pages{} are unshared ({})",
            grouped(alone.into()),
            grouped(tracked.into()),
            of_the_system(case),
            percent(alone as f64, tracked as f64)
        )],
        "only more of the same helps: guests of one image, processes of one program",
    )
}

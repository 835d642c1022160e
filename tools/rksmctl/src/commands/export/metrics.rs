// SPDX-License-Identifier: GPL-2.0

//! The metrics: names, help and types. All begin with `ksm_`, whoever provides merging, so that a
//! dashboard goes on when that changes.

use std::fmt;

use anyhow::Result;
use prometheus_client::{
    collector::Collector,
    encoding::{prometheus_text, DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge, MetricType},
    registry::{Registry, Unit},
};

use crate::system::{
    overview::{Looker, Overview},
    owner::Names,
    patience::Patience,
    processes::{Process, Processes},
    Provider, System,
};

/// Remembers from one reading to the next what need not be looked for again.
pub struct Reader {
    looker: Looker,
    patience: Patience,
    names: Names,
    /// How many processes have metrics of their own.
    limit: usize,
}

impl Reader {
    pub fn new(limit: usize) -> Self {
        Self {
            looker: Looker::default(),
            patience: Patience::default(),
            names: Names::default(),
            limit,
        }
    }

    /// All metrics, as Prometheus reads them.
    pub fn text(&mut self, system: &System) -> Result<String> {
        system.need_provider()?;
        let overview = self.looker.look(system)?;
        let Some(overview) = overview else {
            anyhow::bail!("nobody merges pages any more");
        };
        let metrics = Metrics {
            overview,
            processes: Processes::look(system, &self.patience, &mut self.names, false)?,
            limit: self.limit,
        };
        let mut registry = Registry::with_prefix("ksm");
        registry.register_collector(Box::new(metrics));
        let mut text = String::new();
        prometheus_text::encode(&mut text, &registry)?;
        Ok(text)
    }
}

#[derive(Debug)]
struct Metrics {
    overview: Overview,
    /// Those that save most come first.
    processes: Processes,
    limit: usize,
}

impl Collector for Metrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Out(encoder);
        self.totals(&mut out)?;
        self.scanners(&mut out)?;
        self.each_process(&mut out)
    }
}

impl Metrics {
    fn totals(&self, out: &mut Out<'_>) -> fmt::Result {
        let counters = &self.overview.counters;
        let settings = &self.overview.settings;
        let page = self.overview.memory.page as i64;
        let mut bytes = |name: &str, help: &str, pages: u64| {
            out.gauge(name, help, Some(&Unit::Bytes), pages as i64 * page)
        };
        bytes(
            "saved",
            "Memory that merging and the zero page save, before records",
            counters.saved(),
        )?;
        bytes(
            "shared",
            "Merged pages that are kept",
            counters.pages_shared,
        )?;
        bytes(
            "sharing",
            "Pages that were freed since an equal one is kept",
            counters.pages_sharing,
        )?;
        bytes(
            "zero",
            "Pages that were freed since they were full of zeroes",
            counters.ksm_zero_pages.max(0).unsigned_abs(),
        )?;
        bytes(
            "unshared",
            "Pages that hold still and have no equal",
            counters.pages_unshared,
        )?;
        bytes(
            "volatile",
            "Pages that change too often, or were seen once only",
            counters.pages_volatile,
        )?;
        out.gauge(
            "profit",
            "Memory saved, less the records that are kept for it",
            Some(&Unit::Bytes),
            counters.general_profit,
        )?;
        out.gauge(
            "chained_contents",
            "Contents that have several merged pages because of max_page_sharing",
            None,
            counters.stable_node_chains as i64,
        )?;
        out.gauge(
            "chained_pages",
            "Merged pages of those contents",
            None,
            counters.stable_node_dups as i64,
        )?;
        let run = settings.number("run").unwrap_or(0);
        out.gauge(
            "run",
            "What run is set to: 0 stopped, 1 scans and merges, 2 unmerged",
            None,
            run as i64,
        )?;
        let provider = match self.overview.provider {
            Provider::Rksm => "rksm",
            Provider::InTree => "in-tree",
        };
        let metric = ConstGauge::new(1_i64);
        let mut family = out.0.encode_descriptor(
            "provider_info",
            "Who provides merging",
            None,
            MetricType::Gauge,
        )?;
        metric.encode(family.encode_family(&[("provider", provider)])?)
    }

    fn scanners(&self, out: &mut Out<'_>) -> fmt::Result {
        let counters = &self.overview.counters;
        out.counter(
            "scanned_pages",
            "Pages that were looked at",
            None,
            counters.pages_scanned,
        )?;
        if let Some(skipped) = counters.pages_skipped {
            out.counter(
                "skipped_pages",
                "Pages that smart scan passed over",
                None,
                skipped,
            )?;
        }
        out.counter(
            "passes",
            "Complete passes since everything was unmerged last",
            None,
            counters.full_scans,
        )?;
        out.counter(
            "scanner_cpu",
            "CPU time of the scanners",
            Some(&Unit::Seconds),
            self.overview.scanner_cpu.as_secs_f64(),
        )?;
        let times = [
            (
                "last_pass",
                "How long the last pass took",
                counters.last_pass_millisecs,
            ),
            (
                "last_pass_cpu",
                "CPU time of the scanners in the last pass",
                counters.last_pass_cpu_millisecs,
            ),
            (
                "pass",
                "How long the pass under way takes so far",
                counters.pass_millisecs,
            ),
        ];
        for (name, help, millisecs) in times {
            // In-tree KSM does not say.
            if let Some(millisecs) = millisecs {
                out.gauge(name, help, Some(&Unit::Seconds), millisecs as f64 / 1e3)?;
            }
        }
        Ok(())
    }

    fn each_process(&self, out: &mut Out<'_>) -> fmt::Result {
        let found = &self.processes;
        let states = [
            ("concerned", found.concerned.len()),
            ("hidden", found.hidden),
            ("unanswering", found.busy.len()),
        ];
        let mut family = out.0.encode_descriptor(
            "processes",
            "Processes that merging concerns, that need root to be read, whose address space is locked",
            None,
            MetricType::Gauge,
        )?;
        for (state, number) in states {
            let metric = ConstGauge::new(number as i64);
            metric.encode(family.encode_family(&[("state", state)])?)?;
        }
        let page = self.overview.memory.page as i64;
        let pages = |pages: u64| pages as i64 * page;
        self.family(
            out,
            "process_saved",
            "Memory of a process that is merged or the zero page",
            |process| pages(process.merged.pages()),
        )?;
        self.family(
            out,
            "process_merged",
            "Memory of a process that is merged",
            |process| pages(process.merged.merging_pages),
        )?;
        self.family(
            out,
            "process_zero",
            "Memory of a process that is the zero page",
            |process| process.merged.zero_pages * page,
        )?;
        self.family(
            out,
            "process_tracked",
            "Memory of a process that is on record",
            |process| pages(process.merged.rmap_items),
        )?;
        self.family(
            out,
            "process_profit",
            "Memory of a process that is saved, less its records",
            |process| process.merged.profit,
        )
    }

    /// A figure in bytes for each process that has metrics.
    fn family(
        &self,
        out: &mut Out<'_>,
        name: &str,
        help: &str,
        figure: impl Fn(&Process) -> i64,
    ) -> fmt::Result {
        // A name without a figure is none.
        if self.processes.concerned.is_empty() || self.limit == 0 {
            return Ok(());
        }
        let mut family =
            out.0
                .encode_descriptor(name, help, Some(&Unit::Bytes), MetricType::Gauge)?;
        for process in self.processes.concerned.iter().take(self.limit) {
            let labels = [
                ("pid", process.pid.to_string()),
                ("command", process.command.clone()),
                ("guest", process.owner.guest.clone().unwrap_or_default()),
            ];
            let metric = ConstGauge::new(figure(process));
            metric.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// Where metrics go that have one figure.
struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn gauge<N>(&mut self, name: &str, help: &str, unit: Option<&Unit>, figure: N) -> fmt::Result
    where
        ConstGauge<N>: EncodeMetric,
    {
        let encoder = self
            .0
            .encode_descriptor(name, help, unit, MetricType::Gauge)?;
        ConstGauge::new(figure).encode(encoder)
    }

    /// `_total` is put behind the name.
    fn counter<N>(&mut self, name: &str, help: &str, unit: Option<&Unit>, figure: N) -> fmt::Result
    where
        ConstCounter<N>: EncodeMetric,
    {
        let encoder = self
            .0
            .encode_descriptor(name, help, unit, MetricType::Counter)?;
        ConstCounter::new(figure).encode(encoder)
    }
}

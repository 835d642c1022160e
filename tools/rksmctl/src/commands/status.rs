// SPDX-License-Identifier: GPL-2.0

//! `rksmctl status`: everything on one screen.

use std::{
    fmt::{self, Write as _},
    io::{self, IsTerminal, Write as _},
    thread,
    time::Duration,
};

use anyhow::Result;
use crossterm::{cursor, execute, terminal};
use serde::Serialize;

use crate::{
    show::{counted, duration, grouped, mib, percent, running},
    system::{
        counters::Counters,
        domains::{self, Domain},
        knobs::Settings,
        memory::Memory,
        scanners, Provider, System,
    },
};

pub const EXAMPLES: &str = "\
Examples:
  rksmctl status                         who merges pages, and what that saves
  rksmctl status --watch 5               the same every five seconds
  rksmctl status --json | jq .saved      bytes saved, for a program
";

#[derive(clap::Args)]
pub struct Args {
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
    /// Again after so many seconds, until it is interrupted.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    watch: Option<u64>,
}

pub fn run(system: &System, args: &Args) -> Result<()> {
    loop {
        let status = Status::read(system)?;
        let text = if args.json {
            serde_json::to_string_pretty(&status)? + "\n"
        } else {
            status.to_string()
        };
        let mut out = io::stdout();
        if args.watch.is_some() && out.is_terminal() && !args.json {
            execute!(
                out,
                terminal::Clear(terminal::ClearType::All),
                cursor::MoveTo(0, 0)
            )?;
        }
        out.write_all(text.as_bytes())?;
        out.flush()?;
        let Some(seconds) = args.watch else {
            return Ok(());
        };
        thread::sleep(Duration::from_secs(seconds));
    }
}

/// What is shown. Who reads the JSON depends on the names.
#[derive(Serialize)]
struct Status {
    provider: Provider,
    /// Bytes.
    saved: u64,
    memory: Memory,
    counters: Counters,
    /// CPU time of the scanners since they were started.
    scanner_cpu_millisecs: u64,
    settings: Settings,
    /// Of all that there are; null where the provider does not say, or not to this user.
    domains: Option<Vec<Domain>>,
    warnings: Vec<String>,
}

/// How many domains are shown.
const DOMAINS: usize = 10;

impl Status {
    fn read(system: &System) -> Result<Self> {
        let provider = system.need_provider()?;
        let counters = Counters::read(system, provider)?;
        let memory = Memory::read(system)?;
        let settings = Settings::read(system, provider)?;
        let cpu = scanners::cpu_time(system, provider)?;
        Ok(Self {
            provider,
            saved: counters.saved() * memory.page,
            memory,
            scanner_cpu_millisecs: cpu.as_millis().try_into()?,
            warnings: warnings(&settings, &counters),
            counters,
            settings,
            domains: domains::read(system, provider)?,
        })
    }

    fn pages(&self, count: u64) -> String {
        let bytes = count * self.memory.page;
        format!(
            "{:>13} pages  {:>11}",
            grouped(count.into()),
            mib(bytes.into())
        )
    }

    /// What each domain saves, where there are more than one.
    fn show_domains(&self, out: &mut impl fmt::Write) -> fmt::Result {
        let Some(all) = &self.domains else {
            return match self.settings.get("domain") {
                Some("user" | "cgroup" | "process") => {
                    writeln!(out, "Domains        only root is told what each saves")
                }
                _ => Ok(()),
            };
        };
        if all.iter().all(|domain| domain.id == "all") {
            return Ok(());
        }
        for (index, domain) in all.iter().take(DOMAINS).enumerate() {
            writeln!(
                out,
                "{:<14} {}  freed of {}, {}",
                if index == 0 { "Domains" } else { "" },
                self.pages(domain.saved()),
                domain.name,
                counted(domain.processes, "process", "processes"),
            )?;
        }
        if let Some(more) = all.get(DOMAINS..).filter(|more| !more.is_empty()) {
            let saved: u64 = more.iter().map(Domain::saved).sum();
            writeln!(
                out,
                "{:<14} {}  freed of {}",
                "",
                self.pages(saved),
                counted(more.len() as u64, "more domain", "more domains"),
            )?;
        }
        Ok(())
    }

    fn pace(&self) -> String {
        let setting = |name| self.settings.get(name).unwrap_or("?");
        if self.settings.wait_for_pressure() {
            return format!(
                "waits: {} of memory is available, merging begins at {} %",
                percent(self.memory.available as f64, self.memory.total as f64),
                setting("advisor_free_high")
            );
        }
        let scanners = self.settings.number("scanners").unwrap_or(1);
        let mut text = format!(
            "{}, {} pages, then {} ms of sleep",
            counted(scanners, "scanner", "scanners"),
            setting("pages_to_scan"),
            setting("sleep_millisecs"),
        );
        let _ = match setting("advisor_mode") {
            "scan-time" => write!(
                text,
                "; the advisor aims at {} s a pass",
                setting("advisor_target_scan_time")
            ),
            "pressure" if setting("run") == "1" => write!(
                text,
                "; {} of memory is available, merging ends at {} %",
                percent(self.memory.available as f64, self.memory.total as f64),
                setting("advisor_free_high")
            ),
            _ => Ok(()),
        };
        text
    }

    fn last_pass(&self) -> String {
        let (Some(took), Some(cpu)) = (
            self.counters.last_pass_millisecs,
            self.counters.last_pass_cpu_millisecs,
        ) else {
            return "in-tree KSM does not say how long a pass takes".into();
        };
        if took == 0 {
            return "none is complete".into();
        }
        format!(
            "took {}, {} of one CPU",
            duration(Duration::from_millis(took)),
            percent(cpu as f64, took as f64),
        )
    }

    fn next_pass(&self) -> Option<String> {
        let running = self.settings.get("run") == Some("1");
        let (took, so_far) = (
            self.counters.last_pass_millisecs?,
            self.counters.pass_millisecs?,
        );
        if !running || took == 0 {
            return None;
        }
        Some(match took.checked_sub(so_far) {
            None | Some(0) => "soon: this one takes longer than the last".into(),
            Some(left) => format!("in about {}", duration(Duration::from_millis(left))),
        })
    }
}

/// What somebody should look at.
fn warnings(settings: &Settings, counters: &Counters) -> Vec<String> {
    let mut warnings = Vec::new();
    let tracked = counters.tracked();
    if settings.get("run") != Some("1") {
        let run = settings.get("run").unwrap_or("?");
        warnings.push(format!(
            "run is {run}: nothing is scanned; rksmctl tune run=1 starts it"
        ));
    }
    if counters.general_profit < 0 {
        warnings.push(format!(
            "profit is negative: records cost {} more than merging saves",
            mib(-i128::from(counters.general_profit)),
        ));
    }
    if tracked > 0 && counters.pages_volatile * 10 >= tracked * 9 {
        warnings.push(format!(
            "{} of the pages are volatile: they change too often to be merged, or were seen only once so far",
            percent(counters.pages_volatile as f64, tracked as f64),
        ));
    }
    let copies = counters
        .stable_node_dups
        .saturating_sub(counters.stable_node_chains);
    if copies > 0 {
        warnings.push(format!(
            "max_page_sharing ({}) keeps {} of {}",
            settings.get("max_page_sharing").unwrap_or("?"),
            counted(copies, "more copy", "more copies"),
            counted(counters.stable_node_chains, "page", "pages"),
        ));
    }
    let none = tracked == 0 && counters.ksm_zero_pages <= 0;
    if settings.get("run") == Some("1") && counters.full_scans > 1 && none {
        warnings.push("nobody has asked for merging; rksmctl why says who could".into());
    }
    warnings
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counters = &self.counters;
        let pages = |count| self.pages(count);

        writeln!(
            f,
            "Merging by     {}: {}",
            self.provider,
            running(&self.settings)
        )?;
        writeln!(f, "Pace           {}", self.pace())?;
        writeln!(f)?;
        writeln!(
            f,
            "Saved          {}, {} of the {} of memory",
            mib(self.saved.into()),
            percent(self.saved as f64, self.memory.total as f64),
            mib(self.memory.total.into()),
        )?;
        writeln!(
            f,
            "Profit         {} after records",
            mib(counters.general_profit.into())
        )?;
        writeln!(f)?;
        writeln!(f, "Merged         {}  kept", pages(counters.pages_shared))?;
        writeln!(f, "               {}  freed", pages(counters.pages_sharing))?;
        let zero = counters.ksm_zero_pages.max(0).unsigned_abs();
        writeln!(f, "Zero pages     {}  freed", pages(zero))?;
        writeln!(f, "Without equal  {}", pages(counters.pages_unshared))?;
        writeln!(f, "Volatile       {}", pages(counters.pages_volatile))?;
        self.show_domains(f)?;
        writeln!(f)?;
        writeln!(f, "Passes         {}", grouped(counters.full_scans.into()))?;
        writeln!(f, "Last pass      {}", self.last_pass())?;
        if let Some(next) = self.next_pass() {
            writeln!(f, "Next pass      {next}")?;
        }
        writeln!(
            f,
            "Scanner CPU    {} since it was started",
            duration(Duration::from_millis(self.scanner_cpu_millisecs)),
        )?;
        if !self.warnings.is_empty() {
            writeln!(f)?;
        }
        for warning in &self.warnings {
            writeln!(f, "Warning: {warning}.")?;
        }
        Ok(())
    }
}

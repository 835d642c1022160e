// SPDX-License-Identifier: GPL-2.0

//! `rksmctl doctor`: can this machine run rksm, and is what is installed in order.

mod built;
mod finding;
mod kernel;
mod others;
mod running;

use anyhow::{bail, Result};

use self::finding::{Finding, State};
use crate::{
    show::{counted, say},
    system::{kernel::Kernel, packages::Packages, System},
};

pub const EXAMPLES: &str = "\
Examples:
  rksmctl doctor                                     all checks, with remedies
  rksmctl doctor --json                              the same for a program
";

#[derive(clap::Args)]
pub struct Args {
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// Ends with an error if something is a problem.
pub fn run(system: &System, args: &Args) -> Result<()> {
    let findings = findings(system)?;
    let text = if args.json {
        serde_json::to_string_pretty(&findings)? + "\n"
    } else {
        findings.iter().map(shown).collect()
    };
    // Who needs no more than the status may not read it.
    say(&text)?;
    let problems = findings
        .iter()
        .filter(|finding| finding.state == State::Problem);
    match problems.count() {
        0 => Ok(()),
        number => bail!("{}", counted(number as u64, "problem", "problems")),
    }
}

fn findings(system: &System) -> Result<Vec<Finding>> {
    let kernel = Kernel::new(system)?;
    let packages = Packages::read(system);
    let loaded = system.exists("/sys/module/rksm");
    let mut findings = vec![kernel::series(&kernel), kernel::configuration(&kernel)];
    findings.extend(built::checks(&kernel, &packages));
    // What is loaded works; what is lacking matters when the next kernel comes.
    if loaded {
        for finding in &mut findings {
            finding.soften();
        }
    }
    findings.extend(running::checks(system, loaded));
    findings.extend(others::checks(system)?);
    Ok(findings)
}

fn shown(finding: &Finding) -> String {
    let mut text = format!(
        "{:<8} {:<14} {}\n",
        finding.state.word(),
        finding.check,
        finding.evidence
    );
    if !finding.remedy.is_empty() {
        text += &format!("{:23} -> {}\n", "", finding.remedy);
    }
    text
}

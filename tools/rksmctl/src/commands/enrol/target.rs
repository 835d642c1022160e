// SPDX-License-Identifier: GPL-2.0

//! Who is meant: a process, a cgroup, a unit, or a guest.

use anyhow::{bail, Context, Result};

use crate::{
    failure::Failure,
    system::{
        cgroup::{self, Cgroup},
        owner::{Names, Owner},
        patience::Patience,
        processes::pids,
        systemd, System,
    },
};

#[derive(Debug)]
pub enum Target {
    Process(i32),
    /// The QEMU of a guest.
    Guest(i32),
    Cgroup(Cgroup),
    /// A unit of the system, and its cgroup if it runs.
    Unit(String, Option<Cgroup>),
}

const KINDS: [&str; 5] = [".service", ".scope", ".slice", ".socket", ".mount"];

impl Target {
    pub fn find(system: &System, name: &str) -> Result<Self> {
        if name.chars().all(|char| char.is_ascii_digit()) {
            let pid = name.parse().ok().filter(|pid| *pid > 0);
            let pid = pid.with_context(|| format!("{name} is no number of a process"))?;
            return Ok(Self::Process(pid));
        }
        if name.starts_with('/') {
            return Ok(Self::Cgroup(cgroup::at(system, name)?));
        }
        if KINDS.iter().any(|kind| name.ends_with(kind)) {
            return unit(system, name).with_context(|| {
                format!("the system has no unit {name}; one of a user is named by its cgroup")
            });
        }

        let service = unit(system, &format!("{name}.service"));
        let mut guests = guests(system, name)?;
        match (guests.len(), service) {
            (0, Some(service)) => Ok(service),
            (0, None) => bail!("nothing is called {name}: no guest, and no service of the system"),
            (1, None) => Ok(Self::Guest(guests.remove(0))),
            (1, Some(_)) => wrong(format!(
                "{name} is a guest, process {}, and a service: say {name}.service or the number",
                guests[0]
            )),
            _ => {
                let numbers: Vec<_> = guests.iter().map(i32::to_string).collect();
                wrong(format!(
                    "several guests are called {name}; give the process: {}",
                    numbers.join(", ")
                ))
            }
        }
    }
}

fn wrong(why: String) -> Result<Target> {
    Err(Failure::Usage(why).into())
}

fn unit(system: &System, name: &str) -> Option<Target> {
    let cgroup = systemd::cgroup(system, name);
    (cgroup.is_some() || systemd::has_unit(system, name))
        .then(|| Target::Unit(name.to_owned(), cgroup))
}

fn guests(system: &System, name: &str) -> Result<Vec<i32>> {
    let (patience, mut names) = (Patience::default(), Names::default());
    let is_it = |pid: &i32| {
        let owner = Owner::read(system, &patience, &mut names, *pid);
        owner.guest.as_deref() == Some(name)
    };
    Ok(pids(system)?.into_iter().filter(is_it).collect())
}

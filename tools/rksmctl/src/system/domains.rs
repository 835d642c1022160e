// SPDX-License-Identifier: GPL-2.0

//! How much is merged within each domain, which rksm tells root.

use std::{collections::HashMap, path::PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

use super::{cgroup::Cgroup, owner, Provider, System};
use crate::show::plain;

/// The number of the user namespace that there is from the beginning (`USER_NS_INIT_ID`).
const FIRST_USER_NAMESPACE: u64 = 3;

/// Those whose pages are merged with each other.
#[derive(Debug, Serialize)]
pub struct Domain {
    /// As the kernel has it: all, none, user:UID:NAMESPACE, cgroup:ID or process:PID.
    pub id: String,
    /// The same for people.
    pub name: String,
    pub processes: u64,
    pub pages_shared: u64,
    pub pages_sharing: u64,
    pub zero_pages: u64,
}

impl Domain {
    /// Pages that are saved.
    pub const fn saved(&self) -> u64 {
        self.pages_sharing + self.zero_pages
    }
}

/// All that there are, those first that save most. `None`: the provider does not say, or not to this user.
pub fn read(system: &System, provider: Provider) -> Result<Option<Vec<Domain>>> {
    let Ok(text) = system.text(provider.file("domains")) else {
        return Ok(None);
    };
    let mut names = Names::default();
    let domains = text.lines().skip(1).map(|line| {
        let domain = parse(line).map(|domain| Domain {
            name: names.of(system, &domain.id),
            ..domain
        });
        domain.with_context(|| format!("a domain is '{}'", plain(line.trim())))
    });
    let mut domains = domains.collect::<Result<Vec<_>>>()?;
    // One that came or went meanwhile may be there twice.
    domains.sort_by(|a, b| a.id.cmp(&b.id));
    domains.dedup_by(|a, b| a.id == b.id);
    domains.sort_by_key(|domain| std::cmp::Reverse(domain.saved()));
    Ok(Some(domains))
}

fn parse(line: &str) -> Option<Domain> {
    let mut words = line.split_whitespace();
    let mut number = || -> Option<i64> { words.next()?.parse().ok() };
    let mut count = || Some(number()?.max(0).unsigned_abs());
    let (processes, pages_shared) = (count()?, count()?);
    let (pages_sharing, zero_pages) = (count()?, count()?);
    Some(Domain {
        processes,
        pages_shared,
        pages_sharing,
        zero_pages,
        id: words.next()?.to_owned(),
        name: String::new(),
    })
}

/// What domains are called.
#[derive(Default)]
struct Names {
    /// The cgroups by their numbers, once somebody has asked.
    cgroups: Option<HashMap<u64, PathBuf>>,
}

impl Names {
    fn of(&mut self, system: &System, id: &str) -> String {
        let name = match id.split_once(':') {
            Some(("user", user)) => user_of(user),
            Some(("cgroup", number)) => self.cgroup_of(system, number),
            Some(("process", pid)) => process_of(system, pid),
            _ if id == "all" => Some("everybody".into()),
            _ if id == "none" => Some("not known yet whose".into()),
            _ => None,
        };
        name.unwrap_or_else(|| plain(id))
    }

    fn cgroup_of(&mut self, system: &System, number: &str) -> Option<String> {
        let cgroups = self.cgroups.get_or_insert_with(|| Cgroup::numbered(system));
        let path = cgroups.get(&number.parse().ok()?)?;
        Some(format!("cgroup {}", plain(&path.to_string_lossy())))
    }
}

fn user_of(user: &str) -> Option<String> {
    let (uid, namespace) = user.split_once(':')?;
    let name = plain(&owner::name_of(uid.parse().ok()?));
    Some(match namespace.parse::<u64>() {
        Ok(FIRST_USER_NAMESPACE) => format!("user {name}"),
        _ => format!("user {name} of namespace {}", plain(namespace)),
    })
}

fn process_of(system: &System, pid: &str) -> Option<String> {
    let pid = pid.parse::<u32>().ok()?;
    let name = system.text(format!("/proc/{pid}/comm")).ok()?;
    Some(format!("process {pid} {}", plain(name.trim())))
}

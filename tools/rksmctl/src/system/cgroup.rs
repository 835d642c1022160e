// SPDX-License-Identifier: GPL-2.0

//! Control groups, of version 2: which there are, and which processes they have.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::System;

const ROOT: &str = "/sys/fs/cgroup";

/// A control group, by its path below the root of all.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cgroup {
    pub path: PathBuf,
}

impl Cgroup {
    /// The one at a path, with or without what it is mounted on.
    pub fn at(system: &System, path: &str) -> Option<Self> {
        let inside = Path::new(path);
        let inside = inside.strip_prefix(ROOT).unwrap_or(inside);
        let inside = inside.strip_prefix("/").unwrap_or(inside);
        let cgroup = Self {
            path: Path::new("/").join(inside),
        };
        system
            .exists(cgroup.folder().join("cgroup.procs"))
            .then_some(cgroup)
    }

    /// The processes in it and in those below.
    pub fn pids(&self, system: &System) -> Result<Vec<i32>> {
        let file = self.folder().join("cgroup.procs");
        let mut pids = parse(&system.read(&file)?);
        for cgroup in self.below(system) {
            // It may go meanwhile.
            let text = system.read(cgroup.folder().join("cgroup.procs"));
            pids.extend(parse(&text.unwrap_or_default()));
        }
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    /// The paths of all that there are, by the numbers that the kernel gives them: those of their folders.
    pub fn numbered(system: &System) -> HashMap<u64, PathBuf> {
        let root = Self {
            path: PathBuf::from("/"),
        };
        let below = root.below(system);
        let all = [root].into_iter().chain(below);
        let numbered = all.filter_map(|cgroup| {
            let folder = fs::metadata(system.path(cgroup.folder()));
            Some((folder.ok()?.ino(), cgroup.path))
        });
        numbered.collect()
    }

    /// Those below it.
    fn below(&self, system: &System) -> Vec<Self> {
        let mut all: Vec<_> = self.children(system).collect();
        let mut next = 0;
        while let Some(cgroup) = all.get(next) {
            let children: Vec<_> = cgroup.children(system).collect();
            all.extend(children);
            next += 1;
        }
        all
    }

    fn folder(&self) -> PathBuf {
        let inside = self.path.strip_prefix("/").unwrap_or(&self.path);
        Path::new(ROOT).join(inside)
    }

    fn children(&self, system: &System) -> impl Iterator<Item = Self> {
        let path = self.path.clone();
        fs::read_dir(system.path(self.folder()))
            .into_iter()
            .flatten()
            .filter_map(|entry| {
                let entry = entry.ok()?;
                entry.file_type().ok()?.is_dir().then(|| entry.file_name())
            })
            .map(move |name| Self {
                path: path.join(name),
            })
    }
}

fn parse(text: &str) -> Vec<i32> {
    // A process of another PID namespace is 0.
    let pids = text.lines().filter_map(|line| line.parse().ok());
    pids.filter(|pid| *pid > 0).collect()
}

/// The cgroup at a path that must be there.
pub fn at(system: &System, path: &str) -> Result<Cgroup> {
    Cgroup::at(system, path).with_context(|| format!("there is no cgroup {path}"))
}

// SPDX-License-Identifier: GPL-2.0

//! What the system says of page merging. Nothing here prints.

pub mod cgroup;
pub mod change;
pub mod counters;
pub mod domains;
pub mod enrolment;
pub mod guests;
pub mod kernel;
pub mod knobs;
pub mod machine;
pub mod mappings;
pub mod memory;
pub mod nodes;
pub mod overview;
pub mod owner;
pub mod packages;
pub mod pagemap;
pub mod patience;
pub mod pins;
pub mod processes;
pub mod saved;
pub mod scanners;
pub mod systemd;
pub mod usage;

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::failure;

/// The system, below a folder that stands for `/`: tests have one of their own.
#[derive(Clone, Debug)]
pub struct System {
    root: PathBuf,
}

/// Who merges pages.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provider {
    Rksm,
    InTree,
}

impl Provider {
    /// Where its knobs and counters are.
    pub const fn directory(self) -> &'static str {
        match self {
            Self::Rksm => "/sys/kernel/mm/rksm",
            Self::InTree => "/sys/kernel/mm/ksm",
        }
    }

    /// The file of a knob or a counter.
    pub fn file(self, name: &str) -> PathBuf {
        Path::new(self.directory()).join(name)
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rksm => "rksm",
            Self::InTree => "the kernel's own KSM",
        })
    }
}

impl System {
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where the file is that is `path`, which begins with a slash, in the system.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Whether it is the one that this program runs in.
    pub fn is_real(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Who merges pages; `None` in a kernel without KSM.
    pub fn provider(&self) -> Option<Provider> {
        [Provider::Rksm, Provider::InTree]
            .into_iter()
            .find(|provider| self.exists(provider.file("run")))
    }

    /// As [`Self::provider`], for who can do nothing without one.
    pub fn need_provider(&self) -> Result<Provider> {
        self.provider().context(
            "this kernel merges no pages: it has no /sys/kernel/mm/ksm, and rksm is not loaded",
        )
    }

    pub fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.path(path).exists()
    }

    /// The text of a file, without the white space around it.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<String> {
        let path = self.path(path);
        let text = fs::read_to_string(&path).map_err(|error| refused("read", &path, &error))?;
        Ok(text.trim().to_owned())
    }

    /// The whole text of a file that a process has a say in. What is not UTF-8 in it is replaced.
    pub fn text(&self, path: impl AsRef<Path>) -> io::Result<String> {
        let bytes = fs::read(self.path(path))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The value in a file.
    pub fn value<T: FromStr>(&self, path: impl AsRef<Path>) -> Result<T> {
        let path = path.as_ref();
        let text = self.read(path)?;
        let value = text.parse().ok();
        value.with_context(|| format!("{} says '{text}'", path.display()))
    }

    /// Writes to a file of the kernel.
    pub fn write(&self, path: impl AsRef<Path>, text: &str) -> Result<()> {
        let path = path.as_ref();
        let done = self.try_write(path, text);
        done.map_err(|error| refused("write", &self.path(path), &error))
    }

    /// As [`Self::write`], for who looks at the error.
    pub fn try_write(&self, path: impl AsRef<Path>, text: &str) -> io::Result<()> {
        // No new file is made where the kernel has none.
        let mut file = fs::OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(self.path(path))?;
        // The kernel takes all of it at once. Who gives up when a signal comes does not begin again.
        io::Write::write(&mut file, format!("{text}\n").as_bytes()).map(drop)
    }
}

fn refused(what: &str, path: &Path, error: &io::Error) -> anyhow::Error {
    let remedy = failure::remedy(error, path);
    let words = failure::words(error);
    anyhow::anyhow!("cannot {what} {}: {words} ({remedy})", path.display())
}

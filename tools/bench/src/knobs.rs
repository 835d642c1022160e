// SPDX-License-Identifier: GPL-2.0

//! The knobs and counters of whoever provides merging, and of the kernel beside them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{anyhow, Context, Result};

const DIR: &str = "/sys/kernel/mm/ksm";
/// What rksm has and in-tree KSM has not is here.
const MORE: &str = "/sys/kernel/mm/rksm";
const MEMINFO: &str = "/proc/meminfo";

pub fn path(name: &str) -> PathBuf {
    let path = Path::new(DIR).join(name);
    match path.exists() {
        true => path,
        false => Path::new(MORE).join(name),
    }
}

/// A counter or knob that is a number.
pub fn get(name: &str) -> Result<i64> {
    number(&path(name))
}

pub fn set(name: &str, value: impl ToString) -> Result<()> {
    write(&path(name), &value.to_string())
}

pub fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("{text:?} to {}", path.display()))
}

/// The same where it is refused while pages are merged, or means something for what is merged afterwards.
pub fn set_unmerged(path: &str, text: &str) -> Result<()> {
    set("run", 2)?;
    set("run", 0)?;
    write(Path::new(path), text)
}

fn number(path: &Path) -> Result<i64> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    text.trim()
        .parse()
        .with_context(|| format!("{}: {text:?}", path.display()))
}

/// What the provider says it saves: mappings of merged pages but the first of each, and zero pages.
pub fn saved() -> Result<i64> {
    Ok(get("pages_sharing")? + get("ksm_zero_pages")?)
}

/// The same for both providers, and `settings`.
pub fn for_measuring(settings: &[(&str, &str)]) -> Result<()> {
    let common = [
        ("advisor_mode", "none"),
        ("smart_scan", "0"),
        ("use_zero_pages", "1"),
        ("max_page_sharing", "256"),
        ("stable_node_chains_prune_millisecs", "2000"),
    ];
    common
        .iter()
        .chain(settings)
        .try_for_each(|(knob, value)| set(knob, value))
}

/// Anonymous memory that is mapped, each page once.
pub fn anon_bytes() -> Result<i64> {
    // The figure is put together from those of the CPUs now and then, or now. With one CPU there is
    // nothing to put together.
    let refresh = Path::new("/proc/sys/vm/stat_refresh");
    if refresh.exists() {
        write(refresh, "1")?;
    }
    bytes_in(MEMINFO, "AnonPages:")
}

/// Bytes in slabs that cannot be had back: whatever kind of record a provider has is in there.
/// Without what is free in the slabs.
pub fn slab_bytes() -> Result<i64> {
    for cache in fs::read_dir("/sys/kernel/slab")? {
        write(&cache?.path().join("shrink"), "1")?;
    }
    bytes_in(MEMINFO, "SUnreclaim:")
}

pub fn memory_mib() -> Result<i64> {
    Ok(bytes_in(MEMINFO, "MemTotal:")? >> 20)
}

/// A line of a file that says so many kB.
pub fn bytes_in(path: &str, name: &str) -> Result<i64> {
    let text = fs::read_to_string(path)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.split_whitespace().next());
    let kib: i64 = kib
        .ok_or_else(|| anyhow!("{path} has no {name}"))?
        .parse()?;
    Ok(kib * 1024)
}

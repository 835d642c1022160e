// SPDX-License-Identifier: GPL-2.0

//! Who may have pages of a process pinned: what it has open says.

use std::{collections::BTreeSet, fs, io};

use super::System;

/// How the names of those begin that pin what they are given.
const PINS: [&str; 5] = [
    "/dev/vfio/",
    "/dev/iommu",
    "/dev/vhost-vdpa",
    "/dev/infiniband/",
    "anon_inode:[io_uring]",
];

/// What the process has open that pins pages. It asks for root, or the process's owner.
pub fn open(system: &System, pid: i32) -> io::Result<BTreeSet<String>> {
    let entries = fs::read_dir(system.path(format!("/proc/{pid}/fd")))?;
    Ok(entries
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .map(|target| target.to_string_lossy().into_owned())
        .filter(|target| PINS.iter().any(|name| target.starts_with(name)))
        .collect())
}

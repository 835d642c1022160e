// SPDX-License-Identifier: GPL-2.0

//! What goes wrong, in words, and with which exit status.

use std::{
    fmt,
    io::{self, ErrorKind},
    path::Path,
};

use anyhow::Error;
use nix::unistd::geteuid;

/// What has an exit status of its own. All other errors have 1.
#[derive(Debug)]
pub enum Failure {
    /// The arguments make no sense together, or for this system: status 2.
    Usage(String),
}

impl Failure {
    /// 1 where the system refuses, 2 where the usage is wrong.
    pub fn status(error: &Error) -> u8 {
        match error.downcast_ref() {
            Some(Self::Usage(_)) => 2,
            None => 1,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Failure {}

/// Whether what was written to is gone.
pub fn is_broken_pipe(error: &Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// The error in words, without its number.
pub fn words(error: &io::Error) -> String {
    let words = error.to_string();
    // Rust puts the number behind.
    words
        .split(" (os error")
        .next()
        .unwrap_or(&words)
        .to_owned()
}

/// Knobs that say how merged pages are found.
const CONSTANT_WHILE_MERGED: [&str; 5] = [
    "max_page_sharing",
    "merge_across_nodes",
    "domain",
    "domain_depth",
    "content",
];

/// What to do where the kernel refuses a write to a knob, or a read, with this error.
pub fn remedy(error: &io::Error, path: &Path) -> &'static str {
    remedy_for(geteuid().is_root(), error, path)
}

fn remedy_for(root: bool, error: &io::Error, path: &Path) -> &'static str {
    let name = path.file_name().unwrap_or_default();
    match error.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) if root => {
            "not even root may: a security module, lockdown or a namespace forbids it"
        }
        Some(libc::EACCES | libc::EPERM) => "needs root",
        Some(libc::EROFS) => "sysfs is mounted read-only here, as in a container",
        Some(libc::EBUSY) if name == "run" || name == "scope" => {
            "a process holds on to merged pages, on its way out or with its address space locked; try again"
        }
        Some(libc::EBUSY) if CONSTANT_WHILE_MERGED.iter().any(|knob| name == *knob) => {
            "pages are merged: write 2 to run first"
        }
        Some(libc::EOPNOTSUPP) if name == "domain" => {
            "this kernel has no memory cgroups, or they are turned off"
        }
        Some(libc::EBUSY) => "it is in use, or page merging changes hands; try again",
        Some(libc::EINVAL) if name == "enrol" || name == "release" => {
            "a kernel thread has no memory of its own"
        }
        Some(libc::EINVAL) => "not a value that it takes",
        Some(libc::ENOMEM) => "no memory, or a memory cgroup is at its limit",
        Some(libc::EINTR) => "a signal came",
        Some(libc::ESRCH) => "there is no such process",
        Some(libc::ENOENT | libc::ENODEV) => "it is not there (any more)",
        _ => "the kernel's log may say more (dmesg)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedies() {
        let remedy = |root, number, file| {
            let error = io::Error::from_raw_os_error(number);
            remedy_for(root, &error, Path::new(file))
        };
        assert_eq!(remedy(false, libc::EACCES, "run"), "needs root");
        assert_eq!(
            remedy(true, libc::EBUSY, "domain_depth"),
            remedy(true, libc::EBUSY, "/sys/kernel/mm/ksm/max_page_sharing")
        );
        assert!(remedy(true, libc::EACCES, "enrol").starts_with("not even root may"));
        let holds = remedy(true, libc::EBUSY, "run");
        assert!(holds.starts_with("a process holds on to merged pages"));
        assert_eq!(
            remedy(true, libc::EBUSY, "/sys/kernel/mm/rksm/scope"),
            holds
        );
    }
}

// SPDX-License-Identifier: GPL-2.0

//! The running kernel: which it is, how it was built, and what there is to build for it with.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result};

use super::System;

pub struct Kernel<'a> {
    system: &'a System,
    pub release: String,
}

impl<'a> Kernel<'a> {
    pub fn new(system: &'a System) -> Result<Self> {
        let release = system.read("/proc/sys/kernel/osrelease")?;
        Ok(Self { system, release })
    }

    /// The series that rksm is made for.
    pub fn series() -> &'static str {
        include_str!("../../../versions.sh")
            .lines()
            .find_map(|line| line.strip_prefix("kernel_series="))
            .unwrap_or_default()
    }

    pub fn is_of_series(&self) -> bool {
        let rest = self.release.strip_prefix(Self::series());
        rest.is_some_and(|rest| rest.starts_with(['.', '-']))
    }

    /// The text of its configuration, and where it was found.
    pub fn config(&self) -> Option<(PathBuf, String)> {
        let release = &self.release;
        let plain = [
            format!("/boot/config-{release}"),
            format!("/lib/modules/{release}/config"),
            format!("/lib/modules/{release}/build/.config"),
        ];
        for path in plain {
            if let Ok(text) = self.system.read(&path) {
                return Some((path.into(), text));
            }
        }
        let packed = PathBuf::from("/proc/config.gz");
        let mut gzip = Command::new("gzip");
        gzip.arg("-dc").arg(self.system.path(&packed));
        let text = output(&mut gzip).ok()?;
        (!text.is_empty()).then_some((packed, text))
    }

    /// Where its headers are, if they are there.
    pub fn headers(&self) -> Option<PathBuf> {
        let path = PathBuf::from(format!("/lib/modules/{}/build", self.release));
        self.system.exists(path.join(".config")).then_some(path)
    }

    /// Debian's version of it, out of its headers.
    pub fn debian_version(&self) -> Option<String> {
        let file = self.headers()?.join("include/generated/utsversion.h");
        let text = self.system.read(file).ok()?;
        let (_, behind) = text.split_once(" Debian ")?;
        behind.split_whitespace().next().map(str::to_owned)
    }

    /// Of the modules rksm_hooks and rksm those that DKMS has put in place for it.
    pub fn modules(&self) -> Vec<&'static str> {
        let folder = PathBuf::from(format!("/lib/modules/{}/updates/dkms", self.release));
        let mut names = vec!["rksm_hooks", "rksm"];
        names.retain(|name| {
            ["ko", "ko.xz", "ko.zst", "ko.gz"]
                .iter()
                .any(|end| self.system.exists(folder.join(format!("{name}.{end}"))))
        });
        names
    }
}

/// What a configuration says of a name: `y`, `m`, or a text without its quotes.
pub fn configured<'a>(config: &'a str, name: &str) -> Option<&'a str> {
    config
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        .map(|value| value.trim_matches('"'))
}

/// What a program prints.
pub fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let done = command
        .output()
        .with_context(|| format!("cannot start {name}"))?;
    Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration() {
        let config =
            "CONFIG_RUST=y\n# CONFIG_LTO is not set\nCONFIG_RUSTC_VERSION_TEXT=\"rustc 1\"";
        assert_eq!(configured(config, "CONFIG_RUST"), Some("y"));
        assert_eq!(configured(config, "CONFIG_LTO"), None);
        assert_eq!(
            configured(config, "CONFIG_RUSTC_VERSION_TEXT"),
            Some("rustc 1")
        );
    }

    #[test]
    fn there_is_a_series() {
        assert!(Kernel::series().starts_with(char::is_numeric));
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Debian's packages: which version of each is installed.

use std::collections::HashMap;

use super::System;

pub struct Packages(HashMap<String, String>);

impl Packages {
    /// Empty on a system without dpkg.
    pub fn read(system: &System) -> Self {
        Self::parse(&system.read("/var/lib/dpkg/status").unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let field = |package: &str, name: &str| -> Option<String> {
            let mut lines = package.lines();
            let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))?;
            Some(value.to_owned())
        };
        let installed = text.split("\n\n").filter_map(|package| {
            let status = field(package, "Status")?;
            let name = field(package, "Package")?;
            status
                .ends_with(" installed")
                .then_some((name, field(package, "Version")?))
        });
        Self(installed.collect())
    }

    pub fn version(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_installed() {
        let packages = Packages::parse(
            "Package: a\nStatus: install ok installed\nDescription: x\n Version: no\nVersion: 1-2\n\n\
             Package: b\nStatus: deinstall ok config-files\nVersion: 3\n",
        );
        assert_eq!(packages.version("a"), Some("1-2"));
        assert_eq!(packages.version("b"), None);
    }
}

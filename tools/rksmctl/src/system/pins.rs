// SPDX-License-Identifier: GPL-2.0

//! Who has pages of a process pinned: what it has open says.

use std::{collections::BTreeSet, fs, io};

use super::System;
use crate::show::plain;

/// How the names of devices begin that pin what they are given.
const DEVICES: [&str; 4] = [
    "/dev/vfio/",
    "/dev/iommu",
    "/dev/vhost-vdpa",
    "/dev/infiniband/",
];
const RING: &str = "anon_inode:[io_uring]";

#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Pins {
    /// What it has open that pins pages.
    pub names: BTreeSet<String>,
    /// Bytes that are registered with io_uring. The kernel counts those of root nowhere else.
    pub registered: u64,
}

impl Pins {
    /// It asks for root, or the process's owner.
    pub fn read(system: &System, pid: i32) -> io::Result<Self> {
        let mut pins = Self::default();
        for entry in fs::read_dir(system.path(format!("/proc/{pid}/fd")))? {
            let entry = entry?;
            let Ok(target) = fs::read_link(entry.path()) else {
                continue;
            };
            let target = plain(&target.to_string_lossy());
            if target == RING {
                let number = entry.file_name();
                let info = format!("/proc/{pid}/fdinfo/{}", number.to_string_lossy());
                let info = system.text(info).unwrap_or_default();
                pins.registered += registered(&info);
            } else if !DEVICES.iter().any(|name| target.starts_with(name)) {
                continue;
            }
            pins.names.insert(target);
        }
        Ok(pins)
    }

    pub fn has_device(&self) -> bool {
        self.names.iter().any(|name| name != RING)
    }
}

/// Behind a line `UserBufs:` there is one for each buffer, `NUMBER: ADDRESS/BYTES`.
fn registered(info: &str) -> u64 {
    info.lines()
        .skip_while(|line| !line.starts_with("UserBufs:"))
        .skip(1)
        .take_while(|line| line.starts_with(' '))
        .filter_map(|line| line.rsplit_once('/')?.1.trim().parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::registered;

    #[test]
    fn buffers() {
        let info =
            "UserFiles:\t0\nUserBufs:\t3\n    0: 0x7f00/4096\n    1: <none>\n    2: 0x8f00/8192\n\
                    PollList:\n  x/5\n";
        assert_eq!(registered(info), 12288);
        assert_eq!(registered(""), 0);
    }
}

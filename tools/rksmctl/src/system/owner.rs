// SPDX-License-Identifier: GPL-2.0

//! Whose a process is: user, cgroup, unit, container, guest.

use std::{collections::HashMap, fs, os::unix::fs::MetadataExt};

use nix::unistd::{Uid, User};
use serde::Serialize;

use super::{patience::Patience, System};
use crate::show::plain;

#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Owner {
    pub uid: u32,
    pub user: String,
    /// The path of its cgroup, of version 2.
    pub cgroup: String,
    /// What QEMU was told by -name.
    pub guest: Option<String>,
}

/// Of users. To ask for one may take long: the network may know.
#[derive(Debug, Default)]
pub struct Names(HashMap<u32, String>);

impl Names {
    fn of(&mut self, uid: u32) -> String {
        let name = self.0.entry(uid).or_insert_with(|| name_of(uid));
        name.clone()
    }
}

impl Owner {
    /// What cannot be read is left empty.
    pub fn read(system: &System, patience: &Patience, names: &mut Names, pid: i32) -> Self {
        let proc = system.path(format!("/proc/{pid}"));
        let uid = fs::metadata(&proc).map_or(0, |data| data.uid());
        let told = system.text(format!("/proc/{pid}/cgroup"));
        let told = told.unwrap_or_default();
        // They are in its memory, so that reading them takes its mmap lock.
        let arguments = patience.read(&proc.join("cmdline"));
        let arguments = arguments.unwrap_or_default();
        Self {
            uid,
            user: names.of(uid),
            cgroup: plain(cgroup(&told)),
            guest: guest(&arguments),
        }
    }

    /// The container or unit.
    pub fn unit(&self) -> Option<&str> {
        unit(&self.cgroup)
    }
}

/// What a user is called; the number, where that is not known.
pub fn name_of(uid: u32) -> String {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    user.map_or_else(|| uid.to_string(), |user| plain(&user.name))
}

/// Of the lines in /proc/PID/cgroup the one of version 2.
fn cgroup(text: &str) -> &str {
    text.lines()
        .find_map(|line| line.strip_prefix("0::"))
        .unwrap_or_default()
}

/// The innermost service or scope of systemd, with nothing around a container's name.
fn unit(cgroup: &str) -> Option<&str> {
    cgroup
        .rsplit('/')
        .find(|part| part.ends_with(".service") || part.ends_with(".scope"))
        .filter(|part| {
            !part.starts_with("session-") && !part.starts_with("user@") && *part != "init.scope"
        })
}

/// What is behind -name: `guest=NAME,...` as libvirt has it, or a mere name.
fn guest(cmdline: &str) -> Option<String> {
    let mut words = cmdline.split('\0');
    words.next().filter(|program| program.contains("qemu"))?;
    words.find(|word| *word == "-name" || *word == "--name")?;
    let name = words.next()?.split(',').next()?;
    Some(plain(name.strip_prefix("guest=").unwrap_or(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests() {
        let name = |text: &str| guest(text);
        let qemu = "/usr/bin/qemu-system-x86_64\0-name\0";
        assert_eq!(
            name(&format!("{qemu}guest=web,debug-threads=on\0-nographic\0")),
            Some("web".into())
        );
        assert_eq!(name(&format!("{qemu}web\0")), Some("web".into()));
        assert_eq!(
            name(&format!("{qemu}\u{1b}[2J\0")),
            Some("\u{fffd}[2J".into())
        );
        assert_eq!(name("/usr/bin/qemu-system-x86_64\0-nographic\0"), None);
        assert_eq!(name("/usr/bin/vim\0-name\0x\0"), None);
    }

    #[test]
    fn a_name_is_asked_for_once() {
        let mut names = Names::default();
        assert_eq!(names.of(0), name_of(0));
        names.0.insert(0, "known".into());
        assert_eq!(names.of(0), "known");
    }

    #[test]
    fn units() {
        let cgroup = |text| cgroup(text);
        assert_eq!(
            cgroup("1:cpu:/x\n0::/system.slice/ssh.service\n"),
            "/system.slice/ssh.service"
        );
        assert_eq!(unit("/system.slice/ssh.service"), Some("ssh.service"));
        assert_eq!(
            unit("/system.slice/docker-0123.scope"),
            Some("docker-0123.scope")
        );
        assert_eq!(unit("/user.slice/user-0.slice/session-1.scope"), None);
        assert_eq!(unit("/init.scope"), None);
        assert_eq!(unit(""), None);
    }
}

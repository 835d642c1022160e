// SPDX-License-Identifier: GPL-2.0

//! The files that are meant: tmpfs files and memfds, each of them once.

use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind},
    os::{
        fd::AsFd,
        unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};

use nix::sys::statfs::{fstatfs, HUGETLBFS_MAGIC, TMPFS_MAGIC};

/// Of a mount; a memfd's is that of all memfds.
pub type Device = u64;

#[derive(Debug)]
pub struct Target {
    /// As it was named, or found.
    pub name: String,
    pub file: File,
    pub device: Device,
}

/// What is found, and what is wrong with the rest.
#[derive(Debug, Default)]
pub struct Found {
    pub targets: Vec<Target>,
    pub complaints: Vec<String>,
    known: HashSet<(Device, u64)>,
}

impl Found {
    /// A file or a folder that somebody named: what is wrong with it is an error.
    pub fn add_path(&mut self, path: &Path) {
        match fs::metadata(path) {
            Ok(meta) if meta.is_dir() => self.add_folder(path, meta.dev()),
            Ok(meta) if meta.is_file() => {
                if let Err(why) = self.add_file(path) {
                    self.complain(path, &why);
                }
            }
            Ok(_) => self.complain(path, "neither a file nor a folder"),
            Err(error) => self.complain(path, &words(&error)),
        }
    }

    /// All of a process. What goes away meanwhile, and what is no memory, is none of them.
    pub fn add_process(&mut self, pid: i32) {
        let proc = PathBuf::from(format!("/proc/{pid}"));
        let opened = match fs::read_dir(proc.join("fd")) {
            Ok(entries) => entries,
            Err(error) => {
                let why = match error.kind() {
                    ErrorKind::NotFound => "there is no such process".to_owned(),
                    ErrorKind::PermissionDenied => "needs root, or the process's owner".to_owned(),
                    _ => words(&error),
                };
                self.complaints.push(format!("process {pid}: {why}"));
                return;
            }
        };
        for entry in opened.flatten() {
            self.add_if_shmem(&entry.path());
        }
        // Who may not read this has at least what is open.
        let maps = fs::read_to_string(proc.join("maps")).unwrap_or_default();
        for range in shared_mappings(&maps) {
            self.add_if_shmem(&proc.join("map_files").join(range));
        }
    }

    fn add_folder(&mut self, path: &Path, device: Device) {
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) => return self.complain(path, &words(&error)),
        };
        for entry in entries.flatten() {
            // Links are not followed, nor is anything that is mounted below.
            let Ok(meta) = entry.metadata() else { continue };
            if meta.dev() != device {
                continue;
            }
            if meta.is_dir() {
                self.add_folder(&entry.path(), device);
            } else if meta.is_file() {
                if let Err(why) = self.add_file(&entry.path()) {
                    self.complain(&entry.path(), &why);
                }
            }
        }
    }

    fn add_if_shmem(&mut self, path: &Path) {
        // To open something else than a file may do something, or wait.
        if fs::metadata(path).is_ok_and(|meta| meta.is_file()) {
            let _ = self.add_file(path);
        }
    }

    fn add_file(&mut self, path: &Path) -> Result<(), String> {
        let file = open(path).map_err(|error| words(&error))?;
        let kind = fstatfs(file.as_fd()).map_err(|error| error.desc().to_owned())?;
        match kind.filesystem_type() {
            TMPFS_MAGIC => {}
            HUGETLBFS_MAGIC => return Err("huge pages of hugetlbfs cannot be merged".into()),
            _ => return Err("neither a tmpfs file nor a memfd".into()),
        }
        let meta = file.metadata().map_err(|error| words(&error))?;
        if self.known.insert((meta.dev(), meta.ino())) {
            let name = match fs::read_link(path) {
                Ok(link) if path.starts_with("/proc") => link.display().to_string(),
                _ => path.display().to_string(),
            };
            let device = meta.dev();
            self.targets.push(Target { name, file, device });
        }
        Ok(())
    }

    fn complain(&mut self, path: &Path, why: &str) {
        self.complaints.push(format!("{}: {why}", path.display()));
    }
}

/// For writing only where nothing else will do: root may merge what it can read, and a file that is
/// sealed or executed cannot be opened so.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    if !nix::unistd::geteuid().is_root() {
        if let Ok(file) = options.clone().write(true).open(path) {
            return Ok(file);
        }
    }
    options.open(path)
}

/// The address ranges of /proc/PID/maps that are shared and of a file.
fn shared_mappings(maps: &str) -> impl Iterator<Item = &str> {
    maps.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (range, rights) = (fields.next()?, fields.next()?);
        let inode = fields.nth(2)?;
        (rights.ends_with('s') && inode != "0").then_some(range)
    })
}

/// The error in words, without its number.
pub fn words(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::PermissionDenied => "needs root, or the file's owner".into(),
        _ => {
            let words = error.to_string();
            // Rust puts the number behind.
            words
                .split(" (os error")
                .next()
                .unwrap_or(&words)
                .to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{os::fd::AsRawFd as _, os::unix::fs::symlink};

    use nix::sys::memfd::{memfd_create, MFdFlags};

    use super::*;

    #[test]
    fn mappings_that_are_shared() {
        let maps = "\
7f0000000000-7f0000001000 rw-s 00000000 00:01 1234    /memfd:guest (deleted)
7f0000002000-7f0000003000 rw-p 00000000 00:01 1234    /memfd:guest (deleted)
7f0000004000-7f0000005000 r--s 00001000 00:1a 7       /dev/shm/a b
7f0000006000-7f0000007000 rw-p 00000000 00:00 0       [heap]
";
        let found: Vec<_> = shared_mappings(maps).collect();
        assert_eq!(
            found,
            ["7f0000000000-7f0000001000", "7f0000004000-7f0000005000"]
        );
    }

    #[test]
    fn each_file_once() {
        let memfd = memfd_create(c"each_file_once", MFdFlags::MFD_CLOEXEC).unwrap();
        let path = PathBuf::from(format!("/proc/self/fd/{}", memfd.as_raw_fd()));
        let mut found = Found::default();
        found.add_path(&path);
        found.add_path(&path);
        assert_eq!(found.targets.len(), 1, "{found:?}");
        assert!(found.targets[0].name.starts_with("/memfd:each_file_once"));
        found.add_process(std::process::id() as i32);
        let same = |target: &&Target| target.name.starts_with("/memfd:each_file_once");
        assert_eq!(found.targets.iter().filter(same).count(), 1);
        assert!(found.complaints.is_empty(), "{found:?}");
    }

    #[test]
    fn what_is_no_memory_is_said() {
        let mut found = Found::default();
        found.add_path(Path::new("/proc/self/status"));
        found.add_path(Path::new("/dev/null"));
        found.add_path(Path::new("/nowhere/at/all"));
        found.add_process(i32::MAX);
        assert!(found.targets.is_empty());
        let expected = [
            "/proc/self/status: neither a tmpfs file nor a memfd",
            "/dev/null: neither a file nor a folder",
            "/nowhere/at/all: No such file or directory",
            "process 2147483647: there is no such process",
        ];
        assert_eq!(found.complaints, expected);
    }

    #[test]
    fn folders_with_all_in_them() {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("one"), "1").unwrap();
        fs::write(root.join("a/b/two"), "2").unwrap();
        symlink("/etc/passwd", root.join("link")).unwrap();
        let mut found = Found::default();
        found.add_path(root);
        let mut names: Vec<_> = found.targets.iter().map(|t| t.name.as_str()).collect();
        names.sort_unstable();
        let one = root.join("one").display().to_string();
        let two = root.join("a/b/two").display().to_string();
        assert_eq!(names, [two, one]);
        assert!(found.complaints.is_empty(), "{found:?}");
    }
}

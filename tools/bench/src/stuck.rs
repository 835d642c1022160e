// SPDX-License-Identifier: GPL-2.0

//! A process that holds its mmap lock for ever: it waits for a file server that does not answer.
//!
//! The server is one of ours, on /dev/fuse, with a file that is cached the first time that it is
//! opened, and not cached the second time. Mapping the second one drops the first one's cached pages:
//! `mmap()` waits, with the lock held for writing, until the server has written a page that is dirty.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    num::NonZeroUsize,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
};

use anyhow::{bail, ensure, Context, Result};
use nix::{
    libc,
    mount::{mount, umount2, MntFlags, MsFlags},
    sys::mman::{mmap, MapFlags, ProtFlags},
    unistd::Pid,
};

use crate::memory::PAGE;

const FILE: &str = "file";
const FILE_NODE: u64 = 2;
/// No request is longer: it is the least that the kernel wants to have room for.
const REQUEST: usize = 64 << 10;

/// The file system.
pub struct Server {
    /// While it is open, who waits goes on waiting.
    device: Option<File>,
    folder: PathBuf,
    opened: u32,
}

impl Server {
    pub fn mount() -> Result<Self> {
        let device = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/fuse")
            .context("/dev/fuse")?;
        let folder = folder(std::process::id());
        fs::create_dir_all(&folder)?;
        let fd = device.as_raw_fd();
        let options = format!("fd={fd},rootmode=40000,user_id=0,group_id=0");
        let kind = Some("fuse");
        mount(kind, &folder, kind, MsFlags::empty(), Some(&*options)).context("mount")?;
        Ok(Self {
            device: Some(device),
            folder,
            opened: 0,
        })
    }

    /// Answers until it is asked to write, which it does not answer: the client is stuck.
    pub fn serve(&mut self, client: Pid) -> Result<()> {
        let mut device = self.device.as_ref().context("unmounted")?;
        let mut request = vec![0; REQUEST];
        loop {
            let length = device.read(&mut request).context("a request")?;
            let request = Request::parse(&request[..length]).context("a short request")?;
            let answer = match request.answer(&mut self.opened) {
                Answer::Never => return expect_in_mmap(client),
                Answer::NotNeeded => continue,
                Answer::Error(error) => reply(request.unique, error, &[]),
                Answer::Data(data) => reply(request.unique, 0, &data),
            };
            device.write_all(&answer).context("an answer")?;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Whoever waits gets an error now.
        self.device = None;
        umount2(&self.folder, MntFlags::MNT_DETACH).ok();
        fs::remove_dir(&self.folder).ok();
    }
}

/// Nothing else is waited for with the lock held.
fn expect_in_mmap(client: Pid) -> Result<()> {
    let mmap = libc::SYS_mmap.to_string();
    let call = fs::read_to_string(format!("/proc/{client}/syscall"))?;
    let number = call.split_whitespace().next();
    ensure!(
        number == Some(&mmap),
        "it does not wait in mmap(), but in {call}"
    );
    Ok(())
}

/// Where the server of that process mounts it.
fn folder(server: u32) -> PathBuf {
    Path::new("/tmp").join(format!("rksm-bench-{server}"))
}

/// Waits, with the mmap lock held, until the server is gone.
pub fn get_stuck(server: u32) -> Result<()> {
    let path = folder(server).join(FILE);
    let open = || OpenOptions::new().read(true).write(true).open(&path);
    let one = NonZeroUsize::new(PAGE).context("no page")?;
    let prot = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    let cached = open().context("the cached file")?;
    // SAFETY: A new mapping, at no fixed address, is nobody else's.
    let page = unsafe { mmap(None, one, prot, MapFlags::MAP_SHARED, &cached, 0) }?;
    // SAFETY: The page is mapped for writing, and nobody else's.
    unsafe { page.cast::<u64>().as_ptr().write_volatile(1) };
    let direct = open().context("the file that is not cached")?;
    // SAFETY: As for the first one.
    unsafe { mmap(None, one, prot, MapFlags::MAP_PRIVATE, &direct, 0) }?;
    bail!("the server is gone, or it wrote");
}

struct Request {
    opcode: u32,
    unique: u64,
    node: u64,
}

enum Answer {
    Data(Vec<u8>),
    Error(i32),
    NotNeeded,
    Never,
}

impl Request {
    /// Length, opcode, number, node, and who asks: 40 bytes.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let long = |at: usize| Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        Some(Self {
            opcode: word(4)?,
            unique: long(8)?,
            node: long(16)?,
        })
    }

    fn answer(&self, opened: &mut u32) -> Answer {
        const LOOKUP: u32 = 1;
        const FORGET: u32 = 2;
        const GETATTR: u32 = 3;
        const OPEN: u32 = 14;
        const READ: u32 = 15;
        const WRITE: u32 = 16;
        const INIT: u32 = 26;
        const INTERRUPT: u32 = 36;
        const BATCH_FORGET: u32 = 42;
        match self.opcode {
            INIT => Answer::Data(init()),
            LOOKUP => {
                // Node, generation, and for how long name and attributes hold.
                let mut data = longs(&[FILE_NODE, 0, FOR_LONG, FOR_LONG, 0]);
                data.extend(attributes(FILE_NODE));
                Answer::Data(data)
            }
            GETATTR => {
                let mut data = longs(&[FOR_LONG, 0]);
                data.extend(attributes(self.node));
                Answer::Data(data)
            }
            OPEN => {
                const DIRECT_IO: u64 = 1;
                // Else opening it would write and wait already.
                const KEEP_CACHE: u64 = 2;
                *opened += 1;
                let flags = match opened {
                    1 => KEEP_CACHE,
                    _ => KEEP_CACHE | DIRECT_IO,
                };
                Answer::Data(longs(&[0, flags]))
            }
            READ => Answer::Data(vec![0; PAGE]),
            WRITE => Answer::Never,
            FORGET | BATCH_FORGET | INTERRUPT => Answer::NotNeeded,
            _ => Answer::Error(-libc::ENOSYS),
        }
    }
}

/// In seconds.
const FOR_LONG: u64 = 3600;

/// Protocol 7.31; no read-ahead, no flags; the most that is written at once.
fn init() -> Vec<u8> {
    let mut data = words(&[7, 31, 0, 0, 0, PAGE as u32, 1, 1]);
    data.resize(64, 0);
    data
}

/// `struct fuse_attr`: of the root, which is a folder, or of the file, which has a page.
fn attributes(node: u64) -> Vec<u8> {
    let folder = node != FILE_NODE;
    let (mode, links, size) = if folder {
        (0o040_755, 2, 0)
    } else {
        (0o100_600, 1, PAGE as u64)
    };
    let mut data = longs(&[node, size, size / 512, 0, 0, 0]);
    data.extend(words(&[0, 0, 0, mode, links, 0, 0, 0, PAGE as u32, 0]));
    data
}

/// Length, error, and the number of the request go ahead.
fn reply(unique: u64, error: i32, data: &[u8]) -> Vec<u8> {
    let mut answer = words(&[16 + data.len() as u32, error.cast_unsigned()]);
    answer.extend(longs(&[unique]));
    answer.extend(data);
    answer
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn longs(longs: &[u64]) -> Vec<u8> {
    longs.iter().flat_map(|long| long.to_ne_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(opcode: u32, opened: &mut u32) -> Answer {
        let mut bytes = words(&[40, opcode]);
        bytes.extend(longs(&[5, FILE_NODE, 0, 0]));
        let request = Request::parse(&bytes).unwrap();
        assert_eq!(request.unique, 5);
        request.answer(opened)
    }

    #[test]
    fn sizes_of_the_protocol() {
        let mut opened = 0;
        for (opcode, size) in [(1, 128), (3, 104), (14, 16), (26, 64)] {
            let Answer::Data(data) = ask(opcode, &mut opened) else {
                panic!("no answer to {opcode}");
            };
            assert_eq!(data.len(), size, "{opcode}");
        }
        assert!(matches!(ask(16, &mut opened), Answer::Never));
        assert_eq!(reply(5, 0, &[0; 16]).len(), 32);
    }
}

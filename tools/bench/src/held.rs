// SPDX-License-Identifier: GPL-2.0

//! Pages that cannot be merged: others hold them, or watch them.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result};
use nix::{errno::Errno, ioctl_readwrite, libc};

use crate::memory::Memory;

/// Has io_uring keep the pages for reading and writing. They are let go when this is dropped.
pub fn pin(memory: &Memory) -> Result<OwnedFd> {
    const ENTRIES: libc::c_uint = 4;
    const REGISTER_BUFFERS: libc::c_uint = 0;
    // `struct io_uring_params`, for which zeroes are defaults.
    let mut params = [0_u64; 15];
    let setup = libc::SYS_io_uring_setup;
    // SAFETY: The parameters are as large as the call takes them to be.
    let ring = unsafe { libc::syscall(setup, ENTRIES, params.as_mut_ptr()) };
    let ring = descriptor(ring).context("io_uring_setup")?;
    let (base, length) = memory.range();
    let buffer = libc::iovec {
        iov_base: base.as_ptr(),
        iov_len: length,
    };
    let (register, fd) = (libc::SYS_io_uring_register, ring.as_raw_fd());
    // SAFETY: One buffer, which is mapped.
    let status = unsafe { libc::syscall(register, fd, REGISTER_BUFFERS, &raw const buffer, 1) };
    Errno::result(status).context("io_uring_register")?;
    Ok(ring)
}

#[repr(C)]
pub struct Api {
    version: u64,
    features: u64,
    ioctls: u64,
}

#[repr(C)]
pub struct Register {
    start: u64,
    length: u64,
    mode: u64,
    ioctls: u64,
}

#[repr(C)]
pub struct WriteProtect {
    start: u64,
    length: u64,
    mode: u64,
}

ioctl_readwrite!(uffdio_api, 0xaa, 0x3f, Api);
ioctl_readwrite!(uffdio_register, 0xaa, 0x00, Register);
ioctl_readwrite!(uffdio_write_protect, 0xaa, 0x06, WriteProtect);

/// Has userfaultfd watch for writes to the pages, until this is dropped.
pub fn watch(memory: &Memory) -> Result<OwnedFd> {
    const REGISTER_WP: u64 = 1 << 1;
    const PROTECT: u64 = 1;
    let watcher = watcher().context("userfaultfd")?;
    let (base, length) = memory.range();
    let (start, length) = (base.addr().get() as u64, length as u64);
    let mut register = Register {
        start,
        length,
        mode: REGISTER_WP,
        ioctls: 0,
    };
    // SAFETY: The argument is what this call takes.
    unsafe { uffdio_register(watcher.as_raw_fd(), &mut register) }.context("UFFDIO_REGISTER")?;
    let mut protect = WriteProtect {
        start,
        length,
        mode: PROTECT,
    };
    // SAFETY: As above.
    unsafe { uffdio_write_protect(watcher.as_raw_fd(), &mut protect) }
        .context("UFFDIO_WRITEPROTECT")?;
    Ok(watcher)
}

/// Whether the kernel has what `watch` needs.
pub fn can_watch() -> bool {
    watcher().is_ok()
}

fn watcher() -> Result<OwnedFd> {
    const VERSION: u64 = 0xaa;
    const FEATURE_WP: u64 = 1;
    // SAFETY: It takes flags only.
    let watcher = unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC) };
    let watcher = descriptor(watcher)?;
    let mut api = Api {
        version: VERSION,
        features: FEATURE_WP,
        ioctls: 0,
    };
    // SAFETY: The argument is what this call takes.
    unsafe { uffdio_api(watcher.as_raw_fd(), &mut api) }?;
    Ok(watcher)
}

/// What a system call made.
fn descriptor(status: libc::c_long) -> Result<OwnedFd> {
    let fd = Errno::result(status)? as i32;
    // SAFETY: It is new, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

// SPDX-License-Identifier: GPL-2.0

//! FIDEDUPERANGE.

use std::{fs::File, io, os::fd::AsRawFd as _};

use nix::errno::Errno;

use crate::plan::MOST_TARGETS;

/// What the kernel says of one target.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    Merged,
    Differs,
    Refused(Errno),
}

/// Who merges: the kernel, or a test.
pub trait Merger {
    /// Bytes from `at` of one file with as many of the others.
    fn merge(
        &self,
        from: &File,
        at: u64,
        bytes: u64,
        to: &[(&File, u64)],
    ) -> Result<Vec<Outcome>, Errno>;
}

pub struct Kernel;

/// struct file_dedupe_range_info.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Info {
    fd: i64,
    offset: u64,
    deduped: u64,
    status: i32,
    reserved: u32,
}

/// struct file_dedupe_range, with room for so many targets.
#[repr(C)]
struct Range {
    offset: u64,
    length: u64,
    count: u16,
    reserved1: u16,
    reserved2: u32,
    info: [Info; MOST_TARGETS],
}

/// The size of `struct file_dedupe_range` without targets is part of the number.
const FIDEDUPERANGE: libc::c_ulong = nix::request_code_readwrite!(0x94, 54, 24) as libc::c_ulong;
const DIFFERS: i32 = 1;

mod call {
    use super::{Range, FIDEDUPERANGE};

    nix::ioctl_readwrite_bad!(dedupe, FIDEDUPERANGE, Range);
}

impl Merger for Kernel {
    fn merge(
        &self,
        from: &File,
        at: u64,
        bytes: u64,
        to: &[(&File, u64)],
    ) -> Result<Vec<Outcome>, Errno> {
        let mut range = Range {
            offset: at,
            length: bytes,
            count: u16::try_from(to.len()).map_err(|_| Errno::EINVAL)?,
            reserved1: 0,
            reserved2: 0,
            info: [Info::default(); MOST_TARGETS],
        };
        if to.len() > range.info.len() {
            return Err(Errno::EINVAL);
        }
        for (info, (file, offset)) in range.info.iter_mut().zip(to) {
            info.fd = file.as_raw_fd().into();
            info.offset = *offset;
        }
        // SAFETY: the kernel reads and writes `count` targets, and there is room for more.
        unsafe { call::dedupe(from.as_raw_fd(), &raw mut range) }?;
        let outcome = |info: &Info| match info.status {
            0 => Outcome::Merged,
            DIFFERS => Outcome::Differs,
            status => Outcome::Refused(Errno::from_raw(-status)),
        };
        Ok(range.info[..to.len()].iter().map(outcome).collect())
    }
}

/// Where the kernel knows no such thing.
pub const CANNOT: &str = "this kernel does not merge pages of tmpfs: it needs CONFIG_SHMEM_DEDUP";

/// What the kernel means of some pages, for somebody who can do something about it.
pub fn cause(error: Errno) -> String {
    match error {
        Errno::EOPNOTSUPP => "the file stays in memory: it is locked, or of a tmpfs with noswap",
        Errno::EPERM | Errno::EACCES => "needs root, or a file that may be written",
        Errno::EROFS => "the tmpfs is mounted read-only",
        Errno::EXDEV => "the files are of different mounts",
        Errno::EBUSY | Errno::EAGAIN => "pages are in use: pinned for I/O, locked, or just moving",
        Errno::EINVAL => "a file has become shorter meanwhile",
        Errno::ENOMEM => "no memory, or a memory cgroup is at its limit",
        Errno::EIO | Errno::EHWPOISON => "memory is broken, or swap cannot be read",
        error => return io::Error::from(error).to_string(),
    }
    .to_owned()
}

/// Nobody can do anything about it, and the next round is another chance.
pub fn is_passing(error: Errno) -> bool {
    matches!(error, Errno::EBUSY | Errno::EAGAIN | Errno::EINVAL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::{page_size, tests::memfd};

    #[test]
    fn as_the_kernel_has_it() {
        assert_eq!(size_of::<Info>(), 32);
        assert_eq!(size_of::<Range>(), 24 + MOST_TARGETS * 32);
        assert!(size_of::<Range>() <= page_size(), "it takes no larger ones");
        // From linux/fs.h.
        assert_eq!(FIDEDUPERANGE, 0xc018_9436);
    }

    /// Whatever the kernel can: it never says that what differs was merged, and nothing changes.
    #[test]
    fn the_kernel_is_asked() {
        let (a, b) = (memfd(&[Some(1), Some(2)]), memfd(&[Some(1), Some(3)]));
        let size = page_size() as u64;
        match Kernel.merge(&a.file, 0, size, &[(&b.file, 0), (&b.file, size)]) {
            Ok(outcomes) => {
                assert_eq!(outcomes.len(), 2);
                assert_ne!(outcomes[0], Outcome::Differs);
                assert_ne!(outcomes[1], Outcome::Merged);
            }
            Err(error) => assert!(
                matches!(error, Errno::EOPNOTSUPP | Errno::ENOTTY),
                "{error}"
            ),
        }
    }
}

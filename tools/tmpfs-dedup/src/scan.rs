// SPDX-License-Identifier: GPL-2.0

//! What the pages of the files hold, as a hash.

use std::{io, os::fd::AsFd as _, os::unix::fs::FileExt as _};

use nix::{
    errno::Errno,
    unistd::{lseek, sysconf, SysconfVar, Whence},
};
use xxhash_rust::xxh3::xxh3_64;

use crate::{files::Target, stop::Stop};

/// Of a file, by its number among the targets.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Page {
    pub file: u32,
    pub index: u64,
}

#[derive(Clone, Copy, Debug)]
pub struct Hashed {
    pub hash: u64,
    pub page: Page,
}

/// As much as is read at once, in pages.
const AT_ONCE: usize = 256;

pub fn page_size() -> usize {
    match sysconf(SysconfVar::PAGE_SIZE) {
        Ok(Some(size)) => size as usize,
        _ => 4096,
    }
}

/// Whole pages that are no holes. The rest of a last one cannot be merged with the middle of another
/// file, and is not worth a rule of its own.
pub fn scan(
    target: &Target,
    file: u32,
    stop: &Stop,
    mut seen: impl FnMut(Hashed),
    mut progress: impl FnMut(u64),
) -> io::Result<()> {
    let size = page_size();
    let mut buffer = vec![0; AT_ONCE * size];
    let mut at = 0;
    while let Some((start, end)) = next_data(target, at)? {
        at = start - start % size as u64;
        while at < end && !stop.came() {
            let most =
                usize::try_from(end - at).map_or(buffer.len(), |left| left.min(buffer.len()));
            let got = read(
                target,
                &mut buffer[..most.next_multiple_of(size).min(AT_ONCE * size)],
                at,
            )?;
            for (number, page) in buffer[..got].chunks_exact(size).enumerate() {
                let index = at / size as u64 + number as u64;
                let (hash, page) = (xxh3_64(page), Page { file, index });
                seen(Hashed { hash, page });
            }
            if got < size {
                // It has become shorter, or this is the rest of it.
                return Ok(());
            }
            let whole = (got - got % size) as u64;
            at += whole;
            progress(whole);
        }
        if stop.came() {
            break;
        }
    }
    Ok(())
}

/// As much as there is.
fn read(target: &Target, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match target.file.read_at(&mut buffer[got..], at + got as u64) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

/// Where there is data, from `at` on.
fn next_data(target: &Target, at: u64) -> io::Result<Option<(u64, u64)>> {
    let seek = |at, whence| lseek(target.file.as_fd(), at, whence);
    let at = i64::try_from(at).map_err(io::Error::other)?;
    let start = match seek(at, Whence::SeekData) {
        Ok(start) => start,
        // Nothing but a hole, or behind the end.
        Err(Errno::ENXIO) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    match seek(start, Whence::SeekHole) {
        Ok(end) => Ok(Some((start as u64, end as u64))),
        Err(Errno::ENXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
pub mod tests {
    use std::fs::File;

    use nix::sys::memfd::{memfd_create, MFdFlags};

    use super::*;

    /// A memfd of these pages; 0 is a page of zeroes, None a hole.
    pub fn memfd(pages: &[Option<u8>]) -> Target {
        let file = File::from(memfd_create(c"pages", MFdFlags::MFD_CLOEXEC).unwrap());
        let size = page_size() as u64;
        file.set_len(pages.len() as u64 * size).unwrap();
        for (index, byte) in pages.iter().enumerate() {
            if let Some(byte) = byte {
                let page = vec![*byte; size as usize];
                file.write_all_at(&page, index as u64 * size).unwrap();
            }
        }
        Target {
            name: "pages".into(),
            file,
            device: 1,
        }
    }

    fn found(target: &Target) -> (Vec<u64>, u64) {
        let (mut pages, mut bytes) = (Vec::new(), 0);
        let seen = |hashed: Hashed| pages.push(hashed.page.index);
        scan(target, 0, &Stop::default(), seen, |n| bytes += n).unwrap();
        (pages, bytes)
    }

    #[test]
    fn holes_are_passed_over() {
        let size = page_size() as u64;
        let target = memfd(&[None, Some(1), None, None, Some(0), Some(2), None]);
        assert_eq!(found(&target), (vec![1, 4, 5], 3 * size));
        assert_eq!(found(&memfd(&[None; 9])), (vec![], 0));
        assert_eq!(found(&memfd(&[])), (vec![], 0));
    }

    #[test]
    fn more_than_is_read_at_once() {
        let pages = vec![Some(3); 2 * AT_ONCE + 5];
        let (pages, bytes) = found(&memfd(&pages));
        assert_eq!(pages, (0..2 * AT_ONCE as u64 + 5).collect::<Vec<_>>());
        assert_eq!(bytes, pages.len() as u64 * page_size() as u64);
    }

    #[test]
    fn the_rest_of_a_last_page() {
        let target = memfd(&[Some(1), Some(1)]);
        target.file.set_len(page_size() as u64 + 100).unwrap();
        assert_eq!(found(&target).0, [0]);
        target.file.set_len(100).unwrap();
        assert!(found(&target).0.is_empty());
    }

    #[test]
    fn equal_pages_have_equal_hashes() {
        let target = memfd(&[Some(1), Some(2), Some(1)]);
        let mut hashes = Vec::new();
        scan(
            &target,
            0,
            &Stop::default(),
            |h| hashes.push(h.hash),
            |_| (),
        )
        .unwrap();
        assert_eq!(hashes[0], hashes[2]);
        assert_ne!(hashes[0], hashes[1]);
    }
}

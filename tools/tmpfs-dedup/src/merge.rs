// SPDX-License-Identifier: GPL-2.0

//! Asks for what was planned, and counts what comes of it.

use std::{collections::BTreeMap, fs::File};

use nix::errno::Errno;

use crate::{
    files::Target,
    kernel::{is_passing, Merger, Outcome},
    plan::Request,
    scan::{page_size, Page},
    stop::Stop,
};

/// In pages, each of them counted once.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Tally {
    pub merged: u64,
    /// They were equal when they were read.
    pub changed: u64,
    /// By errno.
    pub refused: BTreeMap<i32, u64>,
}

impl Tally {
    fn refuse(&mut self, error: Errno, pages: u64) {
        *self.refused.entry(error as i32).or_default() += pages;
    }
}

pub struct Merging<'a, M> {
    pub merger: &'a M,
    pub targets: &'a [Target],
    pub tally: Tally,
}

impl<'a, M: Merger> Merging<'a, M> {
    pub fn new(merger: &'a M, targets: &'a [Target]) -> Self {
        Self {
            merger,
            targets,
            tally: Tally::default(),
        }
    }

    /// # Errors
    ///
    /// `EOPNOTSUPP`: this kernel does not merge pages of tmpfs at all.
    pub fn all(
        &mut self,
        requests: &[Request],
        stop: &Stop,
        mut progress: impl FnMut(u64),
    ) -> Result<(), Errno> {
        for request in requests {
            if stop.came() {
                break;
            }
            self.one(request)?;
            progress(request.pages * request.to.len() as u64);
        }
        Ok(())
    }

    fn one(&mut self, request: &Request) -> Result<(), Errno> {
        let Request {
            from,
            pages,
            ref to,
        } = *request;
        let size = page_size() as u64;
        let place = |page: &Page| (self.file(*page), page.index * size);
        let places: Vec<_> = to.iter().map(place).collect();
        let said = self
            .merger
            .merge(self.file(from), from.index * size, pages * size, &places);
        let outcomes = match said {
            Ok(outcomes) => outcomes,
            Err(error @ (Errno::EOPNOTSUPP | Errno::ENOTTY)) => return Err(error),
            Err(error) => vec![Outcome::Refused(error); to.len()],
        };
        for (to, outcome) in to.iter().zip(outcomes) {
            let again = match outcome {
                Outcome::Merged => {
                    self.tally.merged += pages;
                    continue;
                }
                Outcome::Differs => true,
                Outcome::Refused(error) => is_passing(error),
            };
            // One page of a run is not as it was: the others may be.
            if again && pages > 1 {
                for half in halves(from, pages, *to) {
                    self.one(&half)?;
                }
                continue;
            }
            match outcome {
                Outcome::Refused(error) => self.tally.refuse(error, pages),
                _ => self.tally.changed += pages,
            }
        }
        Ok(())
    }

    fn file(&self, page: Page) -> &'a File {
        &self.targets[page.file as usize].file
    }
}

fn halves(from: Page, pages: u64, to: Page) -> [Request; 2] {
    let half = pages / 2;
    let part = |start, pages| Request {
        from: behind(from, start),
        pages,
        to: vec![behind(to, start)],
    };
    [part(0, half), part(half, pages - half)]
}

fn behind(page: Page, pages: u64) -> Page {
    Page {
        index: page.index + pages,
        ..page
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, os::unix::fs::FileExt as _};

    use super::*;
    use crate::{
        plan::{pages_of, plan},
        scan::{scan, tests::memfd},
    };

    /// Compares as the kernel does, and has no page merged of which it was told to refuse it.
    #[derive(Default)]
    struct Compares {
        asked: Cell<u64>,
        /// (offset in the target, why)
        refuses: Option<(u64, Errno)>,
    }

    impl Merger for Compares {
        fn merge(
            &self,
            from: &File,
            at: u64,
            bytes: u64,
            to: &[(&File, u64)],
        ) -> Result<Vec<Outcome>, Errno> {
            self.asked.set(self.asked.get() + 1);
            let read = |file: &File, at| {
                let mut buffer = vec![0; bytes as usize];
                file.read_exact_at(&mut buffer, at)
                    .map_err(|_| Errno::EINVAL)?;
                Ok(buffer)
            };
            let must: Vec<u8> = read(from, at)?;
            let outcome = |&(file, at): &(&File, u64)| match self.refuses {
                Some((bad, error)) if (at..at + bytes).contains(&bad) => Outcome::Refused(error),
                _ => match read(file, at) {
                    Ok(is) if is == must => Outcome::Merged,
                    Ok(_) => Outcome::Differs,
                    Err(error) => Outcome::Refused(error),
                },
            };
            Ok(to.iter().map(outcome).collect())
        }
    }

    struct Lacks;

    impl Merger for Lacks {
        fn merge(
            &self,
            _: &File,
            _: u64,
            _: u64,
            _: &[(&File, u64)],
        ) -> Result<Vec<Outcome>, Errno> {
            Err(Errno::EOPNOTSUPP)
        }
    }

    fn planned(targets: &[Target]) -> Vec<Request> {
        let mut pages = Vec::new();
        for (number, target) in targets.iter().enumerate() {
            let seen = |hashed| pages.push(hashed);
            scan(target, number as u32, &Stop::default(), seen, |_| ()).unwrap();
        }
        plan(pages, |file| targets[file as usize].device)
    }

    fn merged(targets: &[Target], requests: &[Request], merger: &Compares) -> Tally {
        let mut merging = Merging::new(merger, targets);
        merging.all(requests, &Stop::default(), |_| ()).unwrap();
        merging.tally
    }

    fn two() -> [Target; 2] {
        let pages: Vec<_> = (1..=8).map(Some).collect();
        [memfd(&pages), memfd(&pages)]
    }

    #[test]
    fn equal_files_are_merged_at_once() {
        let (targets, merger) = (two(), Compares::default());
        let requests = planned(&targets);
        assert_eq!(merged(&targets, &requests, &merger).merged, 8);
        assert_eq!(merger.asked.get(), 1);
        assert_eq!(pages_of(&requests), 8);
    }

    #[test]
    fn pages_that_change_meanwhile_are_left() {
        let (targets, merger) = (two(), Compares::default());
        let requests = planned(&targets);
        let size = page_size() as u64;
        targets[1].file.write_all_at(b"x", 5 * size + 7).unwrap();
        let tally = merged(&targets, &requests, &merger);
        assert_eq!((tally.merged, tally.changed), (7, 1));
        assert!(tally.refused.is_empty());
    }

    #[test]
    fn files_that_shrink_meanwhile() {
        let (targets, merger) = (two(), Compares::default());
        let requests = planned(&targets);
        targets[1].file.set_len(3 * page_size() as u64).unwrap();
        let tally = merged(&targets, &requests, &merger);
        assert_eq!((tally.merged, tally.changed), (3, 0));
        assert_eq!(tally.refused[&libc::EINVAL], 5);
    }

    #[test]
    fn pages_in_use_are_passed_over() {
        let targets = two();
        let refuses = Some((2 * page_size() as u64, Errno::EBUSY));
        let merger = Compares {
            refuses,
            ..Default::default()
        };
        let tally = merged(&targets, &planned(&targets), &merger);
        assert_eq!((tally.merged, tally.refused[&libc::EBUSY]), (7, 1));
    }

    #[test]
    fn what_will_not_pass_is_not_tried_again() {
        let targets = two();
        let refuses = Some((0, Errno::EPERM));
        let merger = Compares {
            refuses,
            ..Default::default()
        };
        let tally = merged(&targets, &planned(&targets), &merger);
        assert_eq!((tally.merged, tally.refused[&libc::EPERM]), (0, 8));
        assert_eq!(merger.asked.get(), 1);
    }

    #[test]
    fn a_kernel_that_cannot_is_asked_once() {
        let targets = two();
        let requests = planned(&targets);
        let mut merging = Merging::new(&Lacks, &targets);
        let end = merging.all(&requests, &Stop::default(), |_| ());
        assert_eq!(end, Err(Errno::EOPNOTSUPP));
    }
}

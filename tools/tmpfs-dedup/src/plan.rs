// SPDX-License-Identifier: GPL-2.0

//! Which pages are merged with which: in runs as long as possible, and several at once.

use crate::{
    files::Device,
    scan::{Hashed, Page},
};

/// A common page has no more users than so many in the kernel: the next ones get another one.
pub const MOST_SHARERS: usize = 200;
/// In pages. A signal is heeded between two requests, and what is not merged is tried in halves.
pub const LONGEST: u64 = 256;
/// As many fit into a request of one page, of 4096 bytes.
pub const MOST_TARGETS: usize = 100;

/// So many pages from `from` on, to be merged with as many from each of `to` on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Request {
    pub from: Page,
    pub pages: u64,
    pub to: Vec<Page>,
}

/// What is to be asked for. `device_of` a file by its number: pages of two are never merged.
pub fn plan(mut pages: Vec<Hashed>, device_of: impl Fn(u32) -> Device) -> Vec<Request> {
    let key = |hashed: &Hashed| (device_of(hashed.page.file), hashed.hash);
    pages.sort_unstable_by_key(|hashed| (key(hashed), hashed.page));

    // Each page with the first one that is equal to it: so runs that are equal stay runs.
    let mut pairs: Vec<(Page, Page)> = Vec::new();
    for equal in pages.chunk_by(|a, b| key(a) == key(b)) {
        for sharers in equal.chunks(MOST_SHARERS) {
            let first = sharers[0].page;
            pairs.extend(sharers[1..].iter().map(|other| (other.page, first)));
        }
    }
    drop(pages);
    pairs.sort_unstable();
    together(runs(&pairs))
}

/// (from, pages, to)
type Run = (Page, u64, Page);

fn runs(pairs: &[(Page, Page)]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for &(to, from) in pairs {
        if let Some((start, pages, target)) = runs.last_mut() {
            // Within a file both ranges must stay apart.
            let apart = start.file != target.file || start.index + *pages < target.index;
            if *pages < LONGEST
                && apart
                && follows(*start, *pages, from)
                && follows(*target, *pages, to)
            {
                *pages += 1;
                continue;
            }
        }
        runs.push((from, 1, to));
    }
    runs
}

fn follows(start: Page, pages: u64, next: Page) -> bool {
    start.file == next.file && start.index + pages == next.index
}

/// Those that begin with the same pages make one request.
fn together(mut runs: Vec<Run>) -> Vec<Request> {
    runs.sort_unstable();
    let mut requests: Vec<Request> = Vec::new();
    for (from, pages, to) in runs {
        match requests.last_mut() {
            Some(last)
                if last.from == from && last.pages == pages && last.to.len() < MOST_TARGETS =>
            {
                last.to.push(to);
            }
            _ => requests.push(Request {
                from,
                pages,
                to: vec![to],
            }),
        }
    }
    requests
}

/// How many pages would be freed.
pub fn pages_of(requests: &[Request]) -> u64 {
    let of = |request: &Request| request.pages * request.to.len() as u64;
    requests.iter().map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each file's pages, a letter each; a point is a hole.
    fn pages(files: &[&str]) -> Vec<Hashed> {
        let file = |(file, text): (usize, &&str)| {
            let letter = move |(index, letter): (usize, char)| {
                let (file, index) = (file as u32, index as u64);
                (letter != '.').then_some(Hashed {
                    hash: letter as u64,
                    page: Page { file, index },
                })
            };
            text.chars()
                .collect::<Vec<_>>()
                .into_iter()
                .enumerate()
                .filter_map(letter)
        };
        files.iter().enumerate().flat_map(file).collect()
    }

    fn planned(files: &[&str]) -> Vec<String> {
        let show = |p: &Page| format!("{}:{}", p.file, p.index);
        plan(pages(files), |_| 1)
            .iter()
            .map(|r| {
                let to: Vec<_> = r.to.iter().map(show).collect();
                format!("{} + {} = {}", show(&r.from), r.pages, to.join(" "))
            })
            .collect()
    }

    #[test]
    fn nothing_is_equal() {
        assert!(planned(&[]).is_empty());
        assert!(planned(&["abc", ".de", "."]).is_empty());
    }

    #[test]
    fn equal_files_are_one_run() {
        assert_eq!(planned(&["abcd", "abcd"]), ["0:0 + 4 = 1:0"]);
        assert_eq!(planned(&["abcd", "abcd", "abcd"]), ["0:0 + 4 = 1:0 2:0"]);
        assert_eq!(
            planned(&["abcd", "xab.cd"]),
            ["0:0 + 2 = 1:1", "0:2 + 2 = 1:4"]
        );
    }

    #[test]
    fn equal_pages_are_one_request() {
        assert_eq!(planned(&["aaa"]), ["0:0 + 1 = 0:1 0:2"]);
        assert_eq!(planned(&["ab", "aa"]), ["0:0 + 1 = 1:0 1:1"]);
    }

    #[test]
    fn ranges_of_a_file_do_not_overlap() {
        assert_eq!(planned(&["abab"]), ["0:0 + 2 = 0:2"]);
        for text in ["aaaa", "abcabcabc", "aabbaabbaabb", "abbaabba"] {
            for request in plan(pages(&[text]), |_| 1) {
                for to in &request.to {
                    assert!(
                        request.from.index + request.pages <= to.index,
                        "{text}: {request:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn mounts_stay_apart() {
        let requests = plan(pages(&["ab", "ab", "ab"]), |file| u64::from(file == 1));
        assert_eq!(requests.len(), 1);
        assert_eq!(requests[0].to, [Page { file: 2, index: 0 }]);
        assert_eq!(pages_of(&requests), 2);
    }

    #[test]
    fn limits() {
        let many = "a".repeat(2 * MOST_SHARERS + 1);
        let requests = plan(pages(&[&many]), |_| 1);
        assert_eq!(pages_of(&requests), 2 * (MOST_SHARERS as u64 - 1));
        assert!(requests.iter().all(|r| r.to.len() <= MOST_TARGETS));

        let long: Vec<_> = (0..2)
            .flat_map(|file| {
                (0..LONGEST + 10).map(move |index| Hashed {
                    hash: index,
                    page: Page { file, index },
                })
            })
            .collect();
        let requests = plan(long, |_| 1);
        assert_eq!(pages_of(&requests), LONGEST + 10);
        assert_eq!(requests[0].pages, LONGEST);
    }
}

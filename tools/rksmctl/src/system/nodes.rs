// SPDX-License-Identifier: GPL-2.0

//! NUMA nodes.

use super::System;

/// The nodes that have memory, as the kernel lists them: `0-1,4`. Empty without NUMA.
pub fn with_memory(system: &System) -> Vec<u32> {
    let list = system.read("/sys/devices/system/node/has_memory");
    parse(&list.unwrap_or_default())
}

fn parse(list: &str) -> Vec<u32> {
    list.split(',')
        .filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(first.parse().ok()?..=last.parse().ok()?)
        })
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn lists() {
        assert_eq!(parse("0-1,4"), [0, 1, 4]);
        assert_eq!(parse("0"), [0]);
        assert!(parse("").is_empty());
    }
}

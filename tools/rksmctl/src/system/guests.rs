// SPDX-License-Identifier: GPL-2.0

//! What QEMU was told of its memory.

use serde_json::{Map, Value};

use crate::show::plain;

/// Why the memory of a guest cannot be merged, or is not to be.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Obstacles {
    /// Merging is switched off: what was told.
    pub off: Option<String>,
    /// Its memory is of a kind that is never merged: what was told.
    pub kind: Vec<String>,
}

/// `None` if this is not QEMU's command line.
pub fn obstacles(cmdline: &str) -> Option<Obstacles> {
    let words: Vec<&str> = cmdline.split('\0').collect();
    let program = words[0].rsplit('/').next()?;
    if !program.contains("qemu-system") && program != "kvm" && program != "qemu-kvm" {
        return None;
    }
    let mut found = Obstacles::default();
    for pair in words.windows(2) {
        let (option, value) = (pair[0].trim_start_matches('-'), pair[1]);
        match option {
            _ if !pair[0].starts_with('-') => {}
            "machine" | "M" => found.machine(&properties(value)),
            "object" => found.object(&properties(value)),
            "mem-path" if is_huge(value) => {
                found.kind.push(format!("-mem-path {}", plain(value)));
            }
            _ => {}
        }
    }
    Some(found)
}

impl Obstacles {
    fn machine(&mut self, told: &Map<String, Value>) {
        if is(told, "mem-merge", false) {
            self.off = Some("-machine mem-merge=off".into());
        }
        if let Some(name) = told.get("confidential-guest-support") {
            self.kind.push(format!(
                "memory encrypted by {} (-machine confidential-guest-support)",
                plain(name.as_str().unwrap_or_default())
            ));
        }
    }

    fn object(&mut self, told: &Map<String, Value>) {
        let of = |name| plain(told.get(name).and_then(Value::as_str).unwrap_or_default());
        let (kind, path) = (of("qom-type"), of("mem-path"));
        if !kind.starts_with("memory-backend-") {
            return;
        }
        if is(told, "merge", false) {
            self.off = Some(format!("{kind},merge=off"));
        }
        if is(told, "hugetlb", true) {
            self.kind.push(format!("{kind},hugetlb=on"));
        } else if is_huge(&path) {
            self.kind.push(format!("{kind},mem-path={path}"));
        } else if is(told, "share", true) {
            self.kind.push(format!("{kind},share=on"));
        } else if matches!(kind.as_str(), "memory-backend-memfd" | "memory-backend-shm")
            && !is(told, "share", false)
        {
            // These share if nothing else is said.
            self.kind.push(kind);
        }
    }
}

/// Whether a path is where hugetlbfs is mounted, by custom.
fn is_huge(path: &str) -> bool {
    path.contains("hugepages") || path.contains("hugetlbfs")
}

fn is(told: &Map<String, Value>, name: &str, wanted: bool) -> bool {
    match told.get(name) {
        Some(Value::Bool(value)) => *value == wanted,
        Some(Value::String(text)) if wanted => matches!(text.as_str(), "on" | "yes" | "true"),
        Some(Value::String(text)) => matches!(text.as_str(), "off" | "no" | "false"),
        _ => false,
    }
}

/// `KIND,NAME=VALUE,...` or the same in JSON, which libvirt writes.
fn properties(text: &str) -> Map<String, Value> {
    if let Ok(Value::Object(told)) = serde_json::from_str(text) {
        return told;
    }
    text.split(',')
        .enumerate()
        .filter_map(|(index, part)| match part.split_once('=') {
            Some((name, value)) => Some((name.to_owned(), value.into())),
            None if index == 0 => Some(("qom-type".to_owned(), part.into())),
            None => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Obstacles {
        obstacles(&format!("/usr/bin/qemu-system-x86_64\0{text}\0")).unwrap()
    }

    #[test]
    fn none() {
        assert_eq!(of("-machine\0q35,mem-merge=on\0-S"), Obstacles::default());
        assert_eq!(
            of("-object\0memory-backend-ram,id=a,size=1G"),
            Obstacles::default()
        );
        assert_eq!(
            of("-object\0memory-backend-memfd,id=a,share=off"),
            Obstacles::default()
        );
        assert_eq!(
            of("-object\0rng-random,id=a,share=on"),
            Obstacles::default()
        );
        assert_eq!(obstacles("/usr/bin/vim\0-machine\0mem-merge=off\0"), None);
        assert_eq!(obstacles(""), None);
    }

    #[test]
    fn what_was_told_is_plain() {
        for told in [
            "-mem-path\0/dev/hugepages/\u{1b}[2J",
            "-object\0memory-backend-\u{1b}[2J,share=on",
            "-object\0memory-backend-file,mem-path=/hugepages/\u{1b}[2J",
            "-object\0{\"qom-type\":\"memory-backend-\\u001b[2J\",\"share\":true}",
            "-machine\0q35,confidential-guest-support=\u{1b}[2J",
        ] {
            let kind = of(told).kind.concat();
            assert!(kind.contains("\u{fffd}[2J"), "{kind:?}");
        }
    }

    #[test]
    fn switched_off() {
        let off = |text| of(text).off.unwrap();
        assert_eq!(off("-machine\0q35,mem-merge=off"), "-machine mem-merge=off");
        assert_eq!(
            off("-object\0{\"qom-type\":\"memory-backend-ram\",\"merge\":false}"),
            "memory-backend-ram,merge=off"
        );
    }

    #[test]
    fn of_another_kind() {
        for (told, kind) in [
            ("memory-backend-memfd,id=a", "memory-backend-memfd"),
            (
                "memory-backend-file,id=a,mem-path=/dev/shm/a,share=on",
                "memory-backend-file,share=on",
            ),
            (
                "memory-backend-file,id=a,mem-path=/dev/hugepages",
                "memory-backend-file,mem-path=/dev/hugepages",
            ),
            (
                "{\"qom-type\":\"memory-backend-memfd\",\"hugetlb\":true,\"share\":true}",
                "memory-backend-memfd,hugetlb=on",
            ),
        ] {
            assert_eq!(of(&format!("-object\0{told}")).kind, [kind]);
        }
        assert_eq!(of("-mem-path\0/dev/hugepages").kind.len(), 1);
        assert_eq!(
            of("-machine\0q35,confidential-guest-support=sev0")
                .kind
                .len(),
            1
        );
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Whether this is a kernel that rksm can run on. What building for it needs is in `built`; the package
//! looks at the same before it builds (`dkms/common.sh`).

use super::finding::Finding;
use crate::system::kernel::{configured, Kernel};

const NEEDED: [&str; 6] = [
    "CONFIG_X86_64",
    "CONFIG_RUST",
    "CONFIG_LIVEPATCH",
    "CONFIG_KSM",
    "CONFIG_KALLSYMS_ALL",
    "CONFIG_DYNAMIC_FTRACE_WITH_ARGS",
];
/// Not with these.
const EXCLUDED: [&str; 3] = [
    "CONFIG_RUST_INLINE_HELPERS",
    "CONFIG_MODVERSIONS",
    "CONFIG_LTO",
];

pub fn series(kernel: &Kernel) -> Finding {
    let (release, series) = (&kernel.release, Kernel::series());
    if kernel.is_of_series() {
        Finding::ok("kernel", format!("{release}, of the series {series}"))
    } else {
        Finding::problem(
            "kernel",
            format!("{release}; rksm is made for the series {series}"),
            format!("boot a kernel {series}, on Debian 13 from trixie-backports"),
        )
    }
}

pub fn configuration(kernel: &Kernel) -> Finding {
    let name = "configuration";
    let Some((path, config)) = kernel.config() else {
        return Finding::warning(
            name,
            "that of the kernel is nowhere to be found",
            format!("apt install linux-headers-{}", kernel.release),
        );
    };
    let missing = NEEDED
        .iter()
        .filter(|option| configured(&config, option) != Some("y"))
        .map(|option| format!("lacks {option}"));
    let too_much = EXCLUDED
        .iter()
        .filter(|option| configured(&config, option).is_some())
        .map(|option| format!("has {option}"));
    let wrong: Vec<_> = missing.chain(too_much).collect();
    if wrong.is_empty() {
        Finding::ok(name, format!("{} has all that rksm needs", path.display()))
    } else {
        Finding::problem(
            name,
            format!("{} {}", path.display(), wrong.join(", ")),
            "boot a kernel that is built otherwise, as Debian's are",
        )
    }
}

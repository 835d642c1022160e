// SPDX-License-Identifier: GPL-2.0

//! Sets what the kernel's configuration sets.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(CONFIG_KUNIT, values(\"y\"))");
    println!("cargo::rustc-check-cfg=cfg(CONFIG_64BIT)");
    println!("cargo::rustc-check-cfg=cfg(CONFIG_MEMCG)");
    println!("cargo::rustc-cfg=CONFIG_KUNIT=\"y\"");
    println!("cargo::rustc-cfg=CONFIG_64BIT");
    println!("cargo::rustc-cfg=CONFIG_MEMCG");
}

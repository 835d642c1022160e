// SPDX-License-Identifier: GPL-2.0

//! Whether the modules are built for the kernel, and if not, whether they can be.

use std::process::Command;

use super::finding::Finding;
use crate::system::{
    kernel::{configured, output, Kernel},
    packages::Packages,
};

pub fn checks(kernel: &Kernel, packages: &Packages) -> Vec<Finding> {
    let mut findings = vec![versions(packages)];
    let modules = kernel.modules();
    let built = modules.len() == 2;
    if !packages.is_empty() {
        findings.extend([headers(kernel), source(kernel, packages), rustc(kernel)]);
    }
    // Where they are built, nothing has to be there now.
    if built {
        for finding in &mut findings {
            finding.soften();
        }
        findings.push(Finding::ok(
            "modules",
            format!("built for {}", kernel.release),
        ));
    } else {
        findings.push(Finding::problem(
            "modules",
            format!("rksm_hooks and rksm are not built for {}", kernel.release),
            "once the rest is in order: dkms autoinstall, or dpkg-reconfigure rksm-dkms",
        ));
    }
    findings
}

/// Whether packages are of one version.
fn versions(packages: &Packages) -> Finding {
    let name = "packages";
    let (dkms, tools) = (
        packages.version("rksm-dkms"),
        packages.version("rksm-tools"),
    );
    match (dkms, tools) {
        (Some(dkms), Some(tools)) if dkms != tools => Finding::warning(
            name,
            format!("rksm-dkms is of version {dkms}, and rksm-tools of {tools}"),
            "upgrade the older of the two",
        ),
        (Some(dkms), _) => Finding::ok(name, format!("rksm-dkms {dkms}")),
        (None, _) => Finding::warning(
            name,
            "rksm-dkms is not installed: nothing builds rksm for the next kernel",
            "apt install ./rksm-dkms_*_all.deb",
        ),
    }
}

fn headers(kernel: &Kernel) -> Finding {
    match kernel.headers() {
        Some(path) => Finding::ok("headers", path.display().to_string()),
        None => Finding::problem(
            "headers",
            format!("those of {} are not there", kernel.release),
            format!("apt install linux-headers-{}", kernel.release),
        ),
    }
}

fn source(kernel: &Kernel, packages: &Packages) -> Finding {
    let name = "source";
    let package = format!("linux-source-{}", Kernel::series());
    let Some(source) = packages.version(&package) else {
        return Finding::problem(
            name,
            format!("{package} is not installed"),
            format!("apt install {package}"),
        );
    };
    match kernel.debian_version() {
        Some(version) if version != source => Finding::problem(
            name,
            format!("the kernel is of Debian's version {version}, and {package} is {source}"),
            "upgrade the older of the two; both must be the same",
        ),
        _ => Finding::ok(name, format!("{package} {source}")),
    }
}

/// The names of Rust's symbols depend on the version of the compiler.
fn rustc(kernel: &Kernel) -> Finding {
    let name = "rustc";
    let config = kernel.config().map(|(_, text)| text).unwrap_or_default();
    let Some(wanted) = configured(&config, "CONFIG_RUSTC_VERSION_TEXT") else {
        return Finding::warning(
            name,
            "the kernel does not say which one built it",
            "see what is said of kernel and configuration",
        );
    };
    match output(Command::new("rustc").arg("--version")) {
        Ok(version) if version == wanted => Finding::ok(name, version),
        Ok(version) => Finding::problem(
            name,
            format!("'{wanted}' built the kernel, and here is '{version}'"),
            "apt install rustc/trixie rust-src/trixie libstd-rust-dev/trixie, then dkms autoinstall",
        ),
        Err(_) => Finding::problem(name, "there is none", "apt install rustc rust-src"),
    }
}

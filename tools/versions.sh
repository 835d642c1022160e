# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034
# What rksm was tried with last. Where an archive has that no more, what comes
# after it is taken, and that is said.

kernel_series=7.3
kernel_suite=trixie-backports
# Where a kernel source is looked for, in this order.
kernel_suites=("$kernel_suite" forky sid)
# rustc and clang must share one LLVM, or the kernel's inlined Rust helpers cannot
# be linked.
llvm=22
rust=1.96
# The kernel compiles with none that is older.
rust_least=1.85
bindgen=0.72.1

# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034
# What everything is built from. rustc and clang must share one LLVM, or the
# kernel's inlined Rust helpers cannot be linked.

kernel_series=7.3
kernel_suite=trixie-backports
llvm=22
rust=1.96
bindgen=0.72.1

// SPDX-License-Identifier: GPL-2.0
/*
 * Tracepoints of rksm.  They are built in: Rust reaches a tracepoint through
 * the kernel's bindings, and a module has none of its own.
 */

#define CREATE_TRACE_POINTS
#define CREATE_RUST_TRACE_POINTS
#include <trace/events/rksm.h>

EXPORT_SYMBOL_FOR_MODULES(__tracepoint_rksm_start_scan, "rksm");
EXPORT_SYMBOL_FOR_MODULES(__tracepoint_rksm_stop_scan, "rksm");
EXPORT_SYMBOL_FOR_MODULES(__tracepoint_rksm_enter, "rksm");
EXPORT_SYMBOL_FOR_MODULES(__tracepoint_rksm_exit, "rksm");
EXPORT_SYMBOL_FOR_MODULES(__tracepoint_rksm_merge_one_page, "rksm");
EXPORT_SYMBOL_FOR_MODULES(__tracepoint_rksm_merge_with_ksm_page, "rksm");
EXPORT_SYMBOL_FOR_MODULES(__tracepoint_rksm_fresh_frame, "rksm");
EXPORT_SYMBOL_FOR_MODULES(__tracepoint_rksm_remove_ksm_page, "rksm");
EXPORT_SYMBOL_FOR_MODULES(__tracepoint_rksm_remove_rmap_item, "rksm");
EXPORT_SYMBOL_FOR_MODULES(__tracepoint_rksm_advisor, "rksm");
EXPORT_SYMBOL_FOR_MODULES(__tracepoint_rksm_look, "rksm");
EXPORT_SYMBOL_FOR_MODULES(__tracepoint_rksm_cut, "rksm");
EXPORT_SYMBOL_FOR_MODULES(__tracepoint_rksm_unmerge, "rksm");
EXPORT_SYMBOL_FOR_MODULES(__tracepoint_rksm_step, "rksm");
EXPORT_SYMBOL_FOR_MODULES(__tracepoint_rksm_forget, "rksm");
EXPORT_SYMBOL_FOR_MODULES(__tracepoint_rksm_prune, "rksm");

EXPORT_SYMBOL_FOR_MODULES(rust_do_trace_rksm_start_scan, "rksm");
EXPORT_SYMBOL_FOR_MODULES(rust_do_trace_rksm_stop_scan, "rksm");
EXPORT_SYMBOL_FOR_MODULES(rust_do_trace_rksm_enter, "rksm");
EXPORT_SYMBOL_FOR_MODULES(rust_do_trace_rksm_exit, "rksm");
EXPORT_SYMBOL_FOR_MODULES(rust_do_trace_rksm_merge_one_page, "rksm");
EXPORT_SYMBOL_FOR_MODULES(rust_do_trace_rksm_merge_with_ksm_page, "rksm");
EXPORT_SYMBOL_FOR_MODULES(rust_do_trace_rksm_fresh_frame, "rksm");
EXPORT_SYMBOL_FOR_MODULES(rust_do_trace_rksm_remove_ksm_page, "rksm");
EXPORT_SYMBOL_FOR_MODULES(rust_do_trace_rksm_remove_rmap_item, "rksm");
EXPORT_SYMBOL_FOR_MODULES(rust_do_trace_rksm_advisor, "rksm");
EXPORT_SYMBOL_FOR_MODULES(rust_do_trace_rksm_look, "rksm");
EXPORT_SYMBOL_FOR_MODULES(rust_do_trace_rksm_cut, "rksm");
EXPORT_SYMBOL_FOR_MODULES(rust_do_trace_rksm_unmerge, "rksm");
EXPORT_SYMBOL_FOR_MODULES(rust_do_trace_rksm_step, "rksm");
EXPORT_SYMBOL_FOR_MODULES(rust_do_trace_rksm_forget, "rksm");
EXPORT_SYMBOL_FOR_MODULES(rust_do_trace_rksm_prune, "rksm");

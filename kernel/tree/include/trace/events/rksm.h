/* SPDX-License-Identifier: GPL-2.0 */
/* What rksm, a provider of page merging in a module, does. */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM rksm

#if !defined(_TRACE_RKSM_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_RKSM_H

#include <linux/tracepoint.h>

struct mm_struct;

DECLARE_EVENT_CLASS(rksm_pass,

	TP_PROTO(unsigned long pass, unsigned long tracked),

	TP_ARGS(pass, tracked),

	TP_STRUCT__entry(
		__field(unsigned long, pass)
		__field(unsigned long, tracked)
	),

	TP_fast_assign(
		__entry->pass = pass;
		__entry->tracked = tracked;
	),

	TP_printk("pass %lu tracked pages %lu", __entry->pass, __entry->tracked)
);

/**
 * rksm_start_scan - a pass begins
 * @pass: its number, as full_scans will count it
 * @tracked: pages that have an rmap_item
 */
DEFINE_EVENT(rksm_pass, rksm_start_scan,

	TP_PROTO(unsigned long pass, unsigned long tracked),

	TP_ARGS(pass, tracked)
);

/**
 * rksm_stop_scan - a pass has ended
 * @pass: its number, as full_scans counts it now
 * @tracked: pages that have an rmap_item
 */
DEFINE_EVENT(rksm_pass, rksm_stop_scan,

	TP_PROTO(unsigned long pass, unsigned long tracked),

	TP_ARGS(pass, tracked)
);

DECLARE_EVENT_CLASS(rksm_mm,

	TP_PROTO(struct mm_struct *mm),

	TP_ARGS(mm),

	TP_STRUCT__entry(
		__field(void *, mm)
	),

	TP_fast_assign(
		__entry->mm = mm;
	),

	TP_printk("mm %p", __entry->mm)
);

/**
 * rksm_enter - an address space was enrolled
 * @mm: the address space
 */
DEFINE_EVENT(rksm_mm, rksm_enter,

	TP_PROTO(struct mm_struct *mm),

	TP_ARGS(mm)
);

/**
 * rksm_exit - an address space that was enrolled is about to go
 * @mm: the address space
 */
DEFINE_EVENT(rksm_mm, rksm_exit,

	TP_PROTO(struct mm_struct *mm),

	TP_ARGS(mm)
);

/**
 * rksm_merge_one_page - a page was to become a merged page
 * @mm: the address space that maps it
 * @address: where
 * @pfn: the frame of the page; where others map it too, a copy was made of it
 * @err: 0, or why it did not: -EAGAIN it was written to, -EBUSY it is in use,
 *	-ENOENT it is not there any more, -ENOMEM
 */
TRACE_EVENT(rksm_merge_one_page,

	TP_PROTO(struct mm_struct *mm, unsigned long address, unsigned long pfn,
		 int err),

	TP_ARGS(mm, address, pfn, err),

	TP_STRUCT__entry(
		__field(void *, mm)
		__field(unsigned long, address)
		__field(unsigned long, pfn)
		__field(int, err)
	),

	TP_fast_assign(
		__entry->mm = mm;
		__entry->address = address;
		__entry->pfn = pfn;
		__entry->err = err;
	),

	TP_printk("mm %p address 0x%lx pfn %lu error %d", __entry->mm,
		  __entry->address, __entry->pfn, __entry->err)
);

/**
 * rksm_merge_with_ksm_page - a page was to be replaced by a merged page
 * @mm: the address space that maps it
 * @address: where
 * @pfn: the frame of the page
 * @ksm_pfn: the frame of the merged page
 * @err: as for rksm_merge_one_page
 */
TRACE_EVENT(rksm_merge_with_ksm_page,

	TP_PROTO(struct mm_struct *mm, unsigned long address, unsigned long pfn,
		 unsigned long ksm_pfn, int err),

	TP_ARGS(mm, address, pfn, ksm_pfn, err),

	TP_STRUCT__entry(
		__field(void *, mm)
		__field(unsigned long, address)
		__field(unsigned long, pfn)
		__field(unsigned long, ksm_pfn)
		__field(int, err)
	),

	TP_fast_assign(
		__entry->mm = mm;
		__entry->address = address;
		__entry->pfn = pfn;
		__entry->ksm_pfn = ksm_pfn;
		__entry->err = err;
	),

	TP_printk("mm %p address 0x%lx pfn %lu ksm pfn %lu error %d",
		  __entry->mm, __entry->address, __entry->pfn,
		  __entry->ksm_pfn, __entry->err)
);

/**
 * rksm_fresh_frame - a page became a merged page in another frame
 * @pfn: the frame that it was in
 * @ksm_pfn: the frame that was drawn for it
 * @slot: from which slot of the pool
 */
TRACE_EVENT(rksm_fresh_frame,

	TP_PROTO(unsigned long pfn, unsigned long ksm_pfn, unsigned int slot),

	TP_ARGS(pfn, ksm_pfn, slot),

	TP_STRUCT__entry(
		__field(unsigned long, pfn)
		__field(unsigned long, ksm_pfn)
		__field(unsigned int, slot)
	),

	TP_fast_assign(
		__entry->pfn = pfn;
		__entry->ksm_pfn = ksm_pfn;
		__entry->slot = slot;
	),

	TP_printk("pfn %lu ksm pfn %lu slot %u", __entry->pfn,
		  __entry->ksm_pfn, __entry->slot)
);

/**
 * rksm_remove_ksm_page - a merged page was removed from the stable tree
 * @pfn: its frame, as far as is known
 */
TRACE_EVENT(rksm_remove_ksm_page,

	TP_PROTO(unsigned long pfn),

	TP_ARGS(pfn),

	TP_STRUCT__entry(
		__field(unsigned long, pfn)
	),

	TP_fast_assign(
		__entry->pfn = pfn;
	),

	TP_printk("pfn %lu", __entry->pfn)
);

/**
 * rksm_remove_rmap_item - a merged page has one mapping less on record
 * @mm: the address space that mapped it
 * @address: where
 * @pfn: the frame of the merged page
 */
TRACE_EVENT(rksm_remove_rmap_item,

	TP_PROTO(struct mm_struct *mm, unsigned long address, unsigned long pfn),

	TP_ARGS(mm, address, pfn),

	TP_STRUCT__entry(
		__field(void *, mm)
		__field(unsigned long, address)
		__field(unsigned long, pfn)
	),

	TP_fast_assign(
		__entry->mm = mm;
		__entry->address = address;
		__entry->pfn = pfn;
	),

	TP_printk("mm %p address 0x%lx pfn %lu", __entry->mm, __entry->address,
		  __entry->pfn)
);

/**
 * rksm_advisor - the advisor has decided
 * @scan_time: what the pass took, in milliseconds
 * @pages_to_scan: what it has set
 * @cpu_percent: the CPU time of the pass in percent of that
 */
TRACE_EVENT(rksm_advisor,

	TP_PROTO(u64 scan_time, unsigned long pages_to_scan,
		 unsigned int cpu_percent),

	TP_ARGS(scan_time, pages_to_scan, cpu_percent),

	TP_STRUCT__entry(
		__field(u64, scan_time)
		__field(unsigned long, pages_to_scan)
		__field(unsigned int, cpu_percent)
	),

	TP_fast_assign(
		__entry->scan_time = scan_time;
		__entry->pages_to_scan = pages_to_scan;
		__entry->cpu_percent = cpu_percent;
	),

	TP_printk("scan time %llu ms pages_to_scan %lu cpu percent %u",
		  __entry->scan_time, __entry->pages_to_scan,
		  __entry->cpu_percent)
);

/**
 * rksm_look - the scanner has looked at page tables
 * @mm: the address space
 * @start: where it began
 * @end: where it goes on
 * @pages: pages that it collected
 * @tables: page tables that it visited
 * @vmas: VMAs that it visited
 */
TRACE_EVENT(rksm_look,

	TP_PROTO(struct mm_struct *mm, unsigned long start, unsigned long end,
		 unsigned int pages, unsigned int tables, unsigned int vmas),

	TP_ARGS(mm, start, end, pages, tables, vmas),

	TP_STRUCT__entry(
		__field(void *, mm)
		__field(unsigned long, start)
		__field(unsigned long, end)
		__field(unsigned int, pages)
		__field(unsigned int, tables)
		__field(unsigned int, vmas)
	),

	TP_fast_assign(
		__entry->mm = mm;
		__entry->start = start;
		__entry->end = end;
		__entry->pages = pages;
		__entry->tables = tables;
		__entry->vmas = vmas;
	),

	TP_printk("mm %p start 0x%lx end 0x%lx pages %u tables %u vmas %u",
		  __entry->mm, __entry->start, __entry->end, __entry->pages,
		  __entry->tables, __entry->vmas)
);

/**
 * rksm_cut - a turn was cut short, as the mmap lock could not be had
 * @mm: the address space
 * @address: where the next turn goes on
 */
TRACE_EVENT(rksm_cut,

	TP_PROTO(struct mm_struct *mm, unsigned long address),

	TP_ARGS(mm, address),

	TP_STRUCT__entry(
		__field(void *, mm)
		__field(unsigned long, address)
	),

	TP_fast_assign(
		__entry->mm = mm;
		__entry->address = address;
	),

	TP_printk("mm %p address 0x%lx", __entry->mm, __entry->address)
);

/**
 * rksm_unmerge - a part of an address space was unmerged
 * @mm: the address space
 * @start: where the part begins
 * @end: where it ends, exclusive
 * @found: merged pages found from its end on, which the next part begins with
 * @tables: page tables that were visited for them
 */
TRACE_EVENT(rksm_unmerge,

	TP_PROTO(struct mm_struct *mm, unsigned long start, unsigned long end,
		 unsigned int found, unsigned int tables),

	TP_ARGS(mm, start, end, found, tables),

	TP_STRUCT__entry(
		__field(void *, mm)
		__field(unsigned long, start)
		__field(unsigned long, end)
		__field(unsigned int, found)
		__field(unsigned int, tables)
	),

	TP_fast_assign(
		__entry->mm = mm;
		__entry->start = start;
		__entry->end = end;
		__entry->found = found;
		__entry->tables = tables;
	),

	TP_printk("mm %p start 0x%lx end 0x%lx found %u tables %u",
		  __entry->mm, __entry->start, __entry->end, __entry->found,
		  __entry->tables)
);

/**
 * rksm_step - the scanner has done one step
 * @mm: the address space
 * @units: what of pages_to_scan the step has used up
 */
TRACE_EVENT(rksm_step,

	TP_PROTO(struct mm_struct *mm, unsigned int units),

	TP_ARGS(mm, units),

	TP_STRUCT__entry(
		__field(void *, mm)
		__field(unsigned int, units)
	),

	TP_fast_assign(
		__entry->mm = mm;
		__entry->units = units;
	),

	TP_printk("mm %p units %u", __entry->mm, __entry->units)
);

/**
 * rksm_forget - records of a dead address space were forgotten in one go
 * @mm: the address space
 * @records: how many
 */
TRACE_EVENT(rksm_forget,

	TP_PROTO(struct mm_struct *mm, unsigned long records),

	TP_ARGS(mm, records),

	TP_STRUCT__entry(
		__field(void *, mm)
		__field(unsigned long, records)
	),

	TP_fast_assign(
		__entry->mm = mm;
		__entry->records = records;
	),

	TP_printk("mm %p records %lu", __entry->mm, __entry->records)
);

/**
 * rksm_prune - the merged pages that only forks map were gone through
 * @nodes: how many were looked at
 */
TRACE_EVENT(rksm_prune,

	TP_PROTO(unsigned long nodes),

	TP_ARGS(nodes),

	TP_STRUCT__entry(
		__field(unsigned long, nodes)
	),

	TP_fast_assign(
		__entry->nodes = nodes;
	),

	TP_printk("nodes %lu", __entry->nodes)
);

#endif /* _TRACE_RKSM_H */

/* This part must be outside protection */
#include <trace/define_trace.h>

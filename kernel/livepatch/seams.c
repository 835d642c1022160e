// SPDX-License-Identifier: GPL-2.0
/*
 * Ways around the redirection of a function: in_tree_F() goes on in F behind the
 * call by which ftrace redirects it.
 */

#include <linux/linkage.h>
#include <linux/stringify.h>

#include "hooks.h"

#define GO_ON(f, entry)	"jmp " #f " + " __stringify(entry) "\n int3\n"

#define AROUND(f, entry)						\
	asm(".pushsection .text, \"ax\"\n"				\
	    ".balign 16\n"						\
	    ".globl in_tree_" #f "\n"					\
	    ".type in_tree_" #f ", @function\n"				\
	    "in_tree_" #f ":\n"						\
	    GO_ON(f, entry)						\
	    ".size in_tree_" #f ", . - in_tree_" #f "\n"		\
	    ".popsection\n")

AROUND(ksm_madvise, ENTRY_GLOBAL);
AROUND(ksm_enable_merge_any, ENTRY_GLOBAL);
AROUND(ksm_disable_merge_any, ENTRY_GLOBAL);
AROUND(__ksm_enter, ENTRY_GLOBAL);
AROUND(__ksm_exit, ENTRY_GLOBAL);
AROUND(ksm_might_need_to_copy, ENTRY_GLOBAL);
AROUND(rmap_walk_ksm, ENTRY_GLOBAL);
AROUND(folio_migrate_ksm, ENTRY_GLOBAL);
AROUND(collect_procs_ksm, ENTRY_GLOBAL);
AROUND(ksm_process_profit, ENTRY_GLOBAL);
AROUND(dup_mmap, ENTRY_GLOBAL);
AROUND(create_init_stack_vma, ENTRY_GLOBAL);
AROUND(do_wp_page, ENTRY_STATIC);

// SPDX-License-Identifier: GPL-2.0
/*
 * Ways around the redirection of a function: in_tree_F() goes on in F behind the
 * call by which ftrace redirects it.
 */

#include <linux/linkage.h>
#include <linux/stringify.h>

#include "hooks.h"

#define GO_ON(f, entry)	"jmp " #f " + " __stringify(entry) "\n int3\n"

#define AROUND(f, entry, type)					\
	asm(".pushsection .text, \"ax\"\n"				\
	    ".balign 16\n"						\
	    ".globl in_tree_" #f "\n"					\
	    ".type in_tree_" #f ", @function\n"				\
	    "in_tree_" #f ":\n"						\
	    GO_ON(f, entry)						\
	    ".size in_tree_" #f ", . - in_tree_" #f "\n"		\
	    ".popsection\n");

SEAMS(AROUND)

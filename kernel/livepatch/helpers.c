// SPDX-License-Identifier: GPL-2.0
/* The helpers that a kernel has built in if it was built for rksm. */

#include <linux/compiler_types.h>
#include <linux/export.h>

#define __rust_helper
#include "../tree/rust/helpers/rksm.c"
#include "exports.h"

// SPDX-License-Identifier: GPL-2.0

#include "../tree/mm/rksm_trace.c"

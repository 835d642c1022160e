/* SPDX-License-Identifier: GPL-2.0 */
/* Tests that need more than one NUMA node. */
#ifndef NUMA_FIXTURE_H
#define NUMA_FIXTURE_H

#include "ksm_fixture.h"
#include "numa_pages.h"

#endif

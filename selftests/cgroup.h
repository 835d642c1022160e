/* SPDX-License-Identifier: GPL-2.0 */
/* Memory cgroups of the tests' own, in a mount of their own. */
#ifndef CGROUP_H
#define CGROUP_H

#include <stdbool.h>

bool cgroups_mount(void);
bool cgroup_make(const char *group);
/* The caller moves there. Its memory is charged to where it was. */
bool cgroup_enter(const char *group);
void cgroups_remove(void);
const char *cgroup_file(const char *group, const char *file);

#endif

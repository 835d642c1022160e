// SPDX-License-Identifier: GPL-2.0
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "cgroup.h"
#include "ksm_lib.h"

static char cgroups[] = "/tmp/ksm_cgroup_XXXXXX";

bool cgroups_mount(void)
{
	char path[96];

	if (!mkdtemp(cgroups) || mount("cgroup2", cgroups, "cgroup2", 0, NULL))
		return false;
	snprintf(path, sizeof(path), "%s/cgroup.subtree_control", cgroups);
	return file_write(path, "+memory") == 0;
}

const char *cgroup_file(const char *group, const char *file)
{
	static char path[160];

	snprintf(path, sizeof(path), "%s/ksm_test_%s/%s", cgroups, group, file);
	return path;
}

bool cgroup_make(const char *group)
{
	return mkdir(cgroup_file(group, ""), 0755) == 0;
}

bool cgroup_enter(const char *group)
{
	return file_write(cgroup_file(group, "cgroup.procs"), "0") == 0;
}

void cgroups_remove(void)
{
	/* The fixture's parent has not seen the name: look for it. */
	if (system("for d in /tmp/ksm_cgroup_*; do rmdir $d/ksm_test_*/*/ $d/ksm_test_*; "
		   "umount $d; rmdir $d; done 2>/dev/null") < 0)
		perror("# removing the cgroups");
}

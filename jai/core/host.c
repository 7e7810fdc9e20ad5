/* Small questions about this machine that Python has no call for. */
#include "jai.h"
#include "sys.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

int64_t jai_fstype(const char *path)
{
	struct statfs stat;

	return statfs(path, &stat) < 0 ? -errno : (int64_t)(uint32_t)stat.f_type;
}

int jai_is_real(const char *path)
{
	auto_fd fd = sys_openat2(AT_FDCWD, path, O_PATH, RESOLVE_NO_SYMLINKS);

	/* Nothing there, and no link on the way to it either. */
	return fd >= 0 || errno == ENOENT;
}

/* Source: cgroups(7).  Version 2 is mounted at the first place, or beside version 1 at the second.
 */
int jai_owns_cgroup(uint32_t uid)
{
	static const char *const tops[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};
	char line[PATH_MAX], path[PATH_MAX + 64];
	FILE *file = fopen("/proc/self/cgroup", "re");
	struct stat found;
	int owns = 0;

	while (file && fgets(line, sizeof(line), file)) {
		if (strncmp(line, "0::", 3) != 0)
			continue;
		line[strcspn(line, "\n")] = '\0';
		for (size_t i = 0; i < sizeof(tops) / sizeof(tops[0]); i++) {
			snprintf(path, sizeof(path), "%s%s", tops[i], line + 3);
			owns |= stat(path, &found) == 0 && found.st_uid == uid;
		}
	}
	if (file)
		fclose(file);
	return owns;
}

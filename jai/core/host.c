/* Small questions about this machine that Python has no call for. */
#include "plan.h"

#include <limits.h>
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
static int owns_below_a_top(const char *cgroup, uint32_t uid)
{
	static const char *const tops[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};
	char path[PATH_MAX + 64];
	struct stat found;
	int owns = 0;

	for (size_t i = 0; i < sizeof(tops) / sizeof(tops[0]); i++) {
		put_text(put_text(path, tops[i]), cgroup);
		owns |= stat(path, &found) == 0 && found.st_uid == uid;
	}
	return owns;
}

int jai_owns_cgroup(uint32_t uid)
{
	char text[4 * PATH_MAX], *rest = text;
	auto_fd fd = sys_open("/proc/self/cgroup", O_RDONLY | O_CLOEXEC);
	ssize_t size = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
	int owns = 0;

	/* What is not read to its end may name one. */
	if (size == sizeof(text) - 1)
		return 1;
	text[size > 0 ? size : 0] = '\0';
	for (char *line = strsep(&rest, "\n"); line; line = strsep(&rest, "\n"))
		if (strncmp(line, "0::", 3) == 0 && strlen(line) < PATH_MAX)
			owns |= owns_below_a_top(line + 3, uid);
	return owns;
}

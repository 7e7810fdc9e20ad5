/* Small questions about this machine that Python has no call for. */
#include "jai.h"
#include "sys.h"

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

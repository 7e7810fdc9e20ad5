/* What a jail could change all the same: looked at from outside, when everything in it has ended.
 */
#include "mutants.h"

#include <string.h>
#include <sys/stat.h>

/* Whether a file holds exactly this; a FIFO that stands there now makes nobody wait. */
static int holds(const char *path, const char *content)
{
	char part[4096];
	ssize_t size;
	auto_fd fd =
		sys_openat2(AT_FDCWD, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, RESOLVE_NO_SYMLINKS);

	if (fd < 0)
		return 0;
	while ((size = read(fd, part, sizeof(part))) > 0) {
		if (strncmp(content, part, (size_t)size) != 0 || memchr(part, '\0', (size_t)size))
			return 0;
		content += size;
	}
	return size == 0 && !*content;
}

/*
 * A nested user namespace may let go of the tree in which a file is a mount point, and then rename
 * it through a descriptor. The kernel sets a new change time when it does, and whoever makes
 * another file with the same number can not set it back.
 */
static int is_same(const struct jai_step *step, int fd)
{
	struct stat stat;

	if (fd < 0 || fstat(fd, &stat) < 0 || stat.st_dev != step->device ||
	    stat.st_ino != step->inode)
		return 0;
	return !step->number ||
	       (uint64_t)stat.st_ctim.tv_sec * 1000000000 + (uint64_t)stat.st_ctim.tv_nsec ==
		       step->number;
}

static int is_as_it_was(const struct plan *plan, const struct jai_step *step)
{
	const char *path = plan->strings + step->target;
	auto_fd fd = sys_openat2(AT_FDCWD, path, O_PATH | O_NOFOLLOW, RESOLVE_NO_SYMLINKS);
	int missing = fd < 0 && errno == ENOENT;

	if (step->flags & JAI_SAME)
		return is_same(step, fd);
	if (step->flags & JAI_CONTENT)
		return missing || holds(path, plan->strings + step->source);
	return missing;
}

int jai_changed(const void *image, size_t size, int32_t *steps, int most)
{
	struct plan plan;
	int32_t bad;
	int found = 0;

	if (left_out("watched-files") || plan_read(&plan, image, size, &bad) < 0)
		return 0;
	for (uint32_t i = 0; i < plan.count; i++) {
		const struct jai_step *step = &plan.steps[i];

		if (step->kind != JAI_WATCH || is_as_it_was(&plan, step))
			continue;
		if (found < most)
			steps[found] = (int32_t)i;
		found++;
	}
	plan_free(&plan);
	return found;
}

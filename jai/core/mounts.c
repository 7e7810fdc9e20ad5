/*
 * The jail's tree.  The clone of the host's tree is stacked on "/": a process whose root is the old
 * one keeps seeing the old tree, so sources are opened there by absolute path, while targets are
 * looked up below the descriptor of the clone.  Nothing here follows a symbolic link.
 */
#include "mutants.h"

#include <string.h>
#include <sys/stat.h>

/* With JAI_SAME it must still be what the policy saw: 0 or -1. */
static int check_same(const struct jai_step *step, int fd)
{
	struct stat stat;

	if (!(step->flags & JAI_SAME) || left_out("unmoved-sources"))
		return 0;
	if (fstat(fd, &stat) < 0)
		return -1;
	if (stat.st_dev == step->device && stat.st_ino == step->inode)
		return 0;
	errno = ESTALE;
	return -1;
}

/* Opens a place of the host's tree; with JAI_SAME it must still be what the policy saw. */
int open_source(const struct jai_step *step, const char *path, uint64_t flags)
{
	const uint64_t resolve = left_out("unmoved-sources") ? 0 : RESOLVE_NO_SYMLINKS;
	auto_fd fd = sys_openat2(AT_FDCWD, path, O_PATH | flags, resolve);

	return fd < 0 || check_same(step, fd) < 0 ? -1 : steal_fd(&fd);
}

static int open_inside(const struct state *s, const char *path, uint64_t flags)
{
	const uint64_t resolve = left_out("unmoved-targets")
					 ? RESOLVE_IN_ROOT
					 : RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH;

	/* Every target is absolute; "." stands for the root itself. */
	return sys_openat2(s->root, path[1] ? path + 1 : ".", O_PATH | flags, resolve);
}

/* Opens the directory that holds path inside and points *name at the last component. */
static int open_parent(const struct state *s, const char *path, const char **name)
{
	char parent[4096];
	const char *slash = strrchr(path, '/');
	size_t length = (size_t)(slash - path);

	*name = slash + 1;
	memcpy(parent, path, length);
	parent[length] = '\0';
	return open_inside(s, length ? parent : "/", O_DIRECTORY);
}

/* Makes the directories that lead to path, and path itself if it is one: 0 or -1. */
static int make_directories(const struct state *s, const char *path, mode_t mode)
{
	char part[4096];
	const char *slash = path;

	while (slash) {
		const char *name;
		auto_fd dir = -1;
		size_t length;

		slash = strchr(slash + 1, '/');
		length = slash ? (size_t)(slash - path) : strlen(path);
		memcpy(part, path, length);
		part[length] = '\0';
		dir = open_inside(s, part, O_DIRECTORY);
		if (dir >= 0)
			continue;
		if (errno != ENOENT)
			return -1;
		dir = open_parent(s, part, &name);
		if (dir < 0 || mkdirat(dir, name, slash ? 0755 : mode) < 0)
			return -1;
	}
	return 0;
}

static int make_file(const struct state *s, const char *path, mode_t mode, const char *content)
{
	const char *name;
	size_t size = strlen(content);
	auto_fd file = -1;
	auto_fd dir = open_parent(s, path, &name);

	if (dir < 0)
		return -1;
	file = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
	if (file < 0)
		return -1;
	errno = ENOSPC; /* what a short write means */
	return write(file, content, size) == (ssize_t)size ? 0 : -1;
}

static int make_mount_point(const struct state *s, const char *path, int directory)
{
	char parent[4096];
	const char *name;
	auto_fd dir = open_parent(s, path, &name);

	if (dir < 0 && errno == ENOENT) {
		memcpy(parent, path, (size_t)(name - path));
		parent[name - path - 1] = '\0';
		if (make_directories(s, parent, 0755) < 0)
			return -1;
		dir = open_parent(s, path, &name);
	}
	if (dir < 0)
		return -1;
	return directory ? mkdirat(dir, name, 0755) : mknodat(dir, name, S_IFREG | 0600, 0);
}

/* Attaches a mount at a place in the jail. */
static int attach(const struct state *s, const struct jai_step *step, int mount)
{
	const char *path = text(s, step->target);
	auto_fd at = open_inside(s, path, 0);
	struct stat stat;

	if (at < 0 && errno == ENOENT && (step->flags & JAI_MAKE)) {
		if (fstat(mount, &stat) < 0 || make_mount_point(s, path, S_ISDIR(stat.st_mode)) < 0)
			return errno;
		at = open_inside(s, path, 0);
	}
	if (at < 0 || sys_move_mount(mount, at) < 0)
		return errno;
	return 0;
}

static uint64_t mount_attributes(uint32_t flags)
{
	return (flags & JAI_RDONLY ? MOUNT_ATTR_RDONLY : 0) |
	       (flags & JAI_NOSUID ? MOUNT_ATTR_NOSUID : 0) |
	       (flags & JAI_NODEV ? MOUNT_ATTR_NODEV : 0) |
	       (flags & JAI_NOEXEC ? MOUNT_ATTR_NOEXEC : 0);
}

int op_root(struct state *s, const struct jai_step *step)
{
	const struct mount_attr attr = {.attr_set = mount_attributes(step->flags)};
	auto_fd root = -1;
	auto_fd clone = sys_open_tree(AT_FDCWD, "/", OPEN_TREE_CLONE | AT_RECURSIVE);

	if (clone < 0 || sys_mount_setattr(clone, AT_RECURSIVE, &attr) < 0)
		return errno;
	root = sys_openat2(AT_FDCWD, "/", O_PATH | O_DIRECTORY, 0);
	if (root < 0 || sys_move_mount(clone, root) < 0)
		return errno;
	s->root = steal_fd(&clone);
	return 0;
}

/* Whoever asks a merged directory for its mode and times gets those of the topmost layer. */
static int copy_attributes(int layer, const struct stat *real)
{
	const struct timespec times[] = {real->st_atim, real->st_mtim};

	if (fchmod(layer, real->st_mode & 07777) < 0 || futimens(layer, times) < 0)
		return -1;
	return 0;
}

/* A layer must be attached when the overlay is made; /proc of the jail is covered later anyway. */
static int attach_layer(const struct state *s, int mount)
{
	auto_fd place = open_inside(s, "/proc", O_DIRECTORY);

	return place < 0 || sys_move_mount(mount, place) < 0 ? -1 : 0;
}

/* The overlay has clones of its own of its layers. */
static int detach_layer(int mount)
{
	char path[40];

	put_fd_path(path, mount);
	return sys_umount2(path, MNT_DETACH);
}

static int start_mask_layer(struct state *s, const struct jai_step *step)
{
	auto_fd mount = -1;
	auto_fd fs = sys_fsopen("tmpfs");

	s->lower = sys_openat2(AT_FDCWD, text(s, step->source), O_PATH | O_DIRECTORY,
			       RESOLVE_NO_SYMLINKS);
	if (s->lower < 0 || fs < 0)
		return -1;
	if (sys_fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0755") < 0 ||
	    sys_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL) < 0)
		return -1;
	mount = sys_fsmount(fs, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
	if (mount < 0 || attach_layer(s, mount) < 0)
		return -1;
	s->masks = steal_fd(&mount);
	return 0;
}

/* Lets go of the directory that masks have come to; new names in it have changed its times. */
static int leave(struct mask_place *at)
{
	int result = 0;
	struct stat real;

	if (at->size) {
		if (at->touched) {
			result = fstat(at->real, &real);
			if (result == 0)
				result = futimens(at->layer,
						  (struct timespec[]){real.st_atim, real.st_mtim});
		}
		close_fd(&at->real);
		close_fd(&at->layer);
	}
	*at = (struct mask_place){0};
	return result;
}

/* Goes one directory down in both trees; the layer's copy is made where it is missing. */
static int descend(struct mask_place *at, const char *name, const struct stat *stat)
{
	auto_fd real = openat(at->real, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	auto_fd layer = -1;
	int made;

	if (real < 0) {
		/* It was a directory a moment ago. */
		errno = errno == ENOTDIR || errno == ENOENT ? ESTALE : errno;
		return -1;
	}
	made = mkdirat(at->layer, name, 0700) == 0;
	if (!made && errno != EEXIST)
		return -1;
	at->touched |= made;
	layer = openat(at->layer, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (layer < 0 || (made && copy_attributes(layer, stat) < 0) || leave(at) < 0)
		return -1;
	*at = (struct mask_place){.real = steal_fd(&real), .layer = steal_fd(&layer)};
	return 0;
}

/* A whiteout is device 0:0. A link is kept as it was when it was followed to a masked thing. */
static int hide(int layer, const char *name, const char *link)
{
	return link[0] ? symlinkat(link, layer, name) : mknodat(layer, name, S_IFCHR, 0);
}

/* The same path may be reached by two masks. */
static int put_whiteout(struct mask_place *at, const char *name, const char *link)
{
	if (hide(at->layer, name, link) == 0)
		at->touched = 1;
	else if (errno != EEXIST)
		return errno;
	return 0;
}

/* Masks come sorted: the directory of the last one is often this one's too. Gives what is left of
 * the path. */
static char *find_place(struct state *s, char *path)
{
	struct mask_place *at = &s->mask_at;

	if (at->size && strncmp(path, at->path, at->size) == 0 && path[at->size] == '/')
		return path + at->size + 1;
	if (leave(at) < 0)
		return NULL;
	/* The tops. The layer's is a mount, whose times need no care: those of the changes win. */
	at->real = s->lower;
	at->layer = s->masks;
	return path;
}

/*
 * Puts a whiteout where the path first differs from a chain of directories: at the masked thing
 * itself, or at the first part of its path that does not exist (so that it stays hidden if it is
 * made outside while the jail runs, and no empty parent shows up inside).
 */
int op_mask(struct state *s, const struct jai_step *step)
{
	char path[4096];
	char *name;

	if (s->holder >= 0)
		return 0;
	if (s->masks < 0 && start_mask_layer(s, step) < 0)
		return errno;
	strcpy(path, text(s, step->target));
	name = find_place(s, path);
	if (!name)
		return errno;
	for (;;) {
		char *slash = strchr(name, '/');
		struct stat stat;
		int missing;

		if (slash)
			*slash = '\0';
		/* What we may not look into, the command may not either; it is left out as a whole.
		 */
		missing = fstatat(s->mask_at.real, name, &stat, AT_SYMLINK_NOFOLLOW) < 0;
		if (missing && errno != ENOENT && errno != EACCES)
			return errno;
		if (!slash || missing || !S_ISDIR(stat.st_mode))
			return put_whiteout(&s->mask_at, name, slash ? "" : text(s, step->extra));
		if (descend(&s->mask_at, name, &stat) < 0)
			/* An earlier, shorter mask covers this one: a whiteout is no directory. */
			return errno == ENOTDIR || errno == ELOOP ? 0 : errno;
		s->mask_at.path = text(s, step->target);
		s->mask_at.size = (size_t)(slash - path);
		name = slash + 1;
	}
}

static int configure_overlay(int fs, const struct state *s, int lower, int upper, int work)
{
	char layers[80], path[40];
	char *end = layers;

	/* By descriptor: no path is looked up twice, none needs quoting. */
	if (s->masks >= 0)
		end = put_text(put_fd_path(end, s->masks), ":");
	put_fd_path(end, lower);
	if (sys_fsconfig(fs, FSCONFIG_SET_STRING, "source", "jai") < 0 ||
	    sys_fsconfig(fs, FSCONFIG_SET_STRING, "lowerdir", layers) < 0)
		return -1;
	put_fd_path(path, upper);
	if (sys_fsconfig(fs, FSCONFIG_SET_STRING, "upperdir", path) < 0)
		return -1;
	put_fd_path(path, work);
	if (sys_fsconfig(fs, FSCONFIG_SET_STRING, "workdir", path) < 0)
		return -1;
	/* Without privileges overlayfs keeps its marks in user.overlay.* */
	if (sys_fsconfig(fs, FSCONFIG_SET_FLAG, "userxattr", NULL) < 0)
		return -1;
	return sys_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL);
}

/* The home; where something is mounted in it, the helper's clone without that, attached for the
 * time being. */
static int open_lower(struct state *s, const struct jai_step *step)
{
	auto_fd mount = -1;

	if (!(step->flags & JAI_MAPPED))
		return open_source(step, text(s, step->target), O_DIRECTORY);
	if (take_mapped(s, (uint32_t)step->number) < 0)
		return -1;
	mount = steal_fd(&s->mapped[step->number].fd);
	return attach_layer(s, mount) < 0 ? -1 : steal_fd(&mount);
}

static int make_overlay(struct state *s, const struct jai_step *step)
{
	auto_fd lower = open_lower(s, step);
	auto_fd upper = sys_openat2(AT_FDCWD, text(s, step->source), O_PATH | O_DIRECTORY,
				    RESOLVE_NO_SYMLINKS);
	auto_fd work = sys_openat2(AT_FDCWD, text(s, step->extra), O_PATH | O_DIRECTORY,
				   RESOLVE_NO_SYMLINKS);
	auto_fd fs = -1;

	if (lower < 0 || upper < 0 || work < 0)
		return -1;
	fs = sys_fsopen("overlay");
	if (fs < 0 || configure_overlay(fs, s, lower, upper, work) < 0)
		return -1;
	if (step->flags & JAI_MAPPED && detach_layer(lower) < 0)
		return -1;
	if (s->masks >= 0) {
		if (leave(&s->mask_at) < 0 || detach_layer(s->masks) < 0)
			return -1;
		close(steal_fd(&s->masks));
		close(steal_fd(&s->lower));
	}
	return sys_fsmount(fs, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
				       (unsigned int)mount_attributes(step->flags));
}

int op_overlay(struct state *s, const struct jai_step *step)
{
	if (s->holder < 0)
		s->home_fd = make_overlay(s, step);
	if (s->home_fd < 0)
		return errno;
	return attach(s, step, s->home_fd);
}

/*
 * The helper's mount can only be tightened; it is a single one, without what is mounted below.  A
 * second place gets a clone, which the kernel makes of what is attached.
 */
static int bind_mapped(struct state *s, const struct jai_step *step)
{
	const struct mount_attr attr = {.attr_set = mount_attributes(step->flags)};
	struct mapped *mapped = &s->mapped[step->number];
	int mount = take_mapped(s, (uint32_t)step->number);
	auto_fd again = -1;

	if (mount < 0)
		return errno;
	if (mapped->attached)
		mount = again = sys_open_tree(mount, "", AT_EMPTY_PATH | OPEN_TREE_CLONE);
	mapped->attached = 1;
	if (mount < 0 || sys_mount_setattr(mount, 0, &attr) < 0)
		return errno;
	return attach(s, step, mount);
}

int op_bind(struct state *s, const struct jai_step *step)
{
	uint64_t wanted = mount_attributes(step->flags);
	struct mount_attr attr = {.attr_set = wanted};
	auto_fd tree = -1;
	auto_fd source = -1;

	if (step->flags & JAI_MAPPED)
		return bind_mapped(s, step);
	source = open_source(step, text(s, step->source), 0);
	if (source < 0)
		return errno;
	tree = sys_open_tree(source, "",
			     AT_EMPTY_PATH | OPEN_TREE_CLONE |
				     (step->flags & JAI_RECURSIVE ? AT_RECURSIVE : 0));
	if (tree < 0)
		return errno;
	/* What is mounted below a grant is not granted: all read-only first, then the top as asked.
	 */
	if (step->flags & JAI_RECURSIVE && !left_out("read-only-below-grants")) {
		attr.attr_set = wanted | MOUNT_ATTR_RDONLY;
		if (sys_mount_setattr(tree, AT_RECURSIVE, &attr) < 0)
			return errno;
		attr.attr_set = wanted;
		attr.attr_clr = wanted & MOUNT_ATTR_RDONLY ? 0 : MOUNT_ATTR_RDONLY;
	}
	if (sys_mount_setattr(tree, 0, &attr) < 0)
		return errno;
	return attach(s, step, tree);
}

/* The clone of a mount has its flags and its id map, so this needs no helper in strict mode. */
int op_pin(struct state *s, const struct jai_step *step)
{
	const struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};
	auto_fd tree = -1;
	auto_fd at = open_inside(s, text(s, step->target), 0);

	if (at < 0 || check_same(step, at) < 0)
		return errno;
	tree = sys_open_tree(at, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | AT_RECURSIVE);
	if (tree < 0)
		return errno;
	if (step->flags & JAI_RDONLY && sys_mount_setattr(tree, AT_RECURSIVE, &attr) < 0)
		return errno;
	return sys_move_mount(tree, at) < 0 ? errno : 0;
}

int op_tmpfs(struct state *s, const struct jai_step *step)
{
	char mode[24] = "0";
	const char *size = text(s, step->source);
	auto_fd mount = -1;
	auto_fd fs = sys_fsopen("tmpfs");

	/* The file system reads octal. */
	for (int shift = 9, at = 1; shift >= 0; shift -= 3, at++)
		mode[at] = (char)('0' + ((step->mode >> shift) & 7));
	if (fs < 0 || sys_fsconfig(fs, FSCONFIG_SET_STRING, "mode", mode) < 0)
		return errno;
	if (size[0] && sys_fsconfig(fs, FSCONFIG_SET_STRING, "size", size) < 0)
		return errno;
	if (sys_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL) < 0)
		return errno;
	mount = sys_fsmount(fs, (unsigned int)mount_attributes(step->flags));
	return mount < 0 ? errno : attach(s, step, mount);
}

int op_devpts(struct state *s, const struct jai_step *step)
{
	auto_fd mount = -1;
	auto_fd fs = sys_fsopen("devpts");

	if (fs < 0 || sys_fsconfig(fs, FSCONFIG_SET_STRING, "ptmxmode", "0666") < 0 ||
	    sys_fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0620") < 0 ||
	    sys_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL) < 0)
		return errno;
	mount = sys_fsmount(fs, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
	return mount < 0 ? errno : attach(s, step, mount);
}

int op_proc(struct state *s, const struct jai_step *step)
{
	auto_fd mount = -1;
	auto_fd fs = sys_fsopen("proc");

	if (fs < 0 || sys_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL) < 0)
		return errno;
	mount = sys_fsmount(fs, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	return mount < 0 ? errno : attach(s, step, mount);
}

int op_file(struct state *s, const struct jai_step *step)
{
	return make_file(s, text(s, step->target), step->mode & 07777, text(s, step->source)) < 0
		       ? errno
		       : 0;
}

int op_symlink(struct state *s, const struct jai_step *step)
{
	const char *name;
	auto_fd dir = open_parent(s, text(s, step->target), &name);

	return dir < 0 || symlinkat(text(s, step->source), dir, name) < 0 ? errno : 0;
}

int op_seal(struct state *s, const struct jai_step *step)
{
	const struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};
	auto_fd at = open_inside(s, text(s, step->target), 0);

	return at < 0 || sys_mount_setattr(at, 0, &attr) < 0 ? errno : 0;
}

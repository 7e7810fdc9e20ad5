/*
 * The lock that ties the runs of one jail together, and the namespaces.
 *
 * The lock file carries two record locks.  Record locks die with the process that holds them, so
 * there is no stale state after SIGKILL:
 *   byte 0: a run is starting or leaving (exclusive; short)
 *   byte 1: a keeper lives (shared; as long as the keeper)
 *   byte 2: a keeper lives that has the jail's overlay (the same)
 * F_GETLK on byte 2 names a keeper whose overlay can be joined.  The content is the overlay's key;
 * it is only believed while such a keeper lives, and written by the one that mounts the overlay.
 *
 * A process loses its record locks when it closes any descriptor of the file: the keeper opens it
 * once and never closes it.
 */
#include "mutants.h"

#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum { BYTE_START = 0, BYTE_ALIVE = 1, BYTE_OVERLAY = 2 };

static int lock_byte(int fd, int command, short type, off_t byte)
{
	struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
	int result;

	do
		result = fcntl(fd, command, &lock);
	while (result < 0 && errno == EINTR);
	if (result < 0 || command != F_GETLK || lock.l_type == F_UNLCK)
		return result;
	if (lock.l_pid > 0)
		return lock.l_pid;
	/* Held from a PID namespace that we can not see into: another container on the same
	 * storage. */
	errno = EXDEV;
	return -1;
}

/* Two runs may share an overlay when its home, its layers, its flags and its masks are the same. */
static uint64_t overlay_key(const struct plan *plan)
{
	uint64_t key = jai_hash("", 0);

	for (uint32_t i = 0; i < plan->count; i++) {
		const struct jai_step *step = &plan->steps[i];
		const uint32_t words[] = {step->target, step->source, step->extra};

		if (step->kind != JAI_MASK && step->kind != JAI_OVERLAY)
			continue;
		key = hash(key, &step->kind, sizeof(step->kind));
		key = hash(key, &step->flags, sizeof(step->flags));
		key = hash(key, &step->device, sizeof(step->device));
		key = hash(key, &step->inode, sizeof(step->inode));
		for (int word = 0; word < 3; word++) {
			const char *string = plan->strings + words[word];

			key = hash(key, string, strlen(string) + 1);
		}
	}
	return key;
}

/* Finds a living keeper and takes hold of its overlay: 0, or an errno; s->holder says if there is
 * one. */
static int find_holder(struct state *s)
{
	uint64_t key = 0;
	auto_fd pidfd = -1;
	int pid;

	for (;;) {
		pid = lock_byte(s->lock, F_GETLK, F_WRLCK, BYTE_OVERLAY);
		if (pid < 0)
			return errno;
		if (pid == 0)
			return 0;
		close_fd(&pidfd);
		pidfd = sys_pidfd_open(pid);
		/* Only when it still holds the lock is the descriptor the keeper's, not a later
		 * process's. */
		if (pidfd >= 0 && lock_byte(s->lock, F_GETLK, F_WRLCK, BYTE_OVERLAY) == pid)
			break;
		if (pidfd < 0 && errno != ESRCH)
			return errno;
	}
	if (pread(s->lock, &key, sizeof(key), 0) != (ssize_t)sizeof(key) || key != s->key)
		return EBUSY;
	s->joined_fd = sys_pidfd_getfd(pidfd, HOME_FD);
	if (s->joined_fd < 0)
		return errno == ESRCH ? ESTALE : errno;
	s->holder = steal_fd(&pidfd);
	return 0;
}

/* `jai -u` may have removed the file between our opening and locking it: then it locks nothing. */
static int still_there(int fd, const char *path)
{
	struct stat ours, theirs;

	return fstat(fd, &ours) == 0 && lstat(path, &theirs) == 0 && ours.st_ino == theirs.st_ino &&
	       ours.st_dev == theirs.st_dev;
}

int op_lock(struct state *s, const struct jai_step *step)
{
	int error = 0;

	s->lock = sys_openat2(AT_FDCWD, text(s, step->target), O_RDWR | O_NOCTTY,
			      RESOLVE_NO_SYMLINKS);
	if (s->lock < 0 || move_away(&s->lock) < 0)
		return errno;
	if (lock_byte(s->lock, F_SETLKW, F_WRLCK, BYTE_START) < 0)
		return errno;
	if (!still_there(s->lock, text(s, step->target)))
		return ESTALE;
	if (step->flags & JAI_SHARED) {
		s->key = overlay_key(&s->plan);
		error = find_holder(s);
		if (!error && lock_byte(s->lock, F_SETLKW, F_RDLCK, BYTE_OVERLAY) < 0)
			error = errno;
	}
	if (!error && lock_byte(s->lock, F_SETLKW, F_RDLCK, BYTE_ALIVE) < 0)
		error = errno;
	return error;
}

int describe_jail(struct state *s)
{
	ssize_t size;

	if (s->home_fd < 0)
		return 0;
	size = pwrite(s->lock, &s->key, sizeof(s->key), 0);
	if (size < 0)
		return errno;
	return size == (ssize_t)sizeof(s->key) ? 0 : ENOSPC;
}

int publish_jail(struct state *s)
{
	if (s->home_fd >= 0 && s->home_fd != HOME_FD && dup3(s->home_fd, HOME_FD, O_CLOEXEC) < 0)
		return errno;
	return lock_byte(s->lock, F_SETLKW, F_UNLCK, BYTE_START) < 0 ? errno : 0;
}

/*
 * Unmounting an overlay syncs the whole upper file system.  Nobody waits for that: the parent has
 * left, and it is done in two parts.  First the sync, while a run that starts can still join us;
 * then, when nearly nothing is left to be written, the unmounting under the start lock.  So no run
 * ever mounts the overlay while another mount of the same upper directory is still being taken
 * down.
 */
void leave_jail(struct state *s)
{
	int home;

	if (s->home_fd < 0)
		return;
	home = openat(HOME_FD, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (home >= 0) {
		(void)syncfs(home);
		close(home);
	}
	if (lock_byte(s->lock, F_SETLKW, F_WRLCK, BYTE_START) < 0)
		return;
	close(HOME_FD);
	for (uint32_t i = 0; i < s->plan.count; i++)
		if (s->plan.steps[i].kind == JAI_OVERLAY)
			(void)sys_umount2(text(s, s->plan.steps[i].target),
					  MNT_DETACH | UMOUNT_NOFOLLOW);
}

static int write_file(const char *path, const char *content)
{
	auto_fd fd = sys_open(path, O_WRONLY | O_CLOEXEC);
	size_t size = strlen(content);

	if (fd < 0)
		return errno;
	if (write(fd, content, size) != (ssize_t)size)
		return errno;
	return 0;
}

static int map_id(const char *path, uint64_t id)
{
	char line[64];
	char *end = put_number(line, id);

	end = put_number(put_text(end, " "), id);
	put_text(end, " 1\n");
	return write_file(path, line);
}

static int mount_namespace(void)
{
	const struct mount_attr attr = {.propagation = MS_PRIVATE};
	auto_fd root = -1;

	if (unshare(CLONE_NEWNS) < 0)
		return errno;
	root = sys_open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0 || sys_mount_setattr(root, AT_RECURSIVE, &attr) < 0)
		return errno;
	return 0;
}

/*
 * An overlay remembers what it has once not found.  A run that starts shall see the home as it is
 * now, and reconfiguring, even to the same, lets go of every remembered name that is not in use.
 */
static int refresh(int mount)
{
	auto_fd fs = (int)syscall(SYS_fspick, mount, "", FSPICK_EMPTY_PATH | FSPICK_CLOEXEC);

	return fs < 0 || sys_fsconfig(fs, FSCONFIG_CMD_RECONFIGURE, NULL, NULL) < 0 ? errno : 0;
}

/*
 * A mount can be cloned only from inside its own namespace: go there, take it, come back.  That
 * must happen before a new root is stacked on "/", because setns follows what is mounted there.
 */
static int join_overlay(struct state *s)
{
	auto_fd here = sys_open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);

	if (here < 0 || setns(s->holder, CLONE_NEWNS) < 0)
		return errno;
	s->home_fd = sys_open_tree(s->joined_fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE);
	if (s->home_fd < 0 || setns(here, CLONE_NEWNS) < 0)
		return errno;
	close(steal_fd(&s->joined_fd));
	return refresh(s->home_fd);
}

static int join(struct state *s)
{
	int error;

	if (setns(s->holder, CLONE_NEWUSER) < 0)
		return errno;
	error = mount_namespace();
	return error ? error : join_overlay(s);
}

int op_userns(struct state *s, const struct jai_step *step)
{
	int error;

	if (s->holder >= 0)
		return join(s);
	if (step->flags & JAI_STRICT) {
		error = become_strict(s, step);
		return error ? error : mount_namespace();
	}
	error = send_requests(s);
	if (error)
		return error;
	if (unshare(CLONE_NEWUSER) < 0)
		return errno;
	error = write_file("/proc/self/setgroups", "deny");
	if (!error)
		error = map_id("/proc/self/uid_map", step->number);
	if (!error)
		error = map_id("/proc/self/gid_map", step->mode);
	return error ? error : mount_namespace();
}

/* The limits of /proc/sys/user are those of the writer's user namespace and of all below it. */
int op_nslimit(struct state *s, const struct jai_step *step)
{
	char path[4096 + 32], number[24];

	put_text(put_text(path, "/proc/sys/user/"), text(s, step->target));
	put_number(number, step->number);
	return write_file(path, number);
}

int op_netns(struct state *s, const struct jai_step *step)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	auto_fd fd = -1;

	(void)s;
	(void)step;
	if (unshare(CLONE_NEWNET) < 0)
		return errno;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) < 0)
		return errno;
	return 0;
}

int op_pivot(struct state *s, const struct jai_step *step)
{
	(void)step;
	/* The new root is stacked on the old: both are ".", one after the other. */
	if (fchdir(s->root) < 0 || sys_pivot_root(".", ".") < 0)
		return errno;
	if (!left_out("old-tree-gone") && sys_umount2(".", MNT_DETACH) < 0)
		return errno;
	return chdir("/") < 0 ? errno : 0;
}

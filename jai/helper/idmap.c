/*
 * The privileged helper behind idmap.h: cap_sys_admin, cap_setuid, cap_setgid.  It is given no
 * path, reads only /etc/subuid and /etc/subgid, executes nothing, mounts nothing where anybody
 * could see it.
 */
#include "idmap.h"
#include "sys.h"

#include <linux/capability.h>
#include <linux/nsfs.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define CAPS (1U << CAP_SYS_ADMIN | 1U << CAP_SETUID | 1U << CAP_SETGID)
/* Descriptors with a place of their own, held by /dev/null. */
enum { SOCKET = 0, NOTHING = 1, MAP = 3, RESULT = 4 };

static struct {
	uint32_t uid, gid, strict_uid, strict_gid, has_map;
	pid_t pid;
} caller;

/* Reads a plain decimal number: what comes behind it, or NULL. */
static const char *take_number(const char *at, uint32_t *number)
{
	size_t digits = strspn(at, "0123456789");
	uint64_t value = digits <= 10 ? strtoull(at, NULL, 10) : UINT64_MAX;

	*number = (uint32_t)value;
	return !digits || value > UINT32_MAX || (*at == '0' && digits > 1) ? NULL : at + digits;
}

/* Finds the first id of the first range of `owner`, whose own id is `own`: 0 or an errno. */
static int parse_ranges(const char *text, uint32_t owner, uint32_t own, uint32_t *id)
{
	for (; *text; text = strchrnul(text, '\n'), text += *text == '\n') {
		uint32_t uid, first = 0, count = 0;
		const char *at = take_number(text, &uid);

		if (!at || uid != owner || (*at != ':' && *at != '\n' && *at))
			continue;
		/* The last id of all is "none" to the kernel: no range may reach it. */
		if (*at != ':' || !(at = take_number(at + 1, &first)) || *at != ':' ||
		    !(at = take_number(at + 1, &count)) || (*at != '\n' && *at) ||
		    (count && (first < 1000 || first == own || count > UINT32_MAX - first)))
			return EBADMSG;
		*id = count ? first : 0;
		if (*id)
			return 0;
	}
	return ENOENT;
}

static int find_id(const char *path, uint32_t own, uint32_t *id)
{
	static char text[(1 << 20) + 1];
	struct stat stat;
	ssize_t size = 0;
	auto_fd fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &stat) < 0)
		return errno == ELOOP ? EBADMSG : errno;
	if (!S_ISREG(stat.st_mode) || stat.st_uid != 0 || (stat.st_mode & (S_IWGRP | S_IWOTH)) ||
	    (size = read(fd, text, sizeof(text))) != stat.st_size || size == sizeof(text) ||
	    memchr(text, '\0', (size_t)size))
		return EBADMSG;
	text[size] = '\0';
	return parse_ranges(text, caller.uid, own, id);
}

static int open_process(pid_t pid)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d", pid);
	return open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static int write_map(int proc, const char *name, uint32_t inside, uint32_t outside)
{
	auto_fd fd = proc < 0 ? -1 : openat(proc, name, O_WRONLY | O_CLOEXEC);

	return fd < 0 || dprintf(fd, "%u %u 1\n", inside, outside) < 0 ? errno ?: EIO : 0;
}

/*
 * IDENTITY.  Safe because: the administrator gave the id to the caller; the namespace is its own,
 * directly below ours, and a map is written once.  A process that moves on meanwhile gets an error,
 * or what the caller had mapped to that number.  setgroups stays: a jail must leave the groups.
 */
static int serve_identity(uint32_t inside)
{
	auto_fd proc = open_process(caller.pid);
	auto_fd ns = proc < 0 ? -1 : openat(proc, "ns/user", O_RDONLY | O_CLOEXEC);
	auto_fd parent = ns < 0 ? -1 : ioctl(ns, NS_GET_PARENT);
	struct stat our, up;
	uid_t owner;

	if (parent < 0 || fstat(parent, &up) < 0 || stat("/proc/self/ns/user", &our) < 0 ||
	    ioctl(ns, NS_GET_OWNER_UID, &owner) < 0)
		return errno;
	if (owner != caller.uid || up.st_dev != our.st_dev || up.st_ino != our.st_ino)
		return EPERM;
	return write_map(proc, "uid_map", inside, caller.strict_uid)
		       ?: write_map(proc, "gid_map", inside, caller.strict_gid);
}

static int leave(int fd, int place)
{
	return fd < 0 || dup3(fd, place, O_CLOEXEC) < 0 || close(fd) < 0 ? errno : 0;
}

static int wait_for(pid_t child, int options)
{
	int status;

	if (child < 0 || waitpid(child, &status, options) < 0)
		return errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : WIFSTOPPED(status) ? 0 : EINTR;
}

/*
 * The user namespace of id-mapped mounts.  Whoever could write another map, with root in it, would
 * make files of root's: so nobody may control the process in it.  It is not dumpable, thus never
 * traced, and its maps are files of root's; each is written once, and by us, or it is not used.
 */
static int make_map(void)
{
	const pid_t self = getpid(), child = sys_clone3(CLONE_FILES | CLONE_NEWUSER, SIGCHLD, NULL);
	auto_fd proc = -1;
	int error;

	if (child == 0) {
		error = leave(open("/proc/self/ns/user", O_RDONLY | O_CLOEXEC), MAP);
		if (!error && prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == self)
			kill(getpid(), SIGSTOP); /* with musl, raise stops our parent */
		_exit(error ?: EINTR);
	}
	error = wait_for(child, WUNTRACED);
	if (error)
		return error;
	proc = open_process(child);
	setfsuid(0);
	error = write_map(proc, "uid_map", caller.uid, caller.strict_uid)
			?: write_map(proc, "gid_map", caller.gid, caller.strict_gid);
	setfsuid(caller.uid);
	caller.has_map = !error;
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	return prctl(PR_SET_DUMPABLE, 0) < 0 ? errno : error;
}

/*
 * A mount's attributes can be loosened, unless they are locked: as in the copy of a mount namespace
 * for another user namespace, nowhere else.  So it goes through two that nobody else is in.
 */
static int lock_attributes(int mount, const char *at)
{
	auto_fd place = -1;

	if (unshare(CLONE_NEWNS) < 0 ||
	    syscall(SYS_mount, NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    (place = open(at, O_PATH | O_CLOEXEC)) < 0 || sys_move_mount(mount, place) < 0 ||
	    unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
		return errno;
	return leave(sys_open_tree(AT_FDCWD, at, OPEN_TREE_CLONE), RESULT);
}

/*
 * CLONE.  Safe because: the directory is the caller's.  In the mount no device or set-uid program
 * is one, what was read-only stays so (locked), and nothing spreads to other mounts (private). What
 * is mounted below is left out; what that hides still asks for the rights to each file.
 *
 * MOUNT.  Safe because: in such a clone the caller's strict id stands for the caller, who could do
 * all that itself.  Other ids have no place in the map: nobody can write to their files, or give
 * them any.
 */
static int serve_mount(int fd, bool mapped)
{
	const uint64_t set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (mapped ? MOUNT_ATTR_IDMAP : 0);
	const struct mount_attr attr = {set, 0, MS_PRIVATE, mapped ? MAP : 0};
	int error = mapped && !caller.has_map ? make_map() : 0;
	struct stat stat;
	auto_fd mount = -1;
	pid_t child;

	if (error || fstat(fd, &stat) < 0)
		return error ?: errno;
	if (!S_ISDIR(stat.st_mode) && !(mapped && S_ISREG(stat.st_mode)))
		return ENOTDIR;
	if (stat.st_uid != caller.uid)
		return EACCES;
	mount = sys_open_tree(fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE);
	if (mount < 0 || sys_mount_setattr(mount, 0, &attr) < 0)
		return errno;
	child = sys_clone3(CLONE_FILES, SIGCHLD, NULL);
	if (child == 0)
		_exit(lock_attributes(mount, S_ISDIR(stat.st_mode) ? "/proc" : "/dev/null"));
	return wait_for(child, 0);
}

/* Is it a request?  Otherwise we end, which also closes what came with it. */
static bool is_request(struct msghdr *message, struct idmap_request *r, ssize_t size, int *fd)
{
	struct cmsghdr *control = CMSG_FIRSTHDR(message);

	if (size != sizeof(*r) || (message->msg_flags & (MSG_TRUNC | MSG_CTRUNC)) ||
	    r->magic != IDMAP_MAGIC || r->version != IDMAP_VERSION)
		return false;
	if (r->verb == IDMAP_IDENTITY)
		return !control && r->inside >= 1 && r->inside <= 1U << 31;
	if ((r->verb != IDMAP_MOUNT && r->verb != IDMAP_CLONE) || r->inside || !control ||
	    message->msg_controllen != CMSG_SPACE(sizeof(int)) ||
	    control->cmsg_len != CMSG_LEN(sizeof(int)) || control->cmsg_level != SOL_SOCKET ||
	    control->cmsg_type != SCM_RIGHTS)
		return false;
	return (*fd = *(int *)(void *)CMSG_DATA(control)) >= 0;
}

/* Takes one request and answers it: false when there is nothing more to be served. */
static bool serve(void)
{
	/* Room for two descriptors, so that a second one is seen. */
	char control[CMSG_SPACE(2 * sizeof(int))] __attribute__((aligned(8)));
	struct idmap_request r;
	struct idmap_answer answer;
	struct iovec part = {&r, sizeof(r)};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control};
	auto_fd fd = -1;
	int error = 0;

	message.msg_controllen = sizeof(control);
	if (!is_request(&message, &r, recvmsg(SOCKET, &message, MSG_CMSG_CLOEXEC), &fd))
		return false;
	if (r.verb != IDMAP_CLONE && !caller.strict_gid)
		error = find_id("/etc/subuid", caller.uid, &caller.strict_uid)
				?: find_id("/etc/subgid", caller.gid, &caller.strict_gid);
	if (!error && fd < 0)
		error = serve_identity(r.inside);
	else if (!error)
		error = serve_mount(fd, r.verb == IDMAP_MOUNT);
	answer = (struct idmap_answer){(uint32_t)error, caller.strict_uid};
	part = (struct iovec){&answer, sizeof(answer)};
	if (error || fd < 0)
		message.msg_controllen = 0;
	/* The answer's descriptor goes where the request's has come. */
	*(int *)(void *)CMSG_DATA((struct cmsghdr *)(void *)control) = RESULT;
	return sendmsg(SOCKET, &message, MSG_NOSIGNAL) == (ssize_t)sizeof(answer) &&
	       dup3(NOTHING, RESULT, O_CLOEXEC) == RESULT;
}

/* Learns from the kernel who calls; leaves what that has set for us, and what privilege we can. */
static bool settle(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	const struct __user_cap_data_struct caps[2] = {{.effective = CAPS, .permitted = CAPS}};
	const uint32_t uid = caller.uid = getuid(), gid = caller.gid = getgid();
	struct ucred peer;
	socklen_t size = sizeof(peer), number = sizeof(int);
	int domain, type;

	if (getsockopt(SOCKET, SOL_SOCKET, SO_DOMAIN, &domain, &number) < 0 || domain != AF_UNIX ||
	    getsockopt(SOCKET, SOL_SOCKET, SO_TYPE, &type, &number) < 0 || type != SOCK_SEQPACKET ||
	    getsockopt(SOCKET, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 || peer.pid <= 0 ||
	    peer.uid != uid || sys_close_range(NOTHING, ~0U, 0) < 0)
		return false;
	caller.pid = peer.pid;
	environ = NULL;
	umask(077);
	alarm(IDMAP_SECONDS);
	for (int each = 1; each < NSIG; each++)
		signal(each, SIG_DFL);
	sigprocmask(SIG_SETMASK, &(sigset_t){0}, NULL);
	for (int fd = NOTHING; fd <= RESULT; fd++)
		if (open("/dev/null", O_RDWR | O_CLOEXEC) != fd)
			return false;
	/* The ids change where the helper is set-uid root, for want of file capabilities. */
	return prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0 && setresgid(gid, gid, gid) == 0 &&
	       setresuid(uid, uid, uid) == 0 && syscall(SYS_capset, &header, caps) == 0 &&
	       prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_DUMPABLE, 0) == 0 &&
	       setrlimit(RLIMIT_CORE, &(struct rlimit){0}) == 0;
}

int main(void)
{
	if (!settle())
		return 1;
	for (int count = 0; count < IDMAP_REQUESTS && serve(); count++)
		;
	return 0;
}

/*
 * The limit: the namespaces and mounts of a casual jail by the fewest system calls, with nothing
 * checked, hidden, filtered or supervised.  bare-calls HOME UPPER WORK PROJECT CMD; paths are
 * absolute.
 */
#include "sys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

static int must(int result, const char *what)
{
	if (result < 0) {
		perror(what);
		_exit(125);
	}
	return result;
}

static void put(const char *path, const char *text)
{
	auto_fd fd = must(open(path, O_WRONLY | O_CLOEXEC), path);

	must((int)write(fd, text, strlen(text)), path);
}

/* Makes a file system with up to three settings and attaches it at a place below the new root. */
static void mount_new(int root, const char *type, const char *const *settings, const char *place)
{
	auto_fd fs = must(sys_fsopen(type), type);
	auto_fd at = must(openat(root, place + 1, O_PATH | O_CLOEXEC), place);

	for (; settings && settings[0]; settings += 2)
		must(sys_fsconfig(fs, settings[1] ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG,
				  settings[0], settings[1]),
		     settings[0]);
	must(sys_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL), type);
	must(sys_move_mount(must(sys_fsmount(fs, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV), type), at),
	     place);
}

static void make_namespaces(void)
{
	const struct mount_attr private = {.propagation = MS_PRIVATE};
	auto_fd top = -1;
	char map[64];
	const uid_t uid = getuid();
	const gid_t gid = getgid();

	must(unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC), "unshare");
	put("/proc/self/setgroups", "deny");
	snprintf(map, sizeof(map), "%u %u 1\n", uid, uid);
	put("/proc/self/uid_map", map);
	snprintf(map, sizeof(map), "%u %u 1\n", gid, gid);
	put("/proc/self/gid_map", map);
	top = must(open("/", O_PATH | O_CLOEXEC), "/");
	must(sys_mount_setattr(top, AT_RECURSIVE, &private), "private");
}

static int make_tree(char **paths)
{
	const struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID |
						    MOUNT_ATTR_NODEV};
	const char *const overlay[] = {"lowerdir", paths[0],	"upperdir", paths[1], "workdir",
				       paths[2],   "userxattr", NULL,	    NULL};
	auto_fd top = must(open("/", O_PATH | O_CLOEXEC), "/");
	auto_fd project = must(sys_open_tree(AT_FDCWD, paths[3], OPEN_TREE_CLONE), paths[3]);
	int root = must(sys_open_tree(AT_FDCWD, "/", OPEN_TREE_CLONE | AT_RECURSIVE), "clone");

	must(sys_mount_setattr(root, AT_RECURSIVE, &attr), "read-only");
	must(sys_move_mount(root, top), "/");
	mount_new(root, "overlay", overlay, paths[0]);
	mount_new(root, "tmpfs", NULL, "/tmp");
	mount_new(root, "tmpfs", NULL, "/run");
	mount_new(root, "tmpfs", NULL, "/dev");
	must(sys_move_mount(project,
			    must(openat(root, paths[3] + 1, O_PATH | O_CLOEXEC), paths[3])),
	     paths[3]);
	must(fchdir(root), "root");
	must(sys_pivot_root(".", "."), "pivot_root");
	must(sys_umount2(".", MNT_DETACH), "umount");
	return root;
}

static void start(char **words, int report)
{
	int root, status;

	make_namespaces();
	root = make_tree(words);
	if (must(sys_clone3(0, 0, NULL), "init") > 0)
		_exit(0);
	mount_new(root, "proc", NULL, "/proc");
	if (must(sys_clone3(0, SIGCHLD, NULL), "command") == 0) {
		must(chdir(words[3]), words[3]);
		execv(words[4], words + 4);
		must(-1, words[4]);
	}
	must(wait(&status), "wait");
	must((int)write(report, &status, sizeof(status)), "report");
	_exit(0);
}

int main(int argc, char **argv)
{
	int ends[2], status = 125 << 8;

	if (argc < 6 || pipe2(ends, O_CLOEXEC) < 0)
		return 2;
	if (must(sys_clone3(0, 0, NULL), "fork") == 0)
		start(argv + 1, ends[1]);
	close(ends[1]);
	(void)!read(ends[0], &status, sizeof(status));
	return status >> 8;
}

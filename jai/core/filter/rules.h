/*
 * What a jail may not ask of the kernel: one row for each refusal, with its reason.  All else is
 * allowed, as outside; what needs a privilege the kernel refuses by itself, and is here only where
 * a nested user namespace would grant that privilege or where a mistake would cost too much.
 *
 * compile.c makes the filter of this table while jai is built.  The rows hold for every ABI of the
 * machine that has the call.
 */
#ifndef JAI_FILTER_RULES_H
#define JAI_FILTER_RULES_H

#include <errno.h>
#include <stdint.h>

/* As x86 and ARM have them: the machine that builds may be another one. */
enum {
	TIOCSTI = 0x5412,
	TIOCLINUX = 0x541c,
	TIOCSETD = 0x5423,
	BTRFS_IOC_SNAP_CREATE = 0x50009401,
	BTRFS_IOC_SNAP_CREATE_V2 = 0x50009417,
	BTRFS_IOC_SNAP_DESTROY_V2 = 0x5000943f,
	FS_IOC_REMOVE_ENCRYPTION_KEY = (int)0xc0406618,
	FS_IOC_REMOVE_ENCRYPTION_KEY_ALL_USERS = (int)0xc0406619,
	SET_ID = 06000,		  /* S_ISUID, S_ISGID */
	MAKES = 0100 | 020000000, /* O_CREAT, __O_TMPFILE: without them there is no mode */
	AF_NETLINK = 16,
	AF_PACKET = 17,
	AF_ALG = 38,
	AF_VSOCK = 40,
	NETLINK_ROUTE = 0,
	SOCKETCALL_SOCKET = 1,
	PRIO_PGRP = 1,
	IOPRIO_WHO_PGRP = 2,
	OWN = 0,
	CLONE_NEWUSER = 0x10000000
};

/*
 * The newest call that these rows were written in view of (file_setattr, Linux 6.17).  A newer one
 * answers ENOSYS, as on an older kernel: it might do what a row refuses.  Raise it after a look.
 */
enum { NEWEST_CALL = 469 };

enum test { UNTESTED, IS, IS_NOT, HAS_ANY };

/* The kernel takes these arguments as int, so only their lower 32 bits count. */
struct condition {
	unsigned int argument;
	enum test test;
	uint32_t value;
};

/* A row holds for calls that meet all its conditions. */
struct row {
	const char *call;
	int answer;
	const char *reason;
	struct condition when[2];
	uint32_t number; /* of a call that libseccomp may be too young to know, else 0 */
	enum held { ALWAYS, IN_STRICT, UNLESS_ALLOWED } held; /* in which jails */
};

#define REFUSE(call, answer, reason, ...) {call, answer, reason, {__VA_ARGS__}, 0, ALWAYS}
#define REFUSE_IN_STRICT(call, answer, reason, ...) \
	{call, answer, reason, {__VA_ARGS__}, 0, IN_STRICT}
/* jai --allow CALL lets it through. */
#define REFUSE_UNLESS_ALLOWED(call, answer, reason) {call, answer, reason, {{0}}, 0, UNLESS_ALLOWED}
/* From 424 on a call has the same number in every ABI. */
#define REFUSE_NUMBER(number, call, answer, reason, ...) \
	{call, answer, reason, {__VA_ARGS__}, number, ALWAYS}

/* clang-format off */
static const struct row rows[] = {
	/* What is typed into the terminal is executed outside, when the jail has ended. */
	REFUSE("ioctl", EPERM, "types into the terminal", {1, IS, TIOCSTI}),
	REFUSE("ioctl", EPERM, "pastes into the console", {1, IS, TIOCLINUX}),
	REFUSE("ioctl", EPERM, "another line discipline, which the terminal keeps", {1, IS, TIOCSETD}),

	/* These ask only for a descriptor of the file system, which a granted directory is. */
	REFUSE("ioctl", EPERM, "on older kernels a copy of the whole subvolume, with what is hidden",
	       {1, IS, BTRFS_IOC_SNAP_CREATE}),
	REFUSE("ioctl", EPERM, "on older kernels a copy of the whole subvolume, with what is hidden",
	       {1, IS, BTRFS_IOC_SNAP_CREATE_V2}),
	/* By its name below a directory, rmdir or the older call removes one. */
	REFUSE("ioctl", EPERM, "removes a subvolume by its number, wherever it is",
	       {1, IS, BTRFS_IOC_SNAP_DESTROY_V2}),
	REFUSE("ioctl", EPERM, "locks the user's encrypted files outside",
	       {1, IS, (uint32_t)FS_IOC_REMOVE_ENCRYPTION_KEY}),
	REFUSE("ioctl", EPERM, "locks everybody's encrypted files outside",
	       {1, IS, (uint32_t)FS_IOC_REMOVE_ENCRYPTION_KEY_ALL_USERS}),

	/* A set-id file of the user's lends the user's id to everybody who executes it outside. */
	REFUSE("chmod", EPERM, "makes a file set-id", {1, HAS_ANY, SET_ID}),
	REFUSE("fchmod", EPERM, "makes a file set-id", {1, HAS_ANY, SET_ID}),
	REFUSE("fchmodat", EPERM, "makes a file set-id", {2, HAS_ANY, SET_ID}),
	REFUSE_NUMBER(452, "fchmodat2", EPERM, "makes a file set-id", {2, HAS_ANY, SET_ID}),
	REFUSE("creat", EPERM, "makes a set-id file", {1, HAS_ANY, SET_ID}),
	REFUSE("open", EPERM, "makes a set-id file", {1, HAS_ANY, MAKES}, {2, HAS_ANY, SET_ID}),
	REFUSE("openat", EPERM, "makes a set-id file", {2, HAS_ANY, MAKES}, {3, HAS_ANY, SET_ID}),
	REFUSE_UNLESS_ALLOWED("openat2", ENOSYS, "its mode is in memory, out of a filter's sight; programs use openat instead"),
	REFUSE("mknod", EPERM, "makes a set-id file", {1, HAS_ANY, SET_ID}),
	REFUSE("mknodat", EPERM, "makes a set-id file", {2, HAS_ANY, SET_ID}),
	REFUSE("mkdir", EPERM, "the kernel ignores these bits today", {1, HAS_ANY, SET_ID}),
	REFUSE("mkdirat", EPERM, "the kernel ignores these bits today", {2, HAS_ANY, SET_ID}),

	/* These reach what is outside by another way than a path or a process id. */
	REFUSE("add_key", EPERM, "keyrings are the user's, not a namespace's: they hold keys of outside"),
	REFUSE("keyctl", EPERM, "keyrings are the user's, not a namespace's: they hold keys of outside"),
	REFUSE("request_key", EPERM, "has the kernel start a program outside, as root"),
	REFUSE("open_by_handle_at", EPERM, "opens any file of a file system by its number"),
	REFUSE("setpriority", EPERM, "the own process group may be the caller's, outside",
	       {0, IS, PRIO_PGRP}, {1, IS, OWN}),
	REFUSE("ioprio_set", EPERM, "the own process group may be the caller's, outside",
	       {0, IS, IOPRIO_WHO_PGRP}, {1, IS, OWN}),
	REFUSE("socket", EPERM, "reaches the hypervisor from any network namespace", {0, IS, AF_VSOCK}),

	/* Large parts of the kernel that few programs need, and whose defects are many. */
	REFUSE("bpf", EPERM, "programs in the kernel"),
	REFUSE("perf_event_open", EPERM, "counters and traces of the kernel"),
	REFUSE("userfaultfd", EPERM, "halts the kernel at a page, which exploits use"),
	REFUSE("io_uring_setup", EPERM, "makes calls that no filter sees"),
	REFUSE("io_uring_enter", EPERM, "makes calls that no filter sees"),
	REFUSE("io_uring_register", EPERM, "makes calls that no filter sees"),
	REFUSE("socket", EPERM, "the kernel's cryptography", {0, IS, AF_ALG}),
	REFUSE("socket", EPERM, "raw packets, in a nested network namespace", {0, IS, AF_PACKET}),
	REFUSE("socket", EPERM, "all of netlink but routing, which programs ask for addresses",
	       {0, IS, AF_NETLINK}, {2, IS_NOT, NETLINK_ROUTE}),
	REFUSE("socketcall", EPERM, "32-bit x86: the family is in memory, out of a filter's sight",
	       {0, IS, SOCKETCALL_SOCKET}),

	/* In strict mode nothing brings a sandbox of its own.  A limit of the kernel's, which no call
	 * gets around, allows no user namespace either; it would answer ENOSPC. */
	REFUSE_IN_STRICT("unshare", EPERM, "a user namespace, with every capability in it",
			 {0, HAS_ANY, CLONE_NEWUSER}),
	REFUSE_IN_STRICT("clone", EPERM, "a user namespace, with every capability in it",
			 {0, HAS_ANY, CLONE_NEWUSER}),
	REFUSE_IN_STRICT("clone3", ENOSYS, "its flags are in memory, out of a filter's sight; programs use clone instead"),
	REFUSE_IN_STRICT("setns", EPERM, "enters another namespace, which wants a capability"),

	/* The machine's administration. */
	REFUSE("kexec_load", EPERM, "another kernel"),
	REFUSE("kexec_file_load", EPERM, "another kernel"),
	REFUSE("init_module", EPERM, "modules of the kernel"),
	REFUSE("finit_module", EPERM, "modules of the kernel"),
	REFUSE("delete_module", EPERM, "modules of the kernel"),
	REFUSE("quotactl", EPERM, "disk quotas"),
	REFUSE("quotactl_fd", EPERM, "disk quotas"),
	REFUSE("acct", EPERM, "accounting of processes"),
	REFUSE("swapon", EPERM, "swap space"),
	REFUSE("swapoff", EPERM, "swap space"),
};
/* clang-format on */

enum { ROWS = sizeof(rows) / sizeof(rows[0]) };

#endif

/* What the command's own process gives up and takes on before it becomes the command. */
#include "mutants.h"

#include <linux/capability.h>
#include <linux/securebits.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_restrict_self  446
#endif

/* As of Landlock ABI 6; spelled out because the headers of most distributions are older. */
struct landlock_attr {
	uint64_t handled_access_fs;
	uint64_t handled_access_net;
	uint64_t scoped;
};

static int drop_capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {{0}};

	/* A root user would regain everything at exec: no set-up of ids for root, and an empty
	 * bounding set. */
	if (prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED, 0, 0, 0) < 0)
		return errno;
	for (unsigned long capability = 0;; capability++)
		if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0) {
			if (errno == EINVAL && capability > CAP_SYS_ADMIN)
				break;
			return errno;
		}
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 ||
	    syscall(SYS_capset, &header, none) < 0)
		return errno;
	return 0;
}

int op_drop(struct state *s, const struct jai_step *step)
{
	int error = left_out("capabilities") ? 0 : drop_capabilities();

	(void)s;
	(void)step;
	if (error)
		return error;
	if (!left_out("no-new-privileges") && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return errno;
	/* PID 1 has the command's uid: not dumpable, it can not be traced, written to or read by
	 * it. */
	if (!left_out("undumpable-init") && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return errno;
	return 0;
}

int jai_landlock(void)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0,
			   1 /* LANDLOCK_CREATE_RULESET_VERSION */);

	return abi < 0 ? 0 : (int)abi;
}

int op_scope(struct state *s, const struct jai_step *step)
{
	const struct landlock_attr attr = {.scoped = step->mode};
	auto_fd ruleset = -1;

	(void)s;
	ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	return ruleset < 0 || syscall(SYS_landlock_restrict_self, ruleset, 0) < 0 ? errno : 0;
}

int op_limit(struct state *s, const struct jai_step *step)
{
	struct rlimit limit;

	(void)s;
	if (getrlimit((int)step->mode, &limit) < 0)
		return errno;
	/* Only ever downwards: a limit that is tighter already stays. */
	if (limit.rlim_max > step->number)
		limit.rlim_max = step->number;
	if (limit.rlim_cur > limit.rlim_max)
		limit.rlim_cur = limit.rlim_max;
	return setrlimit((int)step->mode, &limit) < 0 ? errno : 0;
}

static int enter(const char *path)
{
	auto_fd fd = sys_openat2(AT_FDCWD, path, O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS);

	return fd < 0 ? -1 : fchdir(fd);
}

int op_chdir(struct state *s, const struct jai_step *step)
{
	char *there = (char *)(uintptr_t)text(s, step->extra);

	if (enter(text(s, step->target)) == 0)
		return 0;
	if (!there[0] || enter(text(s, step->source)) < 0)
		return errno;
	for (char **variable = s->plan.envp; *variable; variable++)
		if (strncmp(*variable, "PWD=", 4) == 0)
			*variable = there;
	report(s, REPORT_MOVED, (int)s->step, 0);
	return 0;
}

int op_keep(struct state *s, const struct jai_step *step)
{
	if (fcntl((int)step->number, F_SETFD, 0) < 0)
		return errno;
	s->keep[s->kept++] = step->number;
	return 0;
}

/* Everything from 3 on closes at exec, but for what is kept (in any order, perhaps twice). */
int op_close(struct state *s, const struct jai_step *step)
{
	uint64_t first = 3;

	(void)step;
	for (;;) {
		uint64_t next = UINT32_MAX;

		for (uint32_t i = 0; i < s->kept; i++)
			if (s->keep[i] >= first && s->keep[i] < next)
				next = s->keep[i];
		if (next > first && sys_close_range((unsigned int)first, (unsigned int)next - 1,
						    CLOSE_RANGE_CLOEXEC) < 0)
			return errno;
		if (next == UINT32_MAX)
			return 0;
		first = next + 1;
	}
}

/* What the caller had before we changed it. */
static int restore_signals(const struct state *s)
{
	if (sigaction(SIGCHLD, &s->child_action, NULL) < 0)
		return -1;
	return sigprocmask(SIG_SETMASK, &s->mask, NULL);
}

/* A script without a first line that names its interpreter is one for the shell. */
static int exec_script(const struct state *s, const char *path)
{
	char **words = s->plan.argv;
	const char *arguments[s->plan.argc + 2];

	arguments[0] = words[0];
	arguments[1] = path;
	for (uint32_t i = 1; i <= s->plan.argc; i++)
		arguments[i + 1] = words[i];
	execve("/bin/sh", (char **)(uintptr_t)arguments, s->plan.envp);
	return errno;
}

static int exec_path(const struct state *s, const char *path)
{
	execve(path, s->plan.argv, s->plan.envp);
	return errno == ENOEXEC ? exec_script(s, path) : errno;
}

/* Looks a plain name up in PATH as the jail sees it. */
static int exec_name(const struct state *s, const char *name, const char *directories)
{
	char path[8192];
	size_t length = strlen(name);
	int found = ENOENT;

	for (const char *at = directories;; at++) {
		const char *end = strchrnul(at, ':');
		size_t size = (size_t)(end - at);

		if (size + length + 2 <= sizeof(path)) {
			int error;

			memcpy(path, at, size);
			strcpy(path + size, size ? "/" : "");
			strcat(path, name);
			error = exec_path(s, path);
			if (error != ENOENT && error != ENOTDIR)
				found = error;
		}
		if (!*end)
			return found;
		at = end;
	}
}

int op_exec(struct state *s, const struct jai_step *step)
{
	const char *name = text(s, step->source);

	umask(s->umask);
	if (left_out("environment"))
		s->plan.envp = environ;
	if (restore_signals(s) < 0)
		return errno;
	return strchr(name, '/') ? exec_path(s, name) : exec_name(s, name, text(s, step->extra));
}

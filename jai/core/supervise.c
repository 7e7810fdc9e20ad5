/*
 * After clone: the keeper and init.  Only async-signal-safe calls here and in what a step executes,
 * and not raise(3): musl would send the signal to the process that cloned us.
 *
 * The four processes of a jail:
 *
 *   parent   the jai the user started: passes signals on, mirrors stops, ends as the command ended
 *   keeper   owns the namespaces, out of the jail's sight; lives until everything is taken down
 *   init     PID 1 inside: no capability, can not be traced; reaps, and kills all at the end
 *   command  what was asked for
 *
 * Each dies with the one above it.  The command stays in the caller's process group, so the
 * terminal and the shell's job control see it as they would without jai.
 */
#include "mutants.h"

#include <poll.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>

int move_away(int *fd)
{
	int moved;

	if (*fd > HOME_FD)
		return 0;
	moved = fcntl(*fd, F_DUPFD_CLOEXEC, HOME_FD + 1);
	if (moved < 0)
		return -1;
	close(*fd);
	*fd = moved;
	return 0;
}

/* Closes everything but these, which are few: what a bystander keeps open keeps others waiting. */
static void close_all_but(const int *keep, int count)
{
	unsigned int first = 0;

	for (;;) {
		unsigned int next = UINT32_MAX;

		for (int i = 0; i < count; i++)
			if (keep[i] >= 0 && (unsigned int)keep[i] >= first &&
			    (unsigned int)keep[i] < next)
				next = (unsigned int)keep[i];
		if (next > first)
			sys_close_range(first, next - 1, 0);
		if (next == UINT32_MAX)
			return;
		first = next + 1;
	}
}

static void wait_for(int pidfd)
{
	siginfo_t info;

	while (waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | __WALL) < 0 && errno == EINTR)
		;
}

/*
 * Out of the terminal's and the pipeline's process group.  The kernel stops nobody in an orphaned
 * group, for nobody would continue him.  jai beside its session's leader is in one, and our being
 * the command's parent, in the same session and another group, must not change that: then we leave
 * the session too.
 */
static void leave_group(const struct state *s)
{
	if (s->orphaned)
		setsid();
	else
		setpgid(0, 0);
}

/* The keeper: until the jail or the parent ends. */
static _Noreturn void keep_jail(struct state *s, int init)
{
	enum { INIT, CONTROL, HELPER, COUNT };
	struct pollfd polled[COUNT] = {[INIT] = {.fd = init, .events = POLLIN},
				       [CONTROL] = {.fd = s->control, .events = 0},
				       [HELPER] = {.fd = s->helper_pidfd, .events = POLLIN}};
	int error = publish_jail(s);

	if (left_out("end-with-the-parent"))
		polled[CONTROL].fd = -1;
	if (error) {
		report(s, REPORT_FAILED, (int)s->step, error);
		sys_pidfd_send_signal(init, SIGKILL);
	} else {
		const int kept[] = {init, s->control, s->lock, s->home_fd < 0 ? -1 : HOME_FD,
				    s->helper_pidfd};

		close_all_but(kept, sizeof(kept) / sizeof(kept[0]));
		leave_group(s);
		prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0);
		while (poll(polled, COUNT, -1) < 0 ||
		       !(polled[INIT].revents | polled[CONTROL].revents)) {
			/* The helper ends with its stream, whose last copy the command closes. */
			if (polled[HELPER].fd >= 0 && polled[HELPER].revents)
				wait_for(steal_fd(&polled[HELPER].fd));
		}
		if (!polled[INIT].revents)
			sys_pidfd_send_signal(init, SIGKILL);
	}
	wait_for(init);
	leave_jail(s);
	_exit(0);
}

int op_init(struct state *s, const struct jai_step *step)
{
	int pidfd = -1;
	const uint64_t namespaces = (left_out("pid-namespace") ? 0 : CLONE_NEWPID) |
				    (left_out("ipc-namespace") ? 0 : CLONE_NEWIPC);
	/* What can fail must fail before the command may run. */
	int error = describe_jail(s);
	pid_t pid;

	(void)step;
	if (error)
		return error;
	pid = sys_clone3(namespaces, SIGCHLD, &pidfd);
	if (pid < 0)
		return errno;
	if (pid > 0) {
		if (move_away(&pidfd) < 0)
			return errno;
		keep_jail(s, pidfd);
	}
	/* We die with the keeper, and the jail with us. */
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (left_out("wiped-words"))
		return 0;
	memset(s->words, 0, s->words_size);
	if (s->words_size > 4)
		strcpy(s->words, "jai");
	return 0;
}

/* Kills and reaps everything in the jail but ourselves. */
static void end_all(void)
{
	if (left_out("pid-namespace"))
		return;
	do
		kill(-1, SIGKILL);
	while (waitpid(-1, NULL, __WALL) > 0 || errno == EINTR);
}

/* Looks at every child that changed; ends the jail when the command has ended. */
static void reap(struct state *s)
{
	siginfo_t info = {0};

	while (waitid(P_ALL, 0, &info, WEXITED | WSTOPPED | WCONTINUED | WNOHANG) == 0 &&
	       info.si_pid) {
		int ours = info.si_pid == s->command;

		/* A child may ask to be traced by its parent, who is not interested; a signal of
		 * the tracing's own means nothing to it. */
		if (info.si_code == CLD_TRAPPED)
			syscall(SYS_ptrace, PTRACE_DETACH, info.si_pid, 0,
				info.si_status == SIGTRAP ? 0 : info.si_status);
		else if (ours && info.si_code == CLD_STOPPED)
			report(s, REPORT_STOPPED, 0, info.si_status);
		else if (ours && info.si_code == CLD_CONTINUED)
			report(s, REPORT_CONTINUED, 0, 0);
		else if (ours) {
			end_all();
			report(s, info.si_code == CLD_EXITED ? REPORT_EXITED : REPORT_SIGNALED, 0,
			       info.si_status);
			_exit(0);
		}
		info = (siginfo_t){0};
	}
}

static void drain(int signals)
{
	struct signalfd_siginfo info;

	(void)!read(signals, &info, sizeof(info));
}

/* PID 1, once the command runs. */
static _Noreturn void supervise_command(struct state *s, int signals)
{
	struct pollfd polled[] = {{.fd = signals, .events = POLLIN},
				  {.fd = s->control, .events = POLLIN}};

	close_all_but((int[]){signals, s->control, s->report}, 3);
	if (left_out("end-with-the-parent"))
		polled[1].fd = -1;
	leave_group(s);
	report(s, REPORT_STARTED, 0, 0);
	for (;;) {
		unsigned char signal;

		/* First: what a signal tells may have happened already. */
		reap(s);
		if (poll(polled, 2, -1) < 0)
			continue;
		if (polled[0].revents)
			drain(polled[0].fd);
		if (polled[1].revents & POLLIN) {
			if (read(s->control, &signal, 1) == 1)
				kill(s->command, signal);
		} else if (polled[1].revents) {
			end_all();
			_exit(0);
		}
	}
}

int op_spawn(struct state *s, const struct jai_step *step)
{
	sigset_t child;
	int signals;
	pid_t pid;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	signals = signalfd(-1, &child, SFD_CLOEXEC);
	if (signals < 0)
		return errno;
	pid = sys_clone3(0, SIGCHLD, NULL);
	if (pid < 0)
		return errno;
	if (pid > 0) {
		s->command = pid;
		supervise_command(s, signals);
	}
	close(signals);
	if (step->flags & JAI_SESSION && setsid() < 0)
		return errno;
	return 0;
}

_Noreturn void become_keeper(struct state *s)
{
	char path[40];
	const struct sigaction standard = {.sa_handler = SIG_DFL};

	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	sigaction(SIGCHLD, &standard, &s->child_action);
	s->umask = umask(0);
	execute(s);
	/* Our locks go with us, at once; the overlay must not outlive them. */
	if (s->home_fd >= 0) {
		put_fd_path(path, s->home_fd);
		(void)sys_umount2(path, MNT_DETACH);
		close(s->home_fd);
	}
	_exit(125);
}

/*
 * The four processes of a jail:
 *
 *   parent   the jai the user started: passes signals on, mirrors stops, ends as the command ended
 *   keeper   owns the namespaces, out of the jail's sight; lives until everything is taken down
 *   init     PID 1 inside: no capability, can not be traced; reaps, and kills all at the end
 *   command  what was asked for
 *
 * Each dies with the one above it.  The command stays in the caller's process group, so the terminal
 * and the shell's job control see it as they would without jai.
 */
#include "plan.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>

int move_away(int *fd)
{
	int moved;

	if (*fd != HOME_FD)
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
			if (keep[i] >= 0 && (unsigned int)keep[i] >= first && (unsigned int)keep[i] < next)
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

/* The keeper: until the jail or the parent ends. */
static _Noreturn void keep_jail(struct state *s, int init)
{
	struct pollfd polled[] = {{.fd = init, .events = POLLIN}, {.fd = s->control, .events = 0}};
	int error = publish_jail(s);

	if (error) {
		report(s, REPORT_FAILED, (int)s->step, error);
		sys_pidfd_send_signal(init, SIGKILL);
	} else {
		close_all_but((int[]){init, s->control, s->lock, s->home_fd < 0 ? -1 : HOME_FD}, 4);
		/* Out of the terminal's and the pipeline's process group. */
		setpgid(0, 0);
		prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0);
		while (poll(polled, 2, -1) < 0 && errno == EINTR)
			;
		if (!polled[0].revents)
			sys_pidfd_send_signal(init, SIGKILL);
	}
	wait_for(init);
	leave_jail(s);
	_exit(0);
}

int op_init(struct state *s, const struct jai_step *step)
{
	int pidfd = -1;
	pid_t pid = sys_clone3(CLONE_NEWPID | CLONE_NEWIPC, SIGCHLD, &pidfd);

	(void)step;
	if (pid < 0)
		return errno;
	if (pid > 0) {
		if (move_away(&pidfd) < 0)
			return errno;
		keep_jail(s, pidfd);
	}
	/* We die with the keeper, and the jail with us. */
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	memset(s->words, 0, s->words_size);
	if (s->words_size > 4)
		strcpy(s->words, "jai");
	return 0;
}

/* Kills and reaps everything in the jail but ourselves. */
static void end_all(void)
{
	do
		kill(-1, SIGKILL);
	while (waitpid(-1, NULL, __WALL) > 0 || errno == EINTR);
}

/* Looks at every child that changed; ends the jail when the command has ended. */
static void reap(struct state *s)
{
	siginfo_t info = {0};

	while (waitid(P_ALL, 0, &info, WEXITED | WSTOPPED | WCONTINUED | WNOHANG) == 0 && info.si_pid) {
		int ours = info.si_pid == s->command;

		if (ours && info.si_code == CLD_STOPPED)
			report(s, REPORT_STOPPED, 0, info.si_status);
		else if (ours && info.si_code == CLD_CONTINUED)
			report(s, REPORT_CONTINUED, 0, 0);
		else if (ours) {
			end_all();
			report(s, info.si_code == CLD_EXITED ? REPORT_EXITED : REPORT_SIGNALED, 0, info.si_status);
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
static _Noreturn void supervise_command(struct state *s)
{
	sigset_t child;
	struct pollfd polled[] = {{.events = POLLIN}, {.fd = s->control, .events = POLLIN}};

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	polled[0].fd = signalfd(-1, &child, SFD_CLOEXEC);
	close_all_but((int[]){polled[0].fd, s->control, s->report}, 3);
	setpgid(0, 0);
	for (;;) {
		unsigned char signal;

		/* First: the command may have changed before there was a signalfd. */
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
	pid_t pid = sys_clone3(0, SIGCHLD, NULL);

	if (pid < 0)
		return errno;
	if (pid > 0) {
		s->command = pid;
		supervise_command(s);
	}
	if (step->flags & JAI_SESSION && setsid() < 0)
		return errno;
	return 0;
}

/* From here on the parent. */

struct parent {
	int report;
	int control;
	int signals;
	sigset_t mask;
	pid_t group;
	struct jai_result *result;
};

/*
 * What the terminal sends reaches the whole process group, the command too; what somebody sends to
 * us alone is meant for the command.
 */
static void pass_signal(const struct parent *p)
{
	struct signalfd_siginfo info;
	unsigned char signal;

	if (read(p->signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return;
	if (info.ssi_signo == SIGCHLD || (info.ssi_code == SI_KERNEL && info.ssi_signo != SIGCONT))
		return;
	signal = (unsigned char)info.ssi_signo;
	(void)!write(p->control, &signal, 1);
}

/* The command stopped: stop in the same way, so that the shell sees it. */
static void stop_too(int signal)
{
	const struct sigaction standard = {.sa_handler = SIG_DFL};
	struct sigaction before;
	sigset_t set, blocked;

	if (signal == SIGSTOP || sigaction(signal, &standard, &before) < 0) {
		raise(SIGSTOP);
		return;
	}
	sigemptyset(&set);
	sigaddset(&set, signal);
	raise(signal);
	sigprocmask(SIG_UNBLOCK, &set, &blocked);
	sigprocmask(SIG_SETMASK, &blocked, NULL);
	sigaction(signal, &before, NULL);
}

/* 1 when this was the last report. */
static int take_report(struct parent *p)
{
	struct report report;
	ssize_t size = read(p->report, &report, sizeof(report));

	if (size < 0 && errno == EINTR)
		return 0;
	if (size != (ssize_t)sizeof(report))
		return 1;
	switch ((enum report_kind)report.kind) {
	case REPORT_STOPPED:
		stop_too(report.value);
		return 0;
	case REPORT_CONTINUED:
		return 0;
	case REPORT_MOVED:
		p->result->moved = 1;
		return 0;
	case REPORT_FAILED:
		p->result->outcome = JAI_FAILED;
		p->result->step = report.step;
		p->result->value = report.value;
		return 0;
	case REPORT_EXITED:
	case REPORT_SIGNALED:
		if (p->result->outcome != JAI_FAILED) {
			p->result->outcome = report.kind == REPORT_EXITED ? JAI_EXITED : JAI_SIGNALED;
			p->result->value = report.value;
		}
		return 1;
	}
	return 1;
}

static void watch(struct parent *p)
{
	struct pollfd polled[] = {{.fd = p->report, .events = POLLIN}, {.fd = p->signals, .events = POLLIN}};

	for (;;) {
		if (poll(polled, 2, -1) < 0)
			continue;
		if (polled[1].revents)
			pass_signal(p);
		if (polled[0].revents && take_report(p))
			return;
	}
}

/* A job-control shell inside leaves the terminal to a process group that is gone: take it back. */
static void take_terminal_back(const struct parent *p)
{
	auto_fd terminal = -1;

	if (p->group != getpgrp())
		return;
	terminal = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
	/* SIGTTOU is blocked here. */
	if (terminal >= 0 && tcgetpgrp(terminal) != p->group)
		tcsetpgrp(terminal, p->group);
}

static pid_t foreground_group(void)
{
	auto_fd terminal = open("/dev/tty", O_RDONLY | O_NOCTTY | O_CLOEXEC);

	return terminal < 0 ? -1 : tcgetpgrp(terminal);
}

/* Finds argv and the environment as the kernel shows them (proc(5), stat: arg_start to env_end). */
static void find_words(struct state *s)
{
	static char none[1];
	char line[2048];
	char *at;
	unsigned long start, end;
	auto_fd fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	ssize_t size = fd < 0 ? -1 : read(fd, line, sizeof(line) - 1);

	s->words = none;
	s->words_size = 0;
	if (size <= 0)
		return;
	line[size] = '\0';
	at = strrchr(line, ')');
	/* Field 2 ends here; 48 is arg_start, 51 env_end. */
	for (int field = 2; at && field < 48; field++)
		at = strchr(at + 1, ' ');
	if (!at)
		return;
	start = strtoul(at, &at, 10);
	strtoul(at, &at, 10);
	strtoul(at, &at, 10);
	end = strtoul(at, &at, 10);
	if (!start || end <= start)
		return;
	s->words = (char *)start;
	s->words_size = end - start;
}

static _Noreturn void become_keeper(struct state *s, int report_read, int control_write)
{
	const struct sigaction standard = {.sa_handler = SIG_DFL};

	close(report_read);
	close(control_write);
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	sigaction(SIGCHLD, &standard, &s->child_action);
	s->umask = umask(0);
	execute(s);
	_exit(125);
}

static int start(struct state *s, struct parent *p)
{
	int reports[2], controls[2];
	sigset_t all;
	pid_t pid;

	if (pipe2(reports, O_CLOEXEC) < 0)
		return -1;
	if (pipe2(controls, O_CLOEXEC) < 0) {
		close(reports[0]);
		close(reports[1]);
		return -1;
	}
	s->report = reports[1];
	s->control = controls[0];
	p->report = reports[0];
	p->control = controls[1];
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &s->mask);
	p->mask = s->mask;
	p->signals = signalfd(-1, &all, SFD_CLOEXEC);
	pid = p->signals < 0 || move_away(&s->report) < 0 || move_away(&s->control) < 0 ? -1 : sys_clone3(0, 0, NULL);
	if (pid == 0)
		become_keeper(s, p->report, p->control);
	close(s->report);
	close(s->control);
	return pid < 0 ? -1 : 0;
}

void jai_run(const void *image, size_t size, struct jai_result *result)
{
	struct state s = {.holder = -1, .joined_fd = -1, .home_fd = -1, .root = -1, .lower = -1, .masks = -1, .lock = -1};
	struct parent p = {.report = -1, .control = -1, .signals = -1, .result = result};

	*result = (struct jai_result){.outcome = JAI_LOST, .step = -1};
	if (plan_read(&s.plan, image, size, &result->step) < 0) {
		result->outcome = JAI_BAD_IMAGE;
		return;
	}
	find_words(&s);
	p.group = foreground_group();
	if (start(&s, &p) < 0) {
		result->outcome = JAI_FAILED;
		result->value = errno;
	} else {
		watch(&p);
		take_terminal_back(&p);
	}
	close_fd(&p.report);
	close_fd(&p.control);
	close_fd(&p.signals);
	sigprocmask(SIG_SETMASK, &p.mask, NULL);
	plan_free(&s.plan);
}

void jai_check(const void *image, size_t size, struct jai_result *result)
{
	struct plan plan;

	*result = (struct jai_result){.outcome = JAI_EXITED, .step = -1};
	if (plan_read(&plan, image, size, &result->step) < 0)
		result->outcome = JAI_BAD_IMAGE;
	else
		plan_free(&plan);
}

void jai_die(int signal)
{
	const struct sigaction standard = {.sa_handler = SIG_DFL};
	const struct rlimit none = {0};
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, signal);
	setrlimit(RLIMIT_CORE, &none);
	sigaction(signal, &standard, NULL);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	raise(signal);
}

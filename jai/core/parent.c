/* Before clone: the parent, which the user started, watches over the jail and ends as the command
 * ended. */
#include "plan.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>

struct parent {
	int report;
	int control;
	int signals;
	sigset_t mask;
	int foreground; /* we had the terminal when we started or were last continued */
	int keeper;	/* pidfd, until the command runs */
	int fatal;	/* the signal that ended us before that */
	struct jai_result *result;
};

/* Ends a process that has not arranged for anything else; what the caller ignores ends nobody. */
static int ends(int signal)
{
	struct sigaction action;

	if (signal != SIGINT && signal != SIGTERM && signal != SIGHUP && signal != SIGQUIT)
		return 0;
	return sigaction(signal, NULL, &action) < 0 || action.sa_handler != SIG_IGN;
}

/* The terminal sends to a whole process group, but that it has gone only to the leader of the
 * session. */
static int reached_the_command(const struct parent *p, const struct signalfd_siginfo *info)
{
	if (info->ssi_code != SI_KERNEL || info->ssi_signo == SIGCONT || p->keeper >= 0)
		return 0;
	return info->ssi_signo != SIGHUP || getsid(0) != getpid();
}

/*
 * What the terminal sends reaches the whole process group, the command too; what somebody sends to
 * us alone is meant for the command.
 */
static void pass_signal(struct parent *p)
{
	struct signalfd_siginfo info;
	unsigned char signal;

	if (read(p->signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return;
	if (p->keeper >= 0 && p->control >= 0 && ends((int)info.ssi_signo)) {
		/* Nothing runs yet, perhaps another run's start is waited for: give up. */
		sys_pidfd_send_signal(p->keeper, SIGKILL);
		/* Init may not have asked yet to die with the keeper: then the end of this pipe
		 * ends it. */
		close(steal_fd(&p->control));
		p->fatal = (int)info.ssi_signo;
		return;
	}
	if (info.ssi_signo == SIGCHLD || reached_the_command(p, &info))
		return;
	signal = (unsigned char)info.ssi_signo;
	(void)!write(p->control, &signal, 1);
}

static pid_t foreground_group(void)
{
	auto_fd terminal = sys_open("/dev/tty", O_RDONLY | O_NOCTTY | O_CLOEXEC);

	return terminal < 0 ? -1 : tcgetpgrp(terminal);
}

/* SIGTTOU is blocked here. */
static void give_terminal(pid_t group)
{
	auto_fd terminal = sys_open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);

	if (terminal >= 0)
		tcsetpgrp(terminal, group);
}

static void stop_by(int signal)
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

/*
 * The command stopped: stop in the same way, so that the shell sees it.  A shell or an editor
 * inside had the terminal for a process group of its own; the shell outside will give it to ours.
 */
static void stop_too(struct parent *p, int signal)
{
	pid_t inside = p->foreground ? foreground_group() : -1;

	stop_by(signal);
	p->foreground = foreground_group() == getpgrp();
	if (p->foreground && inside > 0 && inside != getpgrp())
		give_terminal(inside);
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
	case REPORT_STARTED:
		close(steal_fd(&p->keeper));
		/* No other attempt will need the helper. */
		(void)jai_give_back();
		return 0;
	case REPORT_STOPPED:
		stop_too(p, report.value);
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
			p->result->outcome =
				report.kind == REPORT_EXITED ? JAI_EXITED : JAI_SIGNALED;
			p->result->value = report.value;
		}
		return 1;
	}
	return 1;
}

static void watch(struct parent *p)
{
	struct pollfd polled[] = {{.fd = p->report, .events = POLLIN},
				  {.fd = p->signals, .events = POLLIN}};

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
static void take_terminal_back(void)
{
	pid_t group = foreground_group();

	if (group > 0 && group != getpgrp() && kill(-group, 0) < 0 && errno == ESRCH)
		give_terminal(getpgrp());
}

/* Finds argv and the environment as the kernel shows them (proc(5), stat: arg_start to env_end). */
static void find_words(struct state *s)
{
	static char none[1];
	char line[2048];
	char *at;
	unsigned long start, end;
	auto_fd fd = sys_open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
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
	pid = p->signals < 0 || move_away(&s->report) < 0 || move_away(&s->control) < 0
		      ? -1
		      : sys_clone3(0, 0, &p->keeper);
	if (pid == 0) {
		close(p->report);
		close(p->control);
		become_keeper(s);
	}
	close(s->report);
	close(s->control);
	return pid < 0 ? -1 : 0;
}

void jai_run(const void *image, size_t size, struct jai_result *result)
{
	struct state s = {.helper = -1,
			  .helper_pidfd = -1,
			  .holder = -1,
			  .joined_fd = -1,
			  .home_fd = -1,
			  .root = -1,
			  .lower = -1,
			  .masks = -1,
			  .lock = -1};
	struct parent p = {
		.report = -1, .control = -1, .signals = -1, .keeper = -1, .result = result};

	*result = (struct jai_result){.outcome = JAI_LOST, .step = -1};
	if (plan_read(&s.plan, image, size, &result->step) < 0) {
		result->outcome = JAI_BAD_IMAGE;
		return;
	}
	find_words(&s);
	p.foreground = foreground_group() == getpgrp();
	s.orphaned = getsid(0) == getpgrp();
	if (start(&s, &p) < 0) {
		result->outcome = JAI_FAILED;
		result->value = errno;
	} else {
		watch(&p);
		take_terminal_back();
	}
	if (p.fatal && result->outcome == JAI_LOST) {
		result->outcome = JAI_SIGNALED;
		result->value = p.fatal;
	}
	close_fd(&p.keeper);
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

/*
 * Strict mode: another uid, which no user can take by itself.  The privileged helper does the two
 * things that need privilege, see ../helper/idmap.h; it is asked from the host's mount namespace,
 * because it accepts no descriptor from another.
 */
#include "mutants.h"

#include "../helper/idmap.h"

#include <grp.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

int give_back(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	const struct __user_cap_data_struct none[2] = {{0}};

	/* Root lends nothing to itself. */
	if (getuid() == 0)
		return 0;
	return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 ||
			       syscall(SYS_capset, &header, none) < 0
		       ? errno
		       : 0;
}

int op_helper(struct state *s, const struct jai_step *step)
{
	char *path = (char *)(uintptr_t)text(s, step->target);
	char *const words[] = {path, NULL};
	char *const none[] = {NULL};
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return errno;
	s->helper_pid = sys_clone3(0, 0, NULL);
	if (s->helper_pid == 0) {
		/* When it can not be executed, the end of the stream says so. */
		if (dup2(pair[1], 0) == 0)
			execve(path, words, none);
		_exit(127);
	}
	close(pair[1]);
	s->helper = pair[0];
	return s->helper_pid < 0 || move_away(&s->helper) < 0 ? errno : give_back();
}

/* Asks for one thing: 0 and perhaps a descriptor, or an errno. */
static int ask(int helper, uint32_t verb, uint32_t inside, int fd, int *answer_fd)
{
	struct idmap_request request = {IDMAP_MAGIC, IDMAP_VERSION, verb, inside};
	struct idmap_answer answer = {0};
	char control[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8))) = {0};
	struct iovec part = {&request, sizeof(request)};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	struct cmsghdr *header;

	if (fd >= 0) {
		message.msg_control = control;
		message.msg_controllen = sizeof(control);
		header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(header), &fd, sizeof(fd));
	}
	if (sendmsg(helper, &message, MSG_NOSIGNAL) < 0)
		return errno == EPIPE ? ECONNRESET : errno;
	part = (struct iovec){&answer, sizeof(answer)};
	message = (struct msghdr){.msg_iov = &part,
				  .msg_iovlen = 1,
				  .msg_control = control,
				  .msg_controllen = sizeof(control)};
	if (recvmsg(helper, &message, MSG_CMSG_CLOEXEC) != (ssize_t)sizeof(answer))
		return ECONNRESET;
	if (answer.error || fd < 0)
		return (int)answer.error;
	header = CMSG_FIRSTHDR(&message);
	if (!header || header->cmsg_type != SCM_RIGHTS)
		return EPROTO;
	memcpy(answer_fd, CMSG_DATA(header), sizeof(int));
	return 0;
}

static int request(struct state *s, const struct jai_step *step, uint32_t verb)
{
	int *place = &s->mapped[step->number];
	auto_fd source = open_source(step, text(s, step->source), 0);
	int error;

	if (source < 0)
		return errno;
	error = ask(s->helper, verb, 0, source, place);
	if (!error && move_away(place) < 0)
		error = errno;
	return error;
}

int op_idmap(struct state *s, const struct jai_step *step)
{
	return request(s, step, IDMAP_MOUNT);
}

int op_clone(struct state *s, const struct jai_step *step)
{
	return request(s, step, IDMAP_CLONE);
}

int become_strict(struct state *s, const struct jai_step *step)
{
	const uint32_t inside = (uint32_t)step->number;
	int error;

	if (unshare(CLONE_NEWUSER) < 0)
		return errno;
	error = ask(s->helper, IDMAP_IDENTITY, inside, -1, NULL);
	if (error)
		return error;
	/* It ends with the stream. */
	close(steal_fd(&s->helper));
	waitpid(s->helper_pid, NULL, __WALL);
	/* The user's groups stay outside.  By system call: glibc's wrappers signal threads that are
	 * not there. */
	if ((!left_out("groups") && syscall(SYS_setgroups, 0, NULL) < 0) ||
	    syscall(SYS_setresgid, inside, inside, inside) < 0 ||
	    syscall(SYS_setresuid, inside, inside, inside) < 0)
		return errno;
	/* Changing the uid took both of these away. */
	if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		return errno;
	return 0;
}

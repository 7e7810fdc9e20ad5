/*
 * Strict mode: another uid, which no user can take by itself.  The privileged helper does the two
 * things that need privilege, see ../helper/idmap.h; it is asked from the host's mount namespace,
 * because it accepts no descriptor from another.
 */
#include "mutants.h"

#include "../helper/idmap.h"

#include <grp.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

int op_helper(struct state *s, const struct jai_step *step)
{
	char *path = (char *)(uintptr_t)text(s, step->target);
	char *const words[] = {path, NULL};
	char *const none[] = {NULL};
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return errno;
	pid = sys_clone3(0, 0, &s->helper_pidfd);
	if (pid == 0) {
		/* What the terminal sends is not for it: stopped, it would answer nobody. */
		setpgid(0, 0);
		/* When it can not be executed, the end of the stream says so. */
		if (dup2(pair[1], 0) == 0)
			execve(path, words, none);
		_exit(127);
	}
	close(pair[1]);
	s->helper = pair[0];
	if (pid < 0 || move_away(&s->helper) < 0 || move_away(&s->helper_pidfd) < 0)
		return errno;
	return jai_give_back();
}

/* A message of one part with room for a descriptor. */
struct letter {
	char control[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8)));
	struct iovec part;
	struct msghdr message;
};

static struct msghdr *address(struct letter *letter, void *data, size_t size)
{
	letter->part = (struct iovec){data, size};
	letter->message = (struct msghdr){.msg_iov = &letter->part,
					  .msg_iovlen = 1,
					  .msg_control = letter->control,
					  .msg_controllen = sizeof(letter->control)};
	return &letter->message;
}

/* Asks for one thing and does not wait: 0 or an errno. */
static int ask(int helper, uint32_t verb, uint32_t inside, int fd)
{
	struct idmap_request request = {IDMAP_MAGIC, IDMAP_VERSION, verb, inside};
	struct letter letter = {0};
	struct msghdr *message = address(&letter, &request, sizeof(request));

	if (fd < 0) {
		message->msg_controllen = 0;
	} else {
		struct cmsghdr *header = CMSG_FIRSTHDR(message);

		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(header), &fd, sizeof(fd));
	}
	if (sendmsg(helper, message, MSG_NOSIGNAL) < 0)
		return errno == EPIPE ? ECONNRESET : errno;
	return 0;
}

/* Waits for the answer to the oldest question: 0 and perhaps a descriptor, or an errno. */
static int hear(int helper, int *fd)
{
	struct idmap_answer answer = {0};
	struct letter letter = {0};
	struct msghdr *message = address(&letter, &answer, sizeof(answer));
	struct cmsghdr *header;

	if (recvmsg(helper, message, MSG_CMSG_CLOEXEC) != (ssize_t)sizeof(answer))
		return ECONNRESET;
	if (answer.error || !fd)
		return (int)answer.error;
	header = CMSG_FIRSTHDR(message);
	if (!header || header->cmsg_type != SCM_RIGHTS)
		return EPROTO;
	memcpy(fd, CMSG_DATA(header), sizeof(int));
	return 0;
}

/* Only opens the source, as the user and in the host's tree. */
int op_request(struct state *s, const struct jai_step *step)
{
	struct mapped *place = &s->mapped[s->requests];

	*place =
		(struct mapped){.fd = open_source(step, text(s, step->source), 0), .step = s->step};
	if (place->fd < 0 || move_away(&place->fd) < 0)
		return errno;
	s->requests++;
	return 0;
}

int send_requests(struct state *s)
{
	for (uint32_t i = 0; i < s->requests; i++) {
		struct mapped *place = &s->mapped[i];
		const int clone = s->plan.steps[place->step].kind == JAI_CLONE;
		int error = ask(s->helper, clone ? IDMAP_CLONE : IDMAP_MOUNT, 0, place->fd);

		if (error) {
			s->step = place->step;
			return error;
		}
		close(steal_fd(&place->fd));
		s->sent++;
	}
	return 0;
}

int take_mapped(struct state *s, uint32_t number)
{
	/* A run that joins another has asked for nothing. */
	if (number >= s->sent) {
		errno = EBADF;
		return -1;
	}
	while (s->answers <= number) {
		struct mapped *place = &s->mapped[s->answers];
		int error = hear(s->helper, &place->fd);

		if (!error && move_away(&place->fd) < 0)
			error = errno;
		if (error) {
			s->step = place->step;
			errno = error;
			return -1;
		}
		s->answers++;
	}
	errno = EBADF; /* it has been taken away already */
	return s->mapped[number].fd;
}

int become_strict(struct state *s, const struct jai_step *step)
{
	const uint32_t inside = (uint32_t)step->number;
	int error;

	if (unshare(CLONE_NEWUSER) < 0)
		return errno;
	/* First, since it is waited for; the mounts are made while the tree is. */
	error = ask(s->helper, IDMAP_IDENTITY, inside, -1);
	if (!error)
		error = send_requests(s);
	if (!error)
		error = hear(s->helper, NULL);
	if (error)
		return error;
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

/* The checked plan and the state of its execution; private to the core. */
#ifndef JAI_PLAN_H
#define JAI_PLAN_H

#include "jai.h"
#include "sys.h"

/* Where a keeper holds its overlay's mount, for pidfd_getfd by those that join. */
enum { HOME_FD = 20 };

/* A plan whose every offset and count has been checked; it borrows the image. */
struct plan {
	const struct jai_step *steps;
	uint32_t count;
	const char *strings;
	uint32_t size; /* of the string table */
	char **argv;   /* filled from JAI_ARG, NULL at the end */
	char **envp;
	uint32_t argc;
	uint32_t envc;
};

/* The directory that the last mask came to, in the home and in the layer of masks; without a path
 * it is the top of both, whose descriptors are the state's. */
struct mask_place {
	const char *path;
	size_t size; /* of that path, without what follows */
	int real, layer;
	int touched; /* something was put into the layer's */
};

/* A source until the helper has been asked, then its mount; and whether that is in the tree. */
struct mapped {
	int fd;
	uint32_t step; /* the request's */
	int attached;
};

/* What the processes of the jail carry along from step to step. */
struct state {
	struct plan plan;
	uint32_t step;	  /* the step that is being executed */
	int report;	  /* to the parent: struct report */
	int control;	  /* from the parent: signal numbers; end of file: the parent is gone */
	int lock;	  /* the jail's lock file, held by the keeper */
	int holder;	  /* pidfd of a keeper whose overlay we join, or -1 */
	int joined_fd;	  /* that keeper's overlay */
	int home_fd;	  /* our mount of the overlay, or -1; in the keeper also HOME_FD */
	int helper;	  /* the socket to the privileged helper, or -1 */
	int helper_pidfd; /* its process, or -1 */
	struct mapped mapped[JAI_MAX_MAPPED]; /* what it maps for us, by number */
	uint32_t requests;		      /* how many of them there are */
	uint32_t sent;			      /* how many have been asked for */
	uint32_t answers;		      /* how many have been taken */
	int root;			      /* the jail's root */
	int lower;			      /* the real home, while masks are made */
	int masks;			      /* the layer of whiteouts, while it is made */
	struct mask_place mask_at;
	uint64_t key; /* what runs must have in common to share an overlay */
	uint64_t keep[JAI_MAX_KEPT];
	uint32_t kept;
	pid_t command;
	int orphaned;  /* jai is in the process group of its session's leader */
	mode_t umask;  /* the caller's, the command's again */
	sigset_t mask; /* the caller's signal mask, the command's again */
	struct sigaction child_action;
	char *words; /* argv and environment as /proc shows them: hidden in PID 1 */
	size_t words_size;
};

/* What travels to the parent. Smaller than PIPE_BUF, so each arrives whole. */
enum report_kind {
	REPORT_STARTED,
	REPORT_FAILED,
	REPORT_STOPPED,
	REPORT_CONTINUED,
	REPORT_EXITED,
	REPORT_SIGNALED,
	REPORT_MOVED
};

struct report {
	int32_t kind;
	int32_t step;
	int32_t value;
};

/* image.c: 0, or -1 with the first bad step in *bad. plan_free releases what plan_read allocated.
 */
int plan_read(struct plan *plan, const void *image, size_t size, int32_t *bad);
void plan_free(struct plan *plan);

static inline const char *text(const struct state *s, uint32_t offset)
{
	return s->plan.strings + offset;
}

/* steps.c: runs the plan from the current step on; comes back only when a step failed, which it has
 * reported. */
void execute(struct state *s);
void report(const struct state *s, int kind, int step, int value);

/* An executor does one step and gives 0 or an errno. */
typedef int executor(struct state *s, const struct jai_step *step);

executor op_lock, op_userns, op_netns, op_nslimit, op_pivot, op_helper, op_request;
executor op_root, op_mask, op_overlay, op_bind, op_tmpfs, op_devpts, op_file, op_symlink, op_seal,
	op_proc, op_pin;
executor op_init, op_spawn;
executor op_drop, op_scope, op_limit, op_chdir, op_keep, op_close, op_filter, op_exec;

/* namespaces.c: writes down what can be joined, before anything runs; 0 or an errno. */
int describe_jail(struct state *s);
/* In the keeper: from now on others may start and join us. 0 or an errno. */
int publish_jail(struct state *s);
/* In the keeper: waits for runs that are starting, then unmounts our overlay. */
void leave_jail(struct state *s);
/* strict.c: becomes the strict id in a new user namespace; 0 or an errno. */
int become_strict(struct state *s, const struct jai_step *step);
/* strict.c: sends what is to be mapped, without waiting for it; 0 or an errno. */
int send_requests(struct state *s);
/* strict.c: gives the helper's mount of a number, waiting for it; -1 with an errno, and then the
 * current step is that of the request that failed. */
int take_mapped(struct state *s, uint32_t number);

/* mounts.c: opens a place of the host's tree, if it still is what the policy saw; a descriptor or
 * -1. */
int open_source(const struct jai_step *step, const char *path, uint64_t flags);

/* supervise.c: the first process of the jail; it has just been cloned. */
_Noreturn void become_keeper(struct state *s);
/* Puts a descriptor on a number above HOME_FD, which the keeper needs; 0 or -1. */
int move_away(int *fd);

/* fmt.c: numbers into text without stdio, for use after clone; they give the end of the text. */
char *put_text(char *at, const char *text);
char *put_number(char *at, uint64_t number);
/* Goes on with a hash; jai_hash begins one. */
uint64_t hash(uint64_t key, const void *data, size_t size);
/* Writes /proc/self/fd/N; 32 bytes are enough. */
char *put_fd_path(char *at, int fd);

#endif

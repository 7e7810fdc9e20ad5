/*
 * The C core: one function that checks a plan image and one that runs it.
 *
 * This header is the C interface and, without its preprocessor lines, the cffi cdef.
 */
#ifndef JAI_H
#define JAI_H

#include <stddef.h>
#include <stdint.h>

/*
 * A plan image is one flat block: header, steps, string table.  All numbers are in host byte order,
 * all offsets are into the string table, whose first byte is NUL (so offset 0 is the empty string)
 * and whose last byte is NUL (so every offset is the start of a terminated string).
 */
struct jai_header {
	uint32_t magic;
	uint32_t version;
	uint32_t size;
	uint32_t steps;
	uint32_t strings;
	uint32_t reserved;
};

struct jai_step {
	uint32_t kind;
	uint32_t flags;
	uint32_t target;
	uint32_t source;
	uint32_t extra;
	uint32_t mode;
	uint64_t number;
	uint64_t device;
	uint64_t inode;
};

enum jai_limits {
	JAI_MAGIC = 0x4e49414a,
	JAI_VERSION = 2,
	JAI_MAX_IMAGE = 67108864,
	JAI_MAX_STEPS = 1048576,
	JAI_MAX_KEPT = 64,
	JAI_MAX_MAPPED = 256
};

/* What a step does; the order in which a plan may use them is checked by image.c. */
enum jai_kind {
	JAI_LOCK = 0,	/* target: the jail's lock file; SHARED: its overlay is shared */
	JAI_USERNS = 1, /* number: uid, mode: gid; both are mapped to themselves */
	JAI_NETNS = 2,	/* a network with nothing but its own loopback */
	JAI_ROOT = 3,	/* a clone of the whole tree becomes the jail's, with flags */
	/* target: what the overlay shall not show, relative to source: the home; with extra it is a
	 * link to that instead */
	JAI_MASK = 4,
	JAI_OVERLAY = 5,  /* target: home; source: upper; extra: work; lower is the home itself */
	JAI_BIND = 6,	  /* target, source */
	JAI_TMPFS = 7,	  /* target, mode, source: size */
	JAI_DEVPTS = 8,	  /* target */
	JAI_FILE = 9,	  /* target, mode, source: content */
	JAI_SYMLINK = 10, /* target, source: what it points to */
	JAI_SEAL = 11,	  /* target: the mount there becomes read-only */
	JAI_PIVOT = 12,	  /* the clone becomes the root, the host's tree is gone */
	JAI_INIT = 13,	  /* PID 1 of new PID and IPC namespaces goes on with the plan */
	JAI_PROC = 14,	  /* target */
	JAI_DROP = 15,	  /* no capability, no new privileges, not dumpable */
	JAI_SPAWN = 16,	  /* the command's process goes on with the plan */
	JAI_SCOPE = 17, /* Landlock: mode is the set of scopes; nothing where the kernel has none */
	JAI_LIMIT = 18, /* mode: the resource, number: the limit */
	JAI_CHDIR = 19, /* target, source: where else, extra: PWD=... for there */
	JAI_KEEP = 20,	/* number: a descriptor that stays open */
	JAI_CLOSE = 21, /* every other descriptor but 0, 1, 2 is closed at exec */
	JAI_ENV = 22,	/* source: NAME=VALUE */
	JAI_ARG = 23,	/* source: the next word of the command */
	JAI_EXEC = 24,	/* source: the program; extra: PATH to look it up in */
	JAI_NSLIMIT = 25, /* target: a file of /proc/sys/user, number: how many the jail may make */
	JAI_HELPER = 26,  /* target: the privileged helper, which is started and asked below */
	JAI_IDMAP = 27,	  /* source: what the helper shall map to the strict id, for a bind */
	JAI_CLONE = 28,	  /* source: what the helper shall clone without what is mounted below */
	JAI_FILTER = 29,  /* system calls are filtered, see filter/rules.h */
	JAI_PIN = 30,	  /* target: bound onto itself, so that nobody inside can rename it */
	JAI_WATCH = 31,	  /* target: at the end still what it is (SAME), of the change time number
			     in ns if that is not 0; or a file that still holds source (CONTENT); or
			     still missing */
	JAI_KINDS = 32
};

enum jai_flag {
	JAI_RDONLY = 1,
	JAI_NOSUID = 2,
	JAI_NODEV = 4,
	JAI_NOEXEC = 8,
	JAI_RECURSIVE = 16, /* with what is mounted below, which is read-only in any case */
	JAI_MAKE = 32,	    /* make the mount point where it is missing */
	JAI_SAME = 64,	    /* source must still be device:inode */
	JAI_SHARED = 128,   /* the overlay is shared by the jail's runs */
	JAI_SESSION = 256,  /* the command gets a session of its own */
	JAI_STRICT = 512,   /* the user's strict id; no user namespaces */
	JAI_MAPPED = 1024,  /* source, or the overlay's lower, is the mount of the request of the
			       same number */
	JAI_CONTENT = 2048, /* the file still holds what source says */
	JAI_OPENAT2 = 4096  /* the system call openat2 is let through */
};

enum jai_outcome {
	JAI_EXITED = 0,	   /* value: exit status */
	JAI_SIGNALED = 1,  /* value: signal */
	JAI_FAILED = 2,	   /* a step failed; step, value: errno */
	JAI_BAD_IMAGE = 3, /* the image is not one; step: the first bad step or -1 */
	JAI_LOST = 4	   /* the jail ended without a word (killed from outside) */
};

struct jai_result {
	int32_t outcome;
	int32_t step;
	int32_t value;
	int32_t moved; /* the command started elsewhere than asked (JAI_CHDIR) */
};

/* Says whether the image is one that jai_run would start: JAI_EXITED or JAI_BAD_IMAGE. */
void jai_check(const void *image, size_t size, struct jai_result *result);

/* Runs the image and supervises it to its end. Call it from a process with one thread. */
void jai_run(const void *image, size_t size, struct jai_result *result);

/* After the end: which JAI_WATCH steps are no longer true, at most `most` of them. Gives how many.
 */
int jai_changed(const void *image, size_t size, int32_t *steps, int most);

/*
 * Gives the image of the plan that was sealed for these words (without `jai` itself) in this place,
 * if there is one in the directory and every fact it rests on still holds; else NULL.  To be freed.
 */
void *jai_unseal(const char *directory, char **words, char **env, size_t *size);

/* A hash of bytes that finds damage and accidents, not forgery. */
uint64_t jai_hash(const void *data, size_t size);

/* Dies of this signal, without a core file; returns only if the signal does not kill. */
void jai_die(int signal);

/* The type of the file system that holds path (statfs f_type), or -errno. */
int64_t jai_fstype(const char *path);

/* 1 if there is no symbolic link in a normalised absolute path, as far as it exists; else, or in
 * doubt, 0. */
int jai_is_real(const char *path);

/* 1 if the cgroup that we are in belongs to the user, 0 if not or if that can not be seen. */
int jai_owns_cgroup(uint32_t uid);

/* 1 if the helper, executed by us, would have its privileges without being installed. */
int jai_may_help(void);

/* Root that acts for a user becomes the user for good, but for what the helper needs: 0 or an
 * errno. */
int jai_lend(uint32_t uid);

/* Ends what root has lent this process: 0 or an errno. */
int jai_give_back(void);

/* The Landlock ABI of this kernel, 0 where there is none. */
int jai_landlock(void);

/* Filters the system calls of this process from here on, see filter/rules.h: 0 or an errno.
 * It must have no_new_privs. */
int jai_filter(uint32_t flags);

/* How many rows the filter was made of. */
uint32_t jai_filter_rows(uint32_t flags);

#endif

/* What it means to leave out a protection: the table of `make mutants`. */
#define JAI_MUTANTS 1 /* the checks of the sources compile this file however the rest is built */
#include "mutants.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum effect {
	STEP,	/* without the step */
	FLAGS,	/* the step without these flags */
	SCOPES, /* the Landlock step without these scopes */
	HOSTS,	/* what the host has there, writable, instead */
	OWN_ID, /* the user's own id instead of another */
	PART	/* a part of a step: its executor asks left_out */
};

enum { SCOPE_ABSTRACT_SOCKETS = 1, SCOPE_SIGNALS = 2, ANY = JAI_KINDS };

typedef int concerns(const struct state *s, const struct jai_step *step);

struct row {
	const char *name;
	enum effect effect;
	int kind;
	concerns *concerns; /* NULL: every step of the kind */
	uint32_t flags;
};

static int ends_with(const char *text, const char *end)
{
	size_t size = strlen(text), tail = strlen(end);

	return size >= tail && strcmp(text + size - tail, end) == 0;
}

static int is_at(const struct state *s, const struct jai_step *step, const char *place)
{
	const char *path = text(s, step->target);
	size_t size = strlen(place);

	return strncmp(path, place, size) == 0 && (path[size] == '/' || path[size] == '\0');
}

static int in_dev(const struct state *s, const struct jai_step *step)
{
	/* With the account files that wait there. */
	return is_at(s, step, "/dev") || strncmp(text(s, step->source), "/dev/.", 6) == 0;
}

static int in_run(const struct state *s, const struct jai_step *step)
{
	return is_at(s, step, "/run");
}

static int in_proc(const struct state *s, const struct jai_step *step)
{
	return is_at(s, step, "/proc");
}

static int is_shm(const struct state *s, const struct jai_step *step)
{
	return is_at(s, step, "/dev/shm");
}

/* jai's own directory: the lock is STORAGE/NAME.work/lock. */
static int is_own(const struct state *s, const struct jai_step *step)
{
	const char *lock = text(s, s->plan.steps[0].target);
	const char *end = strrchr(lock, '/');
	const char *target = text(s, step->target);
	size_t size, home = 0;

	while (end > lock && *--end != '/')
		;
	size = (size_t)(end - lock);
	if (step->kind == JAI_MASK) {
		home = strlen(text(s, step->source)) + 1;
		if (home >= size || strncmp(lock, text(s, step->source), home - 1) != 0)
			return 0;
	}
	return strlen(target) == size - home && strncmp(lock + home, target, size - home) == 0;
}

static int is_held_link(const struct state *s, const struct jai_step *step)
{
	return text(s, step->extra)[0];
}

static int is_mask(const struct state *s, const struct jai_step *step)
{
	return !is_own(s, step) && !is_held_link(s, step);
}

static int is_cover(const struct state *s, const struct jai_step *step)
{
	if (is_own(s, step))
		return 0;
	if (step->kind == JAI_TMPFS)
		return step->mode == 0555;
	return strcmp(text(s, step->source), "/dev/null") == 0 && !in_dev(s, step);
}

static int is_home(const struct state *s, const struct jai_step *step)
{
	return ends_with(text(s, step->source), ".home");
}

static int is_tmp(const struct state *s, const struct jai_step *step)
{
	return ends_with(text(s, step->source), ".tmp");
}

static int is_runtime_directory(const struct state *s, const struct jai_step *step)
{
	(void)s;
	return step->mode == 0700;
}

static int is_pin(const struct state *s, const struct jai_step *step)
{
	(void)s;
	return !(step->flags & JAI_RDONLY);
}

static int is_protected(const struct state *s, const struct jai_step *step)
{
	return !is_pin(s, step);
}

static int of_users(const struct state *s, const struct jai_step *step)
{
	return strcmp(text(s, step->target), "max_user_namespaces") == 0;
}

static int of_cgroups(const struct state *s, const struct jai_step *step)
{
	return strcmp(text(s, step->target), "max_cgroup_namespaces") == 0;
}

static int of_processes(const struct state *s, const struct jai_step *step)
{
	(void)s;
	return step->mode == RLIMIT_NPROC;
}

static int of_core_files(const struct state *s, const struct jai_step *step)
{
	(void)s;
	return step->mode == RLIMIT_CORE;
}

static const struct row rows[] = {
	{"overlay", HOSTS, JAI_OVERLAY, NULL, 0},
	{"masks", STEP, JAI_MASK, is_mask, 0},
	{"held-links", STEP, JAI_MASK, is_held_link, 0},
	{"covers", STEP, JAI_TMPFS, is_cover, 0},
	{"covers", STEP, JAI_BIND, is_cover, 0},
	{"hidden-storage", STEP, JAI_MASK, is_own, 0},
	{"hidden-storage", STEP, JAI_TMPFS, is_own, 0},
	{"pinned-folders", STEP, JAI_PIN, is_pin, 0},
	{"protected-files", STEP, JAI_PIN, is_protected, 0},
	{"watched-files", PART, 0, NULL, 0},
	{"private-home", STEP, JAI_BIND, is_home, 0},
	{"private-tmp", STEP, JAI_BIND, is_tmp, 0},
	{"private-runtime-directory", STEP, JAI_TMPFS, is_runtime_directory, 0},
	{"read-only-root", FLAGS, JAI_ROOT, NULL, JAI_RDONLY},
	{"nodev", FLAGS, JAI_ROOT, NULL, JAI_NODEV},
	{"nosuid", FLAGS, ANY, NULL, JAI_NOSUID},
	{"read-only-below-grants", PART, 0, NULL, 0},
	{"old-tree-gone", PART, 0, NULL, 0},
	{"unmoved-sources", PART, 0, NULL, 0},
	{"unmoved-targets", PART, 0, NULL, 0},
	{"dev", STEP, ANY, in_dev, 0},
	{"run", STEP, ANY, in_run, 0},
	{"shm", HOSTS, JAI_TMPFS, is_shm, 0},
	{"terminals", HOSTS, JAI_DEVPTS, NULL, 0},
	{"sealed", STEP, JAI_SEAL, NULL, 0},
	{"proc", STEP, JAI_PROC, NULL, 0},
	{"root-proc", STEP, JAI_BIND, in_proc, 0},
	{"pid-namespace", PART, 0, NULL, 0},
	/* Nobody can mount the /proc of a PID namespace that he has not made. */
	{"pid-namespace", STEP, JAI_PROC, NULL, 0},
	/* Landlock keeps signals inside as well. */
	{"pid-namespace", SCOPES, JAI_SCOPE, NULL, SCOPE_SIGNALS},
	{"ipc-namespace", PART, 0, NULL, 0},
	{"network-namespace", STEP, JAI_NETNS, NULL, 0},
	{"nested-user-namespaces", STEP, JAI_NSLIMIT, of_users, 0},
	{"strict-filter", FLAGS, JAI_FILTER, NULL, JAI_STRICT},
	{"cgroup-namespaces", STEP, JAI_NSLIMIT, of_cgroups, 0},
	{"capabilities", PART, 0, NULL, 0},
	{"no-new-privileges", PART, 0, NULL, 0},
	/* The kernel grants these only with it. */
	{"no-new-privileges", STEP, JAI_SCOPE, NULL, 0},
	{"no-new-privileges", STEP, JAI_FILTER, NULL, 0},
	{"undumpable-init", PART, 0, NULL, 0},
	/* Where there is Landlock it keeps PID 1 from being traced as well. */
	{"undumpable-init", STEP, JAI_SCOPE, NULL, 0},
	{"wiped-words", PART, 0, NULL, 0},
	{"strict-id", STEP, JAI_HELPER, NULL, 0},
	{"strict-id", STEP, JAI_IDMAP, NULL, 0},
	{"strict-id", OWN_ID, JAI_USERNS, NULL, JAI_STRICT},
	{"strict-id", FLAGS, JAI_BIND, NULL, JAI_MAPPED},
	{"groups", PART, 0, NULL, 0},
	{"abstract-sockets", SCOPES, JAI_SCOPE, NULL, SCOPE_ABSTRACT_SOCKETS},
	{"signals", SCOPES, JAI_SCOPE, NULL, SCOPE_SIGNALS},
	{"filter", STEP, JAI_FILTER, NULL, 0},
	{"process-limit", STEP, JAI_LIMIT, of_processes, 0},
	{"core-limit", STEP, JAI_LIMIT, of_core_files, 0},
	{"descriptors", STEP, JAI_CLOSE, NULL, 0},
	{"environment", PART, 0, NULL, 0},
	{"end-with-the-parent", PART, 0, NULL, 0},
};
enum { ROWS = sizeof(rows) / sizeof(rows[0]) };

/* A copy: PID 1 wipes its environment. Names with a comma behind each. */
static char chosen[1024];

static int is_row(const char *name, size_t size)
{
	for (int i = 0; i < ROWS; i++)
		if (strlen(rows[i].name) == size && strncmp(rows[i].name, name, size) == 0)
			return 1;
	return 0;
}

/* A wrong name must not look like a protection that nothing needs. */
__attribute__((constructor)) static void choose(void)
{
	static const char complaint[] = "jai: JAI_LEAVE_OUT names no protection\n";
	const char *at = getenv("JAI_LEAVE_OUT");

	if (!at)
		return;
	for (size_t size = 0; !size || *at; at += size + (at[size] == ',')) {
		size = strcspn(at, ",");
		if (!is_row(at, size) || strlen(chosen) + size + 2 > sizeof(chosen)) {
			(void)!write(2, complaint, sizeof(complaint) - 1);
			_exit(125);
		}
		strcat(strncat(chosen, at, size), ",");
	}
}

int left_out(const char *protection)
{
	size_t size = strlen(protection);

	for (const char *at = chosen; *at; at = strchr(at, ',') + 1)
		if (strncmp(at, protection, size) == 0 && at[size] == ',')
			return 1;
	return 0;
}

/* One step is executed at a time in a process, and never again. */
static struct jai_step weak;

static const struct jai_step *apply(const struct row *row, const struct jai_step *step)
{
	weak = *step;
	switch (row->effect) {
	case STEP:
		return NULL;
	case FLAGS:
		weak.flags &= ~row->flags;
		return &weak;
	case SCOPES:
		weak.mode &= ~row->flags;
		return &weak;
	case HOSTS:
		weak.kind = JAI_BIND;
		weak.source = weak.target;
		weak.flags &= JAI_SAME | JAI_MAKE;
		return &weak;
	case OWN_ID:
		weak.number = getuid();
		weak.mode = getgid();
		weak.flags &= ~row->flags;
		return &weak;
	case PART:
		break;
	}
	return step;
}

const struct jai_step *weakened(const struct state *s, const struct jai_step *step)
{
	for (int i = 0; i < ROWS; i++) {
		const struct row *row = &rows[i];

		if (row->effect == PART || !left_out(row->name))
			continue;
		if (row->kind != ANY && row->kind != (int)step->kind)
			continue;
		if (!row->concerns || row->concerns(s, step))
			return apply(row, step);
	}
	return step;
}

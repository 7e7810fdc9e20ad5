/*
 * The C core with a clock at each step: where a start's microseconds go.  clocked IMAGE
 *
 * The core's own files, but for the loop over the steps, which is this one.  Prints "NAME
 * NANOSECONDS" lines: the keeper, init and the command write their times into memory that all
 * share.
 */
#define execute execute_unclocked
#include "steps.c"
#undef execute

#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

enum { MOST = 4096 };

static const char *const names[] = {
	[JAI_LOCK] = "lock",   [JAI_USERNS] = "userns",	  [JAI_NETNS] = "netns",
	[JAI_ROOT] = "root",   [JAI_MASK] = "mask",	  [JAI_OVERLAY] = "overlay",
	[JAI_BIND] = "bind",   [JAI_TMPFS] = "tmpfs",	  [JAI_DEVPTS] = "devpts",
	[JAI_FILE] = "file",   [JAI_SYMLINK] = "symlink", [JAI_SEAL] = "seal",
	[JAI_PIVOT] = "pivot", [JAI_INIT] = "init",	  [JAI_PROC] = "proc",
	[JAI_DROP] = "drop",   [JAI_SPAWN] = "spawn",	  [JAI_SCOPE] = "scope",
	[JAI_LIMIT] = "limit", [JAI_CHDIR] = "chdir",	  [JAI_KEEP] = "keep",
	[JAI_CLOSE] = "close", [JAI_ENV] = "word",	  [JAI_ARG] = "word",
	[JAI_EXEC] = "exec",   [JAI_NSLIMIT] = "nslimit", [JAI_HELPER] = "helper",
	[JAI_IDMAP] = "idmap", [JAI_CLONE] = "clone",	  [JAI_FILTER] = "filter",
	[JAI_PIN] = "pin",     [JAI_WATCH] = "word",
};
_Static_assert(sizeof(names) / sizeof(names[0]) == JAI_KINDS, "a name for every kind");

static uint64_t *begun; /* when each step began */

static uint64_t now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return (uint64_t)at.tv_sec * 1000000000 + (uint64_t)at.tv_nsec;
}

void execute(struct state *s)
{
	for (; s->step < s->plan.count; s->step++) {
		const struct jai_step *step = &s->plan.steps[s->step];
		int error;

		begun[s->step] = now();
		error = executors[step->kind](s, step);
		if (error) {
			report(s, REPORT_FAILED, (int)s->step, error);
			return;
		}
	}
}

static void tell(const char *name, uint64_t from, uint64_t to)
{
	printf("%s %ju\n", name, (uintmax_t)(to - from));
}

int main(int argc, char **argv)
{
	struct jai_result result;
	struct stat found;
	struct plan plan;
	uint64_t start, end;
	const void *image;
	int fd = argc == 2 ? open(argv[1], O_RDONLY | O_CLOEXEC) : -1;

	if (fd < 0 || fstat(fd, &found) < 0)
		return 2;
	image = mmap(NULL, (size_t)found.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	begun = mmap(NULL, MOST * sizeof(*begun), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	close(fd);
	if (image == MAP_FAILED || begun == MAP_FAILED ||
	    plan_read(&plan, image, (size_t)found.st_size, &(int32_t){0}) < 0 || plan.count >= MOST)
		return 2;
	start = now();
	jai_run(image, (size_t)found.st_size, &result);
	end = now();
	if (result.outcome != JAI_EXITED || result.value)
		return 125;
	tell("parent: checks the plan, starts the keeper", start, begun[0]);
	for (uint32_t i = 0; i + 1 < plan.count; i++)
		tell(names[plan.steps[i].kind], begun[i], begun[i + 1]);
	tell("exec, the command, its end, the parent's waking", begun[plan.count - 1], end);
	tell("all of it", start, end);
	return 0;
}

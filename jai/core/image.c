/*
 * Reads a plan image. Nothing in it is trusted: every offset, count and number that an executor
 * uses without looking is checked here, before the first process is made.
 */
#include "plan.h"

#include <stdlib.h>
#include <string.h>

/* Where in a plan a kind may stand: from one phase to another, and how often. */
enum phase {
	PHASE_LOCK,
	PHASE_HELPER,
	PHASE_NAMESPACES,
	PHASE_ROOT,
	PHASE_TREE,
	PHASE_PIVOT,
	PHASE_INIT,
	PHASE_PROC,
	PHASE_INSIDE,
	PHASE_DROP,
	PHASE_SPAWN,
	PHASE_COMMAND,
	PHASE_FILTER,
	PHASE_EXEC
};

enum count { ANY, AT_MOST_ONE, EXACTLY_ONE };

/* Which fields of a step are paths: those start with a slash (or must not) and are never empty. */
enum path { FREE, ABSOLUTE, RELATIVE };

struct rule {
	enum phase first, last;
	enum count count;
	enum path target, source, extra;
	uint32_t flags;
};

#define MOUNT_FLAGS (JAI_RDONLY | JAI_NOSUID | JAI_NODEV | JAI_NOEXEC)

static const struct rule rules[] = {
	[JAI_LOCK] = {PHASE_LOCK, PHASE_LOCK, EXACTLY_ONE, ABSOLUTE, FREE, FREE, JAI_SHARED},
	[JAI_USERNS] = {PHASE_NAMESPACES, PHASE_NAMESPACES, EXACTLY_ONE, FREE, FREE, FREE,
			JAI_STRICT},
	[JAI_NETNS] = {PHASE_NAMESPACES, PHASE_NAMESPACES, AT_MOST_ONE, FREE, FREE, FREE, 0},
	[JAI_ROOT] = {PHASE_ROOT, PHASE_ROOT, EXACTLY_ONE, FREE, FREE, FREE, MOUNT_FLAGS},
	[JAI_MASK] = {PHASE_TREE, PHASE_TREE, ANY, RELATIVE, ABSOLUTE, FREE, 0},
	[JAI_OVERLAY] = {PHASE_TREE, PHASE_TREE, AT_MOST_ONE, ABSOLUTE, ABSOLUTE, ABSOLUTE,
			 JAI_NOEXEC | JAI_MAKE | JAI_SAME | JAI_MAPPED},
	[JAI_BIND] = {PHASE_TREE, PHASE_INSIDE, ANY, ABSOLUTE, ABSOLUTE, FREE,
		      MOUNT_FLAGS | JAI_RECURSIVE | JAI_MAKE | JAI_SAME | JAI_MAPPED},
	[JAI_TMPFS] = {PHASE_TREE, PHASE_INSIDE, ANY, ABSOLUTE, FREE, FREE, MOUNT_FLAGS | JAI_MAKE},
	[JAI_DEVPTS] = {PHASE_TREE, PHASE_TREE, AT_MOST_ONE, ABSOLUTE, FREE, FREE, JAI_MAKE},
	[JAI_FILE] = {PHASE_TREE, PHASE_TREE, ANY, ABSOLUTE, FREE, FREE, 0},
	[JAI_SYMLINK] = {PHASE_TREE, PHASE_TREE, ANY, ABSOLUTE, FREE, FREE, 0},
	[JAI_SEAL] = {PHASE_TREE, PHASE_INSIDE, ANY, ABSOLUTE, FREE, FREE, 0},
	[JAI_PIVOT] = {PHASE_PIVOT, PHASE_PIVOT, EXACTLY_ONE, FREE, FREE, FREE, 0},
	[JAI_INIT] = {PHASE_INIT, PHASE_INIT, EXACTLY_ONE, FREE, FREE, FREE, 0},
	[JAI_PROC] = {PHASE_PROC, PHASE_PROC, EXACTLY_ONE, ABSOLUTE, FREE, FREE, 0},
	[JAI_DROP] = {PHASE_DROP, PHASE_DROP, EXACTLY_ONE, FREE, FREE, FREE, 0},
	[JAI_SPAWN] = {PHASE_SPAWN, PHASE_SPAWN, EXACTLY_ONE, FREE, FREE, FREE, JAI_SESSION},
	[JAI_SCOPE] = {PHASE_COMMAND, PHASE_COMMAND, AT_MOST_ONE, FREE, FREE, FREE, 0},
	[JAI_LIMIT] = {PHASE_COMMAND, PHASE_COMMAND, ANY, FREE, FREE, FREE, 0},
	[JAI_CHDIR] = {PHASE_COMMAND, PHASE_COMMAND, EXACTLY_ONE, ABSOLUTE, ABSOLUTE, FREE, 0},
	[JAI_KEEP] = {PHASE_COMMAND, PHASE_COMMAND, ANY, FREE, FREE, FREE, 0},
	[JAI_CLOSE] = {PHASE_COMMAND, PHASE_COMMAND, AT_MOST_ONE, FREE, FREE, FREE, 0},
	[JAI_ENV] = {PHASE_COMMAND, PHASE_COMMAND, ANY, FREE, FREE, FREE, 0},
	[JAI_ARG] = {PHASE_COMMAND, PHASE_COMMAND, ANY, FREE, FREE, FREE, 0},
	[JAI_FILTER] = {PHASE_FILTER, PHASE_FILTER, EXACTLY_ONE, FREE, FREE, FREE,
			JAI_STRICT | JAI_OPENAT2},
	[JAI_EXEC] = {PHASE_EXEC, PHASE_EXEC, EXACTLY_ONE, FREE, FREE, FREE, 0},
	[JAI_HELPER] = {PHASE_HELPER, PHASE_HELPER, AT_MOST_ONE, ABSOLUTE, FREE, FREE, 0},
	[JAI_IDMAP] = {PHASE_HELPER, PHASE_HELPER, ANY, FREE, ABSOLUTE, FREE,
		       JAI_SAME | JAI_MAPPED},
	[JAI_CLONE] = {PHASE_HELPER, PHASE_HELPER, ANY, FREE, ABSOLUTE, FREE, JAI_SAME},
	[JAI_NSLIMIT] = {PHASE_NAMESPACES, PHASE_NAMESPACES, ANY, RELATIVE, FREE, FREE, 0},
	[JAI_PIN] = {PHASE_TREE, PHASE_TREE, ANY, ABSOLUTE, FREE, FREE, JAI_RDONLY | JAI_SAME},
	[JAI_WATCH] = {PHASE_COMMAND, PHASE_COMMAND, ANY, ABSOLUTE, FREE, FREE,
		       JAI_SAME | JAI_CONTENT},
};
_Static_assert(sizeof(rules) / sizeof(rules[0]) == JAI_KINDS, "a rule for every kind");
_Static_assert(sizeof(struct jai_header) == 24, "the header's width");
_Static_assert(sizeof(struct jai_step) == 48, "a step's width");

/* A path component that would make the path mean another place than it says. */
static int is_dots(const char *at)
{
	return at[0] == '.' &&
	       (at[1] == '\0' || at[1] == '/' || (at[1] == '.' && (at[2] == '\0' || at[2] == '/')));
}

static int path_is_good(const char *path, enum path wanted)
{
	if (wanted == FREE)
		return 1;
	if (!path[0] || (path[0] == '/') != (wanted == ABSOLUTE))
		return 0;
	if (strlen(path) >= 4096 || is_dots(path))
		return 0;
	for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/'))
		if (is_dots(slash + 1) || slash[1] == '/' || (slash[1] == '\0' && slash != path))
			return 0;
	return 1;
}

static int step_is_good(const struct plan *plan, const struct jai_step *step)
{
	const struct rule *rule;
	const char *strings = plan->strings;

	if (step->kind >= JAI_KINDS)
		return 0;
	rule = &rules[step->kind];
	if (step->flags & ~rule->flags)
		return 0;
	if (step->target >= plan->size || step->source >= plan->size)
		return 0;
	if (step->extra >= plan->size)
		return 0;
	if (step->kind == JAI_USERNS && (step->number >= UINT32_MAX || step->mode == UINT32_MAX))
		return 0;
	if (step->kind == JAI_KEEP && step->number > INT32_MAX)
		return 0;
	if (step->kind == JAI_ENV && !strchr(strings + step->source, '='))
		return 0;
	if (step->kind == JAI_EXEC && !strings[step->source])
		return 0;
	return path_is_good(strings + step->target, rule->target) &&
	       path_is_good(strings + step->source, rule->source) &&
	       (rule->extra == FREE || path_is_good(strings + step->extra, rule->extra));
}

/* Phases only grow, and every required kind is there exactly once. */
static int order_is_good(const struct plan *plan, int32_t *bad)
{
	uint32_t seen[JAI_KINDS] = {0};
	enum phase phase = PHASE_LOCK;
	uint32_t requests = 0;

	for (uint32_t i = 0; i < plan->count; i++) {
		const struct jai_step *step = &plan->steps[i];
		const struct rule *rule;

		*bad = (int32_t)i;
		if (!step_is_good(plan, step))
			return 0;
		rule = &rules[step->kind];
		if (phase < rule->first)
			phase = rule->first;
		if (phase > rule->last)
			return 0;
		seen[step->kind]++;
		if (rule->count != ANY && seen[step->kind] > 1)
			return 0;
		if (step->kind == JAI_MASK && seen[JAI_OVERLAY])
			return 0;
		/* Each is asked of the helper once, in order. */
		requests = seen[JAI_IDMAP] + seen[JAI_CLONE];
		if ((step->kind == JAI_IDMAP || step->kind == JAI_CLONE) &&
		    (!seen[JAI_HELPER] || step->number != requests - 1))
			return 0;
		if (step->flags & JAI_MAPPED && step->number >= requests)
			return 0;
		if (step->flags & JAI_STRICT && !seen[JAI_HELPER])
			return 0;
	}
	*bad = -1;
	for (int kind = 0; kind < JAI_KINDS; kind++)
		if (rules[kind].count == EXACTLY_ONE && seen[kind] != 1)
			return 0;
	/* Whiteouts are nothing without the overlay that uses them; a command has a name. */
	if (seen[JAI_MASK] && !seen[JAI_OVERLAY])
		return 0;
	return seen[JAI_ARG] > 0 && seen[JAI_KEEP] <= JAI_MAX_KEPT && requests <= JAI_MAX_MAPPED;
}

static void fill_vectors(struct plan *plan)
{
	for (uint32_t i = 0; i < plan->count; i++) {
		const struct jai_step *step = &plan->steps[i];
		char *value = (char *)(uintptr_t)(plan->strings + step->source);

		if (step->kind == JAI_ARG)
			plan->argv[plan->argc++] = value;
		else if (step->kind == JAI_ENV)
			plan->envp[plan->envc++] = value;
	}
}

int plan_read(struct plan *plan, const void *image, size_t size, int32_t *bad)
{
	struct jai_header header;
	size_t steps_end;

	*plan = (struct plan){0};
	*bad = -1;
	if (size < sizeof(header) || size > JAI_MAX_IMAGE ||
	    (uintptr_t)image % _Alignof(struct jai_step))
		return -1;
	memcpy(&header, image, sizeof(header));
	if (header.magic != JAI_MAGIC || header.version != JAI_VERSION || header.size != size ||
	    header.reserved)
		return -1;
	if (header.steps == 0 || header.steps > JAI_MAX_STEPS)
		return -1;
	steps_end = sizeof(header) + (size_t)header.steps * sizeof(struct jai_step);
	if (header.strings == 0 || steps_end + header.strings != size)
		return -1;
	plan->steps = (const struct jai_step *)(const void *)((const char *)image + sizeof(header));
	plan->count = header.steps;
	plan->strings = (const char *)image + steps_end;
	plan->size = header.strings;
	if (plan->strings[0] != '\0' || plan->strings[plan->size - 1] != '\0' ||
	    !order_is_good(plan, bad))
		return -1;
	plan->argv = calloc((size_t)plan->count + 1, sizeof(char *));
	plan->envp = calloc((size_t)plan->count + 1, sizeof(char *));
	if (!plan->argv || !plan->envp) {
		plan_free(plan);
		return -1;
	}
	fill_vectors(plan);
	return 0;
}

void plan_free(struct plan *plan)
{
	free(plan->argv);
	free(plan->envp);
	plan->argv = NULL;
	plan->envp = NULL;
}

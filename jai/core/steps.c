/* Runs a plan: each step by the executor of its kind. */
#include "mutants.h"

/* The words and the environment of the command are the image's, and what is watched is looked at
 * after the end: nothing is to be done for them. */
static int op_word(struct state *s, const struct jai_step *step)
{
	(void)s;
	(void)step;
	return 0;
}

static executor *const executors[] = {
	[JAI_LOCK] = op_lock,	  [JAI_USERNS] = op_userns,   [JAI_NETNS] = op_netns,
	[JAI_ROOT] = op_root,	  [JAI_MASK] = op_mask,	      [JAI_OVERLAY] = op_overlay,
	[JAI_BIND] = op_bind,	  [JAI_TMPFS] = op_tmpfs,     [JAI_DEVPTS] = op_devpts,
	[JAI_FILE] = op_file,	  [JAI_SYMLINK] = op_symlink, [JAI_SEAL] = op_seal,
	[JAI_PIVOT] = op_pivot,	  [JAI_INIT] = op_init,	      [JAI_PROC] = op_proc,
	[JAI_DROP] = op_drop,	  [JAI_SPAWN] = op_spawn,     [JAI_SCOPE] = op_scope,
	[JAI_LIMIT] = op_limit,	  [JAI_CHDIR] = op_chdir,     [JAI_KEEP] = op_keep,
	[JAI_CLOSE] = op_close,	  [JAI_ENV] = op_word,	      [JAI_ARG] = op_word,
	[JAI_EXEC] = op_exec,	  [JAI_NSLIMIT] = op_nslimit, [JAI_HELPER] = op_helper,
	[JAI_IDMAP] = op_request, [JAI_CLONE] = op_request,   [JAI_FILTER] = op_filter,
	[JAI_PIN] = op_pin,	  [JAI_WATCH] = op_word,
};
_Static_assert(sizeof(executors) / sizeof(executors[0]) == JAI_KINDS, "an executor for every kind");

void report(const struct state *s, int kind, int step, int value)
{
	const struct report report = {.kind = kind, .step = step, .value = value};

	/* When nobody reads any more there is nobody to tell. */
	(void)!write(s->report, &report, sizeof(report));
}

void execute(struct state *s)
{
	for (; s->step < s->plan.count; s->step++) {
		const struct jai_step *step = weakened(s, &s->plan.steps[s->step]);
		int error = step ? executors[step->kind](s, step) : 0;

		if (error) {
			report(s, REPORT_FAILED, (int)s->step, error);
			return;
		}
	}
}

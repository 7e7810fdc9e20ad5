/* The last thing before the command: what the jail may not ask of the kernel, see filter/rules.h.
 */
#include "plan.h"

#include <linux/filter.h>
#include <linux/seccomp.h>

#include "filter.h"

#define PROGRAM(code)                                         \
	{{.len = sizeof(code) / sizeof((code)[0]),            \
	  .filter = (struct sock_filter *)(uintptr_t)(code)}, \
	 ROWS_OF_##code}

static const struct {
	struct sock_fprog program;
	uint32_t rows;
} filters[2][2] = {
	/* [in strict mode][with openat2 allowed] */
	{PROGRAM(filter), PROGRAM(filter_but_openat2)},
	{PROGRAM(strict_filter), PROGRAM(strict_filter_but_openat2)},
};

#define FILTER_FOR(flags) (&filters[!!((flags) & JAI_STRICT)][!!((flags) & JAI_OPENAT2)])

int jai_filter(uint32_t flags)
{
	/* Without SECCOMP_FILTER_FLAG_SPEC_ALLOW: what the kernel does against the leaks of
	 * processors for filtered processes stays the administrator's choice. */
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &FILTER_FOR(flags)->program) < 0
		       ? errno
		       : 0;
}

int op_filter(struct state *s, const struct jai_step *step)
{
	(void)s;
	return jai_filter(step->flags);
}

uint32_t jai_filter_rows(uint32_t flags)
{
	return FILTER_FOR(flags)->rows;
}

/* The last thing before the command: what the jail may not ask of the kernel, see filter/rules.h.
 */
#include "plan.h"

#include <linux/filter.h>
#include <linux/seccomp.h>

#include "filter.h"

#define PROGRAM(code) \
	{.len = sizeof(code) / sizeof((code)[0]), .filter = (struct sock_filter *)(uintptr_t)(code)}

int jai_filter(int strict)
{
	const struct sock_fprog programs[] = {PROGRAM(filter), PROGRAM(strict_filter)};

	/* Without SECCOMP_FILTER_FLAG_SPEC_ALLOW: what the kernel does against the leaks of
	 * processors for filtered processes stays the administrator's choice. */
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &programs[!!strict]) < 0 ? errno
											 : 0;
}

int op_filter(struct state *s, const struct jai_step *step)
{
	(void)s;
	return jai_filter(step->flags & JAI_STRICT);
}

uint32_t jai_filter_rows(int strict)
{
	return strict ? ROWS_OF_strict_filter : ROWS_OF_filter;
}

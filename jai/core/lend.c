/*
 * Root that acts for a user (`sudo jai`) can start the privileged helper without its being
 * installed: three capabilities stay with the user's processes, as ambient ones, until the helper
 * has been executed with them.  Nobody but root can trace a process that has them.
 */
#include "plan.h"

#include <linux/capability.h>
#include <sys/prctl.h>

/* What the helper needs; they lie in the first half of the set. */
static const unsigned long lent[] = {CAP_SYS_ADMIN, CAP_SETUID, CAP_SETGID};

int jai_may_help(void)
{
	uid_t real, effective, saved;

	if (getresuid(&real, &effective, &saved) < 0)
		return 0;
	return real == 0 || effective == 0 || saved == 0 ||
	       prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_SYS_ADMIN, 0, 0) == 1;
}

int jai_lend(uint32_t uid)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct caps[2] = {{0}};
	uint32_t set = 0;

	for (size_t i = 0; i < sizeof(lent) / sizeof(lent[0]); i++)
		set |= 1U << lent[i];
	caps[0] = (struct __user_cap_data_struct){set, set, set};
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 || setresuid(uid, uid, uid) < 0 ||
	    syscall(SYS_capset, &header, caps) < 0)
		return errno;
	for (size_t i = 0; i < sizeof(lent) / sizeof(lent[0]); i++)
		if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, lent[i], 0, 0) < 0)
			return errno;
	return prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0 ? errno : 0;
}

int jai_give_back(void)
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

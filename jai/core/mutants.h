/*
 * A build for tests only (meson: -Dmutants=true) leaves out the protections that JAI_LEAVE_OUT
 * names: `make mutants` shows which scenario notices.  In every other build nothing of this is
 * there.
 */
#ifndef JAI_MUTANTS_H
#define JAI_MUTANTS_H

#include "plan.h"

#ifdef JAI_MUTANTS
/* Whether this protection, which is a part of a step, is left out. */
int left_out(const char *protection);
/* The step without the protection that is left out; NULL: without the step. */
const struct jai_step *weakened(const struct state *s, const struct jai_step *step);
#else
#define left_out(protection) 0
#define weakened(s, step)    (step)
#endif

#endif

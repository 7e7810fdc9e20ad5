/*
 * Runs while jai is built: makes the system call filter of an architecture, as a C header.
 *
 *   compile-filter ARCHITECTURE           the header: strict mode's filter and that of the others,
 *                                         each also without the row that --allow takes out
 *   compile-filter ARCHITECTURE --rows    the table, a row a line, with tabs
 *
 * libseccomp compiles the table.  Before its filter stand a few instructions of our own, for what
 * depends on the number alone and not on what that libseccomp knows.
 */
#include "rules.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Which ABIs a kernel for this architecture may offer; x32 is one of x86_64 that is refused. */
static const struct architecture {
	const char *name;
	uint32_t abi[2];
} architectures[] = {
	{"x86_64", {SCMP_ARCH_X86_64, SCMP_ARCH_X86}},
	{"aarch64", {SCMP_ARCH_AARCH64, SCMP_ARCH_ARM}},
};

/* From here on the numbers are private to an ABI: those of 32-bit ARM, of x32, and -1. */
enum { PRIVATE_NUMBERS = 0xf0000 };

enum { LONGEST = 4096 };

static struct sock_filter program[LONGEST];
static unsigned int length;
static int strict, openat2; /* whose filter is being made */

static void fail(const char *what, const char *about, int error)
{
	fprintf(stderr, "compile-filter: %s: %s%s%s\n", about, what, error ? ": " : "",
		error ? strerror(-error) : "");
	exit(1);
}

static void emit(uint16_t code, uint32_t value, uint8_t if_true, uint8_t if_false)
{
	program[length++] = (struct sock_filter){code, if_true, if_false, value};
}

static int is_for_us(const struct row *row)
{
	switch (row->held) {
	case ALWAYS:
		return 1;
	case IN_STRICT:
		return strict;
	case UNLESS_ALLOWED:
		return !openat2;
	}
	return 1;
}

/* Little-endian: the lower half of an argument comes first. */
static uint32_t place_of(unsigned int argument)
{
	return (uint32_t)(offsetof(struct seccomp_data, args) + argument * sizeof(uint64_t));
}

/* A row for a call of this number; the accumulator holds the number, and afterwards again. */
static void emit_row(const struct row *row)
{
	uint8_t conditions = 0;

	while (conditions < 2 && row->when[conditions].test != UNTESTED)
		conditions++;
	emit(BPF_JMP | BPF_JEQ | BPF_K, row->number, 0, (uint8_t)(2 * conditions + 2));
	for (uint8_t i = 0; i < conditions; i++) {
		const struct condition *when = &row->when[i];
		uint8_t allow = (uint8_t)(2 * (conditions - i) - 1);

		emit(BPF_LD | BPF_W | BPF_ABS, place_of(when->argument), 0, 0);
		if (when->test == HAS_ANY)
			emit(BPF_JMP | BPF_JSET | BPF_K, when->value, 0, allow);
		else if (when->test == IS)
			emit(BPF_JMP | BPF_JEQ | BPF_K, when->value, 0, allow);
		else
			emit(BPF_JMP | BPF_JEQ | BPF_K, when->value, allow, 0);
	}
	emit(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)row->answer, 0, 0);
	emit(BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0);
}

static void emit_start(void)
{
	emit(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr), 0, 0);
	for (int i = 0; i < ROWS; i++)
		if (rows[i].number && is_for_us(&rows[i]))
			emit_row(&rows[i]);
	emit(BPF_JMP | BPF_JGT | BPF_K, NEWEST_CALL, 0, 2);
	emit(BPF_JMP | BPF_JGE | BPF_K, PRIVATE_NUMBERS, 1, 0);
	emit(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS, 0, 0);
}

static struct scmp_arg_cmp compare(const struct condition *when, uint32_t bit)
{
	if (when->test == IS_NOT)
		return SCMP_CMP64(when->argument, SCMP_CMP_NE, when->value);
	if (when->test == IS)
		return SCMP_CMP64(when->argument, SCMP_CMP_MASKED_EQ, UINT32_MAX, when->value);
	return SCMP_CMP64(when->argument, SCMP_CMP_MASKED_EQ, bit, bit);
}

/* libseccomp has no "any of these bits": a rule for each, and for each pair where two are asked. */
static int add_row(scmp_filter_ctx filter, const struct row *row, int call, unsigned int at,
		   struct scmp_arg_cmp *found)
{
	const struct condition *when = &row->when[at];
	int error = 0;

	if (at == 2 || when->test == UNTESTED)
		return seccomp_rule_add_array(filter, SCMP_ACT_ERRNO((uint32_t)row->answer), call,
					      at, found);
	for (uint32_t bit = 1; bit && !error; bit <<= 1) {
		if (when->test == HAS_ANY ? !(when->value & bit) : bit != 1)
			continue;
		found[at] = compare(when, bit);
		error = add_row(filter, row, call, at + 1, found);
	}
	return error;
}

static void add_rows(scmp_filter_ctx filter)
{
	struct scmp_arg_cmp found[2];

	for (int i = 0; i < ROWS; i++) {
		int call, error;

		if (rows[i].number || !is_for_us(&rows[i]))
			continue;
		call = seccomp_syscall_resolve_name(rows[i].call);
		if (call == __NR_SCMP_ERROR)
			fail("this libseccomp does not know it", rows[i].call, 0);
		error = add_row(filter, &rows[i], call, 0, found);
		if (error)
			fail("libseccomp refuses the row", rows[i].call, error);
	}
}

static scmp_filter_ctx make_filter(const struct architecture *architecture)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	int error;

	if (!filter)
		fail("libseccomp does not start", architecture->name, 0);
	error = seccomp_arch_remove(filter, SCMP_ARCH_NATIVE);
	for (int i = 0; i < 2 && !error; i++)
		error = seccomp_arch_add(filter, architecture->abi[i]);
	/* What is left is x32. */
	if (!error)
		error = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(EPERM));
	/* A binary tree, not a chain: fewer steps for each call, and to load it. */
	if (!error)
		error = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (error)
		fail("libseccomp refuses it", architecture->name, error);
	add_rows(filter);
	return filter;
}

static void append(scmp_filter_ctx filter)
{
	FILE *file = tmpfile();

	if (!file || seccomp_export_bpf(filter, fileno(file)) < 0)
		fail("libseccomp does not give the filter", "export", 0);
	rewind(file);
	length += (unsigned int)fread(&program[length], sizeof(program[0]), LONGEST - length, file);
	if (ferror(file) || !feof(file))
		fail("too long", "the filter", 0);
	fclose(file);
	seccomp_release(filter);
}

static void print_filter(const struct architecture *architecture, const char *name)
{
	int count = 0;

	length = 0;
	emit_start();
	append(make_filter(architecture));
	for (int i = 0; i < ROWS; i++)
		count += is_for_us(&rows[i]);
	printf("\nenum { ROWS_OF_%s = %d };\n", name, count);
	printf("static const struct sock_filter %s[] = {\n", name);
	for (unsigned int i = 0; i < length; i++)
		printf("\t{0x%02x, %u, %u, 0x%08x},\n", program[i].code, program[i].jt,
		       program[i].jf, program[i].k);
	printf("};\n");
}

static void print_rows(void)
{
	static const char *const signs[] = {"", "==", "!=", "&"};
	static const char *const when[] = {"always", "in strict mode", "unless allowed"};

	for (int i = 0; i < ROWS; i++) {
		printf("%s\t%d\t", rows[i].call, rows[i].answer);
		for (int j = 0; j < 2 && rows[i].when[j].test != UNTESTED; j++)
			printf("%s%u %s %#x", j ? ", " : "", rows[i].when[j].argument,
			       signs[rows[i].when[j].test], rows[i].when[j].value);
		printf("\t%s\t%s\n", rows[i].reason, when[rows[i].held]);
	}
}

int main(int argc, char **argv)
{
	const struct architecture *end =
		architectures + sizeof(architectures) / sizeof(architectures[0]);

	for (const struct architecture *each = architectures; argc > 1 && each < end; each++) {
		if (strcmp(each->name, argv[1]) != 0)
			continue;
		if (argc > 2) {
			print_rows();
			return 0;
		}
		printf("/* The system call filters for %s; made by filter/compile.c. */\n",
		       each->name);
		print_filter(each, "filter");
		openat2 = 1;
		print_filter(each, "filter_but_openat2");
		strict = 1;
		print_filter(each, "strict_filter_but_openat2");
		openat2 = 0;
		print_filter(each, "strict_filter");
		return 0;
	}
	fail("there is no filter for it", argc > 1 ? argv[1] : "an architecture is wanted", 0);
	return 1;
}

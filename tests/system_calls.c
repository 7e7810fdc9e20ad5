/*
 * Makes system calls and prints what each answers: a line of standard input a call, a line of
 * standard output an answer, "ok" or the number of the errno.
 *
 *   ABI NUMBER ARGUMENT…     ABI: native, i386 or x32; an argument: a number, or "text" without
 * spaces
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef __x86_64__
static long call_i386(long number, const unsigned long *arguments)
{
	long answer;

	/* The sixth argument would be in ebp, which the compiler may need. */
	__asm__ volatile("int $0x80"
			 : "=a"(answer)
			 : "a"(number), "b"(arguments[0]), "c"(arguments[1]), "d"(arguments[2]),
			   "S"(arguments[3]), "D"(arguments[4])
			 : "memory", "cc", "r8", "r9", "r10", "r11");
	return (int)answer;
}
#endif

static long call(const char *abi, long number, const unsigned long *arguments)
{
	long answer;

#ifdef __x86_64__
	if (strcmp(abi, "i386") == 0)
		return call_i386(number, arguments);
	if (strcmp(abi, "x32") == 0)
		number |= 0x40000000;
#endif
	answer = syscall(number, arguments[0], arguments[1], arguments[2], arguments[3],
			 arguments[4], arguments[5]);
	return answer < 0 ? -errno : answer;
}

int main(void)
{
	char line[4096];
	/* Below 4 GiB, so that a 32-bit call can name it. */
#ifdef MAP_32BIT
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT;
#else
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS;
#endif
	char *texts = mmap(NULL, sizeof(line), PROT_READ | PROT_WRITE, flags, -1, 0);

	if (texts == MAP_FAILED)
		return 1;
	while (fgets(line, sizeof(line), stdin)) {
		unsigned long arguments[6] = {0};
		char *rest = NULL, *at = texts, *word;
		const char *abi = strtok_r(line, " \n", &rest);
		const char *number = strtok_r(NULL, " \n", &rest);
		long answer;

		if (!abi || !number)
			return 1;
		for (int i = 0; i < 6 && (word = strtok_r(NULL, " \n", &rest)); i++) {
			if (word[0] != '"') {
				arguments[i] = strtoul(word, NULL, 0);
				continue;
			}
			word[strlen(word) - 1] = '\0';
			arguments[i] = (unsigned long)strcpy(at, word + 1);
			at += strlen(at) + 1;
		}
		answer = call(abi, strtol(number, NULL, 0), arguments);
		if (answer < 0)
			printf("%ld\n", -answer);
		else
			puts("ok");
		fflush(stdout);
	}
	return 0;
}

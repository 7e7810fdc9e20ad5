/*
 * The command `jai`: starts the front end with the interpreter it was installed for, isolated.
 *
 * An installer writes the interpreter into the first line of the script beside us, but drops its
 * options.  Without -I and -S Python would obey PYTHONPATH and friends and run whatever `site` finds.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#define SCRIPT "jai-python"

static int fail(const char *what)
{
	fprintf(stderr, "jai: %s: %s\n  hint: install jai again\n", what, strerror(errno));
	return 125;
}

/* The script lies beside this program, whatever link it was started through. */
static int find_script(char *path)
{
	const char *self = (const char *)getauxval(AT_EXECFN);
	char *slash;

	if (!realpath("/proc/self/exe", path) && !(self && realpath(self, path)))
		return -1;
	slash = strrchr(path, '/');
	if ((size_t)(slash - path) + sizeof(SCRIPT) + 1 > PATH_MAX) {
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(slash + 1, SCRIPT);
	return 0;
}

/* The interpreter of the script's first line: "#!/path/of/python", without options. */
static int read_interpreter(const char *script, char *line, int size)
{
	FILE *file = fopen(script, "re");
	char *end;

	if (!file)
		return -1;
	if (!fgets(line, size, file) || strncmp(line, "#!/", 3) != 0) {
		fclose(file);
		errno = ENOEXEC;
		return -1;
	}
	fclose(file);
	end = strchr(line, '\n');
	if (end)
		*end = '\0';
	return 0;
}

/* A closed standard descriptor becomes /dev/null. */
static int open_standard(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
			return -1;
	return 0;
}

int main(int argc, char **argv)
{
	char script[PATH_MAX], line[PATH_MAX + 2];
	char **words;
	int count = 0;

	/* Whatever is opened next must not become the command's standard input or output. */
	if (open_standard() < 0)
		return fail("/dev/null");
	if (find_script(script) < 0)
		return fail("the command can not find itself");
	if (read_interpreter(script, line, (int)sizeof(line)) < 0)
		return fail(script);
	words = calloc((size_t)argc + 8, sizeof(*words));
	if (!words)
		return fail("no memory");
	words[count++] = line + 2;
	words[count++] = (char *)"-I";
	words[count++] = (char *)"-S";
	/* In the C locale Python sets LC_CTYPE, which is not for the command to inherit. */
	if (!getenv("LC_CTYPE"))
		words[count++] = (char *)"-Xjai_no_ctype";
	words[count++] = script;
	for (int i = 1; i < argc; i++)
		words[count++] = argv[i];
	execv(words[0], words);
	return fail(words[0]);
}

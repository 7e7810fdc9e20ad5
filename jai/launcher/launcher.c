/*
 * The command `jai`, in two roles.
 *
 * Typed by a user it starts the front end with the interpreter that it was installed for, isolated.
 * An installer writes the interpreter into the first line of the script beside us, but drops its
 * options; without -I and -S Python would obey PYTHONPATH and friends and run whatever `site`
 * finds.
 *
 * The front end decides and hands back a plan image: JAI_IMAGE names its descriptor.  We run it, so
 * no interpreter stays in memory beside the command.  When a step fails the front end is asked for
 * the words: JAI_FAILED tells it which.  When it has set JAI_AFTER, it is asked again at the end:
 * JAI_ENDED tells it how the command has ended.
 */
#include "jai.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SCRIPT "jai-python"

enum { MOST_TOLD = 8 };

/* Python ignores these two; whether the user did is kept in JAI_IGNORED. */
static const int changed_by_python[] = {SIGPIPE, SIGXFSZ};

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

/*
 * A closed standard descriptor becomes /dev/null: whatever is opened next must not take its place.
 * A directory there would lead the command past the jail, to the real files; and Python does not
 * start.
 */
static int check_standard(void)
{
	static const char *const names[] = {"input", "output", "error"};

	for (int fd = 0; fd <= 2; fd++) {
		struct stat stat;

		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
			return fail("/dev/null");
		if (fstat(fd, &stat) == 0 && S_ISDIR(stat.st_mode)) {
			fprintf(stderr,
				"jai: standard %s is a directory: through it the command would "
				"reach the real files\n"
				"  hint: redirect it from or to a file\n",
				names[fd]);
			return 125;
		}
	}
	return 0;
}

/* An interrupt waits until Python's handler, which prints a traceback, is gone. 1 if it did not
 * wait before. */
static int hold_interrupt(void)
{
	sigset_t set, before;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	return sigprocmask(SIG_BLOCK, &set, &before) == 0 && !sigismember(&before, SIGINT);
}

static int start_front_end(int argc, char **argv)
{
	char script[PATH_MAX], line[PATH_MAX + 2];
	char **words = calloc((size_t)argc + 9, sizeof(*words));
	int count = 0;

	if (!words)
		return fail("no memory");
	if (find_script(script) < 0)
		return fail("the command can not find itself");
	if (read_interpreter(script, line, (int)sizeof(line)) < 0)
		return fail(script);
	words[count++] = line + 2;
	words[count++] = (char *)"-I";
	words[count++] = (char *)"-S";
	/* Names of files are bytes, whatever the locale calls them; and it need not be loaded. */
	words[count++] = (char *)"-Xutf8";
	/* In the C locale Python sets LC_CTYPE, which is not for the command to inherit. */
	if (!getenv("LC_CTYPE"))
		words[count++] = (char *)"-Xjai_no_ctype";
	if (hold_interrupt())
		words[count++] = (char *)"-Xjai_interrupt";
	words[count++] = script;
	for (int i = 1; i < argc; i++)
		words[count++] = argv[i];
	execv(words[0], words);
	return fail(words[0]);
}

static void remember_signals(void)
{
	char ignored[8] = "";

	for (size_t i = 0; i < 2; i++) {
		struct sigaction action;

		if (sigaction(changed_by_python[i], NULL, &action) == 0 &&
		    action.sa_handler == SIG_IGN)
			strcat(ignored, i ? "x" : "p");
	}
	if (ignored[0])
		setenv("JAI_IGNORED", ignored, 1);
	else
		unsetenv("JAI_IGNORED");
}

static void restore_signals(void)
{
	const char *ignored = getenv("JAI_IGNORED");

	for (size_t i = 0; i < 2; i++)
		signal(changed_by_python[i],
		       ignored && strchr(ignored, i ? 'x' : 'p') ? SIG_IGN : SIG_DFL);
}

/* A name that a jail made must not steer the terminal. C1 control characters are C2 80 to C2 9F. */
static void print_name(const char *name)
{
	int c1 = 0;

	for (const unsigned char *at = (const unsigned char *)name; *at; at++) {
		int second = c1;

		c1 = *at == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0;
		if (*at < ' ' || *at == 0x7f || c1 || second)
			fprintf(stderr, "\\x%02x", *at);
		else
			fputc(*at, stderr);
	}
}

/* Nothing can prevent that a missing file is made without a file in its place, so it is told. */
static void tell_changes(const void *image, size_t size)
{
	const struct jai_header *header = image;
	const struct jai_step *steps = (const void *)(header + 1);
	const char *strings = (const char *)(steps + header->steps);
	int32_t changed[MOST_TOLD];
	int count = jai_changed(image, size, changed, MOST_TOLD);

	for (int i = 0; i < count && i < MOST_TOLD; i++) {
		const struct jai_step *step = &steps[changed[i]];

		fputs("jai: ", stderr);
		print_name(strings + step->target);
		fprintf(stderr, " was %s while the jail ran\n",
			step->flags & (JAI_SAME | JAI_CONTENT) ? "changed" : "made");
	}
	if (count > MOST_TOLD)
		fprintf(stderr, "jai: and %d more\n", count - MOST_TOLD);
	if (count)
		fputs("  hint: it may run, or say what runs, outside of the jail: look at it "
		      "first\n",
		      stderr);
}

static void tell_place(const struct jai_result *result)
{
	if (result->moved)
		fputs("jai: the current directory was not in the jail; the command started in the "
		      "home\n",
		      stderr);
}

/* Runs an image and gives the command's exit status, or -1 when the front end has to go on: nothing
 * was run, or it wants to know the end. */
static int run(const void *image, size_t size, struct jai_result *result)
{
	jai_run(image, size, result);
	if (result->outcome != JAI_FAILED)
		tell_place(result);
	if (result->outcome == JAI_EXITED || result->outcome == JAI_SIGNALED) {
		tell_changes(image, size);
		if (getenv("JAI_AFTER"))
			return -1;
	}
	if (result->outcome == JAI_EXITED)
		return result->value;
	if (result->outcome == JAI_SIGNALED) {
		jai_die(result->value);
		return 128 + result->value;
	}
	if (result->outcome != JAI_LOST)
		return -1;
	tell_changes(image, size);
	fputs("jai: the jail was killed from outside\n", stderr);
	return 125;
}

/* Runs the image behind a descriptor and ends as the command ended, or asks the front end to
 * explain. */
static int run_image(int fd, int argc, char **argv)
{
	struct jai_result result;
	struct stat stat;
	char words[64];
	const void *image;
	int status, ended;

	if (fstat(fd, &stat) < 0)
		return start_front_end(argc, argv); /* a variable left over from somewhere */
	image = mmap(NULL, (size_t)stat.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (image == MAP_FAILED)
		return fail("the plan can not be read");
	close(fd);
	restore_signals();
	status = run(image, (size_t)stat.st_size, &result);
	if (status >= 0)
		return status;
	if (result.outcome == JAI_FAILED)
		tell_place(&result);
	remember_signals();
	snprintf(words, sizeof(words), "%d %d %d", result.outcome, result.step, result.value);
	ended = result.outcome == JAI_EXITED || result.outcome == JAI_SIGNALED;
	setenv(ended ? "JAI_ENDED" : "JAI_FAILED", words, 1);
	return start_front_end(argc, argv);
}

/* Root that acts for a user becomes that user first, in the front end. */
static int acts_for_another(void)
{
	const char *names[] = {getenv("SUDO_USER"), getenv("USER")};

	for (size_t i = 0; i < 2 && getuid() == 0; i++)
		if (names[i] && names[i][0] && strcmp(names[i], "root") != 0)
			return 1;
	return getuid() != geteuid() || getgid() != getegid();
}

/* Runs the plan that was sealed for what was typed, if it still holds; gives the exit status or -1.
 * A failure is not told: the front end tries again, and what it hands back fails alike. */
static int run_sealed(char **argv)
{
	const char *home = getenv("HOME"), *chosen = getenv("JAI_CONFIG_DIR");
	char directory[PATH_MAX];
	struct jai_result result;
	size_t size = 0;
	void *image = NULL;
	int status = -1;
	int length = chosen && chosen[0]
			     ? snprintf(directory, sizeof(directory), "%s/.plans", chosen)
			     : snprintf(directory, sizeof(directory), "%s/.jai/.plans",
					home ? home : "");

	if (directory[0] == '/' && length < (int)sizeof(directory) && !acts_for_another())
		image = jai_unseal(directory, argv + 1, environ, &size);
	if (image)
		status = run(image, size, &result);
	free(image);
	return status;
}

int main(int argc, char **argv)
{
	const char *image = getenv("JAI_IMAGE");
	int status;

	if (image) {
		int fd = -1, pid = 0, found = sscanf(image, "%d %d", &fd, &pid);

		unsetenv("JAI_IMAGE");
		/* Ours only if it was this very process that set it. */
		if (found == 2 && pid == getpid())
			return run_image(fd, argc, argv);
	}
	status = check_standard();
	if (status)
		return status;
	unsetenv("JAI_AFTER");
	unsetenv("JAI_ENDED");
	unsetenv("JAI_FAILED");
	unsetenv("JAI_ATTEMPTS");
	status = run_sealed(argv);
	if (status >= 0)
		return status;
	remember_signals();
	return start_front_end(argc, argv);
}

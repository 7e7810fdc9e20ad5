/*
 * Sealed plans: what the front end decided once, with every fact that the decision rested on.  When
 * the same words are typed in the same place and all facts still hold, the plan is run at once.
 *
 * An entry is a file that only its owner can write to, in a directory that only its owner can open
 * and that no jail shows.  Whatever is wrong with one, it is as if it were not there: the front end
 * decides anew.  It is written by sealed.py, which describes the facts.
 */
#include "plan.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>

enum {
	SEALED_MAGIC = 0x4c41454a,
	SEALED_VERSION = 2,
	MAX_ENTRY = 1 << 24,
	MAX_PREFIX = 32,
	FIRST_ROOM = 8192
};

/* Behind it lie the parts, in this order, without gaps. */
struct header {
	uint32_t magic;
	uint32_t version;
	uint64_t sum; /* jai_hash of all that follows */
	uint32_t key, facts, env, args, image;
	uint32_t words; /* the command's own words follow those of `args` */
};

struct entry {
	char *file;
	struct header head;
	const char *key, *facts, *env, *args, *image;
};

/* Bytes that grow; failed: there was no memory. */
struct bytes {
	char *at;
	size_t size, room;
	int failed;
};

static void add(struct bytes *b, const void *data, size_t size)
{
	if (!b->at || b->size + size > b->room) {
		size_t room = 2 * (b->size + size) + FIRST_ROOM;
		char *at = realloc(b->at, room);

		if (!at) {
			b->failed = 1;
			return;
		}
		b->at = at;
		b->room = room;
	}
	if (size)
		memcpy(b->at + b->size, data, size);
	b->size += size;
}

static void add_text(struct bytes *b, const char *text)
{
	add(b, text, strlen(text) + 1);
}

static void add_number(struct bytes *b, uint64_t number)
{
	char line[24];

	*put_number(line, number) = '\0';
	add_text(b, line);
}

static int read_all(int fd, struct bytes *b)
{
	char piece[16384];
	ssize_t size;

	while ((size = read(fd, piece, sizeof(piece))) > 0)
		add(b, piece, (size_t)size);
	return size < 0 || b->failed ? -1 : 0;
}

/* --- the key: what was typed, where, and by whom ---------------------------------------------- */

/* These come and go between jai's own processes. */
static int is_private(const char *name, size_t size)
{
	static const char *const names[] = {"JAI_ATTEMPTS", "JAI_FAILED", "JAI_IGNORED",
					    "JAI_IMAGE"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strlen(names[i]) == size && memcmp(names[i], name, size) == 0)
			return 1;
	return 0;
}

/* By the bytes of the names, which end before the "=". */
static int by_name(const void *one, const void *other)
{
	const char *a = *(const char *const *)one, *b = *(const char *const *)other;

	while (*a == *b && *a && *a != '=') {
		a++;
		b++;
	}
	return (*a == '=' ? 0 : (unsigned char)*a) - (*b == '=' ? 0 : (unsigned char)*b);
}

/* The names of the variables, sorted; their values are facts where a decision rested on them. */
static void add_names(struct bytes *key, char **env)
{
	const char *last = NULL;
	size_t count = 0;
	const char **names;

	while (env[count])
		count++;
	names = calloc(count + 1, sizeof(*names));
	if (!names) {
		key->failed = 1;
		return;
	}
	memcpy(names, env, count * sizeof(*names));
	qsort(names, count, sizeof(*names), by_name);
	for (size_t i = 0; i < count; i++) {
		size_t size = strcspn(names[i], "=");

		if (!names[i][size] || is_private(names[i], size) ||
		    (last && by_name(&last, &names[i]) == 0))
			continue;
		last = names[i];
		add(key, last, size);
		add(key, "", 1);
	}
	free(names);
	add(key, "", 1);
}

static void add_groups(struct bytes *key)
{
	gid_t groups[1024];
	int count = getgroups(1024, groups);

	key->failed |= count < 0;
	for (int i = 0; i < count; i++)
		add_number(key, groups[i]);
	add(key, "", 1);
}

static void add_terminal(struct bytes *key)
{
	char path[PATH_MAX] = "";
	int fd = 0;

	while (fd <= 2 && ttyname_r(fd, path, sizeof(path)) != 0)
		fd++;
	add_text(key, fd <= 2 ? path : "");
	fd = sys_open("/dev/tty", O_RDONLY | O_NOCTTY | O_CLOEXEC);
	add_number(key, fd >= 0);
	if (fd >= 0)
		close(fd);
}

/* Another installation may decide in another way. */
static void add_installation(struct bytes *key)
{
	char path[PATH_MAX];
	ssize_t size = readlink("/proc/self/exe", path, sizeof(path));

	key->failed |= size <= 0 || size == sizeof(path);
	while (!key->failed && size > 0 && path[--size] != '/')
		;
	if (!key->failed)
		add(key, path, (size_t)size);
	add(key, "", 1);
}

static void make_key(struct bytes *key, char **env)
{
	char cwd[PATH_MAX];
	struct utsname kernel;

	key->failed |= !getcwd(cwd, sizeof(cwd)) || cwd[0] != '/' || uname(&kernel) < 0;
	if (key->failed)
		return;
	add_number(key, JAI_VERSION);
	add_installation(key);
	add_text(key, kernel.release);
	add_text(key, kernel.version);
	add_text(key, cwd);
	add_number(key, getuid());
	add_number(key, getgid());
	add_groups(key);
	add_terminal(key);
	add_names(key, env);
}

/* --- the facts -------------------------------------------------------------------------------- */

static uint64_t nanoseconds(const struct timespec *time)
{
	return (uint64_t)time->tv_sec * 1000000000 + (uint64_t)time->tv_nsec;
}

/* A hundred times at each start, which printf would take 50 us for. */
static void describe(char *line, const struct stat *found, int whole)
{
	const uint64_t numbers[] = {found->st_dev,
				    found->st_ino,
				    found->st_mode,
				    found->st_uid,
				    found->st_gid,
				    (uint64_t)found->st_size,
				    nanoseconds(&found->st_mtim),
				    nanoseconds(&found->st_ctim)};

	for (size_t i = 0; i < (whole ? 8 : 5); i++)
		line = put_number(put_text(line, i ? " " : ""), numbers[i]);
}

/* Opened, not only looked at, where it may be on NFS, which asks its server then; a file system on
 * a disk has a number of its own.  But a jail may have put a link to a device there, and to open
 * one can do something. */
static int look_at_file(const char *path, struct stat *found)
{
	auto_fd fd = -1;

	if (stat(path, found) < 0)
		return -1;
	if (major(found->st_dev) || (!S_ISREG(found->st_mode) && !S_ISDIR(found->st_mode)))
		return 0;
	fd = sys_open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	return fd < 0 || fstat(fd, found) < 0 ? -1 : 0;
}

static int hash_content(const char *path, char *line, size_t size)
{
	struct bytes content = {0};
	auto_fd fd = sys_open(path, O_RDONLY | O_CLOEXEC);
	int error = fd < 0 || read_all(fd, &content) < 0 ? -1 : 0;

	snprintf(line, size, "%016jx", (uintmax_t)jai_hash(content.at, content.size));
	free(content.at);
	return error;
}

/* A path that is not there has the real path of the folder that is. */
static int resolves_to(const char *path, const char *expected)
{
	char part[PATH_MAX], real[PATH_MAX];
	size_t size = strlen(path);
	struct stat stat;

	if (strcmp(path, expected) == 0)
		return jai_is_real(path);
	if (size >= sizeof(part))
		return 0;
	memcpy(part, path, size + 1);
	while (!realpath(part, real)) {
		char *slash = strrchr(part, '/');

		if (errno != ENOENT || lstat(part, &stat) == 0 || !slash || slash == part)
			return 0;
		*slash = '\0';
	}
	size = strlen(real);
	return strncmp(expected, real, size) == 0 &&
	       strcmp(expected + size, path + strlen(part)) == 0;
}

static int64_t ask(char kind, const char *name)
{
	switch (kind) {
	case 't':
		return jai_fstype(name);
	case 'g':
		return jai_owns_cgroup(getuid());
	case 'a':
		return jai_landlock();
	default:
		return jai_may_help();
	}
}

static int holds(char kind, const char *name, const char *expected)
{
	char line[256] = "";
	const char *value;
	struct statvfs mounted;
	struct stat found = {0};
	int result = 0;

	switch (kind) {
	case 'e':
		value = getenv(name);
		return value ? expected[0] == '=' && strcmp(value, expected + 1) == 0
			     : !expected[0];
	case 'r':
		return resolves_to(name, expected);
	case 's':
	case 'l':
		result = kind == 's' ? stat(name, &found) : lstat(name, &found);
		describe(line, &found, 0);
		break;
	case 'i':
		result = lstat(name, &found);
		describe(line, &found, 1);
		break;
	case 'f':
		result = look_at_file(name, &found);
		describe(line, &found, 1);
		break;
	case 'o':
		result = statvfs(name, &mounted);
		snprintf(line, sizeof(line), "%lu", mounted.f_flag & (ST_RDONLY | ST_NOEXEC));
		break;
	case 't':
	case 'g':
	case 'a':
	case 'h':
		snprintf(line, sizeof(line), "%jd", (intmax_t)ask(kind, name));
		break;
	case 'c':
		result = hash_content(name, line, sizeof(line));
		break;
	default:
		return 0;
	}
	if (result < 0)
		snprintf(line, sizeof(line), "-%d", errno);
	return strcmp(line, expected) == 0;
}

/* Each is a letter and a name, then what was found: two strings. */
static int all_hold(const struct entry *e)
{
	const char *at = e->facts, *end = at + e->head.facts;

	while (at < end) {
		const char *expected = at + strlen(at) + 1;

		if (!at[0] || expected >= end || !holds(at[0], at + 1, expected))
			return 0;
		at = expected + strlen(expected) + 1;
	}
	return 1;
}

/* --- the entry -------------------------------------------------------------------------------- */

static int is_ours(const struct stat *found, mode_t mode)
{
	return found->st_uid == getuid() && found->st_mode == mode;
}

/* Below the current directory jails write, so they could have made it: the front end refuses to
 * start anything then, unless the directory is not granted. */
static int in_reach(int place, char **words)
{
	char link[32], path[PATH_MAX], cwd[PATH_MAX];
	ssize_t size;
	size_t top;

	if (words[0] && (strcmp(words[0], "-D") == 0 || strcmp(words[0], "--nocwd") == 0))
		return 0;
	put_fd_path(link, place);
	size = readlink(link, path, sizeof(path));
	if (size <= 0 || size == sizeof(path) || !getcwd(cwd, sizeof(cwd)))
		return 1;
	path[size] = '\0';
	top = cwd[1] ? strlen(cwd) : 0;
	return strncmp(path, cwd, top) == 0 && (path[top] == '/' || !path[top]);
}

static int open_folder(const char *directory, char **words)
{
	struct stat found;
	auto_fd place = sys_open(directory, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (place < 0 || fstat(place, &found) < 0 || !is_ours(&found, S_IFDIR | 0700) ||
	    in_reach(place, words))
		return -1;
	return steal_fd(&place);
}

static int open_entry(int place, uint64_t name)
{
	struct stat found;
	char file[24];
	auto_fd fd = -1;

	snprintf(file, sizeof(file), "%016jx", (uintmax_t)name);
	fd = openat(place, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &found) < 0 || !is_ours(&found, S_IFREG | 0600) ||
	    found.st_nlink != 1 || found.st_size > MAX_ENTRY)
		return -1;
	return steal_fd(&fd);
}

/* Every part that holds strings ends with one's NUL. */
static const char *take(const char **at, size_t *left, uint32_t size, int strings)
{
	const char *part = *at;

	if (!part || size > *left || (strings && size && part[size - 1])) {
		*at = NULL;
		return NULL;
	}
	*at += size;
	*left -= size;
	return part;
}

static int read_entry(int fd, struct entry *e)
{
	const size_t sealed = offsetof(struct header, key);
	struct bytes file = {0};
	const char *at;
	size_t left;

	if (read_all(fd, &file) < 0 || file.size < sizeof(e->head)) {
		free(file.at);
		return -1;
	}
	e->file = file.at;
	memcpy(&e->head, file.at, sizeof(e->head));
	if (e->head.magic != SEALED_MAGIC || e->head.version != SEALED_VERSION ||
	    e->head.sum != jai_hash(file.at + sealed, file.size - sealed))
		return -1;
	at = file.at + sizeof(e->head);
	left = file.size - sizeof(e->head);
	e->key = take(&at, &left, e->head.key, 1);
	e->facts = take(&at, &left, e->head.facts, 1);
	e->env = take(&at, &left, e->head.env, 1);
	e->args = take(&at, &left, e->head.args, 1);
	e->image = take(&at, &left, e->head.image, 0);
	return at && left == 0 ? 0 : -1;
}

/* --- the image, with this start's variables and words ----------------------------------------- */

struct draft {
	struct bytes steps, strings;
};

static void add_step(struct draft *d, uint32_t kind, const char *text, size_t size)
{
	const struct jai_step step = {.kind = kind, .source = (uint32_t)d->strings.size};

	add(&d->steps, &step, sizeof(step));
	add(&d->strings, text, size);
}

/* `NAME=VALUE` is set by jai, `NAME` alone passes. */
static void add_environment(struct draft *d, const struct entry *e)
{
	for (const char *at = e->env; at < e->env + e->head.env; at += strlen(at) + 1) {
		const char *value = strchr(at, '=') ? NULL : getenv(at);

		add_step(d, JAI_ENV, at, strlen(at) + !value);
		if (value) {
			add(&d->strings, "=", 1);
			add_text(&d->strings, value);
		}
	}
}

static void add_words(struct draft *d, const struct entry *e, char **words)
{
	for (const char *at = e->args; at < e->args + e->head.args; at += strlen(at) + 1)
		add_step(d, JAI_ARG, at, strlen(at) + 1);
	while (e->head.words && *words) {
		add_step(d, JAI_ARG, *words, strlen(*words) + 1);
		words++;
	}
}

static int draft_image(struct draft *d, const struct entry *e, char **words)
{
	/* A copy: in the entry it is not aligned. */
	void *image = malloc(e->head.image + 1);
	int32_t bad;
	struct plan plan;
	int env = 0, args = 0;

	if (!image)
		return -1;
	memcpy(image, e->image, e->head.image);
	if (plan_read(&plan, image, e->head.image, &bad) < 0) {
		free(image);
		return -1;
	}
	add(&d->strings, plan.strings, plan.size);
	for (uint32_t i = 0; i < plan.count; i++) {
		const struct jai_step *step = &plan.steps[i];

		if (step->kind == JAI_ENV && !env++)
			add_environment(d, e);
		else if (step->kind == JAI_ARG && !args++)
			add_words(d, e, words);
		else if (step->kind != JAI_ENV && step->kind != JAI_ARG)
			add(&d->steps, step, sizeof(*step));
	}
	plan_free(&plan);
	free(image);
	return d->steps.failed || d->strings.failed ? -1 : 0;
}

static void *make_image(const struct entry *e, char **words, size_t *size)
{
	struct draft d = {0};
	struct bytes image = {0};
	struct jai_header head = {.magic = JAI_MAGIC, .version = JAI_VERSION};

	if (draft_image(&d, e, words) == 0) {
		head.steps = (uint32_t)(d.steps.size / sizeof(struct jai_step));
		head.strings = (uint32_t)d.strings.size;
		head.size = (uint32_t)(sizeof(head) + d.steps.size + d.strings.size);
		add(&image, &head, sizeof(head));
		add(&image, d.steps.at, d.steps.size);
		add(&image, d.strings.at, d.strings.size);
	}
	free(d.steps.at);
	free(d.strings.at);
	if (image.failed) {
		free(image.at);
		return NULL;
	}
	*size = image.size;
	return image.at;
}

/* Looks for a plan of these words, of which the first `count` are options. */
static void *try_words(int folder, const struct bytes *place, int count, char **words, size_t *size)
{
	struct bytes key = {0};
	struct entry e = {0};
	auto_fd fd = -1;
	void *image = NULL;

	add(&key, place->at, place->size);
	add_number(&key, (uint64_t)count);
	for (int i = 0; i <= count && words[i]; i++)
		add_text(&key, words[i]);
	fd = key.failed ? -1 : open_entry(folder, jai_hash(key.at, key.size));
	if (fd >= 0 && read_entry(fd, &e) == 0 && e.head.key == key.size &&
	    memcmp(e.key, key.at, key.size) == 0 && all_hold(&e))
		image = make_image(&e, words + count, size);
	free(e.file);
	free(key.at);
	return image;
}

void *jai_unseal(const char *directory, char **words, char **env, size_t *size)
{
	struct bytes place = {0};
	void *image = NULL;
	auto_fd folder = open_folder(directory, words);

	if (folder < 0)
		return NULL;
	make_key(&place, env);
	for (int count = 0; !image && !place.failed && count <= MAX_PREFIX; count++) {
		image = try_words(folder, &place, count, words, size);
		/* What does not start with a dash is the command: options end here. */
		if (!words[count] || (count == 0 && words[0][0] != '-'))
			break;
	}
	free(place.at);
	return image;
}

/*
 * Feeds the privileged helper's two parsers: the first byte of the input chooses between the lines
 * of /etc/subuid and a request with its control message.  With clang it is a libFuzzer target
 * (-fsanitize=fuzzer); compiled with -DSTANDALONE it mutates its own examples:
 *   fuzz_helper ROUNDS SEED
 */
#define main helper_main
#include "../jai/helper/idmap.c"
#undef main

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool true_of_any_input)
{
	if (!true_of_any_input)
		abort();
}

/* What was found must be there: a line that says so, written as we would write it. */
static void fuzz_ranges(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 2), wanted[32];
	uint32_t id = 0;
	int error;

	must(text);
	/* A copy of its exact size: a read past the end is seen.  The newline in front is for
	 * strstr. */
	text[0] = '\n';
	memcpy(text + 1, data, size);
	text[size + 1] = '\0';
	error = parse_ranges(text + 1, 61001, 61001, &id);
	must(error == 0 || error == ENOENT || error == EBADMSG);
	must(error ? id == 0 : id >= 1000 && id != 61001 && id != UINT32_MAX);
	snprintf(wanted, sizeof(wanted), "\n61001:%u:", id);
	must(error || strstr(text, wanted));
	free(text);
}

/* The control message gets the room that the helper gives it, filled as the kernel never would. */
static void fuzz_request(const uint8_t *data, size_t size)
{
	char control[CMSG_SPACE(2 * sizeof(int))] __attribute__((aligned(8))) = {0};
	size_t used = size < sizeof(control) ? size : sizeof(control);
	size_t body = size - used;
	struct msghdr message = {.msg_control = control};
	struct idmap_request request = {0};
	int fd = -1;

	memcpy(control, data, used);
	if (size && data[0] & 1)
		message.msg_flags = data[0] & 2 ? MSG_TRUNC : MSG_CTRUNC;
	else if (!size || !(data[0] & 2))
		message.msg_controllen = used;
	memcpy(&request, data + used, body < sizeof(request) ? body : sizeof(request));
	if (!is_request(&message, &request, (ssize_t)body, &fd))
		return;
	must(body == sizeof(request) && !message.msg_flags && request.magic == IDMAP_MAGIC);
	must(request.version == IDMAP_VERSION);
	if (request.verb == IDMAP_IDENTITY)
		must(fd == -1 && !message.msg_controllen && request.inside);
	else
		must(request.verb <= IDMAP_CLONE && fd >= 0 && !request.inside);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	caller.uid = 61001;
	if (size && data[0] & 1)
		fuzz_ranges(data + 1, size - 1);
	else if (size)
		fuzz_request(data + 1, size - 1);
	return 0;
}

#ifdef STANDALONE
static uint64_t state;

static uint32_t next(uint32_t below)
{
	state = state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(state >> 33) % below;
}

static size_t example(uint8_t *to)
{
	static const char text[] =
		"\1"
		"root:100000:65536\n61001:1:0\n61001:165536:65536\n610011:5000:9\n";
	struct {
		struct cmsghdr header;
		int fd, none;
		struct idmap_request request;
	} good = {{CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS},
		  7,
		  0,
		  {IDMAP_MAGIC, IDMAP_VERSION, 1 + next(3), next(2)}};

	if (next(2)) {
		memcpy(to, text, sizeof(text) - 1);
		return sizeof(text) - 1;
	}
	to[0] = 0;
	memcpy(to + 1, &good, sizeof(good));
	return 1 + sizeof(good);
}

int main(int argc, char **argv)
{
	static const char letters[] = "0123456789:\n\r- \0x";
	unsigned long rounds = argc > 2 ? strtoul(argv[1], NULL, 10) : 0;
	uint8_t bytes[256];

	state = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
	for (unsigned long round = 0; round < rounds; round++) {
		size_t size = example(bytes);

		for (uint32_t edits = next(6); edits; edits--)
			bytes[1 + next((uint32_t)size - 1)] =
				next(2) ? (uint8_t)letters[next(sizeof(letters))]
					: (uint8_t)next(256);
		LLVMFuzzerTestOneInput(bytes, next(4) ? size : next((uint32_t)size + 1));
	}
	printf("%lu rounds\n", rounds);
	return rounds ? 0 : 2;
}
#endif

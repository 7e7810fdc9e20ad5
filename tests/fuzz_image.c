/*
 * Feeds the core's image check with what is nearly a plan.  With clang it is a libFuzzer target
 * (-fsanitize=fuzzer); compiled with -DSTANDALONE it mutates the images it is given by itself:
 *   fuzz_image ROUNDS SEED IMAGE...
 */
#include "jai.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct jai_result result;
	/* A copy of its exact size: a read past the end is seen. */
	uint8_t *image = malloc(size ? size : 1);

	if (!image)
		return 0;
	memcpy(image, data, size);
	jai_check(image, size, &result);
	free(image);
	return 0;
}

#ifdef STANDALONE
static uint64_t state;

static uint32_t next(uint32_t below)
{
	state = state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(state >> 33) % below;
}

static const uint32_t interesting[] = {0,    1,	 0x7fffffff, 0x80000000, 0xffffffff,
				       4096, 16, 25,	     26,	 511};

static void mutate(uint8_t *image, size_t size)
{
	for (uint32_t count = 1 + next(6); count; count--) {
		uint32_t at = next((uint32_t)size);

		if (next(2)) {
			image[at] = (uint8_t)next(256);
		} else {
			uint32_t value = next(2) ? interesting[next(10)] : next((uint32_t)size);

			at &= ~3U;
			if (at + 4 <= size)
				memcpy(image + at, &value, 4);
		}
	}
}

static size_t load(const char *path, uint8_t *to, size_t room)
{
	FILE *file = fopen(path, "rb");
	size_t size = file ? fread(to, 1, room, file) : 0;

	if (file)
		fclose(file);
	return size;
}

int main(int argc, char **argv)
{
	static uint8_t original[1 << 16], image[1 << 16];
	unsigned long rounds = argc > 3 ? strtoul(argv[1], NULL, 10) : 0;

	state = argc > 3 ? strtoull(argv[2], NULL, 10) : 0;
	for (int file = 3; file < argc; file++) {
		size_t size = load(argv[file], original, sizeof(original));

		if (!size)
			return 2;
		for (unsigned long round = 0; round < rounds; round++) {
			memcpy(image, original, size);
			mutate(image, size);
			LLVMFuzzerTestOneInput(image, next(8) ? size : next((uint32_t)size + 1));
		}
	}
	printf("%lu rounds of %d images\n", rounds, argc - 3);
	return rounds && argc > 3 ? 0 : 2;
}
#endif

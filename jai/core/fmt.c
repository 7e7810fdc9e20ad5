#include "plan.h"

char *put_text(char *at, const char *text)
{
	while (*text)
		*at++ = *text++;
	*at = '\0';
	return at;
}

char *put_number(char *at, uint64_t number)
{
	char digits[20];
	int count = 0;

	do {
		digits[count++] = (char)('0' + number % 10);
		number /= 10;
	} while (number);
	while (count)
		*at++ = digits[--count];
	*at = '\0';
	return at;
}

char *put_fd_path(char *at, int fd)
{
	return put_number(put_text(at, "/proc/self/fd/"), (uint64_t)fd);
}

uint64_t hash(uint64_t key, const void *data, size_t size)
{
	const unsigned char *bytes = data;

	/* FNV-1a; a difference must not go unseen by accident, nobody gains by forging one. */
	for (size_t i = 0; i < size; i++)
		key = (key ^ bytes[i]) * 0x100000001b3ULL;
	return key;
}

uint64_t jai_hash(const void *data, size_t size)
{
	return hash(0xcbf29ce484222325ULL, data, size);
}

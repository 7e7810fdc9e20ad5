/* Runs a plan image by the C core and nothing else: no Python, no search for a kept plan and no
 * check of one.  core-alone IMAGE */
#include "jai.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct jai_result result;
	struct stat found;
	const void *image;
	int fd = argc == 2 ? open(argv[1], O_RDONLY | O_CLOEXEC) : -1;

	if (fd < 0 || fstat(fd, &found) < 0)
		return 2;
	image = mmap(NULL, (size_t)found.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (image == MAP_FAILED)
		return 2;
	close(fd);
	jai_run(image, (size_t)found.st_size, &result);
	if (result.outcome == JAI_EXITED)
		return result.value;
	fprintf(stderr, "outcome %d, step %d, value %d\n", result.outcome, result.step,
		result.value);
	return 125;
}

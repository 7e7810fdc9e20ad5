/*
 * What jai and its privileged helper say to each other over an AF_UNIX SOCK_SEQPACKET pair.
 *
 * The caller makes the pair, and executes the helper with one end as descriptor 0 from its own user
 * and mount namespace, that is before it makes others; its process (not the helper's) must be the
 * one that made the pair and later asks for its identity.  Each request is one packet and gets one
 * answer.  A packet that is not exactly a request ends the helper, and so does the end of the
 * stream, IDMAP_REQUESTS, or IDMAP_SECONDS after its start.
 */
#ifndef JAI_IDMAP_H
#define JAI_IDMAP_H

#include <stdint.h>

enum idmap_limits {
	IDMAP_MAGIC = 0x4449414a,
	IDMAP_VERSION = 1,
	IDMAP_REQUESTS = 1000,
	IDMAP_SECONDS = 30
};

/*
 * - IDENTITY: no descriptor; the caller's new user namespace maps inside to the strict id.
 * - MOUNT: a directory or file; answers with its mount, the caller shown as the strict id.
 * - CLONE: a directory; answers with its mount, ids as they are.
 */
enum idmap_verb { IDMAP_IDENTITY = 1, IDMAP_MOUNT = 2, IDMAP_CLONE = 3 };

struct idmap_request {
	uint32_t magic;
	uint32_t version;
	uint32_t verb;
	uint32_t inside; /* IDENTITY: the uid and gid shown inside, 1 to 2^31; else 0 */
};

/*
 * error is 0 or an errno.  Only without an error comes a descriptor: a detached mount, nosuid,
 * nodev, private, whose attributes can be tightened but not loosened.  id is the strict uid, if
 * it was needed.  Besides what the kernel says:
 * - ENOENT: /etc/subuid or /etc/subgid has no line for the caller, or does not exist
 * - EBADMSG: the caller's line, or the file itself, is not as it must be
 * - EACCES: the directory is not the caller's; or the caller's process is not dumpable
 * - ENOTDIR: it is neither a directory nor, for MOUNT, a regular file
 * - EINVAL: the file system can not be id-mapped, or is not in the helper's mount namespace
 * - EPERM: the mount is id-mapped already; or the user namespace is not a new one of the caller
 */
struct idmap_answer {
	uint32_t error;
	uint32_t id;
};

#endif

/* SPDX-License-Identifier: MIT */
#include "block/queue_ring.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "util/bytes.h"

/*
 * What a ring can be used for, whoever gets hold of it: a filter of system calls does not see what
 * is asked for through one (G9). Whatever queue_start, the wake-up and the watches use is here.
 */
static int restrict_ring(const struct io_uring *ring)
{
	static const uint8_t operations[] = {
	    IORING_OP_READV, IORING_OP_WRITEV,    IORING_OP_READ,     IORING_OP_WRITE,
	    IORING_OP_FSYNC, IORING_OP_FALLOCATE, IORING_OP_POLL_ADD, IORING_OP_POLL_REMOVE,
	};
	static const uint8_t registrations[] = {
	    IORING_REGISTER_ENABLE_RINGS,
	    IORING_REGISTER_FILES2,
	    IORING_REGISTER_FILES_UPDATE,
	};
	struct io_uring_restriction all[ARRAY_LEN(operations) + ARRAY_LEN(registrations) + 1];
	unsigned n = 0;

	memset(all, 0, sizeof(all));
	for (unsigned i = 0; i < ARRAY_LEN(operations); i++, n++) {
		all[n].opcode = IORING_RESTRICTION_SQE_OP;
		all[n].sqe_op = operations[i];
	}
	for (unsigned i = 0; i < ARRAY_LEN(registrations); i++, n++) {
		all[n].opcode = IORING_RESTRICTION_REGISTER_OP;
		all[n].register_op = registrations[i];
	}
	all[n].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
	all[n++].sqe_flags = IOSQE_FIXED_FILE;
	return io_uring_register((unsigned)ring->ring_fd, IORING_REGISTER_RESTRICTIONS, all, n);
}

int ring_open(struct io_uring *ring, unsigned entries)
{
	/* Completions are run when we enter the kernel anyway, not by interrupting this thread. */
	static const unsigned flags[] = {IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG, 0};
	int rc = -EINVAL;

	for (unsigned i = 0; i < ARRAY_LEN(flags) && rc == -EINVAL; i++)
		rc = io_uring_queue_init(entries, ring, flags[i] | IORING_SETUP_R_DISABLED);
	if (rc < 0)
		return rc;
	rc = restrict_ring(ring);
	if (rc >= 0)
		rc = io_uring_register((unsigned)ring->ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL,
				       0);
	if (rc < 0)
		io_uring_queue_exit(ring);
	return rc;
}

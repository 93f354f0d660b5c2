/* SPDX-License-Identifier: MIT */
#ifndef STRATA_HV_SCSI_H
#define STRATA_HV_SCSI_H

/*
 * The SCSI target: what a command block means (scsi_cdb.c), and the answers of a direct-access
 * block device with blocks of 512 bytes (SPC-3, SBC-3), a write cache, FUA, and thin provisioning
 * where the disk can trim.
 *
 *	scsi_decode       command block -> struct scsi_command, every field checked (G5)
 *	scsi_admit        whether the unit takes it: write protection and the like
 *	scsi_execute      the answer, for commands that need no I/O
 *	scsi_take_params  for those that send a parameter list: what to do with the disk
 *	scsi_disk_req     the request to the disk
 *	scsi_failure      how a failed request is told to the guest
 *
 * Pure: no state, no guest memory, no locks; what is given by pointer has been copied out of
 * reach of the guest before (G1).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "block/block.h"
#include "util/err.h"
#include "util/guid.h"

#define SCSI_BLOCK        DISK_SECTOR
#define SCSI_CDB_MAX      16u
#define SCSI_SENSE_BYTES  18u
#define SCSI_ANSWER_MAX   1024u      /* bytes of data of any answer made here */
#define SCSI_UNMAP_RANGES 64u        /* in one UNMAP */
#define SCSI_ZERO_BLOCKS  (1u << 21) /* 1 GiB: in one range of UNMAP, and in one WRITE SAME */
#define SCSI_PARAMS_MAX   (8u + 16u * SCSI_UNMAP_RANGES)
#define SCSI_MAX_LUNS     64u

enum scsi_status { SCSI_GOOD = 0, SCSI_CHECK_CONDITION = 2 };

/* Sense key and additional sense code with qualifier. */
struct scsi_sense {
	uint8_t key;
	uint8_t asc, ascq;
};

/* What a unit is at the moment a command is executed. */
struct scsi_unit {
	struct guid id;
	uint64_t blocks;
	uint32_t optimal_bytes; /* unit of allocation; 0: not known */
	uint32_t max_transfer_bytes;
	bool readonly;
	bool can_trim;
};

enum scsi_action {
	/* answered at once */
	SCSI_TEST_READY,
	SCSI_REQUEST_SENSE,
	SCSI_INQUIRY,
	SCSI_MODE_SENSE,
	SCSI_READ_CAPACITY_10,
	SCSI_READ_CAPACITY_16,
	SCSI_REPORT_LUNS,
	SCSI_NOTHING, /* START STOP UNIT, PREVENT ALLOW, VERIFY: good, and that is all */
	/* I/O */
	SCSI_READ,
	SCSI_WRITE,
	SCSI_FLUSH,
	/* I/O with a parameter list: scsi_take_params first */
	SCSI_UNMAP,
	SCSI_WRITE_SAME,
};

struct scsi_command {
	enum scsi_action action;
	uint64_t lba;
	uint64_t blocks;
	uint32_t data_bytes; /* that go from or to the guest; of answers: at most so many */
	bool data_out;
	bool fua;
	bool unmap;     /* WRITE SAME: give the space back */
	bool no_data;   /* WRITE SAME: zeros, and none are sent */
	bool vital;     /* INQUIRY */
	uint8_t page;   /* INQUIRY, MODE SENSE */
	uint8_t select; /* MODE SENSE: page control; REPORT LUNS: which */
	bool ten;       /* MODE SENSE: the form of 10 bytes */
};

/* A part of the disk, in blocks. */
struct scsi_range {
	uint64_t lba;
	uint64_t blocks;
};

struct scsi_answer {
	enum scsi_status status;
	struct scsi_sense sense; /* of CHECK CONDITION */
	uint32_t len;
	uint8_t data[SCSI_ANSWER_MAX];
};

#define SCSI_NO_SENSE         ((struct scsi_sense){0})
#define SCSI_INVALID_OPCODE   ((struct scsi_sense){5, 0x20, 0x00})
#define SCSI_OUT_OF_RANGE     ((struct scsi_sense){5, 0x21, 0x00})
#define SCSI_INVALID_FIELD    ((struct scsi_sense){5, 0x24, 0x00})
#define SCSI_NO_UNIT          ((struct scsi_sense){5, 0x25, 0x00})
#define SCSI_PARAMS_LENGTH    ((struct scsi_sense){5, 0x1A, 0x00})
#define SCSI_INVALID_PARAMS   ((struct scsi_sense){5, 0x26, 0x00})
#define SCSI_NOT_SAVED        ((struct scsi_sense){5, 0x39, 0x00})
#define SCSI_WRITE_PROTECTED  ((struct scsi_sense){7, 0x27, 0x00})
#define SCSI_NO_SPACE         ((struct scsi_sense){7, 0x27, 0x07})
#define SCSI_READ_FAILED      ((struct scsi_sense){3, 0x11, 0x00})
#define SCSI_WRITE_FAILED     ((struct scsi_sense){3, 0x0C, 0x00})
#define SCSI_INTERNAL_FAILURE ((struct scsi_sense){4, 0x44, 0x00})
#define SCSI_NO_RESOURCES     ((struct scsi_sense){0x0B, 0x55, 0x03})
#define SCSI_CAPACITY_CHANGED ((struct scsi_sense){6, 0x2A, 0x09})

/*
 * Understand a command block of `len` bytes for a unit of `blocks` blocks. False: refused, and
 * *sense says why. On success lba + blocks <= unit for every command that names blocks.
 */
bool scsi_decode(const uint8_t *cdb, unsigned len, uint64_t blocks, struct scsi_command *out,
		 struct scsi_sense *sense);

/* Whether a pending unit attention is reported instead of executing it (SPC-3, 5.6). */
bool scsi_reports_attention(const struct scsi_command *command);

static inline bool scsi_is_io(const struct scsi_command *command)
{
	return command->action >= SCSI_READ;
}

static inline bool scsi_wants_params(const struct scsi_command *command)
{
	return command->action >= SCSI_UNMAP;
}

/* Whether it changes the disk. */
static inline bool scsi_changes(const struct scsi_command *command)
{
	return command->action == SCSI_WRITE || command->action >= SCSI_UNMAP;
}

/* Whether this unit does such things at all; false: *sense says why not. */
bool scsi_admit(const struct scsi_unit *unit, const struct scsi_command *command,
		struct scsi_sense *sense);

/* Not for I/O. `luns`: bit n says that there is a unit n. */
void scsi_execute(const struct scsi_unit *unit, uint64_t luns, const struct scsi_command *command,
		  struct scsi_answer *out);
/*
 * The same where there is no unit. `luns`: as above, 0 where there cannot be any. False: the
 * command has no answer without a unit.
 */
bool scsi_execute_absent(const uint8_t *cdb, unsigned len, uint64_t luns, struct scsi_answer *out);

/*
 * The ranges `params` (what the guest sent, a private copy) tells to unmap or to fill with zeros:
 * *count <= SCSI_UNMAP_RANGES of them, all inside the unit, none empty. False: refused.
 */
bool scsi_take_params(const struct scsi_command *command, uint64_t blocks, const uint8_t *params,
		      size_t len, struct scsi_range *out, unsigned *count,
		      struct scsi_sense *sense);

/* op, flags, off_bytes and len_bytes of the request for `range` of this command. */
void scsi_disk_req(const struct scsi_command *command, struct scsi_range range,
		   struct disk_req *req);

/* What a failed request of `op` means to the guest. */
struct scsi_sense scsi_failure(enum disk_op op, enum err err);
/* Fixed-format sense data. */
void scsi_put_sense(uint8_t out[SCSI_SENSE_BYTES], struct scsi_sense sense);

/* ---- between the files of the target ---- */

void scsi_inquiry(const struct scsi_unit *unit, const struct scsi_command *command,
		  struct scsi_answer *out);
void scsi_mode_sense(const struct scsi_unit *unit, const struct scsi_command *command,
		     struct scsi_answer *out);
void scsi_refuse(struct scsi_answer *out, struct scsi_sense sense);

#endif

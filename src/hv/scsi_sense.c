/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "hv/scsi.h"

struct scsi_sense scsi_failure(enum disk_op op, enum err err)
{
	switch (err) {
	case ERR_OK:
		return SCSI_NO_SENSE;
	case ERR_NOSPC:
		return SCSI_NO_SPACE;
	case ERR_READONLY:
	case ERR_PERM:
		return SCSI_WRITE_PROTECTED;
	case ERR_RANGE:
		return SCSI_OUT_OF_RANGE;
	case ERR_NOMEM:
	case ERR_CANCELLED:
		return SCSI_NO_RESOURCES; /* worth another try */
	case ERR_IO:
	case ERR_CORRUPT:
	case ERR_REPAIRABLE:
		return op == DISK_READ ? SCSI_READ_FAILED : SCSI_WRITE_FAILED;
	default:
		return SCSI_INTERNAL_FAILURE; /* ERR_POISONED, and what should not happen */
	}
}

void scsi_put_sense(uint8_t out[SCSI_SENSE_BYTES], struct scsi_sense sense)
{
	memset(out, 0, SCSI_SENSE_BYTES);
	out[0] = 0x70; /* current, fixed format */
	out[2] = sense.key;
	out[7] = SCSI_SENSE_BYTES - 8;
	out[12] = sense.asc;
	out[13] = sense.ascq;
}

void scsi_refuse(struct scsi_answer *out, struct scsi_sense sense)
{
	out->status = SCSI_CHECK_CONDITION;
	out->sense = sense;
	out->len = 0;
}

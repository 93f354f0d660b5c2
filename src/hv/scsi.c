/* SPDX-License-Identifier: MIT */
#include "hv/scsi.h"

#include <string.h>

#include "util/bytes.h"

bool scsi_admit(const struct scsi_unit *unit, const struct scsi_command *command,
		struct scsi_sense *sense)
{
	if (scsi_changes(command) && unit->readonly) {
		*sense = SCSI_WRITE_PROTECTED;
		return false;
	}
	if (command->action == SCSI_UNMAP && !unit->can_trim) {
		*sense = SCSI_INVALID_OPCODE;
		return false;
	}
	return true;
}

static void capacity_10(const struct scsi_unit *unit, struct scsi_answer *out)
{
	put_be32(out->data, (uint32_t)min_u64(unit->blocks - 1, UINT32_MAX));
	put_be32(out->data + 4, SCSI_BLOCK);
	out->len = 8;
}

static void capacity_16(const struct scsi_unit *unit, struct scsi_answer *out)
{
	memset(out->data, 0, 32);
	put_be64(out->data, unit->blocks - 1);
	put_be32(out->data + 8, SCSI_BLOCK);
	/*
	 * Physical blocks are said to be as large as logical ones: what is larger may tear in a
	 * power cut (P2), and guests take the physical size for what does not.
	 */
	if (unit->can_trim && !unit->readonly)
		out->data[14] = 0x80; /* LBPME; what was trimmed need not read as zero */
	out->len = 32;
}

static void no_sense(struct scsi_sense sense, struct scsi_answer *out)
{
	scsi_put_sense(out->data, sense);
	out->len = SCSI_SENSE_BYTES;
}

static void report_luns(const struct scsi_command *command, uint64_t luns, struct scsi_answer *out)
{
	uint32_t at = 8;

	if (command->select > 2) {
		scsi_refuse(out, SCSI_INVALID_FIELD);
		return;
	}
	if (command->select == 1)
		luns = 0; /* well-known units: we have none */
	memset(out->data, 0, 8 + 8 * SCSI_MAX_LUNS);
	for (unsigned lun = 0; lun < SCSI_MAX_LUNS; lun++) {
		if (luns & UINT64_C(1) << lun) {
			out->data[at + 1] = (uint8_t)lun;
			at += 8;
		}
	}
	put_be32(out->data, at - 8);
	out->len = at;
}

static void start_answer(struct scsi_answer *out)
{
	out->status = SCSI_GOOD;
	out->sense = SCSI_NO_SENSE;
	out->len = 0;
}

static void cut(const struct scsi_command *command, struct scsi_answer *out)
{
	out->len = (uint32_t)min_u64(out->len, command->data_bytes);
}

void scsi_execute(const struct scsi_unit *unit, uint64_t luns, const struct scsi_command *command,
		  struct scsi_answer *out)
{
	start_answer(out);
	switch (command->action) {
	case SCSI_REQUEST_SENSE:
		no_sense(SCSI_NO_SENSE, out);
		break;
	case SCSI_INQUIRY:
		scsi_inquiry(unit, command, out);
		break;
	case SCSI_MODE_SENSE:
		scsi_mode_sense(unit, command, out);
		break;
	case SCSI_READ_CAPACITY_10:
		capacity_10(unit, out);
		break;
	case SCSI_READ_CAPACITY_16:
		capacity_16(unit, out);
		break;
	case SCSI_REPORT_LUNS:
		report_luns(command, luns, out);
		break;
	default:
		break;
	}
	cut(command, out);
}

/*
 * Guests look at the data of INQUIRY whatever the status says: absence is told there, and nowhere
 * else.
 */
static void inquiry_absent(const struct scsi_command *command, struct scsi_answer *out)
{
	memset(out->data, 0, 36);
	out->data[0] = 0x7F; /* no unit, and there can be none */
	out->len = 36;
	if (command->vital) {
		out->data[1] = command->page;
		out->len = 4; /* and an empty page */
	} else {
		out->data[2] = 5;
		out->data[3] = 2;
		out->data[4] = 36 - 5;
	}
}

bool scsi_execute_absent(const uint8_t *cdb, unsigned len, uint64_t luns, struct scsi_answer *out)
{
	struct scsi_command command;
	struct scsi_sense sense;
	bool understood = scsi_decode(cdb, len, 0, &command, &sense);

	start_answer(out);
	if (!understood && command.action != SCSI_INQUIRY)
		return false;
	switch (command.action) {
	case SCSI_INQUIRY:
		inquiry_absent(&command, out);
		break;
	case SCSI_REPORT_LUNS:
		report_luns(&command, luns, out);
		break;
	case SCSI_REQUEST_SENSE:
		no_sense(SCSI_NO_UNIT, out);
		break;
	default:
		return false;
	}
	cut(&command, out);
	return true;
}

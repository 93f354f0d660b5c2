/* SPDX-License-Identifier: MIT */

/*
 * Decoding of command blocks. Bytes the guest did not send count as zero; fields we do not
 * support are refused when they are set, so that nothing is done that was not meant.
 */

#include <string.h>

#include "hv/scsi.h"
#include "util/bytes.h"

enum opcode {
	OP_TEST_UNIT_READY = 0x00,
	OP_REQUEST_SENSE = 0x03,
	OP_READ_6 = 0x08,
	OP_WRITE_6 = 0x0A,
	OP_INQUIRY = 0x12,
	OP_MODE_SENSE_6 = 0x1A,
	OP_START_STOP_UNIT = 0x1B,
	OP_PREVENT_ALLOW = 0x1E,
	OP_READ_CAPACITY_10 = 0x25,
	OP_READ_10 = 0x28,
	OP_WRITE_10 = 0x2A,
	OP_VERIFY_10 = 0x2F,
	OP_SYNCHRONIZE_CACHE_10 = 0x35,
	OP_WRITE_SAME_10 = 0x41,
	OP_UNMAP = 0x42,
	OP_MODE_SENSE_10 = 0x5A,
	OP_READ_16 = 0x88,
	OP_WRITE_16 = 0x8A,
	OP_VERIFY_16 = 0x8F,
	OP_SYNCHRONIZE_CACHE_16 = 0x91,
	OP_WRITE_SAME_16 = 0x93,
	OP_SERVICE_ACTION_IN_16 = 0x9E,
	OP_REPORT_LUNS = 0xA0,
	OP_READ_12 = 0xA8,
	OP_WRITE_12 = 0xAA,
	OP_VERIFY_12 = 0xAF,
};

#define SA_READ_CAPACITY_16 0x10u

/* Bits of byte 1. */
#define PROTECT   0xE0u /* of reads, writes, VERIFY */
#define FUA       0x08u
#define BYTCHK    0x06u
#define ANCHOR    0x10u /* WRITE SAME and UNMAP from here on */
#define SAME_TRIM 0x08u
#define SAME_OLD  0x06u /* PBDATA, LBDATA: obsolete */
#define NO_DATA   0x01u
#define EVPD      0x01u

struct decoder {
	uint8_t cdb[SCSI_CDB_MAX];
	uint64_t unit_blocks;
	struct scsi_command *out;
	struct scsi_sense *sense;
};

static bool refuse(struct decoder *d, struct scsi_sense sense)
{
	*d->sense = sense;
	return false;
}

static unsigned length_of(uint8_t opcode)
{
	static const uint8_t length[8] = {6, 10, 10, 0, 16, 12, 0, 0};

	return length[opcode >> 5];
}

/* ---- blocks ---- */

/* The two fields, wherever the form of the command has them. */
static void take_blocks(struct decoder *d)
{
	const uint8_t *cdb = d->cdb;

	switch (cdb[0] >> 5) {
	case 0:
		d->out->lba = get_be32(cdb) & 0x1FFFFF;
		d->out->blocks = cdb[4] ? cdb[4] : 256;
		break;
	case 1:
	case 2:
		d->out->lba = get_be32(cdb + 2);
		d->out->blocks = get_be16(cdb + 7);
		break;
	case 5:
		d->out->lba = get_be32(cdb + 2);
		d->out->blocks = get_be32(cdb + 6);
		break;
	default:
		d->out->lba = get_be64(cdb + 2);
		d->out->blocks = get_be32(cdb + 10);
		break;
	}
}

/* G5. An address at the very end is outside, even when nothing is moved there. */
static bool check_blocks(struct decoder *d)
{
	uint64_t end;

	if (d->out->lba >= d->unit_blocks || !checked_add(d->out->lba, d->out->blocks, &end) ||
	    end > d->unit_blocks)
		return refuse(d, SCSI_OUT_OF_RANGE);
	return true;
}

static bool decode_transfer(struct decoder *d, enum scsi_action action)
{
	uint64_t bytes;

	d->out->action = action;
	d->out->data_out = action == SCSI_WRITE;
	take_blocks(d);
	if (length_of(d->cdb[0]) > 6) {
		if (d->cdb[1] & PROTECT)
			return refuse(d, SCSI_INVALID_FIELD);
		d->out->fua = d->cdb[1] & FUA;
	}
	if (!check_blocks(d))
		return false;
	/* More than 4 GiB cannot be in one command's buffer. */
	bytes = d->out->blocks * SCSI_BLOCK;
	if (bytes > UINT32_MAX)
		return refuse(d, SCSI_INVALID_FIELD);
	d->out->data_bytes = (uint32_t)bytes;
	return true;
}

static bool decode_verify(struct decoder *d)
{
	d->out->action = SCSI_NOTHING;
	take_blocks(d);
	if (d->cdb[1] & (PROTECT | BYTCHK)) /* no comparing */
		return refuse(d, SCSI_INVALID_FIELD);
	return check_blocks(d);
}

static bool decode_flush(struct decoder *d)
{
	d->out->action = SCSI_FLUSH;
	take_blocks(d);
	/* 0 blocks: up to the end. All is flushed whatever is asked for. */
	return check_blocks(d);
}

static bool decode_write_same(struct decoder *d)
{
	bool sixteen = d->cdb[0] == OP_WRITE_SAME_16;
	uint8_t no_data = sixteen ? NO_DATA : 0;

	d->out->action = SCSI_WRITE_SAME;
	d->out->data_out = true;
	take_blocks(d);
	if (d->cdb[1] & (PROTECT | ANCHOR | SAME_OLD) || (d->cdb[1] & NO_DATA && !sixteen))
		return refuse(d, SCSI_INVALID_FIELD);
	/* No "up to the end" (the block limits page says so), and not more than it says either. */
	if (!d->out->blocks || d->out->blocks > SCSI_ZERO_BLOCKS)
		return refuse(d, SCSI_INVALID_FIELD);
	d->out->unmap = d->cdb[1] & SAME_TRIM;
	d->out->no_data = d->cdb[1] & no_data;
	d->out->data_bytes = d->out->no_data ? 0 : SCSI_BLOCK;
	return check_blocks(d);
}

static bool decode_unmap(struct decoder *d)
{
	d->out->action = SCSI_UNMAP;
	d->out->data_out = true;
	if (d->cdb[1] & 1) /* ANCHOR has another place here */
		return refuse(d, SCSI_INVALID_FIELD);
	d->out->data_bytes = get_be16(d->cdb + 7);
	return true;
}

/* ---- questions ---- */

static bool decode_inquiry(struct decoder *d)
{
	d->out->action = SCSI_INQUIRY;
	d->out->vital = d->cdb[1] & EVPD;
	d->out->page = d->cdb[2];
	d->out->data_bytes = get_be16(d->cdb + 3);
	if (d->cdb[1] & ~EVPD || (!d->out->vital && d->out->page))
		return refuse(d, SCSI_INVALID_FIELD);
	return true;
}

static bool decode_mode_sense(struct decoder *d)
{
	uint8_t subpage = d->cdb[3];

	d->out->action = SCSI_MODE_SENSE;
	d->out->ten = d->cdb[0] == OP_MODE_SENSE_10;
	d->out->page = d->cdb[2] & 0x3F;
	d->out->select = d->cdb[2] >> 6;
	d->out->data_bytes = d->out->ten ? get_be16(d->cdb + 7) : d->cdb[4];
	if (subpage && subpage != 0xFF)
		return refuse(d, SCSI_INVALID_FIELD);
	return true;
}

static bool decode_capacity_16(struct decoder *d)
{
	if ((d->cdb[1] & 0x1F) != SA_READ_CAPACITY_16)
		return refuse(d, SCSI_INVALID_FIELD);
	d->out->action = SCSI_READ_CAPACITY_16;
	d->out->data_bytes = get_be32(d->cdb + 10);
	return true;
}

static bool decode_simple(struct decoder *d, enum scsi_action action, uint32_t data_bytes)
{
	d->out->action = action;
	d->out->data_bytes = data_bytes;
	return true;
}

static bool decode_question(struct decoder *d)
{
	switch (d->cdb[0]) {
	case OP_TEST_UNIT_READY:
		return decode_simple(d, SCSI_TEST_READY, 0);
	case OP_REQUEST_SENSE:
		if (d->cdb[1] & 1) /* descriptor format */
			return refuse(d, SCSI_INVALID_FIELD);
		return decode_simple(d, SCSI_REQUEST_SENSE, d->cdb[4]);
	case OP_START_STOP_UNIT:
	case OP_PREVENT_ALLOW:
		return decode_simple(d, SCSI_NOTHING, 0);
	case OP_INQUIRY:
		return decode_inquiry(d);
	case OP_MODE_SENSE_6:
	case OP_MODE_SENSE_10:
		return decode_mode_sense(d);
	case OP_READ_CAPACITY_10:
		return decode_simple(d, SCSI_READ_CAPACITY_10, 8);
	case OP_SERVICE_ACTION_IN_16:
		return decode_capacity_16(d);
	case OP_REPORT_LUNS:
		d->out->select = d->cdb[2];
		return decode_simple(d, SCSI_REPORT_LUNS, get_be32(d->cdb + 6));
	default:
		return refuse(d, SCSI_INVALID_OPCODE);
	}
}

static bool decode(struct decoder *d)
{
	switch (d->cdb[0]) {
	case OP_READ_6:
	case OP_READ_10:
	case OP_READ_12:
	case OP_READ_16:
		return decode_transfer(d, SCSI_READ);
	case OP_WRITE_6:
	case OP_WRITE_10:
	case OP_WRITE_12:
	case OP_WRITE_16:
		return decode_transfer(d, SCSI_WRITE);
	case OP_VERIFY_10:
	case OP_VERIFY_12:
	case OP_VERIFY_16:
		return decode_verify(d);
	case OP_SYNCHRONIZE_CACHE_10:
	case OP_SYNCHRONIZE_CACHE_16:
		return decode_flush(d);
	case OP_WRITE_SAME_10:
	case OP_WRITE_SAME_16:
		return decode_write_same(d);
	case OP_UNMAP:
		return decode_unmap(d);
	default:
		return decode_question(d);
	}
}

bool scsi_decode(const uint8_t *cdb, unsigned len, uint64_t blocks, struct scsi_command *out,
		 struct scsi_sense *sense)
{
	struct decoder d = {.unit_blocks = blocks, .out = out, .sense = sense};

	*out = (struct scsi_command){0};
	if (!len || len > SCSI_CDB_MAX)
		return refuse(&d, SCSI_INVALID_FIELD);
	if (!length_of(cdb[0]))
		return refuse(&d, SCSI_INVALID_OPCODE);
	if (len < length_of(cdb[0]))
		return refuse(&d, SCSI_INVALID_FIELD);
	memcpy(d.cdb, cdb, length_of(cdb[0]));
	return decode(&d);
}

bool scsi_reports_attention(const struct scsi_command *command)
{
	return command->action != SCSI_INQUIRY && command->action != SCSI_REPORT_LUNS &&
	       command->action != SCSI_REQUEST_SENSE;
}

/* SPDX-License-Identifier: MIT */
#include "hv/vstor.h"

#include <string.h>

#include "util/bytes.h"

/* Offsets of the fields. */
enum {
	OPERATION = 0,
	FLAGS = 4,
	STATUS = 8,
	BODY = 12,
	VERSION = 12,
	SUB_CHANNELS = 12,
	/* properties */
	MAX_CHANNELS = 16,
	PROPERTY_FLAGS = 20,
	MAX_TRANSFER = 24,
	/* SRB */
	LENGTH = 12,
	SRB_STATUS = 14,
	SCSI_STATUS = 15,
	PORT = 16,
	PATH = 17,
	TARGET = 18,
	LUN = 19,
	CDB_LENGTH = 20,
	SENSE_LENGTH = 21,
	DATA_IN = 22,
	TRANSFER = 24,
	CDB = 28, /* in the answer: sense data */
};

#define SRB_BYTES 52u

const struct guid vstor_scsi_type = {{0xd9, 0x63, 0x61, 0xba, 0xa1, 0x04, 0x29, 0x4d, 0xb6, 0x05,
				      0x72, 0xe2, 0xff, 0xb1, 0xdc, 0x7f}};

bool vstor_take(const void *payload, size_t len, uint8_t packet[VSTOR_BYTES])
{
	if (len < VSTOR_BYTES)
		return false;
	memcpy(packet, payload, VSTOR_BYTES);
	return true;
}

struct vstor_header vstor_header(const uint8_t packet[VSTOR_BYTES])
{
	return (struct vstor_header){
	    .operation = get_le32(packet + OPERATION),
	    .flags = get_le32(packet + FLAGS),
	    .status = get_le32(packet + STATUS),
	};
}

struct vstor_srb vstor_srb(const uint8_t packet[VSTOR_BYTES])
{
	struct vstor_srb srb = {
	    .port = packet[PORT],
	    .path = packet[PATH],
	    .target = packet[TARGET],
	    .lun = packet[LUN],
	    .cdb_len = packet[CDB_LENGTH],
	    .data_in = packet[DATA_IN],
	    .transfer_bytes = get_le32(packet + TRANSFER),
	};

	memcpy(srb.cdb, packet + CDB, sizeof(srb.cdb));
	return srb;
}

uint16_t vstor_version(const uint8_t packet[VSTOR_BYTES])
{
	return get_le16(packet + VERSION);
}

uint16_t vstor_sub_channels(const uint8_t packet[VSTOR_BYTES])
{
	return get_le16(packet + SUB_CHANNELS);
}

void vstor_answer(uint8_t packet[VSTOR_BYTES], uint32_t status)
{
	put_le32(packet + OPERATION, VSTOR_COMPLETE_IO);
	put_le32(packet + STATUS, status);
}

void vstor_answer_srb(uint8_t packet[VSTOR_BYTES], const struct vstor_result *result)
{
	vstor_answer(packet, VSTOR_OK);
	packet[SRB_STATUS] = result->srb_status;
	packet[SCSI_STATUS] = result->scsi_status;
	packet[SENSE_LENGTH] = result->sense_len;
	put_le32(packet + TRANSFER, result->transfer_bytes);
	memcpy(packet + CDB, result->sense, VSTOR_SENSE_BYTES);
}

void vstor_answer_properties(uint8_t packet[VSTOR_BYTES], const struct vstor_properties *what)
{
	vstor_answer(packet, VSTOR_OK);
	memset(packet + BODY, 0, VSTOR_BYTES - BODY);
	put_le16(packet + MAX_CHANNELS, what->max_channels);
	put_le32(packet + PROPERTY_FLAGS, what->flags);
	put_le32(packet + MAX_TRANSFER, what->max_transfer_bytes);
}

void vstor_notice(uint8_t packet[VSTOR_BYTES], enum vstor_operation operation)
{
	memset(packet, 0, VSTOR_BYTES);
	put_le32(packet + OPERATION, operation);
}

void vstor_put_srb(uint8_t packet[VSTOR_BYTES], const struct vstor_srb *srb)
{
	vstor_notice(packet, VSTOR_EXECUTE_SRB);
	put_le32(packet + FLAGS, 1);
	put_le16(packet + LENGTH, SRB_BYTES);
	packet[PORT] = srb->port;
	packet[PATH] = srb->path;
	packet[TARGET] = srb->target;
	packet[LUN] = srb->lun;
	packet[CDB_LENGTH] = srb->cdb_len;
	packet[SENSE_LENGTH] = VSTOR_SENSE_BYTES;
	packet[DATA_IN] = srb->data_in;
	put_le32(packet + TRANSFER, srb->transfer_bytes);
	memcpy(packet + CDB, srb->cdb, sizeof(srb->cdb));
}

struct vstor_result vstor_result(const uint8_t packet[VSTOR_BYTES])
{
	struct vstor_result result = {
	    .srb_status = packet[SRB_STATUS],
	    .scsi_status = packet[SCSI_STATUS],
	    .sense_len = packet[SENSE_LENGTH],
	    .transfer_bytes = get_le32(packet + TRANSFER),
	};

	memcpy(result.sense, packet + CDB, sizeof(result.sense));
	return result;
}

struct vstor_properties vstor_properties(const uint8_t packet[VSTOR_BYTES])
{
	return (struct vstor_properties){
	    .max_channels = get_le16(packet + MAX_CHANNELS),
	    .flags = get_le32(packet + PROPERTY_FLAGS),
	    .max_transfer_bytes = get_le32(packet + MAX_TRANSFER),
	};
}

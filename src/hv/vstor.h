/* SPDX-License-Identifier: MIT */
#ifndef STRATA_HV_VSTOR_H
#define STRATA_HV_VSTOR_H

/*
 * The packets of the storage protocol, versions 6.0 and 6.2: 64 bytes each way, little-endian,
 * read and written byte by byte. Pure: no state, no guest memory, nothing is judged here but the
 * length.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/guid.h"

#define VSTOR_BYTES         64u
#define VSTOR_CDB_BYTES     16u
#define VSTOR_SENSE_BYTES   20u
#define VSTOR_VERSION_6_0   0x0600u
#define VSTOR_VERSION_6_2   0x0602u
#define VSTOR_MULTI_CHANNEL 1u /* flag of the properties */

/* ba6163d9-04a1-4d29-b605-72e2ffb1dc7f as it is stored: the type of a SCSI adapter's channel. */
extern const struct guid vstor_scsi_type;

enum vstor_operation {
	VSTOR_COMPLETE_IO = 1,
	VSTOR_REMOVE_DEVICE = 2,
	VSTOR_EXECUTE_SRB = 3,
	VSTOR_RESET_LUN = 4,
	VSTOR_RESET_ADAPTER = 5,
	VSTOR_RESET_BUS = 6,
	VSTOR_BEGIN_INITIALIZATION = 7,
	VSTOR_END_INITIALIZATION = 8,
	VSTOR_QUERY_PROTOCOL_VERSION = 9,
	VSTOR_QUERY_PROPERTIES = 10,
	VSTOR_ENUMERATE_BUS = 11,
	VSTOR_FCHBA_DATA = 12,
	VSTOR_CREATE_SUB_CHANNELS = 13,
};

/* Values of `status`. */
enum vstor_status {
	VSTOR_OK = 0,
	VSTOR_INVALID_PARAMETER = 0xC000000D,
	VSTOR_REVISION_MISMATCH = 0xC0000059,
	VSTOR_NOT_SUPPORTED = 0xC00000BB,
	VSTOR_INVALID_STATE = 0xC0000184,
};

enum srb_status {
	SRB_SUCCESS = 0x01,
	SRB_ABORTED = 0x02,
	SRB_ERROR = 0x04,
	SRB_INVALID_REQUEST = 0x06,
	SRB_DATA_OVERRUN = 0x12,
	SRB_INVALID_LUN = 0x20, /* the guest removes the unit */
	SRB_SENSE_VALID = 0x80, /* or-ed to the others */
};

enum vstor_data { VSTOR_DATA_OUT = 0, VSTOR_DATA_IN = 1, VSTOR_DATA_NONE = 2 };

struct vstor_header {
	uint32_t operation;
	uint32_t flags;
	uint32_t status;
};

/* What a guest asks in EXECUTE_SRB. */
struct vstor_srb {
	uint8_t port, path, target, lun;
	uint8_t cdb_len;
	uint8_t data_in; /* enum vstor_data, or anything else */
	uint32_t transfer_bytes;
	uint8_t cdb[VSTOR_CDB_BYTES];
};

/* And what it is answered. */
struct vstor_result {
	uint8_t srb_status;
	uint8_t scsi_status;
	uint8_t sense_len; /* up to VSTOR_SENSE_BYTES */
	uint32_t transfer_bytes;
	uint8_t sense[VSTOR_SENSE_BYTES];
};

struct vstor_properties {
	uint16_t max_channels;
	uint32_t flags;
	uint32_t max_transfer_bytes;
};

/* A whole packet from a payload of `len` bytes; false when it is too short to be one. */
bool vstor_take(const void *payload, size_t len, uint8_t packet[VSTOR_BYTES]);

struct vstor_header vstor_header(const uint8_t packet[VSTOR_BYTES]);
struct vstor_srb vstor_srb(const uint8_t packet[VSTOR_BYTES]);
uint16_t vstor_version(const uint8_t packet[VSTOR_BYTES]);
uint16_t vstor_sub_channels(const uint8_t packet[VSTOR_BYTES]);

/* Turn a request into the answer to it, in place: what is not said here is echoed. */
void vstor_answer(uint8_t packet[VSTOR_BYTES], uint32_t status);
void vstor_answer_srb(uint8_t packet[VSTOR_BYTES], const struct vstor_result *result);
void vstor_answer_properties(uint8_t packet[VSTOR_BYTES], const struct vstor_properties *what);

/* A packet nobody has asked for. */
void vstor_notice(uint8_t packet[VSTOR_BYTES], enum vstor_operation operation);

/* The rest, for whoever plays the guest. */
void vstor_put_srb(uint8_t packet[VSTOR_BYTES], const struct vstor_srb *srb);
struct vstor_result vstor_result(const uint8_t packet[VSTOR_BYTES]);
struct vstor_properties vstor_properties(const uint8_t packet[VSTOR_BYTES]);

#endif

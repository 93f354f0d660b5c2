/* SPDX-License-Identifier: MIT */
#include "tests/lib/guest_storage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"

static void must(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "guest storage: %s\n", what);
	abort();
}

/* ---- packets ---- */

static void receive(struct guest_channel *ch, struct guest_packet *out)
{
	do
		must(guest_receive(ch, out, GUEST_PATIENCE_MS), "no completion");
	while (out->type != PACKET_COMPLETION);
	must(out->len == VSTOR_BYTES, "a completion of another length");
	must(get_le32(out->b) == VSTOR_COMPLETE_IO, "a completion that is none");
}

uint32_t guest_storage_ask(struct guest_channel *ch, uint8_t packet[VSTOR_BYTES])
{
	static const uint64_t id = 0xFFFFFFFFFFFFFFFDull;
	struct guest_packet *got = malloc(sizeof(*got));
	uint32_t status;

	must(guest_send(ch, PACKET_INBAND, PACKET_WANTS_COMPLETION, id, NULL, 0, packet,
			VSTOR_BYTES),
	     "the ring is full");
	receive(ch, got);
	must(got->transaction == id, "the completion of another request");
	memcpy(packet, got->b, VSTOR_BYTES);
	status = vstor_header(packet).status;
	free(got);
	return status;
}

uint32_t guest_storage_do(struct guest_channel *ch, enum vstor_operation operation, uint16_t number)
{
	uint8_t packet[VSTOR_BYTES];

	vstor_notice(packet, operation);
	put_le16(packet + 12, number);
	return guest_storage_ask(ch, packet);
}

struct vstor_properties guest_storage_handshake(struct guest_channel *ch)
{
	uint8_t packet[VSTOR_BYTES];

	must(!guest_storage_do(ch, VSTOR_BEGIN_INITIALIZATION, 0), "BEGIN is refused");
	must(!guest_storage_do(ch, VSTOR_QUERY_PROTOCOL_VERSION, VSTOR_VERSION_6_2),
	     "the version is refused");
	vstor_notice(packet, VSTOR_QUERY_PROPERTIES);
	must(!guest_storage_ask(ch, packet), "there are no properties");
	must(!guest_storage_do(ch, VSTOR_END_INITIALIZATION, 0), "END is refused");
	return vstor_properties(packet);
}

void guest_storage_open(struct guest_bus *g, const struct guid *instance, unsigned sub_index,
			struct guest_channel *out)
{
	const struct guest_offer *offer = guest_offer_of(g, instance, sub_index);

	must(offer != NULL, "the adapter is not offered");
	must(!guest_open(g, offer, GUEST_STORAGE_RING, 0, out), "the channel cannot be opened");
	if (!sub_index)
		guest_storage_handshake(out);
}

/* ---- commands ---- */

static uint8_t cdb_length(uint8_t opcode)
{
	static const uint8_t length[8] = {6, 10, 10, 16, 16, 12, 16, 16};

	return length[opcode >> 5];
}

bool guest_scsi_send(struct guest_channel *ch, uint64_t transaction, const struct guest_scsi *what)
{
	struct vstor_srb srb = {
	    .path = what->path,
	    .target = what->target,
	    .lun = what->lun,
	    .cdb_len = what->cdb_len ? what->cdb_len : cdb_length(what->cdb[0]),
	    .data_in = what->len ? (uint8_t)what->data : VSTOR_DATA_NONE,
	    .transfer_bytes = what->len,
	};
	uint8_t packet[VSTOR_BYTES];

	memcpy(srb.cdb, what->cdb, sizeof(srb.cdb));
	vstor_put_srb(packet, &srb);
	if (what->len)
		return guest_send_direct(ch, transaction, what->gpa, what->len, packet,
					 VSTOR_BYTES);
	return guest_send(ch, PACKET_INBAND, PACKET_WANTS_COMPLETION, transaction, NULL, 0, packet,
			  VSTOR_BYTES);
}

struct vstor_result guest_scsi_wait(struct guest_channel *ch, uint64_t *transaction)
{
	struct guest_packet *got = malloc(sizeof(*got));
	struct vstor_result result;

	receive(ch, got);
	result = vstor_result(got->b);
	if (transaction)
		*transaction = got->transaction;
	free(got);
	return result;
}

struct vstor_result guest_scsi(struct guest_channel *ch, const struct guest_scsi *what)
{
	static uint64_t next = 1;
	struct vstor_result result;
	uint64_t transaction;

	must(guest_scsi_send(ch, ++next, what), "the ring is full");
	result = guest_scsi_wait(ch, &transaction);
	must(transaction == next, "the completion of another command");
	return result;
}

struct guest_scsi guest_scsi_rw(bool write, uint64_t lba, uint32_t blocks, uint64_t gpa)
{
	struct guest_scsi what = {
	    .cdb = {write ? 0x8A : 0x88},
	    .data = write ? VSTOR_DATA_OUT : VSTOR_DATA_IN,
	    .gpa = gpa,
	    .len = blocks * DISK_SECTOR,
	};

	put_be64(what.cdb + 2, lba);
	put_be32(what.cdb + 10, blocks);
	return what;
}

static bool rw(struct guest_channel *ch, bool write, uint64_t lba, uint32_t blocks, uint64_t gpa)
{
	struct guest_scsi what = guest_scsi_rw(write, lba, blocks, gpa);
	struct vstor_result result = guest_scsi(ch, &what);

	return guest_scsi_good(&result, what.len);
}

bool guest_read(struct guest_channel *ch, uint64_t lba, uint32_t blocks, uint64_t gpa)
{
	return rw(ch, false, lba, blocks, gpa);
}

bool guest_write(struct guest_channel *ch, uint64_t lba, uint32_t blocks, uint64_t gpa)
{
	return rw(ch, true, lba, blocks, gpa);
}

bool guest_flush(struct guest_channel *ch)
{
	struct vstor_result result = guest_scsi(ch, &(struct guest_scsi){.cdb = {0x35}});

	return guest_scsi_good(&result, 0);
}

bool guest_scsi_good(const struct vstor_result *result, uint32_t len)
{
	return result->srb_status == SRB_SUCCESS && !result->scsi_status &&
	       result->transfer_bytes == len;
}

bool guest_scsi_sense(const struct vstor_result *result, uint8_t key, uint8_t asc, uint8_t ascq)
{
	return result->srb_status == (SRB_ERROR | SRB_SENSE_VALID) && result->scsi_status == 2 &&
	       result->sense_len >= 14 && result->sense[0] == 0x70 && result->sense[2] == key &&
	       result->sense[12] == asc && result->sense[13] == ascq;
}

/* SPDX-License-Identifier: MIT */
#ifndef STRATA_TESTS_GUEST_STORAGE_H
#define STRATA_TESTS_GUEST_STORAGE_H

/*
 * The guest's storage driver, played over guest_bus.h: the handshake, and SCSI commands with
 * buffers in guest memory. Whatever a friendly guest may take for granted aborts with a sentence.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hv/storvsp.h"
#include "hv/vstor.h"
#include "tests/lib/guest_bus.h"

#define GUEST_STORAGE_RING 32u /* pages of a ring, as Linux has them */
#define GUEST_PATIENCE_MS  20000u

/* A command; what is not set is 0: unit 0, no data. */
struct guest_scsi {
	uint8_t path, target, lun;
	uint8_t cdb[16];
	uint8_t cdb_len; /* 0: what the first byte says */
	enum vstor_data data;
	uint64_t gpa; /* the buffer, and how long it is; 0: none */
	uint32_t len;
};

/* Open the adapter's primary channel (sub_index 0) and do the handshake, or a sub-channel. */
void guest_storage_open(struct guest_bus *g, const struct guid *instance, unsigned sub_index,
			struct guest_channel *out);
/* Only the handshake's packets, each of which must be taken. Returns the properties. */
struct vstor_properties guest_storage_handshake(struct guest_channel *ch);
/* Send a packet in-band and wait for its completion, in place; the status that it has. */
uint32_t guest_storage_ask(struct guest_channel *ch, uint8_t packet[VSTOR_BYTES]);
/* The same for a packet that is nothing but an operation, and a number at offset 12. */
uint32_t guest_storage_do(struct guest_channel *ch, enum vstor_operation operation,
			  uint16_t number);

/* Send without waiting; false when the ring is full. */
bool guest_scsi_send(struct guest_channel *ch, uint64_t transaction, const struct guest_scsi *what);
/* Wait for the next completion; aborts when there is none. Notices of the host are skipped. */
struct vstor_result guest_scsi_wait(struct guest_channel *ch, uint64_t *transaction);
/* Both. */
struct vstor_result guest_scsi(struct guest_channel *ch, const struct guest_scsi *what);

/* READ(16) and WRITE(16) of `blocks` blocks; unit 0. */
struct guest_scsi guest_scsi_rw(bool write, uint64_t lba, uint32_t blocks, uint64_t gpa);
/* As those, and wait: whether it was good. */
bool guest_read(struct guest_channel *ch, uint64_t lba, uint32_t blocks, uint64_t gpa);
bool guest_write(struct guest_channel *ch, uint64_t lba, uint32_t blocks, uint64_t gpa);
bool guest_flush(struct guest_channel *ch);

/* Good: all of `len` bytes moved. */
bool guest_scsi_good(const struct vstor_result *result, uint32_t len);
/* A check condition with these three. */
bool guest_scsi_sense(const struct vstor_result *result, uint8_t key, uint8_t asc, uint8_t ascq);

#endif

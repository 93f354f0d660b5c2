/* SPDX-License-Identifier: MIT */
#ifndef STRATA_HV_VMBUS_MESSAGE_H
#define STRATA_HV_VMBUS_MESSAGE_H

/*
 * The messages of VMBus: from bytes to structs and back. Pure: it knows neither bus nor guest.
 *
 * Decoding checks that the bytes are there; what they mean is for the caller to judge. Senders may
 * round a message up, so what follows the last field is ignored. Reserved fields are, too.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/guid.h"

#define MESSAGE_MAX        240u
#define MESSAGE_USER_BYTES 120u
/* What fits into a message: addresses in a GPADL_HEADER and in a GPADL_BODY. */
#define MESSAGE_HEADER_PFNS 26u
#define MESSAGE_BODY_PFNS   28u

#define STATUS_SUCCESS      0u
#define STATUS_UNSUCCESSFUL 0xC0000001u

enum message_type {
	MESSAGE_OFFER = 1,
	MESSAGE_RESCIND = 2,
	MESSAGE_REQUEST_OFFERS = 3,
	MESSAGE_ALL_OFFERS = 4,
	MESSAGE_OPEN = 5,
	MESSAGE_OPEN_RESULT = 6,
	MESSAGE_CLOSE = 7,
	MESSAGE_GPADL_HEADER = 8,
	MESSAGE_GPADL_BODY = 9,
	MESSAGE_GPADL_CREATED = 10,
	MESSAGE_GPADL_TEARDOWN = 11,
	MESSAGE_GPADL_TORNDOWN = 12,
	MESSAGE_RELID_RELEASED = 13,
	MESSAGE_CONTACT = 14,
	MESSAGE_VERSION = 15,
	MESSAGE_UNLOAD = 16,
	MESSAGE_UNLOAD_RESPONSE = 17,
	MESSAGE_MODIFY = 22,
	MESSAGE_MODIFY_RESPONSE = 24,
};

/* ---- from the guest ---- */

struct message_contact {
	uint32_t version;
	uint32_t vp;
	uint8_t sint; /* from version 5.0 on */
};

struct message_open {
	uint32_t relid;
	uint32_t open_id;
	uint32_t gpadl;
	uint32_t vp;
	uint32_t downstream_page;
};

/* Some page numbers of an address list, in the message's bytes: message_pfn reads them. */
struct message_pfns {
	const uint8_t *bytes;
	unsigned count;
};

struct message_gpadl_header {
	uint32_t relid;
	uint32_t gpadl;
	uint16_t range_bytes; /* of all ranges: 8 for each, and 8 for each page number */
	uint16_t range_count;
	uint32_t byte_count; /* of the first range */
	uint32_t byte_offset;
	struct message_pfns pfn; /* no more than range_bytes allows with one range */
};

struct message_gpadl_body {
	uint32_t gpadl;
	struct message_pfns pfn;
};

struct message_gpadl_teardown {
	uint32_t relid;
	uint32_t gpadl;
};

struct message_modify {
	uint32_t relid;
	uint32_t vp;
};

struct message {
	enum message_type type;
	union {
		uint32_t relid; /* CLOSE, RELID_RELEASED */
		struct message_contact contact;
		struct message_open open;
		struct message_gpadl_header header;
		struct message_gpadl_body body;
		struct message_gpadl_teardown teardown;
		struct message_modify modify;
	};
};

/*
 * False when it is no message a guest may send, or cut short; *fault says so. Points into `bytes`.
 */
bool message_decode(const uint8_t *bytes, size_t len, struct message *out, const char **fault);
uint64_t message_pfn(const struct message_pfns *pfn, unsigned i);

/* ---- from the host: each returns the length ---- */

struct message_offer {
	struct guid type, instance;
	bool pipe;
	uint16_t sub_index;
	uint32_t relid;
	uint32_t connection;
};

size_t message_put_offer(uint8_t out[MESSAGE_MAX], const struct message_offer *offer);
size_t message_put_version(uint8_t out[MESSAGE_MAX], bool supported, uint32_t connection);
size_t message_put_open_result(uint8_t out[MESSAGE_MAX], uint32_t relid, uint32_t open_id,
			       uint32_t status);
size_t message_put_gpadl_created(uint8_t out[MESSAGE_MAX], uint32_t relid, uint32_t gpadl,
				 uint32_t status);
size_t message_put_modify_response(uint8_t out[MESSAGE_MAX], uint32_t relid, uint32_t status);
/* RESCIND (relid), GPADL_TORNDOWN (handle). */
size_t message_put_number(uint8_t out[MESSAGE_MAX], enum message_type type, uint32_t number);
/* ALL_OFFERS, UNLOAD_RESPONSE. */
size_t message_put_plain(uint8_t out[MESSAGE_MAX], enum message_type type);

#endif

/* SPDX-License-Identifier: MIT */
#include "hv/vmbus_message.h"

#include <string.h>

#include "util/bytes.h"

#define HEADER_BYTES 8u
#define PFN_BYTES    8u
#define RANGE_BYTES  8u /* of one range, without its page numbers */

#define OFFER_BYTES        196u
#define OFFER_FLAG_PIPE    0x10u
#define OFFER_PIPE_MESSAGE 4u
#define OFFER_DEDICATED    1u /* signals without the shared interrupt page */

/* Which a guest may send, and how long they are at least. */
static const uint8_t min_bytes[] = {
    [MESSAGE_REQUEST_OFFERS] = 8,  [MESSAGE_OPEN] = 148,      [MESSAGE_CLOSE] = 12,
    [MESSAGE_GPADL_HEADER] = 28,   [MESSAGE_GPADL_BODY] = 16, [MESSAGE_GPADL_TEARDOWN] = 16,
    [MESSAGE_RELID_RELEASED] = 12, [MESSAGE_CONTACT] = 40,    [MESSAGE_UNLOAD] = 8,
    [MESSAGE_MODIFY] = 16,
};

uint64_t message_pfn(const struct message_pfns *pfn, unsigned i)
{
	return get_le64(pfn->bytes + (size_t)i * PFN_BYTES);
}

static struct message_pfns pfns(const uint8_t *p, size_t bytes)
{
	return (struct message_pfns){p, (unsigned)(bytes / PFN_BYTES)};
}

static void decode_header(const uint8_t *p, size_t len, struct message_gpadl_header *out)
{
	uint16_t declared = get_le16(p + 16);
	size_t rest = len - 28;

	*out = (struct message_gpadl_header){
	    .relid = get_le32(p + 8),
	    .gpadl = get_le32(p + 12),
	    .range_bytes = declared,
	    .range_count = get_le16(p + 18),
	    .byte_count = get_le32(p + 20),
	    .byte_offset = get_le32(p + 24),
	};
	declared = declared > RANGE_BYTES ? declared - RANGE_BYTES : 0;
	out->pfn = pfns(p + 28, min_u64(rest, declared));
}

static void decode(const uint8_t *p, size_t len, struct message *out)
{
	switch (out->type) {
	case MESSAGE_CONTACT:
		out->contact = (struct message_contact){get_le32(p + 8), get_le32(p + 12), p[16]};
		break;
	case MESSAGE_OPEN:
		out->open = (struct message_open){
		    .relid = get_le32(p + 8),
		    .open_id = get_le32(p + 12),
		    .gpadl = get_le32(p + 16),
		    .vp = get_le32(p + 20),
		    .downstream_page = get_le32(p + 24),
		};
		break;
	case MESSAGE_GPADL_HEADER:
		decode_header(p, len, &out->header);
		break;
	case MESSAGE_GPADL_BODY:
		out->body.gpadl = get_le32(p + 12);
		out->body.pfn = pfns(p + 16, len - 16);
		break;
	case MESSAGE_GPADL_TEARDOWN:
		out->teardown = (struct message_gpadl_teardown){get_le32(p + 8), get_le32(p + 12)};
		break;
	case MESSAGE_MODIFY:
		out->modify = (struct message_modify){get_le32(p + 8), get_le32(p + 12)};
		break;
	case MESSAGE_CLOSE:
	case MESSAGE_RELID_RELEASED:
		out->relid = get_le32(p + 8);
		break;
	default:
		break; /* nothing but its type */
	}
}

bool message_decode(const uint8_t *bytes, size_t len, struct message *out, const char **fault)
{
	uint32_t type;

	if (len < HEADER_BYTES || len > MESSAGE_MAX) {
		*fault = "a message is shorter than its header, or too long";
		return false;
	}
	type = get_le32(bytes);
	if (type >= ARRAY_LEN(min_bytes) || !min_bytes[type]) {
		*fault = "a message of a type no guest sends";
		return false;
	}
	if (len < min_bytes[type]) {
		*fault = "a message is cut short";
		return false;
	}
	*out = (struct message){.type = (enum message_type)type};
	decode(bytes, len, out);
	return true;
}

/* ---- from the host ---- */

static size_t put_words(uint8_t *out, enum message_type type, const uint32_t *word, unsigned count)
{
	put_le32(out, type);
	put_le32(out + 4, 0);
	for (unsigned i = 0; i < count; i++)
		put_le32(out + HEADER_BYTES + 4 * (size_t)i, word[i]);
	return HEADER_BYTES + 4 * (size_t)count;
}

size_t message_put_offer(uint8_t out[MESSAGE_MAX], const struct message_offer *offer)
{
	memset(out, 0, OFFER_BYTES);
	put_le32(out, MESSAGE_OFFER);
	memcpy(out + 8, offer->type.b, sizeof(offer->type.b));
	memcpy(out + 24, offer->instance.b, sizeof(offer->instance.b));
	if (offer->pipe) {
		put_le16(out + 56, OFFER_FLAG_PIPE);
		put_le32(out + 60, OFFER_PIPE_MESSAGE);
	}
	put_le16(out + 180, offer->sub_index);
	put_le32(out + 184, offer->relid);
	put_le16(out + 190, OFFER_DEDICATED);
	put_le32(out + 192, offer->connection);
	return OFFER_BYTES;
}

size_t message_put_version(uint8_t out[MESSAGE_MAX], bool supported, uint32_t connection)
{
	/* Supported and the state of the connection (0: good) are bytes. */
	const uint32_t word[] = {supported ? 1 : 0, connection};

	return put_words(out, MESSAGE_VERSION, word, ARRAY_LEN(word));
}

size_t message_put_open_result(uint8_t out[MESSAGE_MAX], uint32_t relid, uint32_t open_id,
			       uint32_t status)
{
	const uint32_t word[] = {relid, open_id, status};

	return put_words(out, MESSAGE_OPEN_RESULT, word, ARRAY_LEN(word));
}

size_t message_put_gpadl_created(uint8_t out[MESSAGE_MAX], uint32_t relid, uint32_t gpadl,
				 uint32_t status)
{
	const uint32_t word[] = {relid, gpadl, status};

	return put_words(out, MESSAGE_GPADL_CREATED, word, ARRAY_LEN(word));
}

size_t message_put_modify_response(uint8_t out[MESSAGE_MAX], uint32_t relid, uint32_t status)
{
	const uint32_t word[] = {relid, status};

	return put_words(out, MESSAGE_MODIFY_RESPONSE, word, ARRAY_LEN(word));
}

size_t message_put_number(uint8_t out[MESSAGE_MAX], enum message_type type, uint32_t number)
{
	return put_words(out, type, &number, 1);
}

size_t message_put_plain(uint8_t out[MESSAGE_MAX], enum message_type type)
{
	return put_words(out, type, NULL, 0);
}

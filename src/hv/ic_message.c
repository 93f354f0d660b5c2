/* SPDX-License-Identifier: MIT */
/* Framing of integration components, and the body of their negotiation. */
#include <string.h>

#include "hv/ic.h"
#include "util/bytes.h"

#define PIPE_HEADER  8u
#define PIPE_DATA    1u
#define HEADER_BYTES (IC_HEADER_BYTES - PIPE_HEADER)
#define OFFER_FIXED  8u /* counts and a reserved word, in front of the versions */

static void put_version(uint8_t *p, struct ic_version v)
{
	put_le16(p, v.major);
	put_le16(p + 2, v.minor);
}

static struct ic_version get_version(const uint8_t *p)
{
	return (struct ic_version){get_le16(p), get_le16(p + 2)};
}

size_t ic_encode(const struct ic_message *m, uint8_t *out, size_t cap)
{
	if (m->body_bytes > UINT16_MAX || cap < IC_HEADER_BYTES + m->body_bytes)
		return 0;
	memmove(out + IC_HEADER_BYTES, m->body, m->body_bytes);
	put_le32(out, PIPE_DATA);
	put_le32(out + 4, (uint32_t)(HEADER_BYTES + m->body_bytes));
	put_version(out + 8, m->framework);
	put_le16(out + 12, m->type);
	put_version(out + 14, m->version);
	put_le16(out + 18, (uint16_t)m->body_bytes);
	put_le32(out + 20, m->status);
	out[24] = m->transaction;
	out[25] = m->flags;
	put_le16(out + 26, 0);
	return IC_HEADER_BYTES + m->body_bytes;
}

bool ic_decode(const uint8_t *payload, size_t len, struct ic_message *out)
{
	uint32_t size;

	if (len < IC_HEADER_BYTES || get_le32(payload) != PIPE_DATA)
		return false;
	size = get_le32(payload + 4);
	if (size < HEADER_BYTES || size > len - PIPE_HEADER)
		return false;
	out->framework = get_version(payload + 8);
	out->type = get_le16(payload + 12);
	out->version = get_version(payload + 14);
	out->body_bytes = get_le16(payload + 18);
	out->status = get_le32(payload + 20);
	out->transaction = payload[24];
	out->flags = payload[25];
	out->body = payload + IC_HEADER_BYTES;
	return out->body_bytes <= size - HEADER_BYTES;
}

size_t ic_encode_offer(const struct ic_component *c, uint8_t *out, size_t cap)
{
	size_t bytes = OFFER_FIXED + 4 * ((size_t)c->framework_count + c->version_count);
	uint8_t *p = out + OFFER_FIXED;

	if (bytes > cap)
		return 0;
	put_le16(out, (uint16_t)c->framework_count);
	put_le16(out + 2, (uint16_t)c->version_count);
	put_le32(out + 4, 0);
	for (unsigned i = 0; i < c->framework_count; i++, p += 4)
		put_version(p, c->frameworks[i]);
	for (unsigned i = 0; i < c->version_count; i++, p += 4)
		put_version(p, c->versions[i]);
	return bytes;
}

static bool has(const struct ic_version *list, unsigned count, struct ic_version v)
{
	for (unsigned i = 0; i < count; i++)
		if (list[i].major == v.major && list[i].minor == v.minor)
			return true;
	return false;
}

bool ic_decode_choice(const struct ic_component *c, const struct ic_message *answer,
		      struct ic_version *framework, struct ic_version *version)
{
	struct ic_version f, v;

	if (answer->status || answer->body_bytes < OFFER_FIXED + 2 * 4 ||
	    get_le16(answer->body) != 1 || get_le16(answer->body + 2) != 1)
		return false;
	f = get_version(answer->body + OFFER_FIXED);
	v = get_version(answer->body + OFFER_FIXED + 4);
	if (!has(c->frameworks, c->framework_count, f) || !has(c->versions, c->version_count, v))
		return false;
	*framework = f;
	*version = v;
	return true;
}

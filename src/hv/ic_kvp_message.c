/* SPDX-License-Identifier: MIT */
/* Bodies of key-value exchange. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "hv/ic_kvp.h"
#include "util/bytes.h"
#include "util/utf16.h"

#define OP_ENUMERATE 3u
#define POOL_AUTO    2u /* what the guest says of itself */

/* Where things are in the body of an enumeration. */
#define AT_INDEX      4u
#define AT_TYPE       8u
#define AT_KEY_SIZE   12u
#define AT_VALUE_SIZE 16u
#define AT_KEY        20u
#define AT_VALUE      (AT_KEY + KVP_KEY_BYTES)
#define BODY_BYTES    (AT_VALUE + KVP_VALUE_BYTES)

_Static_assert(BODY_BYTES <= IC_BODY_MAX, "a request fits");

enum value_type { VALUE_TEXT = 1, VALUE_U32 = 4, VALUE_U64 = 8 };

size_t kvp_encode(uint32_t index, uint8_t *body, size_t cap)
{
	if (cap < BODY_BYTES)
		return 0;
	memset(body, 0, BODY_BYTES);
	body[0] = OP_ENUMERATE;
	body[1] = POOL_AUTO;
	put_le32(body + AT_INDEX, index);
	return BODY_BYTES;
}

static bool decode_value(const uint8_t *body, char out[KVP_VALUE_TEXT])
{
	uint32_t size = get_le32(body + AT_VALUE_SIZE);
	const uint8_t *value = body + AT_VALUE;

	if (size > KVP_VALUE_BYTES)
		return false;
	switch (get_le32(body + AT_TYPE)) {
	case VALUE_TEXT:
		return utf16_to_utf8(value, size, UTF16_LE, true, out, KVP_VALUE_TEXT);
	case VALUE_U32:
		snprintf(out, KVP_VALUE_TEXT, "%" PRIu32, get_le32(value));
		return size == 4;
	case VALUE_U64:
		snprintf(out, KVP_VALUE_TEXT, "%" PRIu64, get_le64(value));
		return size == 8;
	default:
		return false;
	}
}

bool kvp_decode(const struct ic_message *m, uint32_t index, struct kvp_text *out)
{
	uint32_t key_size;

	if (m->body_bytes < BODY_BYTES || m->body[0] != OP_ENUMERATE || m->body[1] != POOL_AUTO ||
	    get_le32(m->body + AT_INDEX) != index)
		return false;
	key_size = get_le32(m->body + AT_KEY_SIZE);
	if (key_size > KVP_KEY_BYTES ||
	    !utf16_to_utf8(m->body + AT_KEY, key_size, UTF16_LE, true, out->key, sizeof(out->key)))
		return false;
	return out->key[0] && decode_value(m->body, out->value);
}

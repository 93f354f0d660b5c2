/* SPDX-License-Identifier: MIT */
/* The bytes of integration components' messages. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "hv/ic_heartbeat.h"
#include "hv/ic_kvp.h"
#include "hv/ic_shutdown.h"
#include "hv/ic_timesync.h"
#include "util/bytes.h"

Test(hv_ic_message, header_byte_by_byte)
{
	static const uint8_t want[] = {
	    1,    0,    0,    0,    /* data */
	    23,   0,    0,    0,    /* bytes from here on */
	    3,    0,    0,    0,    /* framework */
	    4,    0,                /* type */
	    4,    0,    1,    0,    /* message version */
	    3,    0,                /* body */
	    0x05, 0x40, 0x00, 0x80, /* status */
	    7,    3,    0,    0,    /* transaction, flags */
	    'a',  'b',  'c',
	};
	const struct ic_message m = {
	    .framework = {3, 0},
	    .version = {4, 1},
	    .type = IC_TIMESYNC,
	    .status = 0x80004005,
	    .transaction = 7,
	    .flags = IC_TRANSACTION | IC_REQUEST,
	    .body = (const uint8_t *)"abc",
	    .body_bytes = 3,
	};
	uint8_t out[64];
	struct ic_message back;

	cr_assert_eq(ic_encode(&m, out, sizeof(out)), sizeof(want));
	cr_expect_eq(memcmp(out, want, sizeof(want)), 0);
	cr_expect_eq(ic_encode(&m, out, sizeof(want) - 1), 0, "no room");
	cr_assert(ic_decode(want, sizeof(want), &back));
	cr_expect_eq(back.framework.major, 3);
	cr_expect_eq(back.version.minor, 1);
	cr_expect_eq(back.type, IC_TIMESYNC);
	cr_expect_eq(back.status, 0x80004005);
	cr_expect_eq(back.transaction, 7);
	cr_expect_eq(back.flags, 3);
	cr_expect_eq(back.body_bytes, 3);
	cr_expect_eq(back.body, want + 28);
}

/* Every length, each in a block of exactly that size: the sanitizer watches its end. */
Test(hv_ic_message, nothing_is_read_beyond_the_payload)
{
	uint8_t whole[64] = {1};

	put_le32(whole + 4, 36);
	put_le16(whole + 18, 16);
	for (size_t len = 0; len <= sizeof(whole); len++) {
		uint8_t *part = malloc(len ? len : 1);
		struct ic_message m;

		memcpy(part, whole, len);
		cr_expect_eq(ic_decode(part, len, &m), len >= 44, "%zu bytes", len);
		free(part);
	}
}

Test(hv_ic_message, a_negotiation_lists_all_versions)
{
	static const uint8_t want[] = {
	    2, 0, 4, 0, 0, 0, 0, 0, /* counts */
	    1, 0, 0, 0, 3, 0, 0, 0, /* frameworks */
	    1, 0, 0, 0, 3, 0, 0, 0, 3, 0, 1, 0, 3, 0, 2, 0,
	};
	uint8_t out[64];

	cr_expect_eq(ic_encode_offer(&ic_shutdown, out, sizeof(out)), sizeof(want));
	cr_expect_eq(memcmp(out, want, sizeof(want)), 0);
	cr_expect_eq(ic_encode_offer(&ic_shutdown, out, sizeof(want) - 1), 0, "no room");
}

/* What the protocol fixes for each component; types as text, since the bus mixes their order. */
Test(hv_ic_message, components_are_what_guests_know_them_by)
{
	static const struct {
		const struct ic_component *component;
		uint8_t type[16];
		uint16_t message_type;
	} row[] = {
	    {&ic_heartbeat,
	     {0x39, 0x4f, 0x16, 0x57, 0x15, 0x91, 0x78, 0x4e, 0xab, 0x55, 0x38, 0x2f, 0x3b, 0xd5,
	      0x42, 0x2d},
	     1},
	    {&ic_shutdown,
	     {0x31, 0x60, 0x0b, 0x0e, 0x13, 0x52, 0x34, 0x49, 0x81, 0x8b, 0x38, 0xd9, 0x0c, 0xed,
	      0x39, 0xdb},
	     3},
	    {&ic_timesync,
	     {0x30, 0xe6, 0x27, 0x95, 0xae, 0xd0, 0x7b, 0x49, 0xad, 0xce, 0xe8, 0x0a, 0xb0, 0x17,
	      0x5c, 0xaf},
	     4},
	    {&ic_kvp,
	     {0xe7, 0xf4, 0xa0, 0xa9, 0x45, 0x5a, 0x96, 0x4d, 0xb8, 0x27, 0x8a, 0x84, 0x1e, 0x8c,
	      0x03, 0xe6},
	     2},
	};

	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		cr_expect_eq(memcmp(row[i].component->type.b, row[i].type, 16), 0, "%zu", i);
		cr_expect_eq(row[i].component->message_type, row[i].message_type);
		for (size_t k = 0; k < i; k++)
			cr_expect(
			    !guid_equal(&row[i].component->instance, &row[k].component->instance));
	}
}

Test(hv_ic_message, time_counts_from_1601)
{
	cr_expect_eq(timesync_host_time(0, 0), 116444736000000000ull);
	cr_expect_eq(timesync_host_time(1, 999999999), 116444736019999999ull);
	cr_expect_eq(timesync_host_time(-11644473600ll, 100), 1);
}

Test(hv_ic_message, time_has_two_layouts)
{
	const struct timesync_body in = {0x0102030405060708ull, 0x1112131415161718ull,
					 TIMESYNC_SAMPLE};
	uint8_t body[32];

	cr_assert_eq(timesync_encode(&in, (struct ic_version){4, 0}, body, sizeof(body)), 22);
	cr_expect_eq(get_le64(body), in.host_time);
	cr_expect_eq(get_le64(body + 8), in.reference);
	cr_expect_eq(body[16], 2);
	cr_assert_eq(timesync_encode(&in, (struct ic_version){3, 0}, body, sizeof(body)), 25);
	cr_expect_eq(get_le64(body), in.host_time);
	cr_expect_eq(get_le64(body + 8), 0, "the guest's own time is not known");
	cr_expect_eq(body[24], 2);
	cr_expect_eq(timesync_encode(&in, (struct ic_version){4, 0}, body, 21), 0, "no room");
	cr_expect_eq(timesync_encode(&in, (struct ic_version){1, 0}, body, 24), 0, "no room");
}

Test(hv_ic_message, an_enumeration_asks_for_one_item_of_pool_2)
{
	uint8_t body[IC_BODY_MAX];

	memset(body, 0xA5, sizeof(body));
	cr_assert_eq(kvp_encode(9, body, sizeof(body)), 2580);
	cr_expect_eq(memcmp(body, "\3\2\0\0\11\0\0\0\0", 9), 0);
	for (size_t i = 8; i < 2580; i++)
		cr_assert_eq(body[i], 0);
	cr_expect_eq(kvp_encode(9, body, 2579), 0, "no room");
}

/* SPDX-License-Identifier: MIT */
/* Reading a guest's facts. */
#include <criterion/criterion.h>
#include <string.h>

#include "hv/ic_kvp.h"
#include "tests/unit/hv_ic_lab.h"
#include "util/bytes.h"
#include "util/utf16.h"

#define NO_MORE 0x80070103u

/* Text as the daemon stores it, with its terminator; the bytes. */
static uint32_t put_text(uint8_t *at, const char *text, size_t room)
{
	size_t len = room - 2;

	cr_assert(utf8_to_utf16(text, UTF16_LE, at, &len));
	put_le16(at + len, 0);
	return (uint32_t)len + 2;
}

static void answer_item(struct ic_guest *guest, const char *key, const char *value)
{
	uint8_t *b = guest->p.b;

	put_le32(b + 36, 1);
	put_le32(b + 40, put_text(b + 48, key, KVP_KEY_BYTES));
	put_le32(b + 44, put_text(b + 560, value, KVP_VALUE_BYTES));
	ic_guest_reply(guest);
	ic_lab_run(guest->lab, 0);
}

static void answer_end(struct ic_guest *guest)
{
	put_le32(guest->p.b + 20, NO_MORE);
	ic_guest_reply(guest);
	ic_lab_run(guest->lab, 0);
}

static void begin(struct ic_lab *lab)
{
	cr_assert(integration_kvp_refresh(lab->all));
	ic_lab_run(lab, 0);
}

static const struct {
	const char *key, *value;
} facts[] = {
    {"FullyQualifiedDomainName", "debian.example"},
    {"IntegrationServicesVersion", "3.1"},
    {"NetworkAddressIPv4", "192.0.2.7"},
    {"NetworkAddressIPv6", "2001:db8::7;fe80::1"},
    {"OSBuildNumber", "6.1.0-56-cloud-amd64"},
    {"OSName", "Debian GNU/Linux"},
    {"OSMajorVersion", "12"},
    {"OSMinorVersion", ""},
    {"OSVersion", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x92\xbe"},
    {"ProcessorArchitecture", "x86_64"},
};

Test(hv_ic_kvp, reads_one_item_after_the_other)
{
	struct ic_lab *lab = ic_lab_new();
	const struct kvp_list *list = integration_kvp(lab->all);
	struct ic_guest guest;

	ic_guest_up(lab, &ic_kvp, &guest);
	cr_expect(!ic_guest_request(&guest), "unasked, nothing");
	begin(lab);
	for (size_t i = 0; i < ARRAY_LEN(facts); i++) {
		cr_assert(ic_guest_request(&guest));
		cr_expect_eq(get_le16(guest.p.b + 18), 2580);
		cr_expect_eq(get_le32(guest.p.b + 28) & 0xFFFF, 0x0203, "enumerate pool 2");
		cr_expect_eq(get_le32(guest.p.b + 32), i);
		cr_expect(!integration_kvp_ready(lab->all));
		answer_item(&guest, facts[i].key, facts[i].value);
	}
	cr_assert(ic_guest_request(&guest));
	answer_end(&guest);
	cr_expect(integration_kvp_ready(lab->all));
	cr_assert_eq(list->count, ARRAY_LEN(facts));
	for (size_t i = 0; i < ARRAY_LEN(facts); i++) {
		cr_expect_str_eq(list->item[i].key, facts[i].key);
		cr_expect_str_eq(list->item[i].value, facts[i].value);
	}
	ic_lab_free(lab);
}

Test(hv_ic_kvp, what_was_read_stays_until_the_next_reading_is_complete)
{
	struct ic_lab *lab = ic_lab_new();
	const struct kvp_list *list = integration_kvp(lab->all);
	struct ic_guest guest;

	ic_guest_up(lab, &ic_kvp, &guest);
	begin(lab);
	cr_assert(ic_guest_request(&guest));
	answer_item(&guest, "a", "1");
	cr_assert(ic_guest_request(&guest));
	answer_end(&guest);
	begin(lab);
	cr_assert(ic_guest_request(&guest));
	answer_item(&guest, "b", "2");
	begin(lab); /* changes nothing */
	cr_expect(!integration_kvp_ready(lab->all));
	cr_assert_eq(list->count, 1);
	cr_expect_str_eq(list->item[0].key, "a");
	cr_assert(ic_guest_request(&guest));
	answer_end(&guest);
	cr_assert_eq(list->count, 1);
	cr_expect_str_eq(list->item[0].key, "b");
	ic_lab_free(lab);
}

Test(hv_ic_kvp, a_guest_without_an_end_is_cut_short)
{
	struct ic_lab *lab = ic_lab_new();
	struct ic_guest guest;
	unsigned asked = 0;

	ic_guest_up(lab, &ic_kvp, &guest);
	begin(lab);
	while (ic_guest_request(&guest)) {
		answer_item(&guest, "k", "v");
		cr_assert_leq(++asked, 1000);
	}
	cr_expect_eq(asked, KVP_MAX_ITEMS);
	cr_expect(integration_kvp_ready(lab->all));
	cr_expect_eq(integration_kvp(lab->all)->count, KVP_MAX_ITEMS);
	ic_lab_free(lab);
}

Test(hv_ic_kvp, a_daemon_that_dies_ends_the_reading)
{
	struct ic_lab *lab = ic_lab_new();
	struct ic_guest guest;

	ic_guest_up(lab, &ic_kvp, &guest);
	begin(lab);
	cr_assert(ic_guest_request(&guest));
	answer_item(&guest, "a", "1");
	cr_assert(ic_guest_request(&guest));
	ic_lab_run(lab, 60000);
	cr_expect(!integration_kvp_ready(lab->all));
	cr_expect_eq(integration_kvp(lab->all)->count, 0, "half a reading is none");
	begin(lab);
	answer_end(&guest);
	cr_expect(!integration_kvp_ready(lab->all), "that was too late");
	cr_assert(ic_guest_request(&guest));
	cr_expect_eq(get_le32(guest.p.b + 32), 0, "from the beginning");
	answer_end(&guest);
	cr_expect(integration_kvp_ready(lab->all));
	ic_lab_free(lab);
}

Test(hv_ic_kvp, a_closed_channel_ends_the_reading_and_a_reset_forgets)
{
	struct ic_lab *lab = ic_lab_new();
	struct ic_guest guest;

	ic_guest_up(lab, &ic_kvp, &guest);
	begin(lab);
	cr_assert(ic_guest_request(&guest));
	answer_item(&guest, "a", "1");
	cr_assert(ic_guest_request(&guest));
	answer_end(&guest);
	begin(lab);
	guest_close(&guest.channel);
	ic_lab_run(lab, 0);
	cr_expect(!integration_kvp_ready(lab->all));
	cr_expect(!integration_kvp_refresh(lab->all));
	cr_expect_eq(integration_kvp(lab->all)->count, 1);
	integration_reset(lab->all);
	cr_expect_eq(integration_kvp(lab->all)->count, 0);
	ic_lab_free(lab);
}

Test(hv_ic_kvp, an_answer_to_what_was_forgotten_is_nothing)
{
	struct ic_lab *lab = ic_lab_new();
	struct ic_guest guest;

	ic_guest_up(lab, &ic_kvp, &guest);
	begin(lab);
	cr_assert(ic_guest_request(&guest));
	integration_reset(lab->all);
	answer_end(&guest);
	cr_expect(!integration_kvp_ready(lab->all));
	begin(lab);
	cr_assert(ic_guest_request(&guest));
	integration_reset(lab->all);
	answer_item(&guest, "a", "1");
	cr_expect(!ic_guest_request(&guest), "it does not go on");
	ic_lab_free(lab);
}

/* ---- single items ---- */

struct patch {
	unsigned offset, bytes; /* in the body */
	uint64_t value;
};

struct row {
	const char *name;
	bool good;
	const char *text; /* the value, when good */
	struct patch patch[4];
	size_t body_bytes; /* 0: all */
};

static const struct row rows[] = {
    {"as it should be", true, "Debian", {{0}}, 0},
    {"another operation", false, NULL, {{0, 1, 0}}, 0},
    {"another pool", false, NULL, {{1, 1, 1}}, 0},
    {"another item", false, NULL, {{4, 4, 6}}, 0},
    {"type 0", false, NULL, {{8, 4, 0}}, 0},
    {"type 3, binary", false, NULL, {{8, 4, 3}}, 0},
    {"type of all ones", false, NULL, {{8, 4, UINT32_MAX}}, 0},
    {"a key of no bytes", false, NULL, {{12, 4, 0}}, 0},
    {"an empty key", false, NULL, {{20, 2, 0}, {12, 4, 2}}, 0},
    {"a key of an odd size", false, NULL, {{12, 4, 13}}, 0},
    {"a key without terminator", true, "Debian", {{12, 4, 12}}, 0},
    {"a key as long as can be", true, "Debian", {{12, 4, 512}}, 0},
    {"a key beyond its field", false, NULL, {{12, 4, 514}}, 0},
    {"a key of 4 GiB", false, NULL, {{12, 4, UINT32_MAX}}, 0},
    {"a key size that is negative", false, NULL, {{12, 4, 0x80000000u}}, 0},
    {"a key with a low surrogate first", false, NULL, {{20, 2, 0xDC00}}, 0},
    {"a key with a high surrogate alone", false, NULL, {{22, 2, 0xD800}}, 0},
    {"a key that ends in half a pair", false, NULL, {{30, 2, 0xD83D}, {12, 4, 12}}, 0},
    {"something behind the key's end", false, NULL, {{36, 2, 'x'}, {12, 4, 20}}, 0},
    {"a value of no bytes", true, "", {{16, 4, 0}}, 0},
    {"an empty value", true, "", {{532, 2, 0}, {16, 4, 2}}, 0},
    {"a value of an odd size", false, NULL, {{16, 4, 13}}, 0},
    {"a value as long as can be", true, "Debian", {{16, 4, 2048}}, 0},
    {"a value beyond its field", false, NULL, {{16, 4, 2050}}, 0},
    {"a value of 4 GiB", false, NULL, {{16, 4, UINT32_MAX}}, 0},
    {"a value that wraps with its offset", false, NULL, {{16, 4, UINT32_MAX - 531}}, 0},
    {"a value with half a pair", false, NULL, {{534, 2, 0xD83D}}, 0},
    {"a value with its pair the wrong way", false, NULL, {{534, 4, 0xD83DDE00u}}, 0},
    {"something behind the value's end", false, NULL, {{548, 2, 'x'}, {16, 4, 20}}, 0},
    {"a control character, which is text",
     true,
     "\x1b"
     "ebian",
     {{532, 2, 0x1B}},
     0},
    {"a number of 32 bits", true, "4294967295", {{8, 4, 4}, {16, 4, 4}, {532, 4, UINT32_MAX}}, 0},
    {"a number of 32 bits, 8 long", false, NULL, {{8, 4, 4}, {16, 4, 8}}, 0},
    {"a number of 64 bits",
     true,
     "18446744073709551615",
     {{8, 4, 8}, {16, 4, 8}, {532, 8, UINT64_MAX}},
     0},
    {"a number of 64 bits, 4 long", false, NULL, {{8, 4, 8}, {16, 4, 4}}, 0},
    {"a number of 4 GiB", false, NULL, {{8, 4, 8}, {16, 4, UINT32_MAX}}, 0},
    {"no body", false, NULL, {{0}}, 1},
    {"a body that ends in the sizes", false, NULL, {{0}}, 18},
    {"a body that ends in the key", false, NULL, {{0}}, 500},
    {"a body that ends a byte early", false, NULL, {{0}}, 2579},
    {"a longer body", true, "Debian", {{0}}, 2600},
};

static void patch(uint8_t *b, const struct patch *p)
{
	for (unsigned i = 0; i < p->bytes; i++)
		b[p->offset + i] = (uint8_t)(p->value >> 8 * i);
}

static void make_item(uint8_t body[2600])
{
	memset(body, 0, 2600);
	kvp_encode(5, body, 2600);
	put_le32(body + 8, 1);
	put_le32(body + 12, put_text(body + 20, "OSName", KVP_KEY_BYTES));
	put_le32(body + 16, put_text(body + 532, "Debian", KVP_VALUE_BYTES));
}

Test(hv_ic_kvp, an_item_that_breaks_a_rule_is_none)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct row *row = &rows[i];
		uint8_t body[2600];
		struct ic_message m = {.body = body};
		struct kvp_text text;
		bool good;

		make_item(body);
		for (size_t k = 0; k < ARRAY_LEN(row->patch); k++)
			patch(body, &row->patch[k]);
		m.body_bytes = row->body_bytes ? row->body_bytes : 2580;
		good = kvp_decode(&m, 5, &text);
		cr_expect_eq(good, row->good, "%s", row->name);
		if (good && row->good)
			cr_expect_str_eq(text.value, row->text, "%s", row->name);
	}
}

/* The longest texts there can be, in characters that take three bytes each. */
Test(hv_ic_kvp, the_longest_texts_fit)
{
	static struct kvp_text text;
	uint8_t body[2600];
	const struct ic_message m = {.body = body, .body_bytes = 2580};

	make_item(body);
	put_le32(body + 12, KVP_KEY_BYTES);
	put_le32(body + 16, KVP_VALUE_BYTES);
	for (unsigned i = 20; i < 2580; i += 2)
		put_le16(body + i, 0x20AC);
	cr_assert(kvp_decode(&m, 5, &text));
	cr_expect_eq(strlen(text.key), KVP_KEY_BYTES / 2 * 3);
	cr_expect_eq(strlen(text.value), KVP_VALUE_BYTES / 2 * 3);
}

/* Bad items are left out; the reading goes on behind them. */
Test(hv_ic_kvp, one_bad_item_does_not_spoil_the_others)
{
	struct ic_lab *lab = ic_lab_new();
	struct ic_guest guest;

	ic_guest_up(lab, &ic_kvp, &guest);
	begin(lab);
	cr_assert(ic_guest_request(&guest));
	answer_item(&guest, "a", "1");
	cr_assert(ic_guest_request(&guest));
	put_le32(guest.p.b + 40, UINT32_MAX);
	ic_guest_reply(&guest);
	ic_lab_run(lab, 0);
	cr_assert(ic_guest_request(&guest));
	answer_item(&guest, "c", "3");
	cr_assert(ic_guest_request(&guest));
	answer_end(&guest);
	cr_assert_eq(integration_kvp(lab->all)->count, 2);
	cr_expect_str_eq(integration_kvp(lab->all)->item[1].key, "c");
	ic_lab_free(lab);
}

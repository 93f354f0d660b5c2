/* SPDX-License-Identifier: MIT */
/*
 * A guest that plays with the integration components, over a real bus: the input is what it does.
 * Its answers are right but for some patches, so that they get far. Held to: every run ends, no
 * channel is closed but by the guest, and what is read of the guest is bounded and is text.
 */
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "hv/ic_heartbeat.h"
#include "hv/ic_kvp.h"
#include "hv/ic_shutdown.h"
#include "hv/ic_timesync.h"
#include "hv/integration.h"
#include "tests/lib/fuzz_image.h"
#include "tests/lib/guest_bus.h"
#include "util/bytes.h"
#include "util/utf8.h"

#define MAX_STEPS 200u
#define MAX_OPENS 40u
#define MAX_RUNS  2000u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct ic_component *const parts[] = {&ic_heartbeat, &ic_shutdown, &ic_timesync,
						   &ic_kvp};

struct part {
	struct guest_channel channel;
	bool open, poked; /* poked: its rings are not to be trusted by the guest either */
	bool has_request;
	struct guest_packet p;
};

struct play {
	struct guest_bus g;
	struct integration *ic;
	struct part part[ARRAY_LEN(parts)];
	uint64_t now_ns, reference;
	unsigned opens;
};

static bool reference_time(void *arg, uint64_t *out)
{
	struct play *play = arg;

	*out = play->reference++;
	return play->reference % 5;
}

static void must(bool good)
{
	if (!good)
		abort();
}

static void run(struct play *play)
{
	struct pollfd p = {.fd = integration_fd(play->ic), .events = POLLIN};

	integration_run(play->ic, play->now_ns);
	for (unsigned i = 0; guest_run(&play->g), poll(&p, 1, 0) == 1; i++) {
		must(i < MAX_RUNS);
		integration_run(play->ic, play->now_ns);
	}
}

static void open_or_close(struct play *play, unsigned i, uint8_t how)
{
	struct part *part = &play->part[i];

	if (part->open) {
		guest_close(&part->channel);
		part->open = part->has_request = false;
	} else if (play->opens < MAX_OPENS) {
		const struct guest_offer *offer = guest_offer_of(&play->g, &parts[i]->instance, 0);

		must(offer && !guest_open(&play->g, offer, 2 + how % 4, 0, &part->channel));
		part->open = true;
		part->poked = false;
		play->opens++;
	}
}

/* What a friendly guest would answer. */
static void answer_rightly(struct part *part, unsigned i)
{
	uint8_t *b = part->p.b;

	b[25] = IC_TRANSACTION | IC_RESPONSE;
	if (get_le16(b + 12) == IC_NEGOTIATE) {
		const struct ic_component *c = parts[i];

		put_le16(b + 18, 16);
		put_le32(b + 28, 0x00010001);
		put_le32(b + 36, 3);
		put_le16(b + 40, c->versions[c->version_count - 1].major);
		put_le16(b + 42, c->versions[c->version_count - 1].minor);
	} else if (get_le16(b + 12) == IC_HEARTBEAT) {
		put_le64(b + 28, get_le64(b + 28) + 1);
	} else if (get_le16(b + 12) == IC_KVP) {
		put_le32(b + 36, 1);
		put_le32(b + 40, 4);
		put_le32(b + 44, 8);
		memcpy(b + 48, "k\0\0", 4);
		memcpy(b + 560, "\xAC\x20v\0w\0\0", 8);
	}
}

static void take(struct part *part)
{
	if (part->open && !part->poked && guest_receive(&part->channel, &part->p, 0))
		part->has_request = part->p.len >= IC_HEADER_BYTES;
}

/* One field of the answer: mostly one that somebody looks at. */
static void patch(struct part *part, struct fuzz_input *input)
{
	static const uint16_t field[] = {0,  4,  8,  12, 14, 18, 20, 24, 25,  28, 29,
					 30, 32, 36, 40, 42, 44, 48, 50, 560, 562};
	uint8_t which = fuzz_u8(input), bytes = 1 + which % 4;
	uint32_t value = fuzz_u32(input);
	unsigned at = field[which / 4 % ARRAY_LEN(field)];

	if (which >= 240)
		at = (value >> 8) % 2604;
	for (unsigned i = 0; i < bytes; i++)
		part->p.b[at + i] = (uint8_t)(value >> 8 * i);
}

static void answer(struct part *part, unsigned i, unsigned patches, struct fuzz_input *input)
{
	if (!part->has_request || part->poked)
		return;
	answer_rightly(part, i);
	while (patches--)
		patch(part, input);
	part->has_request = false;
	guest_send(&part->channel, PACKET_INBAND, 0, part->p.transaction, NULL, 0, part->p.b,
		   part->p.len);
}

static void send_raw(struct part *part, struct fuzz_input *input)
{
	static const enum packet_type types[] = {PACKET_INBAND, PACKET_INBAND, PACKET_COMPLETION,
						 PACKET_GPA_DIRECT, PACKET_XFER_PAGES};
	uint8_t b[64], type = fuzz_u8(input), len = fuzz_u8(input) % sizeof(b);

	for (unsigned i = 0; i < len; i++)
		b[i] = fuzz_u8(input);
	guest_send(&part->channel, types[type % ARRAY_LEN(types)], type & 1, type, NULL, 0, b, len);
}

static void poke(struct part *part, struct fuzz_input *input)
{
	uint8_t where = fuzz_u8(input);
	uint8_t *header = where & 1 ? part->channel.in.header : part->channel.out.header;

	put_le32(header + (where >> 1) % 5 * 4, fuzz_u32(input));
	part->poked = true;
	guest_kick(&part->channel);
}

static void ask(struct play *play, uint8_t what)
{
	switch (what % 8) {
	case 0:
	case 1:
		integration_shutdown(play->ic, what % 8);
		break;
	case 2:
		integration_sync_time(play->ic);
		break;
	case 3:
		integration_reset(play->ic);
		break;
	default:
		integration_kvp_refresh(play->ic);
	}
}

static void step(struct play *play, struct fuzz_input *input)
{
	uint8_t op = fuzz_u8(input), what = fuzz_u8(input);
	unsigned i = op >> 3 & 3;
	struct part *part = &play->part[i];

	switch (op & 7) {
	case 0:
		open_or_close(play, i, what);
		break;
	case 1:
		take(part);
		break;
	case 2:
	case 3:
	case 4:
		take(part);
		answer(part, i, what & 1 ? what % 4 : 0, input);
		break;
	case 5:
		if (part->open && what < 200)
			send_raw(part, input);
		else if (part->open)
			poke(part, input);
		break;
	case 6:
		play->now_ns += (uint64_t)what << 28;
		break;
	default:
		ask(play, what);
	}
}

/* Where the play begins: some components are agreed on already, and facts are being read. */
static void begin(struct play *play, uint8_t how)
{
	for (unsigned i = 0; i < ARRAY_LEN(parts); i++) {
		if (!(how & 1u << i))
			continue;
		open_or_close(play, i, how >> 4);
		run(play);
		take(&play->part[i]);
		answer(&play->part[i], i, 0, NULL);
		run(play);
	}
	must(integration_kvp_refresh(play->ic) == (how >> 3 & 1));
	run(play);
}

static void check_text(const char *text, size_t most)
{
	size_t len = strlen(text);
	uint32_t c;

	must(len <= most);
	while (*text) {
		unsigned n = utf8_decode(text, &c);

		must(n);
		text += n;
	}
}

static void check(const struct play *play)
{
	const struct kvp_list *list = integration_kvp(play->ic);

	must(list->count <= KVP_MAX_ITEMS);
	for (unsigned i = 0; i < list->count; i++) {
		must(*list->item[i].key);
		check_text(list->item[i].key, KVP_KEY_TEXT - 1);
		check_text(list->item[i].value, KVP_VALUE_TEXT - 1);
	}
	must(integration_heartbeat(play->ic) != HEARTBEAT_OK || play->part[0].open);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};
	struct play *play = calloc(1, sizeof(*play));
	const struct integration_opts opts = {reference_time, play};

	if (!play)
		abort();
	guest_init(&play->g, &(struct guest_opts){.memory_bytes = MEMORY_MIN});
	must(!integration_create(play->g.bus, &opts, &play->ic, NULL));
	guest_connect(&play->g);
	play->now_ns = 1;
	begin(play, fuzz_u8(&input));
	for (unsigned i = 0; input.len && i < MAX_STEPS; i++) {
		step(play, &input);
		run(play);
		check(play);
	}
	integration_destroy(play->ic);
	guest_fini(&play->g);
	free(play);
	return 0;
}

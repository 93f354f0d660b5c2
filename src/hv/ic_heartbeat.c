/* SPDX-License-Identifier: MIT */
#include "hv/ic_heartbeat.h"

#include <string.h>

#include "util/bytes.h"

#define BODY_BYTES  40u /* the sequence and 32 reserved bytes */
#define PATIENCE_NS (10 * HEARTBEAT_NS)

static void lose(struct ic_heartbeat *h)
{
	if (h->state == HEARTBEAT_OK)
		h->state = HEARTBEAT_LOST;
}

static void gone(void *self)
{
	struct ic_heartbeat *h = self;

	/* a kernel that stops for good lets go of the bus before */
	lose(h);
	h->next_ns = 0;
	h->bad = 0;
}

static size_t request(void *self, struct ic_version version, uint64_t now_ns, uint8_t *body,
		      size_t cap)
{
	struct ic_heartbeat *h = self;

	(void)version;
	if (now_ns < h->next_ns || cap < BODY_BYTES)
		return 0;
	h->next_ns = now_ns + HEARTBEAT_NS;
	memset(body, 0, BODY_BYTES);
	put_le64(body, ++h->sequence);
	return BODY_BYTES;
}

static bool answer(void *self, const struct ic_message *m)
{
	struct ic_heartbeat *h = self;

	if (m->status || m->body_bytes < 8 || get_le64(m->body) != h->sequence + 1) {
		if (++h->bad >= HEARTBEAT_MISSED)
			lose(h);
		return false;
	}
	h->bad = 0;
	h->state = HEARTBEAT_OK;
	return true;
}

static void waits(void *self, uint64_t for_ns)
{
	if (for_ns >= HEARTBEAT_MISSED * HEARTBEAT_NS)
		lose(self);
}

static const struct ic_version frameworks[] = {{1, 0}, {3, 0}};
static const struct ic_version versions[] = {{1, 0}, {3, 0}};

const struct ic_component ic_heartbeat = {
    .type = IC_GUID(0x57164f39, 0x9115, 0x4e78, 0xab, 0x55, 0x38, 0x2f, 0x3b, 0xd5, 0x42, 0x2d),
    .instance = IC_GUID(0xfd149e91, 0x82e0, 0x4a7d, 0xaf, 0xa6, 0x2a, 0x41, 0x66, 0xcb, 0xd7, 0xc0),
    .message_type = IC_HEARTBEAT,
    .frameworks = frameworks,
    .framework_count = ARRAY_LEN(frameworks),
    .versions = versions,
    .version_count = ARRAY_LEN(versions),
    .patience_ns = PATIENCE_NS,
    .gone = gone,
    .request = request,
    .answer = answer,
    .waits = waits,
};

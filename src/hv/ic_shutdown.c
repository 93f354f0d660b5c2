/* SPDX-License-Identifier: MIT */
#include "hv/ic_shutdown.h"

#include <string.h>

#include "util/bytes.h"

/* Reason, time-out, flags, and a message for the user. Guests want all of it. */
#define BODY_BYTES  (12u + 2048u)
#define FLAG_REBOOT 2u

void shutdown_ask(struct ic_shutdown *s, bool reboot)
{
	if (s->state == SHUTDOWN_ASKED && s->reboot == reboot)
		return; /* the guest has it, or will */
	s->reboot = reboot;
	s->due = true;
	s->state = s->there ? SHUTDOWN_ASKED : SHUTDOWN_NO_GUEST;
}

void shutdown_forget(struct ic_shutdown *s)
{
	s->due = false;
	s->state = SHUTDOWN_NONE;
}

static void ready(void *self)
{
	struct ic_shutdown *s = self;

	s->there = true;
	if (s->due)
		s->state = SHUTDOWN_ASKED;
}

static void gone(void *self)
{
	struct ic_shutdown *s = self;

	s->there = false;
	if (s->state != SHUTDOWN_ASKED)
		return;
	s->due = true;
	s->state = SHUTDOWN_NO_GUEST;
}

static size_t request(void *self, struct ic_version version, uint64_t now_ns, uint8_t *body,
		      size_t cap)
{
	struct ic_shutdown *s = self;

	(void)version;
	(void)now_ns;
	if (!s->due || cap < BODY_BYTES)
		return 0;
	s->due = false;
	memset(body, 0, BODY_BYTES);
	put_le32(body + 8, s->reboot ? FLAG_REBOOT : 0);
	return BODY_BYTES;
}

static bool answer(void *self, const struct ic_message *m)
{
	struct ic_shutdown *s = self;

	/* What was asked meanwhile has the last word; what was forgotten meanwhile, none. */
	if (!s->due && s->state == SHUTDOWN_ASKED)
		s->state = m->status ? SHUTDOWN_REFUSED : SHUTDOWN_ACCEPTED;
	return true;
}

static const struct ic_version frameworks[] = {{1, 0}, {3, 0}};
static const struct ic_version versions[] = {{1, 0}, {3, 0}, {3, 1}, {3, 2}};

const struct ic_component ic_shutdown = {
    .type = IC_GUID(0x0e0b6031, 0x5213, 0x4934, 0x81, 0x8b, 0x38, 0xd9, 0x0c, 0xed, 0x39, 0xdb),
    .instance = IC_GUID(0xb6650ff7, 0x33bc, 0x4840, 0x80, 0x48, 0xe0, 0x67, 0x67, 0x86, 0xf3, 0x93),
    .message_type = IC_SHUTDOWN,
    .frameworks = frameworks,
    .framework_count = ARRAY_LEN(frameworks),
    .versions = versions,
    .version_count = ARRAY_LEN(versions),
    .ready = ready,
    .gone = gone,
    .request = request,
    .answer = answer,
};

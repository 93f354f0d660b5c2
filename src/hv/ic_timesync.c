/* SPDX-License-Identifier: MIT */
#include "hv/ic_timesync.h"

#include <string.h>
#include <time.h>

#include "util/bytes.h"

#define BODY_BYTES     22u /* host time, reference, flags, leap, stratum, 3 reserved */
#define BODY_BYTES_OLD 25u /* host time, guest time, round trip, flags */
#define PATIENCE_NS    (6 * TIMESYNC_NS)
#define EPOCH_S        11644473600ll /* 1970, counted from 1601 */

uint64_t timesync_host_time(int64_t s, long ns)
{
	return (uint64_t)(s + EPOCH_S) * 10000000u + (uint64_t)ns / 100;
}

static bool has_reference(struct ic_version version)
{
	return version.major >= 4;
}

size_t timesync_encode(const struct timesync_body *in, struct ic_version version, uint8_t *body,
		       size_t cap)
{
	bool newer = has_reference(version);
	size_t bytes = newer ? BODY_BYTES : BODY_BYTES_OLD;

	if (cap < bytes)
		return 0;
	memset(body, 0, bytes);
	put_le64(body, in->host_time);
	if (newer)
		put_le64(body + 8, in->reference);
	body[newer ? 16 : 24] = in->flags;
	return bytes;
}

void timesync_ask(struct ic_timesync *t)
{
	t->sync_due = true;
}

static void ready(void *self)
{
	timesync_ask(self);
}

/* The two clocks must be read as close to each other as can be. */
static bool read_clocks(const struct ic_timesync *t, struct ic_version version,
			struct timesync_body *out)
{
	struct timespec now;

	if (has_reference(version) &&
	    (!t->clock.reference_time || !t->clock.reference_time(t->clock.arg, &out->reference)))
		return false;
	clock_gettime(CLOCK_REALTIME, &now);
	out->host_time = timesync_host_time(now.tv_sec, now.tv_nsec);
	return true;
}

static size_t request(void *self, struct ic_version version, uint64_t now_ns, uint8_t *body,
		      size_t cap)
{
	struct ic_timesync *t = self;
	struct timesync_body b = {.flags = t->sync_due ? TIMESYNC_SYNC : TIMESYNC_SAMPLE};

	if (!t->sync_due && now_ns < t->next_ns)
		return 0;
	if (!read_clocks(t, version, &b))
		return 0; /* next time, then */
	t->sync_due = false;
	t->next_ns = now_ns + TIMESYNC_NS;
	return timesync_encode(&b, version, body, cap);
}

/* It says no more than that the guest has read it. */
static bool answer(void *self, const struct ic_message *m)
{
	(void)self;
	(void)m;
	return true;
}

static const struct ic_version frameworks[] = {{1, 0}, {3, 0}};
static const struct ic_version versions[] = {{1, 0}, {3, 0}, {4, 0}};

const struct ic_component ic_timesync = {
    .type = IC_GUID(0x9527e630, 0xd0ae, 0x497b, 0xad, 0xce, 0xe8, 0x0a, 0xb0, 0x17, 0x5c, 0xaf),
    .instance = IC_GUID(0x2dd1ce17, 0x079e, 0x403c, 0xb3, 0x52, 0xa1, 0x92, 0x1e, 0xe2, 0x07, 0xee),
    .message_type = IC_TIMESYNC,
    .frameworks = frameworks,
    .framework_count = ARRAY_LEN(frameworks),
    .versions = versions,
    .version_count = ARRAY_LEN(versions),
    .patience_ns = PATIENCE_NS,
    .ready = ready,
    .request = request,
    .answer = answer,
};

/* SPDX-License-Identifier: MIT */
#include "hv/ic.h"

#include <string.h>
#include <unistd.h>

#include "util/bytes.h"

#define IC_VMBUS_TRANSACTION 1u /* the guest's bus wants one; answers are found by the IC's own */

/* ---- what becomes of a request ---- */

static void forget_request(struct ic *ic)
{
	ic->in_flight = ic->unsent = false;
}

static void end(struct ic *ic, enum ic_state state)
{
	bool was_ready = ic->state == IC_READY;

	forget_request(ic);
	ic->state = state;
	if (was_ready && ic->component->gone)
		ic->component->gone(ic->self);
}

/* ---- answers ---- */

/* "None of these" is an honest answer. */
static bool chooses_nothing(const struct ic_message *answer)
{
	return answer->body_bytes >= 4 && get_le32(answer->body) == 0;
}

static bool negotiated(struct ic *ic, const struct ic_message *answer)
{
	if (!ic_decode_choice(ic->component, answer, &ic->framework, &ic->version)) {
		ic->state = IC_REFUSED;
		return chooses_nothing(answer);
	}
	ic->state = IC_READY;
	if (ic->component->ready)
		ic->component->ready(ic->self);
	return true;
}

static bool is_answer(const struct ic *ic, const struct ic_message *m)
{
	uint16_t type = ic->state == IC_NEGOTIATING ? IC_NEGOTIATE : ic->component->message_type;

	return ic->in_flight && m->flags & IC_RESPONSE && m->type == type &&
	       m->transaction == ic->transaction;
}

static bool take(struct ic *ic, const struct packet *packet)
{
	struct ic_message m;

	if (packet->type != PACKET_INBAND ||
	    !ic_decode(packet->payload, packet->payload_bytes, &m) || !is_answer(ic, &m))
		return false;
	forget_request(ic);
	return ic->state == IC_NEGOTIATING ? negotiated(ic, &m)
					   : ic->component->answer(ic->self, &m);
}

static void receive(struct ic *ic)
{
	uint8_t buf[IC_READ_MAX];
	struct packet packet;

	for (unsigned n = 0; n < IC_PACKETS_PER_RUN; n++) {
		switch (channel_read(ic->channel, buf, sizeof(buf), &packet)) {
		case RING_OK:
			if (!take(ic, &packet))
				ic->dropped++;
			break;
		case RING_EMPTY:
			if (!channel_rest(ic->channel))
				return;
			break;
		default:
			ic->broken = true;
			return;
		}
	}
	channel_kick(ic->channel); /* perhaps there is more: next time */
}

/* ---- requests ---- */

static void send_out(struct ic *ic)
{
	switch (channel_write(ic->channel, PACKET_INBAND, 0, IC_VMBUS_TRANSACTION, ic->out,
			      ic->out_bytes)) {
	case RING_OK:
		ic->unsent = false;
		ic->in_flight = true;
		break;
	case RING_FULL: /* a guest that does not read; the channel says when it does */
		break;
	default:
		ic->broken = true;
	}
}

static void prepare(struct ic *ic, struct ic_message *m, uint64_t now_ns)
{
	m->flags = IC_TRANSACTION | IC_REQUEST;
	m->transaction = ++ic->transaction;
	m->body = ic->out + IC_HEADER_BYTES;
	ic->out_bytes = ic_encode(m, ic->out, sizeof(ic->out));
	ic->since_ns = now_ns;
	ic->unsent = ic->out_bytes != 0;
}

static void make_request(struct ic *ic, uint64_t now_ns)
{
	uint8_t *body = ic->out + IC_HEADER_BYTES;
	struct ic_message m = {.framework = ic->framework, .version = ic->version};

	if (ic->state == IC_NEGOTIATING) {
		m.type = IC_NEGOTIATE;
		m.framework = m.version = (struct ic_version){1, 0};
		m.body_bytes = ic_encode_offer(ic->component, body, IC_BODY_MAX);
	} else if (ic->state == IC_READY) {
		m.type = ic->component->message_type;
		m.body_bytes =
		    ic->component->request(ic->self, ic->version, now_ns, body, IC_BODY_MAX);
	}
	if (m.body_bytes)
		prepare(ic, &m, now_ns);
}

/* Negotiations are never given up: a component may wait for a program that is started by hand. */
static void watch(struct ic *ic, uint64_t now_ns)
{
	const struct ic_component *c = ic->component;
	uint64_t waited;

	if (ic->stood_still)
		ic->since_ns = now_ns;
	ic->stood_still = false;
	if (!ic->in_flight || ic->state != IC_READY)
		return;
	waited = now_ns - ic->since_ns;
	if (c->waits)
		c->waits(ic->self, waited);
	if (!c->patience_ns || waited < c->patience_ns)
		return;
	forget_request(ic);
	if (c->given_up)
		c->given_up(ic->self);
}

/* Nobody may have signalled. */
static void clear_signals(int fd)
{
	uint64_t signals;
	ssize_t n = read(fd, &signals, sizeof(signals));

	(void)n;
}

void ic_run(struct ic *ic, uint64_t now_ns)
{
	if (!channel_is_open(ic->channel) || ic->broken) {
		clear_signals(channel_fd(ic->channel));
		return;
	}
	channel_wake(ic->channel);
	receive(ic);
	if (ic->broken)
		return;
	watch(ic, now_ns);
	if (!ic->in_flight && !ic->unsent)
		make_request(ic, now_ns);
	if (ic->unsent)
		send_out(ic);
}

void ic_stood_still(struct ic *ic)
{
	ic->stood_still = true;
}

/* ---- the channel ---- */

static enum err channel_opened(void *device, struct channel *channel, struct err_why *why)
{
	struct ic *ic = device;

	(void)why;
	ic->broken = false;
	ic->state = IC_NEGOTIATING;
	channel_kick(channel); /* there is something to send */
	return ERR_OK;
}

static void channel_closed(void *device, struct channel *channel)
{
	(void)channel;
	end(device, IC_CLOSED);
}

static const struct channel_ops ic_channel_ops = {
    .open = channel_opened,
    .close = channel_closed,
};

enum err ic_create(struct ic *ic, struct vmbus *bus, const struct ic_component *component,
		   void *self, struct err_why *why)
{
	struct channel_offer offer = {
	    .type = component->type,
	    .instance = component->instance,
	    .pipe = true,
	    .ops = &ic_channel_ops,
	    .device = ic,
	};

	memset(ic, 0, sizeof(*ic));
	ic->component = component;
	ic->self = self;
	return vmbus_offer(bus, &offer, &ic->channel, why);
}

void ic_destroy(struct ic *ic)
{
	if (ic->channel)
		vmbus_rescind(ic->channel);
	ic->channel = NULL;
}

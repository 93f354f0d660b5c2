/* SPDX-License-Identifier: MIT */
#include "hv/integration.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "hv/ic.h"
#include "hv/ic_heartbeat.h"
#include "hv/ic_kvp.h"
#include "hv/ic_shutdown.h"
#include "hv/ic_timesync.h"
#include "util/bytes.h"

enum part { PART_HEARTBEAT, PART_SHUTDOWN, PART_TIMESYNC, PART_KVP, PARTS };

struct integration {
	int epoll;
	struct ic ic[PARTS];
	struct ic_heartbeat heartbeat;
	struct ic_shutdown shutdown;
	struct ic_timesync timesync;
	struct ic_kvp kvp;
};

static enum err watch(struct integration *in, struct ic *ic, struct err_why *why)
{
	struct epoll_event event = {.events = EPOLLIN};

	if (epoll_ctl(in->epoll, EPOLL_CTL_ADD, channel_fd(ic->channel), &event) < 0)
		return err_sys(why, errno, "cannot wait for an integration component");
	return ERR_OK;
}

static enum err create_parts(struct integration *in, struct vmbus *bus, struct err_why *why)
{
	const struct {
		const struct ic_component *component;
		void *self;
	} part[PARTS] = {
	    [PART_HEARTBEAT] = {&ic_heartbeat, &in->heartbeat},
	    [PART_SHUTDOWN] = {&ic_shutdown, &in->shutdown},
	    [PART_TIMESYNC] = {&ic_timesync, &in->timesync},
	    [PART_KVP] = {&ic_kvp, &in->kvp},
	};

	for (unsigned i = 0; i < PARTS; i++) {
		enum err err = ic_create(&in->ic[i], bus, part[i].component, part[i].self, why);

		if (!err)
			err = watch(in, &in->ic[i], why);
		if (err)
			return err;
	}
	return ERR_OK;
}

enum err integration_create(struct vmbus *bus, const struct integration_opts *opts,
			    struct integration **out, struct err_why *why)
{
	struct integration *in = calloc(1, sizeof(*in));
	enum err err;

	if (!in)
		return err_set(why, ERR_NOMEM, "no memory for the integration components");
	in->timesync.clock = *opts;
	in->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (in->epoll < 0)
		err = err_sys(why, errno, "cannot wait for the integration components");
	else
		err = create_parts(in, bus, why);
	if (err) {
		integration_destroy(in);
		return err;
	}
	*out = in;
	return ERR_OK;
}

void integration_destroy(struct integration *in)
{
	if (!in)
		return;
	if (in->epoll >= 0)
		close(in->epoll);
	for (unsigned i = 0; i < PARTS; i++)
		ic_destroy(&in->ic[i]);
	kvp_forget(&in->kvp);
	free(in);
}

int integration_fd(const struct integration *in)
{
	return in->epoll;
}

void integration_run(struct integration *in, uint64_t now_ns)
{
	for (unsigned i = 0; i < PARTS; i++)
		ic_run(&in->ic[i], now_ns);
}

enum heartbeat integration_heartbeat(const struct integration *in)
{
	return in->heartbeat.state;
}

void integration_shutdown(struct integration *in, bool reboot)
{
	shutdown_ask(&in->shutdown, reboot);
	channel_kick(in->ic[PART_SHUTDOWN].channel);
}

enum shutdown_state integration_shutdown_state(const struct integration *in)
{
	return in->shutdown.state;
}

void integration_sync_time(struct integration *in)
{
	for (unsigned i = 0; i < PARTS; i++)
		ic_stood_still(&in->ic[i]);
	timesync_ask(&in->timesync);
	channel_kick(in->ic[PART_TIMESYNC].channel);
}

bool integration_kvp_refresh(struct integration *in)
{
	bool there = kvp_refresh(&in->kvp);

	if (there)
		channel_kick(in->ic[PART_KVP].channel);
	return there;
}

bool integration_kvp_ready(const struct integration *in)
{
	return in->kvp.complete;
}

const struct kvp_list *integration_kvp(const struct integration *in)
{
	return &in->kvp.list;
}

void integration_reset(struct integration *in)
{
	shutdown_forget(&in->shutdown);
	kvp_forget(&in->kvp);
	in->heartbeat.state = HEARTBEAT_NONE;
}

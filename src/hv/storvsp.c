/* SPDX-License-Identifier: MIT */

/* The adapter: its channels as the bus sees them, and its units. */

#include "hv/storvsp.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "hv/storvsp_private.h"
#include "util/bytes.h"

/* ---- units, from the channels' threads ---- */

void vsp_tell_idle(struct storvsp *adapter)
{
	pthread_mutex_lock(&adapter->lock);
	pthread_cond_broadcast(&adapter->unit_idle);
	pthread_mutex_unlock(&adapter->lock);
}

struct vsp_unit *vsp_unit_take(struct storvsp *adapter, unsigned lun)
{
	struct vsp_unit *unit;

	if (lun >= STORVSP_MAX_LUNS)
		return NULL;
	unit = &adapter->unit[lun];
	atomic_fetch_add(&unit->users, 1);
	if (atomic_load(&unit->present))
		return unit;
	/* what it is told now makes it let go */
	atomic_store(&unit->ghost, false);
	vsp_unit_put(adapter, unit);
	return NULL;
}

void vsp_unit_put(struct storvsp *adapter, struct vsp_unit *unit)
{
	if (atomic_fetch_sub(&unit->users, 1) == 1 &&
	    (!atomic_load(&unit->present) || atomic_load(&adapter->held)))
		vsp_tell_idle(adapter);
}

uint64_t vsp_units(const struct storvsp *adapter)
{
	uint64_t units = 0;

	for (unsigned lun = 0; lun < STORVSP_MAX_LUNS; lun++)
		if (atomic_load(&adapter->unit[lun].present))
			units |= UINT64_C(1) << lun;
	return units;
}

/* ---- channels ---- */

static struct vsp_channel **find_channel(struct storvsp *adapter, const struct channel *channel)
{
	struct vsp_channel **link = &adapter->channels;

	while (*link && (*link)->channel != channel)
		link = &(*link)->next;
	return link;
}

static enum err adapter_open(void *device, struct channel *channel, struct err_why *why)
{
	struct storvsp *adapter = device;
	struct vsp_channel *ch;
	enum err err;

	/* Its thread runs, but no reset is begun before the channel is in the list. */
	pthread_mutex_lock(&adapter->lock);
	err = vsp_channel_open(adapter, channel, &ch, why);
	if (err == ERR_OK) {
		ch->next = adapter->channels;
		adapter->channels = ch;
	}
	pthread_mutex_unlock(&adapter->lock);
	return err;
}

static void adapter_close(void *device, struct channel *channel)
{
	struct storvsp *adapter = device;
	struct vsp_channel **link, *ch = *find_channel(adapter, channel);

	if (!ch)
		return;
	/* It stays in the list meanwhile: a reset may be waiting for its commands. */
	vsp_channel_stop(ch);
	pthread_mutex_lock(&adapter->lock);
	link = find_channel(adapter, channel);
	*link = ch->next;
	pthread_mutex_unlock(&adapter->lock);
	if (ch->primary) {
		atomic_store(&adapter->wanted, 0);
		atomic_store(&adapter->subs, false);
		for (unsigned lun = 0; lun < STORVSP_MAX_LUNS; lun++)
			atomic_store(&adapter->unit[lun].ghost, false);
	}
	vsp_channel_free(ch);
}

static const struct channel_ops adapter_ops = {.open = adapter_open, .close = adapter_close};

static enum err offer(struct storvsp *adapter, unsigned sub_index, struct channel **out,
		      struct err_why *why)
{
	struct channel_offer what = {
	    .type = vstor_scsi_type,
	    .instance = adapter->opts.instance,
	    .sub_index = (uint16_t)sub_index,
	    .ops = &adapter_ops,
	    .device = adapter,
	};

	return vmbus_offer(adapter->bus, &what, out, why);
}

int storvsp_fd(const struct storvsp *adapter)
{
	return adapter->event_fd;
}

void storvsp_run(struct storvsp *adapter)
{
	struct channel *channel;
	uint64_t count;
	unsigned wanted;

	while (read(adapter->event_fd, &count, sizeof(count)) < 0 && errno == EINTR)
		;
	/* A guest that gets fewer than it asked for does with fewer. */
	wanted = atomic_exchange(&adapter->wanted, 0);
	for (unsigned i = 1; i <= wanted; i++)
		if (offer(adapter, i, &channel, NULL) != ERR_OK)
			break;
}

/* ---- the adapter ---- */

enum err storvsp_create(struct vmbus *bus, struct memory *memory, const struct storvsp_opts *opts,
			struct storvsp **out, struct err_why *why)
{
	struct storvsp *adapter = calloc(1, sizeof(*adapter));
	enum err err;

	if (!adapter)
		return err_set(why, ERR_NOMEM, "no memory for a storage adapter");
	adapter->bus = bus;
	adapter->memory = memory;
	adapter->opts = *opts;
	adapter->opts.max_sub_channels =
	    (unsigned)min_u64(opts->max_sub_channels, STORVSP_MAX_SUB_CHANNELS);
	pthread_mutex_init(&adapter->lock, NULL);
	pthread_cond_init(&adapter->unit_idle, NULL);
	adapter->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (adapter->event_fd < 0)
		err = err_sys(why, errno, "cannot create an event descriptor");
	else
		err = offer(adapter, 0, &adapter->primary, why);
	if (err != ERR_OK) {
		storvsp_destroy(adapter);
		return err;
	}
	*out = adapter;
	return ERR_OK;
}

void storvsp_destroy(struct storvsp *adapter)
{
	if (!adapter)
		return;
	if (adapter->primary)
		vmbus_retire(adapter->primary); /* and with it its sub-channels */
	if (adapter->event_fd >= 0)
		close(adapter->event_fd);
	pthread_cond_destroy(&adapter->unit_idle);
	pthread_mutex_destroy(&adapter->lock);
	free(adapter);
}

/* ---- units, from the bus's thread ---- */

/* Have the guest look for what has come, gone or changed. */
static void announce(struct storvsp *adapter)
{
	for (struct vsp_channel *ch = adapter->channels; ch; ch = ch->next) {
		if (!ch->primary)
			continue;
		atomic_store(&ch->announce, true);
		channel_kick(ch->channel);
	}
}

static enum err check_lun(unsigned lun, struct err_why *why)
{
	if (lun < STORVSP_MAX_LUNS)
		return ERR_OK;
	return err_set(why, ERR_RANGE, "there is no unit %u: an adapter has units 0 to %u", lun,
		       STORVSP_MAX_LUNS - 1);
}

static enum err find_unit(struct storvsp *adapter, unsigned lun, struct vsp_unit **out,
			  struct err_why *why)
{
	enum err err = check_lun(lun, why);

	if (err != ERR_OK)
		return err;
	*out = &adapter->unit[lun];
	if (!atomic_load(&(*out)->present))
		return err_set(why, ERR_NOENT, "unit %u is not attached", lun);
	return ERR_OK;
}

static void wait_for_users(struct storvsp *adapter, struct vsp_unit *unit)
{
	pthread_mutex_lock(&adapter->lock);
	while (atomic_load(&unit->users))
		pthread_cond_wait(&adapter->unit_idle, &adapter->lock);
	pthread_mutex_unlock(&adapter->lock);
}

static void clear_stats(struct vsp_stats *stats)
{
	atomic_store(&stats->read_ops, 0);
	atomic_store(&stats->read_bytes, 0);
	atomic_store(&stats->write_ops, 0);
	atomic_store(&stats->write_bytes, 0);
	atomic_store(&stats->flush_ops, 0);
	atomic_store(&stats->unmap_ops, 0);
	atomic_store(&stats->errors, 0);
}

enum err storvsp_attach(struct storvsp *adapter, unsigned lun, const struct storvsp_unit *what,
			struct err_why *why)
{
	enum err err = check_lun(lun, why);
	struct vsp_unit *unit;

	if (err != ERR_OK)
		return err;
	unit = &adapter->unit[lun];
	if (atomic_load(&unit->present))
		return err_set(why, ERR_EXIST, "unit %u is attached already", lun);
	if (atomic_load(&unit->ghost))
		return err_set(why, ERR_LOCKED,
			       "the guest has not let go yet of the disk that was unit %u", lun);
	unit->what = *what;
	clear_stats(&unit->stats);
	atomic_store(&unit->resized, false);
	atomic_store(&unit->present, true);
	announce(adapter);
	return ERR_OK;
}

enum err storvsp_detach(struct storvsp *adapter, unsigned lun, struct err_why *why)
{
	struct vsp_unit *unit;
	enum err err = find_unit(adapter, lun, &unit, why);

	if (err != ERR_OK)
		return err;
	atomic_store(&unit->ghost, adapter->channels != NULL);
	atomic_store(&unit->present, false);
	wait_for_users(adapter, unit);
	announce(adapter);
	return ERR_OK;
}

enum err storvsp_resized(struct storvsp *adapter, unsigned lun, struct err_why *why)
{
	struct vsp_unit *unit;
	enum err err = find_unit(adapter, lun, &unit, why);

	if (err != ERR_OK)
		return err;
	/* The guest asks whether the unit is ready when it looks, and learns it then. */
	atomic_store(&unit->resized, true);
	announce(adapter);
	return ERR_OK;
}

static void wait_for_readers(struct storvsp *adapter)
{
	pthread_mutex_lock(&adapter->lock);
	for (struct vsp_channel *ch = adapter->channels; ch; ch = ch->next)
		while (atomic_load(&ch->reading))
			pthread_cond_wait(&adapter->unit_idle, &adapter->lock);
	pthread_mutex_unlock(&adapter->lock);
}

enum err storvsp_hold(struct storvsp *adapter, unsigned lun, struct err_why *why)
{
	struct vsp_unit *unit;
	enum err err = find_unit(adapter, lun, &unit, why);

	if (err != ERR_OK)
		return err;
	atomic_store(&adapter->held, true);
	wait_for_readers(adapter);
	wait_for_users(adapter, unit);
	return ERR_OK;
}

void storvsp_release(struct storvsp *adapter, unsigned lun, struct disk *disk)
{
	struct vsp_unit *unit = &adapter->unit[lun];

	unit->what.disk = disk;
	if (!disk) {
		atomic_store(&unit->ghost, adapter->channels != NULL);
		atomic_store(&unit->present, false);
		announce(adapter);
	}
	atomic_store(&adapter->held, false);
	for (struct vsp_channel *ch = adapter->channels; ch; ch = ch->next)
		channel_kick(ch->channel);
}

bool storvsp_get_stats(const struct storvsp *adapter, unsigned lun, struct storvsp_stats *out)
{
	const struct vsp_stats *stats;

	if (lun >= STORVSP_MAX_LUNS || !atomic_load(&adapter->unit[lun].present))
		return false;
	stats = &adapter->unit[lun].stats;
	*out = (struct storvsp_stats){
	    .read_ops = atomic_load(&stats->read_ops),
	    .read_bytes = atomic_load(&stats->read_bytes),
	    .write_ops = atomic_load(&stats->write_ops),
	    .write_bytes = atomic_load(&stats->write_bytes),
	    .flush_ops = atomic_load(&stats->flush_ops),
	    .unmap_ops = atomic_load(&stats->unmap_ops),
	    .errors = atomic_load(&stats->errors),
	};
	return true;
}

const char *storvsp_fault(const struct storvsp *adapter)
{
	return atomic_load(&adapter->fault);
}

uint64_t storvsp_fault_count(const struct storvsp *adapter)
{
	return atomic_load(&adapter->faults);
}

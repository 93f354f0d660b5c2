/* SPDX-License-Identifier: MIT */
#include "vhd/parking.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "util/bytes.h"

/* Enough to work with however low the limit, and no more than anybody needs. */
#define MIN_OPEN 8u
#define MAX_OPEN 8192u

/* In `users`: the file is not open. */
#define PARKED (-1)

struct layer_parking {
	_Atomic int users;
	_Atomic bool recent; /* held since the hand passed */
	struct file_ns *ns;
	unsigned flags;
	struct layer_facts facts; /* path: the layer's */
	struct vhd_layer *next, *prev;
};

static struct {
	pthread_mutex_t lock; /* guards everything here, and opening and closing of files */
	unsigned limit;       /* 0: not known yet */
	unsigned open;
	struct vhd_layer *hand; /* in a ring of the layers whose file is open */
} lot = {.lock = PTHREAD_MUTEX_INITIALIZER};

static unsigned limit_by_system(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return MIN_OPEN;
	return (unsigned)max_u64(MIN_OPEN, min_u64(limit.rlim_cur / 2, MAX_OPEN));
}

void parking_limit(unsigned files)
{
	pthread_mutex_lock(&lot.lock);
	lot.limit = files;
	pthread_mutex_unlock(&lot.lock);
}

unsigned parking_open_files(void)
{
	pthread_mutex_lock(&lot.lock);
	unsigned open = lot.open;
	pthread_mutex_unlock(&lot.lock);
	return open;
}

/* ---- the ring of open ones ---- */

/* A file that bypasses the page cache is open twice. */
static unsigned descriptors(const struct layer_parking *own)
{
	return own->flags & FILE_OPEN_DIRECT ? 2 : 1;
}

static void ring_add(struct vhd_layer *layer)
{
	struct layer_parking *own = layer->parking;

	if (!lot.hand) {
		own->next = own->prev = layer;
		lot.hand = layer;
	} else {
		own->next = lot.hand;
		own->prev = lot.hand->parking->prev;
		own->prev->parking->next = layer;
		lot.hand->parking->prev = layer;
	}
	lot.open += descriptors(own);
}

static void ring_remove(struct vhd_layer *layer)
{
	struct layer_parking *own = layer->parking;

	if (lot.hand == layer)
		lot.hand = own->next == layer ? NULL : own->next;
	own->prev->parking->next = own->next;
	own->next->parking->prev = own->prev;
	lot.open -= descriptors(own);
}

static void close_file(struct vhd_layer *layer)
{
	ring_remove(layer);
	/* Opened for reading alone: there is nothing whose loss an error could tell of. */
	file_close(layer->file, NULL);
	layer->file = NULL;
}

static bool park(struct vhd_layer *layer)
{
	int nobody = 0;

	if (layer->intent || atomic_exchange(&layer->parking->recent, false))
		return false;
	if (!atomic_compare_exchange_strong(&layer->parking->users, &nobody, PARKED))
		return false;
	close_file(layer);
	return true;
}

/* Two rounds: in the first one many may only lose their mark. */
static void make_room(void)
{
	if (!lot.limit)
		lot.limit = limit_by_system();
	for (unsigned tries = 2 * lot.open; lot.open >= lot.limit && tries; tries--) {
		struct vhd_layer *layer = lot.hand;

		lot.hand = layer->parking->next;
		park(layer);
	}
}

/* ---- opening ---- */

static enum err changed(const char *what, struct err_why *why)
{
	return err_set(why, ERR_PARENT,
		       "the layer was changed behind our back: its %s is not what it was", what);
}

static enum err compare(const struct layer_parking *own, const struct vhd_layer *now,
			struct err_why *why)
{
	const struct layer_facts *facts = &own->facts;

	if (facts->ino && (now->info.dev != facts->dev || now->info.ino != facts->ino))
		return changed("file", why);
	if (!facts->ino && !guid_equal(&now->footer.uuid, &facts->uuid))
		return changed("UUID", why);
	if (now->footer.type != facts->type)
		return changed("type", why);
	if (now->size_bytes != facts->size_bytes)
		return changed("disk's size", why);
	if (layer_is_sparse(now) && now->block_bytes != facts->block_bytes)
		return changed("block size", why);
	return ERR_OK;
}

/* What was found in the file becomes the layer's; who knew it without keeps what he knew. */
static void adopt(struct vhd_layer *layer, struct vhd_layer *found)
{
	struct layer_parking *own = layer->parking;
	struct vhd_layer old = *layer;

	*layer = *found;
	layer->path = old.path;
	layer->parking = own;
	*found = (struct vhd_layer){.path = found->path};
	layer_close(found, NULL);
}

static bool out_of_descriptors(const struct err_why *why)
{
	return why->sys_errno == EMFILE || why->sys_errno == ENFILE;
}

/*
 * Another process may be in the middle of rewriting the headers - a fold's last step - or the
 * record of that may just be there: then it is over in a moment. A record that stays is a crash's.
 */
static enum err open_settled(const struct layer_parking *own, const char *path,
			     struct vhd_layer **found, struct err_why *why)
{
	const struct timespec pause = {.tv_nsec = 10000000};

	for (unsigned left = 5;; left--) {
		*why = (struct err_why){0};
		enum err e = layer_open(own->ns, path, own->flags, FILE_UNLOCKED, found, why);
		bool again = e == ERR_CORRUPT || (!e && (*found)->intent);

		if (e && out_of_descriptors(why) && lot.limit > MIN_OPEN) {
			lot.limit /= 2; /* others have more open than we thought */
			make_room();
			again = true;
		}
		if (!again || !left)
			return e;
		if (!e)
			layer_close(*found, NULL);
		nanosleep(&pause, NULL);
	}
}

static enum err open_file(struct vhd_layer *layer, struct err_why *why)
{
	struct layer_parking *own = layer->parking;
	struct err_why here = {0};
	struct vhd_layer *found;

	make_room();
	enum err e = open_settled(own, layer->path, &found, &here);
	if (e == ERR_NOENT)
		e = here.code = ERR_PARENT;
	if (e) {
		if (why)
			*why = here;
		return e;
	}
	e = compare(own, found, why);
	if (e) {
		layer_close(found, NULL);
		return e;
	}
	adopt(layer, found);
	ring_add(layer);
	return ERR_OK;
}

static enum err hold_parked(struct vhd_layer *layer, struct err_why *why)
{
	struct layer_parking *own = layer->parking;
	enum err e = ERR_OK;

	pthread_mutex_lock(&lot.lock);
	if (own->users == PARKED)
		e = open_file(layer, why);
	if (!e)
		own->users = own->users == PARKED ? 1 : own->users + 1;
	pthread_mutex_unlock(&lot.lock);
	return e;
}

enum err layer_hold(struct vhd_layer *layer, struct err_why *why)
{
	struct layer_parking *own = layer->parking;

	if (!own)
		return ERR_OK;
	int users = atomic_load_explicit(&own->users, memory_order_relaxed);
	while (users >= 0) {
		if (atomic_compare_exchange_weak(&own->users, &users, users + 1)) {
			if (!atomic_load_explicit(&own->recent, memory_order_relaxed))
				own->recent = true;
			return ERR_OK;
		}
	}
	return hold_parked(layer, why);
}

void layer_release(struct vhd_layer *layer)
{
	if (layer->parking)
		atomic_fetch_sub(&layer->parking->users, 1);
}

bool layer_is_held(const struct vhd_layer *layer)
{
	return layer->parking && layer->parking->users > 0;
}

enum err layer_refresh(struct vhd_layer *layer, struct err_why *why)
{
	struct file_info now;
	enum err e = file_get_info(layer->file, &now, why);

	if (!e && now.size_bytes >= layer->info.size_bytes + FOOTER_BYTES) {
		layer->info = now;
		layer->footer_off = round_down(now.size_bytes, DISK_SECTOR) - FOOTER_BYTES;
	}
	return e;
}

/* ---- making and ending ---- */

static void fill_in(struct vhd_layer *layer, const struct layer_facts *facts)
{
	layer->footer.type = facts->type;
	layer->footer.uuid = facts->uuid;
	layer->footer.current_bytes = facts->size_bytes;
	layer->size_bytes = facts->size_bytes;
	if (facts->type == VHD_FIXED)
		return;
	layer->block_bytes = facts->block_bytes;
	layer->block_shift = (unsigned)__builtin_ctz(facts->block_bytes);
	layer->block_sectors = facts->block_bytes / DISK_SECTOR;
	layer->bitmap_bytes = vhd_bitmap_bytes(facts->block_bytes);
	layer->blocks = (uint32_t)vhd_block_count(facts->size_bytes, facts->block_bytes);
}

static enum err check_facts(const struct layer_facts *facts, struct err_why *why)
{
	bool sparse = facts->type != VHD_FIXED;

	if (!facts->size_bytes || facts->size_bytes > VHD_MAX_SIZE ||
	    facts->size_bytes % DISK_SECTOR)
		return err_set(why, ERR_CORRUPT, "%s: a disk cannot have %llu bytes", facts->path,
			       (unsigned long long)facts->size_bytes);
	if (sparse && (!is_power_of_two(facts->block_bytes) || facts->block_bytes < VHD_MIN_BLOCK ||
		       facts->block_bytes > VHD_MAX_BLOCK))
		return err_set(why, ERR_CORRUPT, "%s: a block cannot have %u bytes", facts->path,
			       facts->block_bytes);
	return ERR_OK;
}

enum err layer_new_parked(struct file_ns *ns, const struct layer_facts *facts, unsigned flags,
			  struct vhd_layer **out, struct err_why *why)
{
	enum err e = check_facts(facts, why);

	if (e)
		return e;
	struct vhd_layer *layer = calloc(1, sizeof(*layer));
	struct layer_parking *own = calloc(1, sizeof(*own));
	char *path = strdup(facts->path);
	if (!layer || !own || !path) {
		free(layer);
		free(own);
		free(path);
		return err_set(why, ERR_NOMEM, "out of memory");
	}
	*own = (struct layer_parking){.users = PARKED, .ns = ns, .flags = flags, .facts = *facts};
	own->facts.path = path;
	layer->path = path;
	layer->parking = own;
	fill_in(layer, facts);
	*out = layer;
	return ERR_OK;
}

void layer_forget(struct vhd_layer *layer)
{
	struct layer_parking *own = layer->parking;

	if (!own)
		return;
	pthread_mutex_lock(&lot.lock);
	if (layer->file)
		close_file(layer);
	pthread_mutex_unlock(&lot.lock);
	free(own);
	layer->parking = NULL;
}

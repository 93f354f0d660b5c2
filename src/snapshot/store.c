/* SPDX-License-Identifier: MIT */
#include "snapshot/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "util/bytes.h"

#define WAIT_SECONDS     10u
#define TRIES_PER_SECOND 200u

static enum err no_memory(struct err_why *why)
{
	return err_set(why, ERR_NOMEM, "out of memory");
}

/* ---- locks between processes ---- */

static enum err lock_range(struct store *store, uint64_t off, enum file_lock mode,
			   struct err_why *why)
{
	return store->lock_file ? file_lock_range(store->lock_file, off, 1, mode, why) : ERR_OK;
}

enum err store_lock_byte(struct store *store, enum store_lock byte, unsigned seconds,
			 struct err_why *why)
{
	const struct timespec pause = {.tv_nsec = 1000000000 / TRIES_PER_SECOND};
	/* a reader cannot exclude other readers, but it does exclude those who write */
	enum file_lock mode = store->readonly ? FILE_LOCK_READ : FILE_LOCK_WRITE;
	enum err e = lock_range(store, byte, mode, NULL);

	for (unsigned i = 0; e == ERR_LOCKED && i < seconds * TRIES_PER_SECOND; i++) {
		nanosleep(&pause, NULL);
		e = lock_range(store, byte, mode, NULL);
	}
	if (e == ERR_LOCKED)
		return err_set(why, e, "%s is in use by another program", store->dir);
	return e ? err_set(why, e, "%s: its lock cannot be taken", store->dir) : ERR_OK;
}

void store_unlock_byte(struct store *store, enum store_lock byte)
{
	lock_range(store, byte, FILE_UNLOCKED, NULL);
}

static bool claim_rest(struct store *store)
{
	pthread_mutex_lock(&store->lock);
	bool was = store->resting;
	store->resting = true;
	pthread_mutex_unlock(&store->lock);
	return !was;
}

static void unclaim_rest(struct store *store)
{
	pthread_mutex_lock(&store->lock);
	store->resting = false;
	pthread_mutex_unlock(&store->lock);
}

enum err store_rest(struct store *store, unsigned seconds, struct err_why *why)
{
	const struct timespec pause = {.tv_nsec = 1000000000 / TRIES_PER_SECOND};
	bool claimed = claim_rest(store);

	for (unsigned i = 0; !claimed && i < seconds * TRIES_PER_SECOND; i++) {
		nanosleep(&pause, NULL);
		claimed = claim_rest(store);
	}
	if (!claimed)
		return err_set(why, ERR_LOCKED, "%s: a fold is under way", store->dir);
	enum err e = store_lock_byte(store, LOCK_FOLD, seconds, NULL);
	if (!e)
		return ERR_OK;
	unclaim_rest(store);
	return err_set(why, e, "%s: a fold is under way", store->dir);
}

void store_end_rest(struct store *store)
{
	store_unlock_byte(store, LOCK_FOLD);
	unclaim_rest(store);
}

/* ---- who uses current ---- */

#define PROBES 4u

/* A claim that lasts is a writer's; one for a moment may be that of a fold looking after leaves. */
static enum err share_writer(struct store *store, struct err_why *why)
{
	const struct timespec pause = {.tv_nsec = 1000000};
	enum err e = store->writing ? ERR_LOCKED : ERR_OK;

	if (!e && !store->readers)
		e = lock_range(store, LOCK_WRITER, FILE_LOCK_READ, NULL);
	for (unsigned i = 1; e == ERR_LOCKED && !store->writing && i < PROBES; i++) {
		nanosleep(&pause, NULL);
		e = lock_range(store, LOCK_WRITER, FILE_LOCK_READ, NULL);
	}
	if (e)
		return err_set(why, ERR_LOCKED, "%s is running: its disks are being written",
			       store->dir);
	return ERR_OK;
}

enum err store_claim_writer(struct store *store, struct err_why *why)
{
	if (store->writing || store->readers)
		return err_set(why, ERR_LOCKED, "%s: its current state is open here already",
			       store->dir);
	/* somebody may just be asking whether there is a writer */
	enum err e = store_lock_byte(store, LOCK_WRITER, 1, why);
	store->writing = !e;
	return e;
}

void store_unclaim_writer(struct store *store)
{
	store_unlock_byte(store, LOCK_WRITER);
	store->writing = false;
}

enum err store_add_reader(struct store *store, struct err_why *why)
{
	enum err e = share_writer(store, why);

	store->readers += !e;
	return e;
}

void store_remove_reader(struct store *store)
{
	if (--store->readers == 0)
		store_unlock_byte(store, LOCK_WRITER);
}

enum err store_check_no_writer(struct store *store, struct err_why *why)
{
	enum err e = share_writer(store, why);

	if (!e && !store->readers)
		store_unlock_byte(store, LOCK_WRITER);
	return e;
}

/* ---- garbage ---- */

/* False: somebody reads from it. */
static bool remove_file(struct store *store, uint64_t file)
{
	if (!edges_close(store, file, 0))
		return false;
	char *path = store_file_path(store->dir, file);
	char *record = NULL; /* of a change of it that was cut off */
	enum err e = path ? file_ns_unlink(store->ns, path, NULL) : ERR_NOMEM;
	if (path && asprintf(&record, "%s.strata-intent", path) >= 0)
		file_ns_unlink(store->ns, record, NULL);
	free(record);
	free(path);
	edges_open(store, file, 0);
	store->unlinked |= !e;
	return !e || e == ERR_NOENT;
}

/* Files the catalogue calls garbage; those that are gone are crossed out with its next change. */
static void collect_garbage(struct store *store, struct catalogue *cat)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < cat->garbage_count; i++)
		if (!remove_file(store, cat->garbage[i]))
			cat->garbage[kept++] = cat->garbage[i];
	cat->garbage_count = kept;
}

/* What an operation that died had made for a catalogue that never was. */
static void remove_leftovers(struct store *store, const struct catalogue *cat)
{
	char *fresh = store_name_path(store->dir, CATALOGUE_NEW);

	for (unsigned d = 0; d < cat->disks; d++) {
		char *path = store_file_path(store->dir, cat->next_number + d);

		if (path)
			file_ns_unlink(store->ns, path, NULL);
		free(path);
	}
	if (fresh)
		file_ns_unlink(store->ns, fresh, NULL);
	free(fresh);
}

/* ---- reading ---- */

static enum err refresh(struct store *store, struct err_why *why)
{
	uint64_t generation;
	struct catalogue *cat;

	if (store->uncertain)
		return err_set(why, ERR_POISONED,
			       "%s: a change may or may not have become durable; open it again",
			       store->dir);
	if (store->cat) {
		struct guid vm;
		enum err e = catalogue_peek(store->ns, store->dir, &vm, &generation, why);

		if (e)
			return e;
		if (!guid_equal(&vm, &store->cat->vm))
			return err_set(why, ERR_NOENT, "%s was replaced by another VM", store->dir);
		if (generation == store->cat->generation)
			return ERR_OK;
	}
	enum err e = catalogue_read(store->ns, store->dir, STORE_CATALOGUE, &cat, why);
	if (e)
		return e;
	cat_free(store->cat);
	store->cat = cat;
	return ERR_OK;
}

enum err store_look(struct store *store, struct err_why *why)
{
	pthread_mutex_lock(&store->lock);
	enum err e = refresh(store, why);
	if (e)
		pthread_mutex_unlock(&store->lock);
	return e;
}

void store_unlock(struct store *store)
{
	pthread_mutex_unlock(&store->lock);
}

/* ---- changing ---- */

/* A fold that died after it had copied all: it has to be finished before anything else changes. */
static enum err finish_fold(struct store *store, struct catalogue **cat, struct err_why *why)
{
	struct err_why here = {0};

	if (!(*cat)->fold.lower || (*cat)->fold.phase != CAT_FOLD_SETTLE)
		return ERR_OK;
	enum err e = fold_settle(store, cat, &here);
	/* Somebody else reads the file: nothing has changed, and others may go on. */
	if (e == ERR_LOCKED && *cat) {
		cat_free(*cat);
		*cat = NULL;
		return cat_clone(store->cat, cat, why);
	}
	if (e && why)
		*why = here;
	return e;
}

static enum err begin_locked(struct store *store, struct catalogue **cat, struct err_why *why)
{
	enum err e = refresh(store, why);

	*cat = NULL;
	if (!e)
		e = cat_clone(store->cat, cat, why);
	if (!e) {
		remove_leftovers(store, *cat);
		e = finish_fold(store, cat, why);
	}
	if (e) {
		cat_free(*cat);
		*cat = NULL;
	}
	return e;
}

enum err store_begin(struct store *store, struct catalogue **cat, struct err_why *why)
{
	if (store->readonly)
		return err_set(why, ERR_READONLY, "%s is open for reading only", store->dir);
	pthread_mutex_lock(&store->lock);
	enum err e = store_lock_byte(store, LOCK_CHANGE, WAIT_SECONDS, why);
	if (!e) {
		e = begin_locked(store, cat, why);
		if (e)
			store_unlock_byte(store, LOCK_CHANGE);
	}
	if (e)
		pthread_mutex_unlock(&store->lock);
	return e;
}

/* Else a catalogue that no longer calls a file garbage could be there, and the file as well. */
static enum err sync_names(struct store *store, struct err_why *why)
{
	char *path = store_name_path(store->dir, STORE_CATALOGUE);
	enum err e = path ? file_ns_sync_dir(store->ns, path, why) : no_memory(why);

	free(path);
	store->unlinked = e;
	return e;
}

enum err store_commit(struct store *store, struct catalogue *cat, struct err_why *why)
{
	bool renamed = false;
	enum err e = cat_derive(cat, why);

	cat->generation++;
	if (!e && store->unlinked)
		e = sync_names(store, why);
	if (!e)
		e = catalogue_replace(store->ns, store->dir, cat, &renamed, why);
	if (e) {
		store->uncertain = renamed;
		cat_free(cat);
		return e;
	}
	cat_free(store->cat);
	store->cat = cat;
	return ERR_OK;
}

void store_end(struct store *store)
{
	views_settle(store);
	if (!store->uncertain && store->cat)
		collect_garbage(store, store->cat);
	file_close(store->settled, NULL);
	store->settled = NULL;
	store_unlock_byte(store, LOCK_CHANGE);
	pthread_mutex_unlock(&store->lock);
}

/* ---- opening and closing ---- */

static enum err create_lock_file(struct store *store, const char *path, struct err_why *why)
{
	struct file *file;
	enum err e =
	    file_ns_open(store->ns, path, FILE_OPEN_CREATE | FILE_OPEN_NOFOLLOW, &file, why);

	if (!e)
		e = file_close(file, why);
	return e == ERR_EXIST ? ERR_OK : e; /* two came at once */
}

/* A store without one on a medium nobody can write to needs no locks. */
static enum err open_lock_file(struct store *store, struct err_why *why)
{
	char *path = store_name_path(store->dir, STORE_LOCK);
	unsigned flags = FILE_OPEN_NOFOLLOW | (store->readonly ? 0 : FILE_OPEN_RDWR);
	struct err_why here = {0};
	enum err e = path ? file_ns_open(store->ns, path, flags, &store->lock_file, &here)
			  : no_memory(&here);

	if (e == ERR_NOENT) {
		e = create_lock_file(store, path, &here);
		if (store->readonly && (e == ERR_PERM || e == ERR_READONLY)) {
			free(path);
			return ERR_OK;
		}
		if (!e)
			e = file_ns_open(store->ns, path, flags, &store->lock_file, &here);
	}
	free(path);
	if (e && why)
		*why = here;
	return e;
}

static enum err recover(struct store *store, struct err_why *why)
{
	struct catalogue *cat;
	enum err e = store_begin(store, &cat, why);

	if (e)
		return e;
	cat_free(cat);
	store_end(store);
	fold_relink_pending(store);
	return ERR_OK;
}

/* A folder without a catalogue is no VM: it is what is left of one that was being made. */
static enum err explain(struct file_ns *ns, const char *dir, enum err e, struct err_why *why)
{
	char *copy = store_name_path(dir, CATALOGUE_COPY);
	struct file_info info;

	if (e == ERR_NOENT && copy && !file_ns_info(ns, copy, &info, NULL))
		e = err_set(why, ERR_REPAIRABLE,
			    "%s: its catalogue is missing; check --repair can bring it back", dir);
	else if (e == ERR_NOENT)
		e = err_set(why, ERR_NOENT, "%s: there is no such VM", dir);
	free(copy);
	return e;
}

static enum err new_store(struct file_ns *ns, const char *dir, unsigned flags, struct store **out,
			  struct err_why *why)
{
	struct store *store = calloc(1, sizeof(*store));

	*out = NULL;
	if (!store)
		return no_memory(why);
	pthread_mutex_init(&store->lock, NULL);
	store->ns = ns ? ns : &file_ns_posix;
	store->readonly = flags & SNAP_READONLY;
	store->dir = strdup(dir);
	if (!store->dir) {
		snap_close(store);
		return no_memory(why);
	}
	*out = store;
	return ERR_OK;
}

enum err store_open_bare(struct file_ns *ns, const char *dir, struct store **out,
			 struct err_why *why)
{
	enum err e = new_store(ns, dir, 0, out, why);

	if (!e)
		e = open_lock_file(*out, why);
	if (e) {
		snap_close(*out);
		*out = NULL;
	}
	return e;
}

enum err snap_open(struct file_ns *ns, const char *dir, unsigned flags, struct store **out,
		   struct err_why *why)
{
	enum err e = new_store(ns, dir, flags, out, why);

	if (e)
		return e;
	struct store *store = *out;
	/* First, so that no lock file is made where there is no VM. */
	e = explain(store->ns, dir, refresh(store, why), why);
	if (!e)
		e = open_lock_file(store, why);
	if (!e && !store->readonly)
		e = recover(store, why);
	if (e) {
		snap_close(store);
		*out = NULL;
	}
	return e;
}

void snap_close(struct store *store)
{
	if (!store)
		return;
	cat_free(store->cat);
	file_close(store->settled, NULL);
	file_close(store->lock_file, NULL);
	free(store->edge);
	free(store->dir);
	pthread_mutex_destroy(&store->lock);
	free(store);
}

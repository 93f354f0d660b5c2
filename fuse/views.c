/* SPDX-License-Identifier: MIT */
#include "fuse/views.h"

#include <errno.h>
#include <jansson.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuse/info.h"
#include "fuse/log.h"
#include "util/bytes.h"
#include "util/text.h"

/* Of the owner maps of all views together, and of one. */
#define MAPS_BYTES    (256u << 20)
#define MIN_MAP_BYTES (1u << 20)
/* A view of current keeps the VM from starting. */
#define CURRENT_IDLE_MS 1000u
/* How long to wait for a view that is in use, if all are. */
#define PATIENCE_MS 2000u

struct view {
	/* guarded by views->lock */
	struct view *next;
	unsigned users;
	bool outdated;
	uint64_t left_ms; /* when the last user left */

	struct view_origin origin;
	pthread_mutex_t lock;   /* guards the opening of what follows */
	struct snap_view *snap; /* NULL: not open */
	struct shown *disk;     /* origin.disk_count; those with a tree are ready */
};

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void views_init(struct views *views, struct store *store, unsigned max, unsigned idle_s)
{
	pthread_condattr_t attr;

	*views = (struct views){
	    .store = store,
	    .max = max,
	    .idle_ms = (uint64_t)idle_s * 1000,
	    .map_budget_bytes = MAPS_BYTES / max < MIN_MAP_BYTES ? MIN_MAP_BYTES : MAPS_BYTES / max,
	};
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&views->room, &attr);
	pthread_condattr_destroy(&attr);
	pthread_mutex_init(&views->lock, NULL);
}

/* ---- one view ---- */

/* Takes over origin->facts. */
static struct view *view_new(const struct view_origin *origin)
{
	struct view *view = calloc(1, sizeof(*view));

	if (!view)
		return NULL;
	view->disk = calloc(origin->disk_count, sizeof(*view->disk));
	if (!view->disk) {
		free(view);
		return NULL;
	}
	view->origin = *origin;
	view->users = 1;
	pthread_mutex_init(&view->lock, NULL);
	return view;
}

static void view_free(struct view *view)
{
	struct err_why why = {0};

	for (unsigned i = 0; i < view->origin.disk_count; i++) {
		if (view->disk[i].tree.count)
			shown_free(&view->disk[i]);
	}
	if (view->snap && snap_view_close(view->snap, &why))
		log_failed_request(view->origin.name, &why);
	free(view->disk);
	json_decref(view->origin.facts);
	pthread_mutex_destroy(&view->lock);
	free(view);
}

static enum err open_snap(struct views *views, struct view *view, struct err_why *why)
{
	const struct snap_view_opts opts = {
	    .map_budget_bytes =
		max_u64(views->map_budget_bytes / view->origin.disk_count, MIN_MAP_BYTES),
	};

	return snap_view_open(views->store, view->origin.current ? NULL : &view->origin.id, &opts,
			      &view->snap, why);
}

/* Nothing of a node changes after its time; current is as old as its file. */
static time_t content_time(const struct view_origin *origin, unsigned disk_idx)
{
	json_t *disk = json_array_get(json_object_get(origin->facts, "disks"), disk_idx);
	const char *path = json_string_value(json_object_get(disk, "path"));

	return origin->current && path ? shown_file_time(path) : origin->time;
}

static enum err open_disk(struct view *view, unsigned disk_idx, struct err_why *why)
{
	struct shown *shown = &view->disk[disk_idx];
	struct disk *disk = view->snap->disk[disk_idx];
	struct guestfs_table *table;
	char *info, name[160];
	enum err err = shown_probe(disk, &table, why);

	if (err)
		return err;
	err = info_facts_text(view->origin.facts, disk_idx, table, &info, why);
	if (!err)
		err = shown_init(shown, disk, info, table, why);
	free(table);
	if (err)
		return err;
	snprintf(shown->label, sizeof(shown->label), "%s/disk%u/",
		 text_escape(view->origin.name, name, sizeof(name)), disk_idx);
	shown->opened = content_time(&view->origin, disk_idx);
	shown->changed = shown->opened;
	return ERR_OK;
}

enum err views_disk(struct views *views, struct view *view, unsigned disk_idx, struct shown **out,
		    struct err_why *why)
{
	enum err err = ERR_OK;

	if (disk_idx >= view->origin.disk_count)
		return err_set(why, ERR_NOENT, "there is no disk %u", disk_idx);
	pthread_mutex_lock(&view->lock);
	if (!view->snap)
		err = open_snap(views, view, why);
	if (!err &&
	    !(view->snap && disk_idx < view->snap->disk_count && view->snap->disk[disk_idx]))
		err = err_set(why, ERR_NOENT, "there is no disk %u", disk_idx);
	if (!err && !view->disk[disk_idx].tree.count)
		err = open_disk(view, disk_idx, why);
	pthread_mutex_unlock(&view->lock);
	*out = &view->disk[disk_idx];
	return err;
}

struct shown *view_disk(struct view *view, unsigned disk_idx)
{
	return &view->disk[disk_idx];
}

/* ---- which to close ---- */

static bool is_due(const struct views *views, const struct view *view, uint64_t now)
{
	uint64_t idle_ms =
	    view->origin.current ? min_u64(views->idle_ms, CURRENT_IDLE_MS) : views->idle_ms;

	/* One that could not be opened has nothing to keep. */
	return !view->users && (view->outdated || !view->snap || view->left_ms + idle_ms <= now);
}

/* Close the idle view at `link`. Gives up the lock meanwhile: the list may be another one then. */
static void close_at(struct views *views, struct view **link)
{
	struct view *view = *link;

	*link = view->next;
	pthread_mutex_unlock(&views->lock);
	view_free(view);
	pthread_mutex_lock(&views->lock);
	views->count--;
	pthread_cond_broadcast(&views->room);
}

void views_tidy(struct views *views)
{
	struct view **link = &views->first;
	uint64_t now = now_ms();
	bool closed = false;

	pthread_mutex_lock(&views->lock);
	while (*link) {
		if (is_due(views, *link, now)) {
			close_at(views, link);
			link = &views->first;
			closed = true;
		} else {
			link = &(*link)->next;
		}
	}
	pthread_mutex_unlock(&views->lock);
	/* A deep chain is many small pieces, which would otherwise stay with the process. */
	if (closed)
		malloc_trim(0);
}

static struct view **longest_idle(struct views *views)
{
	struct view **found = NULL;

	for (struct view **link = &views->first; *link; link = &(*link)->next) {
		if (!(*link)->users && (!found || (*link)->left_ms < (*found)->left_ms))
			found = link;
	}
	return found;
}

/* Make room for one more, or wait for it: to be called again until there is. */
static enum err make_room(struct views *views, uint64_t deadline_ms, struct err_why *why)
{
	struct view **link = longest_idle(views);
	struct timespec deadline = {
	    .tv_sec = (time_t)(deadline_ms / 1000),
	    .tv_nsec = (long)(deadline_ms % 1000) * 1000000,
	};

	if (link)
		close_at(views, link);
	else if (now_ms() >= deadline_ms)
		return err_sys(why, ENFILE, "files of %u snapshots are open, and no more may be",
			       views->max);
	else
		pthread_cond_timedwait(&views->room, &views->lock, &deadline);
	return ERR_OK;
}

/* ---- using ---- */

static struct view *use(struct views *views, uint64_t number, bool outdated)
{
	struct view *view = views->first;

	while (view && (view->origin.number != number || view->outdated != outdated))
		view = view->next;
	if (view)
		view->users++;
	return view;
}

struct view *views_find(struct views *views, uint64_t number)
{
	struct view *view;

	pthread_mutex_lock(&views->lock);
	view = use(views, number, false);
	pthread_mutex_unlock(&views->lock);
	return view;
}

struct view *views_find_outdated(struct views *views, uint64_t number)
{
	struct view *view;

	pthread_mutex_lock(&views->lock);
	view = use(views, number, true);
	pthread_mutex_unlock(&views->lock);
	return view;
}

enum err views_add(struct views *views, struct view_origin *origin, struct view **out,
		   struct err_why *why)
{
	uint64_t deadline_ms = now_ms() + PATIENCE_MS;
	enum err err = ERR_OK;

	pthread_mutex_lock(&views->lock);
	/* Somebody may open it while we wait. */
	while (!err && !(*out = use(views, origin->number, false)) && views->count >= views->max)
		err = make_room(views, deadline_ms, why);
	if (!err && !*out) {
		*out = view_new(origin);
		if (*out) {
			(*out)->next = views->first;
			views->first = *out;
			views->count++;
			origin->facts = NULL;
		} else {
			err = err_set(why, ERR_NOMEM, "no memory for a view");
		}
	}
	pthread_mutex_unlock(&views->lock);
	json_decref(origin->facts);
	return err;
}

void views_keep(struct views *views, struct view *view)
{
	pthread_mutex_lock(&views->lock);
	view->users++;
	pthread_mutex_unlock(&views->lock);
}

void views_leave(struct views *views, struct view *view)
{
	pthread_mutex_lock(&views->lock);
	view->left_ms = now_ms();
	if (!--view->users)
		pthread_cond_broadcast(&views->room);
	pthread_mutex_unlock(&views->lock);
}

void views_review(struct views *views, struct json_t *(*facts)(void *arg, uint64_t number),
		  void *arg)
{
	pthread_mutex_lock(&views->lock);
	for (struct view *view = views->first; view; view = view->next) {
		json_t *now = facts(arg, view->origin.number);

		if (!now || !json_equal(now, view->origin.facts))
			view->outdated = true;
		json_decref(now);
	}
	pthread_mutex_unlock(&views->lock);
}

void views_destroy(struct views *views)
{
	struct view *view;

	while ((view = views->first)) {
		views->first = view->next;
		view_free(view);
	}
	pthread_cond_destroy(&views->room);
	pthread_mutex_destroy(&views->lock);
}

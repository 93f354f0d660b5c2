/* SPDX-License-Identifier: MIT */
#ifndef STRATA_SNAPSHOT_STORE_H
#define STRATA_SNAPSHOT_STORE_H

/*
 * An open store: its folder, its catalogue, who uses which file, and who may change what.
 *
 * Locks between processes are ranges of the file "lock" in the folder:
 *   LOCK_CHANGE  exclusive while the catalogue is being replaced; waited for
 *   LOCK_FOLD    exclusive while payload is being folded, or layers are copied as files
 *   LOCK_WRITER  exclusive while somebody has current open for writing, shared by who reads it
 *   EDGE(n, m)   shared by those who read file n below file m, with m = EDGE_TOP on top
 * Who removes file n takes all edges of n exclusively; who folds file m down into n those to others
 * than m, because they would see what m hides. A reader keeps his edges, whatever the catalogue
 * says later: what he reads stays as it was.
 *
 * Between threads: `lock`, which guards everything in struct store. Order: `lock`, LOCK_CHANGE, the
 * others.
 *
 * A change of the catalogue:
 *   store_begin  takes the locks, reads the catalogue if it is another one than last time, does
 *                what a crash left to be done, and hands out a copy
 *   store_commit replaces the catalogue by that copy, changed (W16: write, B, rename, B)
 *   store_end    gives the locks back, and removes garbage
 *
 * New files get numbers from the copy's next_number on. Until a catalogue with a higher next_number
 * is there they are leftovers, which the next store_begin removes: so recovery looks at as many
 * names as there are disks, whatever the history.
 */

#include <pthread.h>

#include "snapshot/catalogue.h"
#include "snapshot/snapshot.h"

#define STORE_CATALOGUE "catalogue"
#define STORE_LOCK      "lock"

enum store_lock { LOCK_CHANGE, LOCK_FOLD, LOCK_WRITER };

/* Numbers of files begin at 1, so the edges come after the locks above. */
#define EDGES_OF_A_FILE (UINT64_C(1) << 32)
#define EDGE_TOP        UINT64_C(0)
#define EDGE_FOLD       (EDGES_OF_A_FILE - 1) /* held by a fold */
#define EDGE_COPY       (EDGES_OF_A_FILE - 2) /* held by an export */

struct view;

struct edge {
	uint64_t file, upper;
	unsigned count; /* of those who hold it here */
};

struct store {
	struct file_ns *ns;
	char *dir;
	bool readonly;
	pthread_mutex_t lock;
	struct file *lock_file; /* NULL: a read-only store without one */
	struct catalogue *cat;  /* as last read or written */
	bool uncertain;         /* a commit failed after its rename: only reopening tells */
	struct edge *edge;      /* that we hold, in order */
	unsigned edges;
	struct view *views;   /* all that are open here */
	struct view *writer;  /* the one that writes, or NULL */
	bool writing;         /* LOCK_WRITER is ours: there is a writer, or is about to be */
	struct file *settled; /* a leaf that was folded away, locked until it is removed */
	bool unlinked;        /* garbage was removed, but its names may come back */
	unsigned readers;     /* views of current that only read */
	bool resting;         /* LOCK_FOLD is ours */
};

/* ---- store.c ---- */

/* The locks alone, of a store whose catalogue cannot be read; close it with snap_close. */
enum err store_open_bare(struct file_ns *ns, const char *dir, struct store **out,
			 struct err_why *why);

enum err store_begin(struct store *store, struct catalogue **cat, struct err_why *why);
/* Takes over `cat`. After an error the old catalogue rules, or - store->uncertain - one cannot
 * know.
 */
enum err store_commit(struct store *store, struct catalogue *cat, struct err_why *why);
void store_end(struct store *store);

/* For looking only: the catalogue as it is now. Takes `lock`; store_unlock gives it back. */
enum err store_look(struct store *store, struct err_why *why);
void store_unlock(struct store *store);

/* Try, once, and at most `seconds` long. */
enum err store_lock_byte(struct store *store, enum store_lock byte, unsigned seconds,
			 struct err_why *why);
void store_unlock_byte(struct store *store, enum store_lock byte);

/*
 * LOCK_FOLD, among the threads of this process too: layers are not folded by others until it is
 * given back.
 */
enum err store_rest(struct store *store, unsigned seconds, struct err_why *why);
void store_end_rest(struct store *store);

/* ERR_LOCKED when somebody writes to current, here or elsewhere. Nobody begins to while the
 * catalogue is being changed. */
enum err store_check_no_writer(struct store *store, struct err_why *why);
/* To become the writer, or ERR_LOCKED; and to be none any more. */
enum err store_claim_writer(struct store *store, struct err_why *why);
void store_unclaim_writer(struct store *store);
/* Readers of current: nobody may begin to write until they have gone. */
enum err store_add_reader(struct store *store, struct err_why *why);
void store_remove_reader(struct store *store);

/* ---- edges.c ---- */

/* ERR_LOCKED: the file is being removed, or folded into. */
enum err edge_hold(struct store *store, uint64_t file, uint64_t upper, struct err_why *why);
void edge_release(struct store *store, uint64_t file, uint64_t upper);
/* All edges of a chain of files, base first. All or none. */
enum err edges_hold(struct store *store, const uint64_t *file, unsigned count, struct err_why *why);
void edges_release(struct store *store, const uint64_t *file, unsigned count);
/* The same for each file by itself, with one `upper`. */
enum err edges_hold_all(struct store *store, const uint64_t *file, unsigned count, uint64_t upper,
			struct err_why *why);
void edges_release_all(struct store *store, const uint64_t *file, unsigned count, uint64_t upper);
/*
 * Nobody reads `file` but below `upper` (0: nobody reads it at all), and nobody begins to until
 * edges_open. False: somebody does.
 */
bool edges_close(struct store *store, uint64_t file, uint64_t upper);
void edges_open(struct store *store, uint64_t file, uint64_t upper);

/* ---- catalogue_file.c: reading and replacing it ---- */

enum err catalogue_read(struct file_ns *ns, const char *dir, const char *name,
			struct catalogue **out, struct err_why *why);
/* Which catalogue is there, without reading all of it. */
enum err catalogue_peek(struct file_ns *ns, const char *dir, struct guid *vm, uint64_t *generation,
			struct err_why *why);
/*
 * *renamed: from then on the new one is what a reader finds. When it is safe a second copy is
 * written, for snap_repair.
 */
enum err catalogue_replace(struct file_ns *ns, const char *dir, const struct catalogue *cat,
			   bool *renamed, struct err_why *why);

#define CATALOGUE_COPY "catalogue.copy"
#define CATALOGUE_NEW  "catalogue.new"

/* ---- layers.c: what the catalogue says of files, and what they are ---- */

/* Of a name in the folder, of a file's number, of a layer; free(). NULL: out of memory. */
char *store_name_path(const char *dir, const char *name);
char *store_file_path(const char *dir, uint64_t file);
char *store_layer_path(const char *dir, const struct cat_layer *layer);
/* "00000000002a.vhd" */
#define STORE_FILE_NAME_BYTES 24
void store_file_name(uint64_t file, char out[STORE_FILE_NAME_BYTES]);
/* Whether `name` is one of those, and of which file. */
bool store_parse_file_name(const char *name, uint64_t *file);

/* A chain as stack_open wants it, base first. */
struct layers {
	struct layer_facts *facts; /* paths are ours */
	uint64_t *number;          /* of the layers */
	uint64_t *file;
	unsigned count;
};

/*
 * The chain whose top is layer `top`. Every file is looked at: ERR_PARENT when one is missing or
 * is not what it was when it was sealed. Layers a fold is changing are taken as they are.
 */
enum err layers_of(struct store *store, const struct catalogue *cat, uint64_t top,
		   struct layers *out, struct err_why *why);
void layers_free(struct layers *layers);

/* One layer; free() facts->path. */
enum err layer_facts_of(struct store *store, const struct catalogue *cat,
			const struct cat_layer *layer, struct layer_facts *facts,
			struct err_why *why);

/* Whether the layer's file may differ from what was sealed, because we are changing it ourselves.
 */
bool layer_is_changing(const struct catalogue *cat, const struct cat_layer *layer);

/* The layer's identity is that of its file as it is now. */
enum err layer_note_seal(struct store *store, struct cat_layer *layer, struct err_why *why);

/*
 * A new empty leaf for disk `d` on layer `parent`, with its record; the file is complete and
 * durable but for its name. *number is the layer's. `no_lock`: whoever writes to the parent is
 * paused.
 */
enum err layer_create(struct store *store, struct catalogue *cat, uint64_t parent, bool no_lock,
		      uint64_t *number, struct err_why *why);

/* ---- views.c ---- */

/* After a fold of `lower` into or from `upper`: views here that read both read the one there is. */
void views_follow_fold(struct store *store, const struct catalogue *cat, uint64_t lower,
		       uint64_t upper);
/* Let go of files nobody reads any more. */
void views_settle(struct store *store);

/* ---- live.c: the disks of this process's writer, while a snapshot is taken ---- */

/* The leaves' sizes in `cat` are those of the disks that are open. */
void live_note_sizes(struct store *store, struct catalogue *cat);
/* Pause, and have all ready for the new leaves. Then one of: */
enum err live_prepare(struct store *store, const struct catalogue *cat, const uint64_t *leaf,
		      struct err_why *why);
void live_push(struct store *store);
void live_drop(struct store *store); /* nothing happens when nothing was prepared */
/* Nobody can tell whether the catalogue names the old leaves or the new ones: both are lost to us.
 */
void live_fail(struct store *store, const struct err_why *why);

/* ---- edit.c ---- */
enum err config_check(const struct snap_config *config, struct err_why *why);

/* ---- fold_settle.c ---- */

/* Finish a fold that has copied all. Between store_begin and store_end; commits more than once.
 * *cat is the copy to go on with. */
enum err fold_settle(struct store *store, struct catalogue **cat, struct err_why *why);
/*
 * What a fold that was killed, or that met a leaf in use, has left of that to be done. For other
 * programs' sake alone, so what fails here is no error.
 */
void fold_relink_pending(struct store *store);
/* Have headers say what the catalogue says of parents; `max` files at most. Commits. */
enum err fold_relink(struct store *store, struct catalogue **cat, unsigned max, bool *more,
		     struct err_why *why);

#endif

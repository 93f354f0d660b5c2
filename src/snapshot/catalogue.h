/* SPDX-License-Identifier: MIT */
#ifndef STRATA_SNAPSHOT_CATALOGUE_H
#define STRATA_SNAPSHOT_CATALOGUE_H

/*
 * The catalogue in memory: layers, nodes, configurations, and what is under way. catalogue_format.c
 * turns it into bytes and back, store.c into a file. A value like any other: no locks, no files.
 *
 * Everything is known by a number, given once and never again; a thing's parent always has a lower
 * number than itself, so nothing can go in circles and one pass in order sees parents first. Arrays
 * are in ascending order of numbers. 0 is no number.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "snapshot/snapshot.h"
#include "vhd/stack.h"

/* More than a chain of SNAP_MAX_DEPTH snapshots needs. */
#define CAT_MAX_LAYER_DEPTH (SNAP_MAX_DEPTH + 256u)
#define CAT_MAX_ITEMS       (1u << 20) /* layers, nodes, files of garbage */
#define CAT_MAX_BYTES       (256u << 20)
/* Numbers are places in the lock file too (store.h). */
#define CAT_MAX_NUMBER (UINT64_C(1) << 30)

enum cat_layer_flags {
	CAT_RELINK = 1,  /* what its header says of its parent may be out of date */
	CAT_FOREIGN = 2, /* below a disk that stays where it is: others may build on it too */
};

struct cat_layer {
	uint64_t number;
	uint64_t parent; /* layer */
	uint64_t file;   /* whose name this is, when there is no `path` */
	char *path;      /* NULL; a name in the store's folder; or an absolute path outside */
	struct guid uuid;
	enum vhd_type type;
	uint32_t block_bytes;
	uint64_t size_bytes; /* of the disk */
	uint32_t flags;
	/* Its identity: what the file was like when it ceased to change. 0, 0: it still does. */
	uint64_t sealed_bytes;
	int64_t sealed_mtime_ns;
	/* by cat_derive */
	unsigned depth;    /* 1: no parent */
	unsigned children; /* layers */
	unsigned names;    /* nodes and leaves */
	bool is_leaf;
};

struct cat_node {
	uint64_t number;
	uint64_t parent; /* node */
	struct guid id;
	int64_t time;
	char *name;
	char *note; /* "" */
	uint32_t config;
	uint64_t state;  /* file of its memory; 0: none */
	uint64_t *layer; /* one for each slot; 0: there was no disk */
	unsigned depth;  /* by cat_derive */
};

enum cat_fold_phase {
	CAT_FOLD_COPY =
	    1,           /* payload is being copied; both layers are as they were to all readers */
	CAT_FOLD_SETTLE, /* copied; the target takes over (fold.c) */
};

/* A fold under way; lower 0: none. */
struct cat_fold {
	uint64_t lower, upper;
	bool down;
	enum cat_fold_phase phase;
	uint64_t next_off; /* of the disk: all before it is copied */
};

struct catalogue {
	struct guid vm;
	uint64_t generation;
	uint64_t next_number;
	uint64_t current; /* node; 0: none */
	unsigned disks;   /* slots: a disk keeps its own for good */
	uint64_t *leaf;   /* layers; 0: there is no disk in that slot now */
	struct snap_config *config;
	unsigned configs;
	unsigned current_config;
	struct cat_layer *layer;
	unsigned layers;
	struct cat_node *node;
	unsigned nodes;
	uint64_t *garbage; /* files nobody names that may still be there */
	unsigned garbage_count;
	struct cat_fold fold;
};

void cat_free(struct catalogue *cat);
enum err cat_clone(const struct catalogue *cat, struct catalogue **out, struct err_why *why);

/* ---- finding; NULL when there is none ---- */
struct cat_layer *cat_layer(const struct catalogue *cat, uint64_t number);
struct cat_node *cat_node(const struct catalogue *cat, uint64_t number);
struct cat_node *cat_node_by_id(const struct catalogue *cat, const struct guid *id);
struct cat_node *cat_node_by_name(const struct catalogue *cat, const char *name);

/* ---- changing; false or NULL: out of memory ---- */
/* Appended, with the next number. Pointers into the array are no longer good. */
struct cat_layer *cat_add_layer(struct catalogue *cat);
struct cat_node *cat_add_node(struct catalogue *cat);
/* The number of a configuration like this one, which may be there already. */
bool cat_add_config(struct catalogue *cat, const struct snap_config *config, uint32_t *idx);
void cat_remove_node(struct catalogue *cat, struct cat_node *node);
bool cat_add_garbage(struct catalogue *cat, uint64_t file);
/*
 * Take out layers that neither a node nor a leaf builds on; their files become garbage. Derives.
 */
enum err cat_sweep(struct catalogue *cat, struct err_why *why);
/* The layer a fold writes to; NULL when there is no fold. */
struct cat_layer *cat_fold_target(const struct catalogue *cat);
/* No fold any more. What was its target has changed, so it has no identity until it is sealed. */
void cat_call_off(struct catalogue *cat);
/* Configurations no node has are taken out. */
void cat_sweep_configs(struct catalogue *cat);

/*
 * Fill in what follows from the rest, and check all that holds between the parts: numbers ascend,
 * parents exist, leaves are leaves. ERR_CORRUPT.
 */
enum err cat_derive(struct catalogue *cat, struct err_why *why);

/* A layer of ours only others build on; with one child it can be folded. */
static inline bool cat_is_debt(const struct cat_layer *layer)
{
	return !layer->names && layer->children && !(layer->flags & CAT_FOREIGN);
}

/* ---- bytes ---- */

#define CAT_HEADER_BYTES 160u

/* free() *bytes. */
enum err cat_encode(const struct catalogue *cat, uint8_t **bytes, size_t *len, struct err_why *why);
/*
 * ERR_CORRUPT with field and offset; ERR_UNSUPPORTED for a newer format. Trusts nothing, takes
 * memory in proportion to `len`.
 */
enum err cat_decode(const uint8_t *bytes, size_t len, struct catalogue **out, struct err_why *why);

#endif

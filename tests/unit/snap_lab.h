/* SPDX-License-Identifier: MIT */
#ifndef STRATA_TESTS_SNAP_LAB_H
#define STRATA_TESTS_SNAP_LAB_H

/*
 * A bench for tests of stores: one VM in memory, with faults and times of change in front, and ways
 * to spoil its catalogue with checksums that are right again. Whatever goes wrong in here fails the
 * running test, unless the function returns an enum err. Contents are tags, as in vhd_lab.h.
 */

#include "snapshot/snapshot.h"
#include "snapshot/store.h"
#include "tests/lib/names_ns.h"
#include "tests/unit/vhd_lab.h"

#define SLAB_HOME "/home"
#define SLAB_DIR  SLAB_HOME "/web"
#define SLAB_CAT  SLAB_DIR "/" STORE_CATALOGUE
#define SLAB_COPY SLAB_DIR "/" CATALOGUE_COPY

#define SLAB_BLOCK VHD_MIN_BLOCK
#define SLAB_BYTES (8 * SLAB_BLOCK) /* of a disk */

struct slab {
	struct vlab v; /* the files; its `why` is that of the last call that returns an enum err */
	struct names_ns *names;
	struct file_ns *ns;
};

/* Nothing there yet but the disks /disks/0.vhd and so on. */
void store_lab_start(struct slab *lab, unsigned disks);
void store_lab_stop(struct slab *lab);

/* The VM of all those disks: copied in, or named where they are. */
void store_lab_create(struct slab *lab, unsigned disks, bool copy);
enum err store_lab_try_create(struct slab *lab, const char *dir, unsigned disks, bool copy);
struct store *store_lab_open(struct slab *lab, unsigned flags);
enum err store_lab_try_open(struct slab *lab, unsigned flags, struct store **out);
/* The same for the VM's folder elsewhere. */
struct store *store_lab_open_at(struct slab *lab, const char *dir, unsigned flags);
bool store_lab_said(const struct slab *lab, const char *part);

/* ---- using a store ---- */

struct snap_view *store_lab_view(struct store *store, const struct guid *id, bool writable);
void store_lab_close_view(struct snap_view *view);
/* The first sectors of that block of current get the tag. */
void store_lab_write(struct store *store, unsigned disk, unsigned block, uint64_t tag);
/* What is there in a node, or `id` NULL in current. */
uint64_t store_lab_tag(struct store *store, const struct guid *id, unsigned disk, unsigned block);
struct guid store_lab_take(struct store *store, const char *name);
void store_lab_delete(struct store *store, const struct guid *id);
/* To the end. */
void store_lab_fold(struct store *store);
struct snap_tree store_lab_tree(struct store *store);
/* Where the layer of a node is (or, `id` NULL, the leaf); free() it. */
char *store_lab_layer_path(struct store *store, const struct guid *id, unsigned disk);

/*
 * A VM with two disks; snapshots "one" and "two" in a line, which have tag 1 and 2 in block 0, 11
 * and 12 in block 1, all on both disks; current has tag 3 in block 0.
 */
void store_lab_make_line(struct slab *lab);
/* That current and what there is of "one" and "two" reads as it should. */
void store_lab_check_line(struct store *store);

/* ---- checking ---- */

struct snap_report store_lab_check(struct slab *lab, bool full);
/* What a check results in. */
enum err store_lab_verdict(struct slab *lab, bool full);
enum err store_lab_repair(struct slab *lab);
bool store_lab_reports(const struct snap_report *report, enum snap_finding_kind kind,
		       const char *part);

/* ---- catalogues as bytes ---- */

/* free() them. */
uint8_t *store_lab_bytes(struct slab *lab, const char *path, size_t *len);
void store_lab_put_bytes(struct slab *lab, const char *path, const uint8_t *bytes, size_t len);
/* Make both checksums right. */
void store_lab_seal(uint8_t *bytes, size_t len);
/* Change `width` bytes (2, 4 or 8; little-endian). */
void store_lab_set(uint8_t *bytes, size_t at, unsigned width, uint64_t value);
/* The catalogue that is there, changed by `change`. */
void store_lab_edit(struct slab *lab, void (*change)(struct catalogue *cat));
struct catalogue *store_lab_read(struct slab *lab, const char *name);

/* Number and content of all files. */
uint64_t store_lab_hash(struct slab *lab, const char *dir);

#endif

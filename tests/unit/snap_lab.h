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
void slab_start(struct slab *lab, unsigned disks);
void slab_stop(struct slab *lab);

/* The VM of all those disks: copied in, or named where they are. */
void slab_create(struct slab *lab, unsigned disks, bool copy);
enum err slab_try_create(struct slab *lab, const char *dir, unsigned disks, bool copy);
struct store *slab_open(struct slab *lab, unsigned flags);
enum err slab_try_open(struct slab *lab, unsigned flags, struct store **out);
/* The same for the VM's folder elsewhere. */
struct store *slab_open_at(struct slab *lab, const char *dir, unsigned flags);
bool slab_said(const struct slab *lab, const char *part);

/* ---- using a store ---- */

struct snap_view *slab_view(struct store *store, const struct guid *id, bool writable);
void slab_close_view(struct snap_view *view);
/* The first sectors of that block of current get the tag. */
void slab_write(struct store *store, unsigned disk, unsigned block, uint64_t tag);
/* What is there in a node, or `id` NULL in current. */
uint64_t slab_tag(struct store *store, const struct guid *id, unsigned disk, unsigned block);
struct guid slab_take(struct store *store, const char *name);
void slab_delete(struct store *store, const struct guid *id);
/* To the end. */
void slab_fold(struct store *store);
struct snap_tree slab_tree(struct store *store);
/* Where the layer of a node is (or, `id` NULL, the leaf); free() it. */
char *slab_layer_path(struct store *store, const struct guid *id, unsigned disk);

/*
 * A VM with two disks; snapshots "one" and "two" in a line, which have tag 1 and 2 in block 0, 11
 * and 12 in block 1, all on both disks; current has tag 3 in block 0.
 */
void slab_make_line(struct slab *lab);
/* That current and what there is of "one" and "two" reads as it should. */
void slab_check_line(struct store *store);

/* ---- checking ---- */

struct snap_report slab_check(struct slab *lab, bool full);
/* What a check results in. */
enum err slab_verdict(struct slab *lab, bool full);
enum err slab_repair(struct slab *lab);
bool slab_reports(const struct snap_report *report, enum snap_finding_kind kind, const char *part);

/* ---- catalogues as bytes ---- */

/* free() them. */
uint8_t *slab_bytes(struct slab *lab, const char *path, size_t *len);
void slab_put_bytes(struct slab *lab, const char *path, const uint8_t *bytes, size_t len);
/* Make both checksums right. */
void slab_seal(uint8_t *bytes, size_t len);
/* Change `width` bytes (2, 4 or 8; little-endian). */
void slab_set(uint8_t *bytes, size_t at, unsigned width, uint64_t value);
/* The catalogue that is there, changed by `change`. */
void slab_edit(struct slab *lab, void (*change)(struct catalogue *cat));
struct catalogue *slab_read(struct slab *lab, const char *name);

/* Number and content of all files. */
uint64_t slab_hash(struct slab *lab, const char *dir);

#endif

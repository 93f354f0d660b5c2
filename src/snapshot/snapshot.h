/* SPDX-License-Identifier: MIT */
#ifndef STRATA_SNAPSHOT_SNAPSHOT_H
#define STRATA_SNAPSHOT_SNAPSHOT_H

/*
 * A VM's store: its disks as layers, its snapshots as a tree of nodes, its configuration.
 *
 * A store is a folder. One file in it, the catalogue (docs/FORMATS.md), says everything; it is
 * replaced as a whole (write, sync, rename, sync of the folder), so that each operation here either
 * happened or did not. Layers are plain VHDs, each the differencing child of the one below, and but
 * for the leaves the VM writes to none of them ever changes what it reads as. Files an operation
 * that died has left behind are removed by the next writable open.
 *
 * A *node* is a snapshot: for each disk the layer that was the leaf when it was taken. *Current* is
 * where the VM is: a writable leaf for each disk, on top of the node it stands on. A layer that no
 * node names but that others build on is *debt*; snap_fold moves its blocks to where they are
 * needed and removes it.
 *
 * What it does not do: run VMs, print, or follow parents that VHD headers name: those of a layer
 * come from the catalogue alone.
 *
 * Units: bytes; times are seconds since 1970. Ids are random and never used again. Ownership: what
 * a function hands out is freed with the function named beside it. Threads: a store may be used
 * from any thread; operations wait for each other, snap_fold only while it changes the catalogue.
 * Processes: one at a time changes the catalogue, others wait for it up to ten seconds and then get
 * ERR_LOCKED; any number may read. Errors leave everything as it was (P4, P5). Durability: what has
 * returned ERR_OK survives a power cut (P1, P3).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "block/block.h"
#include "block/file.h"
#include "util/err.h"
#include "util/guid.h"
#include "util/progress.h"

#define SNAP_MAX_DISKS 64u
#define SNAP_MAX_DEPTH 4096u
/* Of names of VMs and nodes, bytes; of a note. */
#define SNAP_NAME_MAX 128u
#define SNAP_NOTE_MAX 4096u

/* ---- names and places ---- */

/*
 * A name for a VM or a node: 1 to SNAP_NAME_MAX bytes of UTF-8 without control characters, slashes
 * and backslashes; not ".", "..", "current"; does not begin with '.' or '-', nor begin or end with
 * a space, nor look like an id. ERR_USAGE says what is wrong.
 */
enum err snap_check_name(const char *name, struct err_why *why);

/*
 * The folder of all VMs: `given`, else $STRATA_HOME, else /var/lib/strata for root and
 * $XDG_DATA_HOME/strata or ~/.local/share/strata for others. Absolute; free() it. It need not
 * exist.
 */
enum err snap_home(const char *given, char **out, struct err_why *why);

/* The folder of the VM `name` in `home`; free() it. Checks the name. */
enum err snap_vm_dir(const char *home, const char *name, char **out, struct err_why *why);

/* The names of the VMs in `home`, sorted; free each and then the array. No folder: none. */
enum err snap_list_vms(const char *home, char ***names, unsigned *count, struct err_why *why);

/* ---- a VM's configuration ---- */

struct snap_config {
	uint64_t memory_bytes;
	unsigned cpus;
	char *kernel, *initrd, *cmdline; /* NULL: none */
};

/* False without memory; `out` is then empty. */
bool snap_config_copy(const struct snap_config *from, struct snap_config *out);
void snap_config_free(struct snap_config *config);

/* ---- a store ---- */

struct store;

struct snap_create_opts {
	struct file_ns *ns; /* NULL: the real file system */
	struct snap_config config;
	const char *const *disks; /* VHDs, which stay where they are, or are copied in */
	unsigned disk_count;
	bool copy;    /* bring the disks into the store, by reflink where that works */
	bool replace; /* for tests on namespaces without folders: `dir` need not be new */
	struct progress *progress;
};

/*
 * A new store in `dir`, which must not exist; its folder is made if needed. All or nothing.
 * ERR_LOCKED when a disk is in use or belongs to another VM beside `dir`.
 */
enum err snap_create(const char *dir, const struct snap_create_opts *opts, struct err_why *why);

enum snap_open_flags {
	SNAP_READONLY = 1, /* writes nothing, collects no garbage */
};

/* ERR_NOENT: no such VM. ERR_REPAIRABLE or ERR_CORRUPT: snap_check says more. */
enum err snap_open(struct file_ns *ns, const char *dir, unsigned flags, struct store **out,
		   struct err_why *why);
/* Views must have been closed. NULL is allowed. */
void snap_close(struct store *store);

/*
 * Remove the VM: everything in `dir` that is the store's; disks that live elsewhere stay.
 * ERR_LOCKED while somebody uses it. Works on damaged stores too.
 */
enum err snap_remove(struct file_ns *ns, const char *dir, struct err_why *why);

/* ---- what there is ---- */

/* A disk keeps its slot, which is its number to the VM, as long as it is there. */
struct snap_disk {
	char *path; /* of the layer that holds it; NULL: there is no disk in this slot */
	uint64_t virtual_size;
	uint64_t unique_bytes; /* what the layer's file takes; 0 without SNAP_TREE_SIZES */
	unsigned depth;        /* files in the chain */
};

struct snap_node {
	struct guid id;
	struct guid parent; /* zero: none */
	char *name;
	char *note; /* "" when there is none */
	int64_t time;
	int parent_idx; /* in snap_tree.node; -1: none */
	unsigned depth; /* nodes above it, and itself */
	bool has_memory;
	uint64_t unique_bytes; /* of all its disks */
	struct snap_config config;
	struct snap_disk *disk;
	unsigned disk_count;
};

struct snap_debt {
	unsigned layers;  /* that are waiting to be folded */
	unsigned shared;  /* of these: with several children, left alone as they cost nothing */
	uint64_t bytes;   /* what their files take; at most as much is to be moved */
	unsigned garbage; /* files that wait for a reader to let go of them */
};

struct snap_tree {
	struct snap_node *node; /* parents before children, else by time */
	unsigned count;
	int current_idx;           /* the node the VM stands on; -1: none */
	struct snap_disk *current; /* its leaves */
	unsigned disk_count;
	uint64_t current_bytes;    /* what the leaves take */
	struct snap_config config; /* as it is now */
	bool running;              /* somebody has current open for writing */
	struct snap_debt debt;
	uint64_t generation; /* of the catalogue; grows with each change */
	struct guid vm;      /* never another; a copy of the VM has its own */
};

enum snap_tree_flags { SNAP_TREE_SIZES = 1 /* look at the files, for sizes */ };

/* What the store holds now. */
enum err snap_tree(struct store *store, unsigned flags, struct snap_tree *out, struct err_why *why);
void snap_tree_free(struct snap_tree *tree);

/*
 * The paths of all files that hold blocks of the VM, inside the store and elsewhere; free each and
 * then the array.
 */
enum err snap_files(struct store *store, char ***paths, unsigned *count, struct err_why *why);

/*
 * The node that `text` names: a name, an id, or the first 8 or more characters of an id. ERR_NOENT,
 * or ERR_USAGE when it is ambiguous; *idx is its place in tree->node.
 */
enum err snap_find(const struct snap_tree *tree, const char *text, unsigned *idx,
		   struct err_why *why);

/* ---- operations ---- */

struct snap_take_opts {
	const char *name; /* NULL: made from the time */
	const char *note; /* NULL: none */
};

/*
 * A new node of what is current: a new empty leaf for each disk and one change of the catalogue,
 * whatever the depth, the size and the number of nodes. A view that is open for writing in this
 * process goes on over it: its requests wait meanwhile, and those in flight are waited for, so
 * their threads must keep running their queues. A view that writes in another process: ERR_LOCKED.
 * ERR_EXIST: the name is taken.
 */
enum err snap_take(struct store *store, const struct snap_take_opts *opts, struct guid *id,
		   struct err_why *why);

/* Whether anything was written since the node that current stands on (true without a node). */
enum err snap_is_changed(struct store *store, bool *out, struct err_why *why);

/*
 * Go (back) to a node: current becomes what that node is; nodes after it stay. What is current now
 * becomes a node first (`keep` is its name, "" for one made from the time; its id in *kept) or is
 * discarded (`keep` NULL). ERR_LOCKED while anybody writes to current. The configuration becomes
 * the node's.
 */
enum err snap_revert(struct store *store, const struct guid *id, const char *keep,
		     struct guid *kept, struct err_why *why);

/* The node, or with `subtree` it and all below it, is gone at once; its blocks become debt. */
enum err snap_delete(struct store *store, const struct guid *id, bool subtree, unsigned *deleted,
		     struct err_why *why);

/* NULL leaves the name or the note as it is. ERR_EXIST: the name is taken. */
enum err snap_rename(struct store *store, const struct guid *id, const char *name, const char *note,
		     struct err_why *why);

enum err snap_set_config(struct store *store, const struct snap_config *config,
			 struct err_why *why);

struct snap_fold_opts {
	uint64_t budget_bytes; /* stop after about so much was moved; 0: run to the end */
	bool background;       /* leave most of the disk's time to others */
	struct progress *progress;
};

struct snap_fold_result {
	unsigned folded; /* layers that are gone */
	unsigned busy;   /* layers that could not be folded because somebody writes to them */
	uint64_t moved_bytes;
	bool more; /* the budget ended before the debt */
};

/*
 * Fold debt: each such layer into its child or the child into it, whichever moves fewer bytes; the
 * bottom of a chain only the latter way. Nothing that can be read changes at any moment; other
 * operations go on meanwhile; it may be killed at any time and goes on where it was. ERR_LOCKED: a
 * fold is under way elsewhere. ERR_CANCELLED by `progress`.
 */
enum err snap_fold(struct store *store, const struct snap_fold_opts *opts,
		   struct snap_fold_result *out, struct err_why *why);

/* ---- reading and writing disks ---- */

struct snap_view_opts {
	bool writable;             /* current only: one at a time, in all processes */
	bool direct;               /* bypass the page cache */
	uint64_t map_budget_bytes; /* for each disk; 0: 32 MiB */
};

/* All disks of a node, or of current. Files are opened when they are first needed. */
struct snap_view {
	struct disk **disk; /* by slot; NULL: there is none in it */
	unsigned disk_count;
};

/* `id` NULL: current. Close it with snap_view_close, which flushes; an error is a lost write. */
enum err snap_view_open(struct store *store, const struct guid *id,
			const struct snap_view_opts *opts, struct snap_view **out,
			struct err_why *why);
enum err snap_view_close(struct snap_view *view, struct err_why *why);

/* ---- other disks ---- */

/*
 * A further disk: the VHD at `path` stays where it is, with the chain below it, and belongs to the
 * VM from now on; *slot is the first free one. A view that is open for writing in this process has
 * it from then on. ERR_LOCKED: it is in use, or belongs to another VM; ERR_REFUSED: no slot left.
 */
enum err snap_disk_add(struct store *store, const char *path, unsigned *slot, struct err_why *why);

/*
 * Whether the disk belongs to another VM beside the one in `dir`: ERR_LOCKED. snap_disk_add looks
 * for itself, but while a view is open for writing: a process that runs a VM may not be allowed to
 * look at others, so who asks it must have looked.
 */
enum err snap_disk_check_owner(struct file_ns *ns, const char *dir, const char *path,
			       struct err_why *why);

/*
 * Current has no disk in that slot any more; nodes keep theirs. What was written since the newest
 * snapshot is gone with it, unless the disk lies outside the store: then the file stays as it is.
 * In a view that is open for writing in this process it is closed: nothing may be in flight.
 */
enum err snap_disk_remove(struct store *store, unsigned slot, struct err_why *why);

/*
 * Another size for current's disk, by the rules of vhd_resize. In a view that is open for writing
 * in this process the disk is another one afterwards, and NULL if it could not be opened again:
 * nothing may be in flight.
 */
enum err snap_disk_resize(struct store *store, unsigned slot, uint64_t size_bytes,
			  struct err_why *why);

/* ---- out and in ---- */

enum snap_export_kind {
	SNAP_EXPORT_FLAT,  /* one dynamic VHD for each disk: disk0.vhd, ... */
	SNAP_EXPORT_CHAIN, /* the files of its chain: disk0.vhd, disk0.1.vhd below it, ... */
	SNAP_EXPORT_VM,    /* the whole tree; `id` must be NULL */
};

/*
 * Copy a node (or, `id` NULL, current) with its configuration to the folder `to`, which must not
 * exist. The result is a store of its own, and its disks are plain VHDs whose locators agree.
 * Nothing is left behind on an error.
 */
enum err snap_export(struct store *store, const struct guid *id, enum snap_export_kind kind,
		     const char *to, struct progress *progress, struct err_why *why);

/* A new VM in `dir` from what snap_export made, copied or by reflink. */
enum err snap_import(struct file_ns *ns, const char *from, const char *dir,
		     struct progress *progress, struct err_why *why);

/* ---- checking ---- */

enum snap_finding_kind {
	SNAP_NOTE,       /* worth knowing, harmless */
	SNAP_REPAIRABLE, /* wrong; repair mends it and loses nothing that is still there */
	SNAP_LOST,       /* something is gone; repair makes the rest usable */
};

struct snap_finding {
	enum snap_finding_kind kind;
	char what[256];   /* "layer 000000000012.vhd of node \"before upgrade\": ..." */
	char action[200]; /* what repair would do; "" when nothing */
};

struct snap_report {
	struct snap_finding *finding;
	size_t count;
	unsigned nodes, layers; /* looked at */
};

/*
 * Compare catalogue, files and headers; `full` checks every layer's structures too. ERR_OK with a
 * report whatever was found; a damaged catalogue is a finding. Writes nothing.
 */
enum err snap_check(struct file_ns *ns, const char *dir, bool full, struct progress *progress,
		    struct snap_report *out, struct err_why *why);
/* ERR_OK, ERR_REPAIRABLE or ERR_CORRUPT. */
enum err snap_report_result(const struct snap_report *report);
void snap_report_free(struct snap_report *report);
/* Carry out the actions of a fresh check, which `out` holds. Removes no layer that holds data. */
enum err snap_repair(struct file_ns *ns, const char *dir, struct snap_report *out,
		     struct err_why *why);

#endif

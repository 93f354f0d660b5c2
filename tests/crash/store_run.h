/* SPDX-License-Identifier: MIT */
#ifndef STRATA_TESTS_CRASH_STORE_RUN_H
#define STRATA_TESTS_CRASH_STORE_RUN_H

/*
 * What the scenarios on a VM's store share. A small VM in a recorded namespace; each operation is
 * noted as the *shape* the tree has after it, before it is begun. After a cut the tree has the
 * shape of the last operation that was acknowledged, or that of the next one if that had begun, and
 * never anything else; each node reads as its shape says, current as P1 and P2 allow.
 *
 * Marks are numbers of our own: for each there is the moment of the models of both disks. Each
 * change of the catalogue puts one too, with flags that tell what kind of change it is: that is how
 * srun_redundant knows.
 */

#include <stdbool.h>
#include <stdint.h>

#include "block/fault.h"
#include "snapshot/snapshot.h"
#include "tests/lib/model.h"
#include "tests/lib/names_ns.h"
#include "tests/lib/powercut.h"
#include "tests/lib/random.h"
#include "tests/lib/reorder.h"

#define SRUN_HOME   "/home"
#define SRUN_DIR    "/home/vm"
#define SRUN_BASE   "/disks/base.vhd" /* below the first disk of a `chain` */
#define SRUN_BLOCK  (64u << 10)
#define SRUN_BYTES  (3u * SRUN_BLOCK) /* of a disk */
#define SRUN_DISKS  2u                /* at most: a dynamic and a fixed one */
#define SRUN_NODES  10u
#define SRUN_SHAPES 24u
#define SRUN_MARKS  512u
#define SRUN_NEVER  UINT64_MAX

/* Flags of marks. The change says only how far a fold is, or that headers are right by now. */
#define SRUN_MINOR (1ull << 32)
/* From now on payload is folded down: nobody reads it there yet. */
#define SRUN_DOWN (1ull << 33)
/* A fold up has ended whose lower layer stays, as others build on it. */
#define SRUN_COPIED_UP (1ull << 37)
/* A fold of a leaf ends because somebody is about to write to it. */
#define SRUN_CALLED_OFF (1ull << 38)
/* Headers to be rewritten get parents whose names are as long as those they had: one sector each.
 */
#define SRUN_ONE_SECTOR (1ull << 34)
/* What is written from now on is nobody's before a catalogue names it. */
#define SRUN_UNNAMED (1ull << 35)
/* The making of those files makes their names durable. */
#define SRUN_OLD_NAMES  (1ull << 36)
#define SRUN_MARK(mark) ((mark)&UINT32_MAX)

#define SRUN_MEMORY (64u << 20) /* of a VM when it is made */

struct srun_node {
	const char *name, *note;
	int parent; /* in shape.node; -1: none */
	uint64_t memory_bytes;
	struct model *disk[SRUN_DISKS];
};

struct srun_shape {
	bool exists; /* the VM */
	struct srun_node node[SRUN_NODES];
	unsigned count;
	int current; /* the node it stands on; -1: none */
	uint64_t memory_bytes;
	struct model *disk[SRUN_DISKS]; /* of current */
	bool no_debt;                   /* a fold has come to its end */
	uint64_t begun, done;           /* marks; SRUN_NEVER: not acknowledged */
};

struct store_run;

/* A scenario's own part. The store is open in setup and operate, unless `no_vm`. */
struct srun_config {
	enum err (*setup)(struct store_run *run, struct err_why *why);
	enum err (*operate)(struct store_run *run, struct err_why *why);
	/* What else is to hold after a cut; `shape` is the one that was found. NULL: nothing. */
	enum err (*judge)(struct store_run *run, struct file_ns *ns, const struct srun_shape *shape,
			  bool acknowledged, struct err_why *why);
	bool no_vm; /* setup makes the disks only */
	bool copy;  /* of the disks, when the VM is made */
	bool chain; /* the first disk is brought with a base below it */
	bool fold;  /* recovery folds to the end, as the program that was cut off would; not calm */
	bool alone; /* calm there is one disk, dynamic or fixed: no barrier does two disks' work */
	bool times; /* files tell when they were changed */
	enum snap_export_kind kind; /* of an export */
};

/* A file as setup left it. */
struct srun_outside {
	uint8_t *bytes; /* NULL: there is none */
	uint64_t size_bytes;
};

struct store_run {
	const struct srun_config *config;
	uint64_t seed;
	struct rng rng;
	bool calm;
	unsigned disks;
	const char *disk_path[SRUN_DISKS];
	/* faults: rules for operate, which then leaves all open for whoever set them */
	const struct fault_rule *file_rule;
	const struct names_rule *name_rule;
	bool leave_open;
	bool op_failed; /* it came back with an error */
	/* while it operates */
	struct mem_ns *mem;
	struct fault_ns *fault;
	struct reorder_ns *reorder;
	struct names_ns *names;
	struct file_ns *ns;
	struct store *store;
	struct snap_view *writer;
	/* what is known */
	struct srun_shape shape[SRUN_SHAPES];
	unsigned shapes;
	struct model *disk[SRUN_DISKS]; /* of current, by the last operation acknowledged */
	uint64_t mark;
	uint64_t time[SRUN_MARKS][SRUN_DISKS];
	uint64_t fresh[SRUN_DISKS]; /* sectors used up by calm writes */
	struct model **owned;
	unsigned owned_count;
	struct srun_outside outside[SRUN_DISKS + 1];
	unsigned judged;
};

/* The members of a powercut_scenario; its config is a struct srun_config. */
void *srun_begin(const void *config, uint64_t seed, bool calm);
enum err srun_setup(void *run, struct mem_ns *mem, struct err_why *why);
enum err srun_operate(void *run, struct mem_ns *mem, struct err_why *why);
enum err srun_recover(void *run, struct mem_ns *mem, uint64_t mark, struct err_why *why);
enum err srun_verify(void *run, struct mem_ns *mem, uint64_t mark, struct err_why *why);
void srun_end(void *run);
const char *srun_redundant(const struct powercut_barrier *barrier);
/* Put marks for changes of the catalogue (store_redundant.c). */
void srun_watch(struct store_run *run);

/* Names over `below`, which count calls and tell times if the scenario wants it. */
struct names_ns *srun_names(const struct store_run *run, struct file_ns *below);

/* Close what operate has left open. Safe to call twice. */
enum err srun_stop(struct store_run *run, struct err_why *why);

/* ---- steps of setup and operate (store_run.c) ---- */

/* The shape after an operation that begins now: a copy of the last one, to be changed. */
struct srun_shape *srun_begin_op(struct store_run *run);
/* It was acknowledged. */
void srun_end_op(struct store_run *run);
/* Put a mark into the log, with flags. */
void srun_mark(struct store_run *run, uint64_t flags);
/* A model that lives as long as the run. */
struct model *srun_child(struct store_run *run, const struct model *of);
/* Add to `shape` a node of what is current. */
void srun_add_node(struct store_run *run, struct srun_shape *shape, const char *name);
int srun_find(const struct srun_shape *shape, const char *name);

enum err srun_create(struct store_run *run, struct file_ns *ns, struct err_why *why);
enum err srun_open_writer(struct store_run *run, struct err_why *why);
enum err srun_close_writer(struct store_run *run, struct err_why *why);
/* `count` writes to each disk; the writer is open. */
enum err srun_write(struct store_run *run, unsigned count, struct err_why *why);
/* All of [off_bytes, off_bytes + len_bytes) of one disk. */
enum err srun_fill(struct store_run *run, unsigned d, uint64_t off_bytes, uint64_t len_bytes,
		   struct err_why *why);
enum err srun_flush(struct store_run *run, struct err_why *why);
/* Open, write, close. */
enum err srun_write_closed(struct store_run *run, unsigned count, struct err_why *why);

enum err srun_take(struct store_run *run, const char *name, struct err_why *why);
enum err srun_revert(struct store_run *run, const char *name, const char *keep,
		     struct err_why *why);
enum err srun_delete(struct store_run *run, const char *name, bool subtree, struct err_why *why);
enum err srun_rename(struct store_run *run, const char *name, const char *to, const char *note,
		     struct err_why *why);
enum err srun_set_memory(struct store_run *run, uint64_t bytes, struct err_why *why);
/* To the end, in steps of `budget_bytes`; 0: at once. */
enum err srun_fold(struct store_run *run, uint64_t budget_bytes, struct err_why *why);
/* One step, which must not be the last one. */
enum err srun_fold_some(struct store_run *run, uint64_t budget_bytes, struct err_why *why);

/* ---- files that are not the store's (store_outside.c) ---- */

void srun_note_outside(struct store_run *run);
void srun_free_outside(struct store_run *run);
/* Byte for byte what they were: what the first disk builds on, and `disks_too`. */
enum err srun_check_outside(const struct store_run *run, struct file_ns *ns, bool disks_too,
			    struct err_why *why);

/* The id of a node, as the store has it now. */
enum err srun_id(struct store *store, const char *name, struct guid *id, struct err_why *why);

/* ---- judging (store_judge.c) ---- */

/* Which shape, among those a cut at `mark` allows, the store in SRUN_DIR has; its content too. */
enum err srun_match(struct store_run *run, struct store *store, uint64_t mark, unsigned *idx,
		    struct err_why *why);
/* That `store` is of this shape: nodes by name, and their content; current as it is at `time`. */
enum err srun_check_shape(struct store *store, const struct srun_shape *shape, const uint64_t *time,
			  struct err_why *why);
/*
 * Nothing is wrong in `dir`, and there is no file that does not belong there. `settled`: a fold has
 * come to its end, so headers lead to parents and nothing is under way.
 */
enum err srun_check_dir(struct file_ns *ns, const char *dir, bool settled, struct err_why *why);
/* Fold to the end: no debt is left but what is shared. */
enum err srun_fold_all(struct store *store, struct err_why *why);

#endif

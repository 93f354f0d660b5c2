/* SPDX-License-Identifier: MIT */
#ifndef STRATA_TESTS_KILL_LOG_H
#define STRATA_TESTS_KILL_LOG_H

/*
 * What outlives the processes that are killed: shared memory that says what was asked of the store
 * and what it has confirmed.
 *
 * A *place* is a sector of one of the disks. Each write has a number, its *tag*, which grows; tag 0
 * is zeros. Never are two requests that write to one place under way at the same time, so a place's
 * tags come in order, and what it may read as lies between two bounds: the newest that is known to
 * have happened, and the newest that was asked for. Zeros have tags too, which cannot be read: so
 * the newest zeroing that was asked for is told with the upper bound.
 *
 * Threads, processes: tables are atomic, all else is used with the log's lock, which a killed
 * process may leave locked.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "tests/lib/random.h"
#include "util/guid.h"

#define DISKS           2u
#define FIXED_SECTORS   (3u << 11)
#define DYNAMIC_SECTORS (5u << 11)
#define PLACES          (FIXED_SECTORS + DYNAMIC_SECTORS)
#define SLOTS           48u

static inline uint32_t disk_sectors(unsigned disk)
{
	return disk ? DYNAMIC_SECTORS : FIXED_SECTORS;
}

static inline uint32_t first_place(unsigned disk)
{
	return disk ? FIXED_SECTORS : 0;
}

/* ---- bounds ---- */

/* The upper bound and the newest zeroing up to it. */
static inline uint64_t pack_high(uint32_t tag, uint32_t zero)
{
	return (uint64_t)tag << 32 | zero;
}

static inline bool tag_fits(uint32_t tag, uint32_t low, uint64_t high)
{
	return tag ? tag >= low && tag <= high >> 32 : (uint32_t)high >= low;
}

struct bounds {
	uint32_t low[PLACES];
	uint64_t high[PLACES];
};

/* Of current. */
struct table {
	_Atomic uint64_t submitted[PLACES];
	_Atomic uint32_t completed[PLACES];
	_Atomic uint32_t durable[PLACES]; /* completed, and then flushed */
};

/* ---- nodes ---- */

enum slot_state {
	SLOT_FREE,
	SLOT_TAKING, /* it may be there, under its name */
	SLOT_THERE,
	SLOT_GONE
};

enum actor_id {
	ACTOR_VM,     /* takes, reverts, opens and closes; its writers write */
	ACTOR_FOLDER, /* a thread beside it */
	ACTOR_OTHER,  /* a process beside it */
	ACTORS
};

struct slot {
	enum slot_state state;
	bool has_high; /* TAKING: the upper bound is known already */
	bool exact;    /* it was read as a whole: both bounds are what it reads as */
	unsigned users[ACTORS];
	unsigned deleting; /* a bit for each actor that tries to */
	struct guid id;
	char name[32];
	struct bounds bounds;
};

/* ---- all of it ---- */

enum op {
	OP_NONE,
	OP_TAKE,
	OP_DELETE,
	OP_SUBTREE,
	OP_FOLD,
	OP_READ,
	OP_REVERT,
	OP_VIEW,
	OP_STORE,
	OPS
};

struct actor_log {
	_Atomic unsigned op;
	_Atomic unsigned root; /* SUBTREE: its slot */
	_Atomic unsigned started[OPS], done[OPS];
	unsigned cut[OPS]; /* by a kill */
};

struct log {
	pthread_mutex_t lock;
	_Atomic uint32_t tag;
	_Atomic unsigned names;
	_Atomic unsigned which; /* of the tables rules */
	struct table table[2];
	struct slot slot[SLOTS];
	int base; /* the slot current stands on; -1: not known */

	/* A revert under way: to which slot, with what is current kept in which (-1: discarded). */
	_Atomic bool reverting;
	_Atomic unsigned reverts; /* begun and ended */
	int target, keep;

	struct actor_log actor[ACTORS];
	_Atomic bool stop; /* in peace */
	_Atomic unsigned written, flushed, read_back, checked_reads, waited, adopted;

	_Atomic int failed; /* 1: being told, 2: `text` is there */
	char text[800];
};

/* Shared with the children to come; exits when there is no memory. */
struct log *log_new(void);
/* When all processes have ended: nobody holds or uses anything. */
void log_begin_cycle(struct log *log);

void log_lock(struct log *log);
void log_unlock(struct log *log);

/* The first failure counts. False, for its caller to return. */
bool log_fail(struct log *log, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool log_has_failed(const struct log *log);

void op_begin(struct log *log, enum actor_id actor, enum op op);
void op_end(struct log *log, enum actor_id actor);

/* ---- the table of current ---- */

struct table *log_table(struct log *log);
void table_completed(struct table *table, uint32_t *out);
void table_submitted(struct table *table, uint64_t *out);
/* What was completed then is durable now. */
void table_raise_durable(struct table *table, uint32_t first, uint32_t count, const uint32_t *low);
/* All three are what `bounds` says. */
void table_set(struct table *table, const struct bounds *bounds);

/* ---- slots; each takes the lock ---- */

/* With a new name; -1: all are used. Then it begins, and is forgotten or confirmed. */
int slot_new(struct log *log);
void slot_begin(struct log *log, int slot, bool has_high);
void slot_forget(struct log *log, int slot);
void slot_confirm(struct log *log, int slot, const struct guid *id);
/* Current stands on it now, unless somebody deletes it. */
void slot_set_base(struct log *log, int slot);
/* One that is there, at random, in use by `actor` from now on; -1: none, or not so many. */
int slot_use(struct log *log, enum actor_id actor, struct rng *rng, unsigned more_than);
void slot_release(struct log *log, enum actor_id actor, int slot);
/* For one that was killed. */
void slots_release_all(struct log *log, enum actor_id actor);
unsigned slots_there(struct log *log);

void slot_begin_delete(struct log *log, enum actor_id actor, int slot);
/* Not deleted by us. */
void slot_end_delete(struct log *log, enum actor_id actor, int slot);
void slot_deleted(struct log *log, enum actor_id actor, int slot);
/* It is no wonder that it is not there: somebody deletes it, or has. */
bool slot_may_be_gone(struct log *log, int slot);
int slot_of_id(struct log *log, const struct guid *id);

#endif

/* SPDX-License-Identifier: MIT */
#ifndef STRATA_TESTS_ATOMS_H
#define STRATA_TESTS_ATOMS_H

/*
 * What is pending at a moment of a recorded log, divided into the parts that land or do not land
 * by themselves: atoms. A walk goes through a log, keeps the durable world and the pending atoms,
 * and stops at each place where the power has to be cut (powercut.h says which).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/lib/world.h"

enum atom_kind {
	ATOM_SIZE, /* the file's size becomes off_bytes */
	ATOM_DATA, /* bytes off_bytes .. off_bytes + len_bytes */
	ATOM_NAME,
};

struct atom {
	const struct mem_event *event;
	enum atom_kind kind;
	uint64_t off_bytes;
	uint64_t len_bytes;
};

/* A torn single sector ends before its checksum, or right behind it (as a footer has it). */
enum fate { LOST, LANDED, TORN, TORN_LATE };

/* More than one sector, or a sector with a checksum: part of it may land. */
bool atom_can_tear(const struct atom *atom);
/* Classes of atoms that belong together: an enum file_event, or EV_COUNT for names. */
unsigned atom_class(const struct atom *atom);
/* Let it land in `world`; `tear` chooses which part when torn. */
void atom_apply(const struct atom *atom, struct world *world, enum fate fate, uint64_t tear);

/* Let everything in the log land, in order. */
void atoms_apply_all(struct world *world, const struct mem_event *event, size_t count);

#define WALK_NOTHING SIZE_MAX

struct walk {
	/* set by the caller */
	const struct mem_event *event;
	size_t first, count;
	size_t skip; /* index of an event to leave out (a barrier), or WALK_NOTHING */
	const struct world *base;
	uint64_t mark; /* going in: the mark before the first event */
	void *owner;
	/* Called for each cut; false ends the walk. */
	bool (*cut)(struct walk *walk);

	/* valid in `cut` */
	size_t at; /* events before this one may have landed */
	struct world *durable;
	struct atom *atom;
	size_t atoms;

	/* private */
	size_t room;
	uint64_t *size;
	size_t sizes;
};

/*
 * With `skip`, only the cuts at which its loss makes a difference: after it, up to the next
 * barrier of the same scope.
 */
void walk_run(struct walk *walk);

/* The same file, or for names the same folder. */
bool barrier_same_scope(const struct mem_event *a, const struct mem_event *b);
static inline bool event_is_barrier(const struct mem_event *event)
{
	return event->kind == MEM_SYNC || event->kind == MEM_SYNC_DIR;
}
static inline bool event_names(const struct mem_event *event)
{
	return event->kind == MEM_CREATE || event->kind == MEM_UNLINK || event->kind == MEM_RENAME;
}

#endif

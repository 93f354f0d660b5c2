/* SPDX-License-Identifier: MIT */
#include "tests/lib/atoms.h"

#include <stdlib.h>
#include <string.h>

#include "tests/lib/random.h"
#include "util/bytes.h"

#define SECTOR          512u
#define BEFORE_CHECKSUM 60u /* of a footer, which has it at byte 64 */
#define BEHIND_CHECKSUM 76u
#define SECTORS_APART   4u /* longer writes are halved; their sectors part when torn */

/* ---- one atom ---- */

static bool has_checksum(const struct mem_event *event)
{
	return event->what == EV_FOOTER || event->what == EV_FOOTER_COPY ||
	       event->what == EV_INTENT;
}

bool atom_can_tear(const struct atom *atom)
{
	return atom->kind == ATOM_DATA && (atom->len_bytes > SECTOR || has_checksum(atom->event));
}

unsigned atom_class(const struct atom *atom)
{
	return atom->kind == ATOM_NAME ? EV_COUNT : atom->event->what;
}

static void apply_torn(const struct atom *atom, struct world *world, enum fate fate, uint64_t tear)
{
	uint64_t off = atom->off_bytes;
	uint64_t end = off + atom->len_bytes;

	if (atom->len_bytes <= SECTOR) {
		uint64_t torn = fate == TORN ? BEFORE_CHECKSUM : BEHIND_CHECKSUM;

		world_apply_data(world, atom->event, off, min_u64(torn, atom->len_bytes));
		return;
	}
	while (off < end) {
		uint64_t next = min_u64(round_down(off, SECTOR) + SECTOR, end);

		if (rng_mix(tear ^ off) & 1)
			world_apply_data(world, atom->event, off, next - off);
		off = next;
	}
}

void atom_apply(const struct atom *atom, struct world *world, enum fate fate, uint64_t tear)
{
	if (fate == LOST)
		return;
	switch (atom->kind) {
	case ATOM_SIZE:
		world_set_size(world, atom->event->file_id, atom->off_bytes);
		break;
	case ATOM_NAME:
		world_apply_name(world, atom->event);
		break;
	case ATOM_DATA:
		if (fate != LANDED && atom_can_tear(atom))
			apply_torn(atom, world, fate, tear);
		else
			world_apply_data(world, atom->event, atom->off_bytes, atom->len_bytes);
		break;
	}
}

/* ---- dividing events ---- */

static void *grow(void *array, size_t count, size_t each)
{
	array = reallocarray(array, count, each);
	if (!array)
		abort();
	return array;
}

static void push(struct walk *walk, const struct mem_event *event, enum atom_kind kind,
		 uint64_t off_bytes, uint64_t len_bytes)
{
	if (walk->atoms == walk->room) {
		walk->room = walk->room ? walk->room * 2 : 64;
		walk->atom = grow(walk->atom, walk->room, sizeof(*walk->atom));
	}
	walk->atom[walk->atoms++] = (struct atom){
	    .event = event, .kind = kind, .off_bytes = off_bytes, .len_bytes = len_bytes};
}

/* The size the file has for the running program, all events so far included. */
static uint64_t *logical_size(struct walk *walk, uint32_t file_id)
{
	if (file_id >= walk->sizes) {
		size_t sizes = (size_t)file_id + 16;

		walk->size = grow(walk->size, sizes, sizeof(*walk->size));
		for (size_t i = walk->sizes; i < sizes; i++)
			walk->size[i] = world_size(walk->base, (uint32_t)i);
		walk->sizes = sizes;
	}
	return &walk->size[file_id];
}

static void push_size(struct walk *walk, const struct mem_event *event, uint64_t size_bytes)
{
	uint64_t *size = logical_size(walk, event->file_id);

	if (*size == size_bytes)
		return;
	*size = size_bytes;
	push(walk, event, ATOM_SIZE, size_bytes, 0);
}

static void push_data(struct walk *walk, const struct mem_event *event, uint64_t off_bytes,
		      uint64_t end)
{
	uint64_t first = off_bytes / SECTOR;
	uint64_t sectors = div_round_up(end, SECTOR) - first;

	if (sectors > SECTORS_APART) {
		uint64_t half = (first + 1 + rng_mix(off_bytes ^ end) % (sectors - 1)) * SECTOR;

		push(walk, event, ATOM_DATA, off_bytes, half - off_bytes);
		push(walk, event, ATOM_DATA, half, end - half);
		return;
	}
	while (off_bytes < end) {
		uint64_t next = min_u64(round_down(off_bytes, SECTOR) + SECTOR, end);

		push(walk, event, ATOM_DATA, off_bytes, next - off_bytes);
		off_bytes = next;
	}
}

static void push_event(struct walk *walk, const struct mem_event *event)
{
	uint64_t end = event->off_bytes + event->len_bytes;

	switch (event->kind) {
	case MEM_WRITE:
		if (end > *logical_size(walk, event->file_id))
			push_size(walk, event, end);
		push_data(walk, event, event->off_bytes, end);
		break;
	case MEM_ZERO:
		end = min_u64(end, *logical_size(walk, event->file_id));
		if (end > event->off_bytes)
			push_data(walk, event, event->off_bytes, end);
		break;
	case MEM_ALLOCATE:
		if (end > *logical_size(walk, event->file_id))
			push_size(walk, event, end);
		break;
	case MEM_TRUNCATE:
		push_size(walk, event, event->off_bytes);
		break;
	case MEM_CREATE:
	case MEM_UNLINK:
	case MEM_RENAME:
		push(walk, event, ATOM_NAME, 0, 0);
		break;
	case MEM_SYNC:
	case MEM_SYNC_DIR:
	case MEM_MARK:
		break;
	}
}

/* ---- barriers ---- */

static bool same_folder(const char *a, const char *b)
{
	const char *a_end = strrchr(a, '/');
	const char *b_end = strrchr(b, '/');
	size_t a_len = a_end ? (size_t)(a_end - a) : 0;
	size_t b_len = b_end ? (size_t)(b_end - b) : 0;

	return !a_end == !b_end && a_len == b_len && !memcmp(a, b, a_len);
}

bool barrier_same_scope(const struct mem_event *a, const struct mem_event *b)
{
	if (a->kind != b->kind)
		return false;
	return a->kind == MEM_SYNC ? a->file_id == b->file_id : same_folder(a->path, b->path);
}

static bool barrier_covers(const struct mem_event *barrier, const struct atom *atom)
{
	const struct mem_event *event = atom->event;

	/* What was still in flight when the barrier began is not covered by it. */
	if (event->ended >= barrier->begun)
		return false;
	if (atom->kind != ATOM_NAME)
		return barrier->kind == MEM_SYNC && barrier->file_id == event->file_id;
	return barrier->kind == MEM_SYNC_DIR &&
	       same_folder(barrier->path, event->kind == MEM_RENAME ? event->path2 : event->path);
}

static void commit(struct walk *walk, const struct mem_event *barrier)
{
	size_t left = 0;

	for (size_t i = 0; i < walk->atoms; i++) {
		if (barrier_covers(barrier, &walk->atom[i]))
			atom_apply(&walk->atom[i], walk->durable, LANDED, 0);
		else
			walk->atom[left++] = walk->atom[i];
	}
	walk->atoms = left;
}

static void walk_events(struct walk *walk)
{
	const struct mem_event *skipped = NULL;

	for (walk->at = walk->first; walk->at < walk->count; walk->at++) {
		const struct mem_event *event = &walk->event[walk->at];

		if (event->kind == MEM_MARK) {
			walk->mark = event->off_bytes;
		} else if (walk->at == walk->skip) {
			skipped = event;
		} else if (event_is_barrier(event)) {
			if ((walk->skip == WALK_NOTHING || skipped) && !walk->cut(walk))
				return;
			if (skipped && barrier_same_scope(skipped, event))
				return;
			commit(walk, event);
		} else {
			push_event(walk, event);
		}
	}
	walk->cut(walk);
}

void walk_run(struct walk *walk)
{
	walk->durable = world_copy(walk->base);
	walk->atom = NULL;
	walk->atoms = walk->room = 0;
	walk->size = NULL;
	walk->sizes = 0;
	walk_events(walk);
	world_free(walk->durable);
	free(walk->atom);
	free(walk->size);
}

void atoms_apply_all(struct world *world, const struct mem_event *event, size_t count)
{
	for (size_t i = 0; i < count; i++, event++) {
		uint64_t end = event->off_bytes + event->len_bytes;
		bool extends = event->kind == MEM_WRITE || event->kind == MEM_ALLOCATE;

		if (extends && end > world_size(world, event->file_id))
			world_set_size(world, event->file_id, end);
		if (event->kind == MEM_WRITE || event->kind == MEM_ZERO)
			world_apply_data(world, event, event->off_bytes, event->len_bytes);
		else if (event->kind == MEM_TRUNCATE)
			world_set_size(world, event->file_id, event->off_bytes);
		else if (event_names(event))
			world_apply_name(world, event);
	}
}

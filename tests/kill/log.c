/* SPDX-License-Identifier: MIT */
#include "tests/kill/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static void init_lock(struct log *log)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&log->lock, &attr);
	pthread_mutexattr_destroy(&attr);
}

struct log *log_new(void)
{
	struct log *log =
	    mmap(NULL, sizeof(*log), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (log == MAP_FAILED) {
		fprintf(stderr, "kill: no shared memory\n");
		exit(1);
	}
	log->base = -1;
	init_lock(log);
	return log;
}

void log_begin_cycle(struct log *log)
{
	memset(&log->lock, 0, sizeof(log->lock));
	init_lock(log);
	atomic_store(&log->stop, false);
	for (unsigned a = 0; a < ACTORS; a++)
		atomic_store(&log->actor[a].op, OP_NONE);
}

void log_lock(struct log *log)
{
	int e = pthread_mutex_lock(&log->lock);

	if (e == EOWNERDEAD)
		e = pthread_mutex_consistent(&log->lock);
	if (e)
		abort();
}

void log_unlock(struct log *log)
{
	pthread_mutex_unlock(&log->lock);
}

bool log_fail(struct log *log, const char *fmt, ...)
{
	int none = 0;
	va_list args;

	if (!atomic_compare_exchange_strong(&log->failed, &none, 1))
		return false;
	va_start(args, fmt);
	vsnprintf(log->text, sizeof(log->text), fmt, args);
	va_end(args);
	atomic_store(&log->failed, 2);
	return false;
}

bool log_has_failed(const struct log *log)
{
	return atomic_load(&log->failed);
}

void op_begin(struct log *log, enum actor_id actor, enum op op)
{
	atomic_store(&log->actor[actor].op, op);
	atomic_fetch_add(&log->actor[actor].started[op], 1);
}

void op_end(struct log *log, enum actor_id actor)
{
	struct actor_log *a = &log->actor[actor];

	atomic_fetch_add(&a->done[atomic_load(&a->op)], 1);
	atomic_store(&a->op, OP_NONE);
}

/* ---- the table of current ---- */

struct table *log_table(struct log *log)
{
	return &log->table[atomic_load(&log->which)];
}

void table_completed(struct table *table, uint32_t *out)
{
	for (uint32_t p = 0; p < PLACES; p++)
		out[p] = atomic_load(&table->completed[p]);
}

void table_submitted(struct table *table, uint64_t *out)
{
	for (uint32_t p = 0; p < PLACES; p++)
		out[p] = atomic_load(&table->submitted[p]);
}

void table_raise_durable(struct table *table, uint32_t first, uint32_t count, const uint32_t *low)
{
	for (uint32_t i = 0; i < count; i++) {
		_Atomic uint32_t *durable = &table->durable[first + i];
		uint32_t was = atomic_load(durable);

		while (was < low[i] && !atomic_compare_exchange_weak(durable, &was, low[i]))
			;
	}
}

void table_set(struct table *table, const struct bounds *bounds)
{
	for (uint32_t p = 0; p < PLACES; p++) {
		atomic_store(&table->submitted[p], bounds->high[p]);
		atomic_store(&table->completed[p], bounds->low[p]);
		atomic_store(&table->durable[p], bounds->low[p]);
	}
}

/* ---- slots ---- */

static bool is_unused(const struct slot *slot)
{
	unsigned users = slot->deleting;

	for (unsigned a = 0; a < ACTORS; a++)
		users |= slot->users[a];
	return !users && (slot->state == SLOT_FREE || slot->state == SLOT_GONE);
}

int slot_new(struct log *log)
{
	int found = -1;

	log_lock(log);
	for (unsigned i = 0; i < SLOTS && found < 0; i++)
		if (is_unused(&log->slot[i]))
			found = (int)i;
	if (found >= 0) {
		struct slot *slot = &log->slot[found];

		slot->state = SLOT_FREE;
		slot->has_high = slot->exact = false;
		snprintf(slot->name, sizeof(slot->name), "node %u",
			 atomic_fetch_add(&log->names, 1));
	}
	log_unlock(log);
	return found;
}

static void set_state(struct log *log, int slot, enum slot_state state)
{
	log_lock(log);
	log->slot[slot].state = state;
	log_unlock(log);
}

void slot_begin(struct log *log, int slot, bool has_high)
{
	log->slot[slot].has_high = has_high;
	set_state(log, slot, SLOT_TAKING);
}

void slot_forget(struct log *log, int slot)
{
	set_state(log, slot, SLOT_FREE);
}

void slot_confirm(struct log *log, int slot, const struct guid *id)
{
	log_lock(log);
	log->slot[slot].id = *id;
	log->slot[slot].state = SLOT_THERE;
	log_unlock(log);
}

void slot_set_base(struct log *log, int slot)
{
	log_lock(log);
	bool stays = log->slot[slot].state == SLOT_THERE && !log->slot[slot].deleting;
	log->base = stays ? slot : -1;
	log_unlock(log);
}

static unsigned count_there(const struct log *log)
{
	unsigned count = 0;

	for (unsigned i = 0; i < SLOTS; i++)
		count += log->slot[i].state == SLOT_THERE;
	return count;
}

unsigned slots_there(struct log *log)
{
	log_lock(log);
	unsigned count = count_there(log);
	log_unlock(log);
	return count;
}

int slot_use(struct log *log, enum actor_id actor, struct rng *rng, unsigned more_than)
{
	int found = -1;

	log_lock(log);
	unsigned count = count_there(log);
	if (count > more_than) {
		unsigned at = (unsigned)rng_below(rng, count);

		for (unsigned i = 0; i < SLOTS && found < 0; i++)
			if (log->slot[i].state == SLOT_THERE && at-- == 0)
				found = (int)i;
		log->slot[found].users[actor]++;
	}
	log_unlock(log);
	return found;
}

void slot_release(struct log *log, enum actor_id actor, int slot)
{
	log_lock(log);
	log->slot[slot].users[actor]--;
	log_unlock(log);
}

void slots_release_all(struct log *log, enum actor_id actor)
{
	log_lock(log);
	for (unsigned i = 0; i < SLOTS; i++)
		log->slot[i].users[actor] = 0;
	log_unlock(log);
}

void slot_begin_delete(struct log *log, enum actor_id actor, int slot)
{
	log_lock(log);
	log->slot[slot].deleting |= 1u << actor;
	if (log->base == slot)
		log->base = -1;
	log_unlock(log);
}

void slot_end_delete(struct log *log, enum actor_id actor, int slot)
{
	log_lock(log);
	log->slot[slot].deleting &= ~(1u << actor);
	log_unlock(log);
}

void slot_deleted(struct log *log, enum actor_id actor, int slot)
{
	log_lock(log);
	log->slot[slot].deleting &= ~(1u << actor);
	log->slot[slot].state = SLOT_GONE;
	log_unlock(log);
}

bool slot_may_be_gone(struct log *log, int slot)
{
	log_lock(log);
	bool may = log->slot[slot].deleting || log->slot[slot].state == SLOT_GONE;
	log_unlock(log);
	return may;
}

int slot_of_id(struct log *log, const struct guid *id)
{
	int found = -1;

	log_lock(log);
	for (unsigned i = 0; i < SLOTS && found < 0; i++)
		if (log->slot[i].state == SLOT_THERE && guid_equal(&log->slot[i].id, id))
			found = (int)i;
	log_unlock(log);
	return found;
}

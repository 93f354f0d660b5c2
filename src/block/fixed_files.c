/* SPDX-License-Identifier: MIT */
#include "block/fixed_files.h"

#include <errno.h>
#include <liburing.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "util/bytes.h"

/* Enough for a chain of 512 files with two descriptors each, four times over. */
#define MAX_SLOTS 4096

static struct {
	pthread_mutex_t lock; /* guards everything here */
	uint64_t used[MAX_SLOTS / 64];
	uint64_t last_serial;
	struct fixed_table *tables;
} registry = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int take_slot(void)
{
	for (unsigned i = 0; i < ARRAY_LEN(registry.used); i++) {
		if (~registry.used[i]) {
			unsigned bit = (unsigned)__builtin_ctzll(~registry.used[i]);

			registry.used[i] |= UINT64_C(1) << bit;
			return (int)(i * 64 + bit);
		}
	}
	return -1;
}

/*
 * The system call itself rather than liburing's wrapper, which may go through state that belongs
 * to the ring's thread: this is called from others too.
 */
static int update(const struct fixed_table *table, int slot, int fd)
{
	struct io_uring_files_update up = {
	    .offset = (unsigned)slot,
	    .fds = (uintptr_t)&fd,
	};

	return io_uring_register((unsigned)table->ring_fd, IORING_REGISTER_FILES_UPDATE, &up, 1);
}

void fixed_file_take(struct fixed_file *file, int fd, const struct fixed_file *rest)
{
	pthread_mutex_lock(&registry.lock);
	*file = (struct fixed_file){
	    .fd = fd,
	    .slot = take_slot(),
	    .serial = ++registry.last_serial,
	    .rest = rest,
	};
	pthread_mutex_unlock(&registry.lock);
}

void fixed_file_drop(struct fixed_file *file)
{
	if (file->slot < 0)
		return;
	pthread_mutex_lock(&registry.lock);
	for (struct fixed_table *t = registry.tables; t; t = t->next) {
		if ((unsigned)file->slot < t->slots && t->serial[file->slot] == file->serial) {
			update(t, file->slot, -1);
			t->serial[file->slot] = 0;
		}
	}
	registry.used[file->slot / 64] &= ~(UINT64_C(1) << file->slot % 64);
	pthread_mutex_unlock(&registry.lock);
	file->slot = -1;
}

/* The kernel takes no larger table than the process may have descriptors. */
static unsigned slots_wanted(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 0;
	return (unsigned)min_u64(limit.rlim_cur, MAX_SLOTS);
}

void fixed_table_open(struct fixed_table *table, int ring_fd)
{
	unsigned slots = slots_wanted();
	struct io_uring_rsrc_register reg = {.nr = slots, .flags = IORING_RSRC_REGISTER_SPARSE};

	*table = (struct fixed_table){.ring_fd = ring_fd};
	table->serial = calloc(slots ? slots : 1, sizeof(*table->serial));
	if (table->serial && slots &&
	    io_uring_register((unsigned)ring_fd, IORING_REGISTER_FILES2, &reg, sizeof(reg)) >= 0)
		table->slots = slots;

	pthread_mutex_lock(&registry.lock);
	table->next = registry.tables;
	if (table->next)
		table->next->prev = table;
	registry.tables = table;
	pthread_mutex_unlock(&registry.lock);
}

void fixed_table_close(struct fixed_table *table)
{
	pthread_mutex_lock(&registry.lock);
	if (table->next)
		table->next->prev = table->prev;
	if (table->prev)
		table->prev->next = table->next;
	else
		registry.tables = table->next;
	pthread_mutex_unlock(&registry.lock);
	free(table->serial);
}

int fixed_table_register(struct fixed_table *table, const struct fixed_file *file)
{
	if (update(table, file->slot, file->fd) != 1)
		return -1;
	table->serial[file->slot] = file->serial;
	return file->slot;
}

/* SPDX-License-Identifier: MIT */
#ifndef STRATA_BLOCK_FIXED_FILES_H
#define STRATA_BLOCK_FIXED_FILES_H

/*
 * Registered descriptors: the kernel finds a file by its place in a table of the ring instead of
 * looking up and referencing the descriptor for every request.
 *
 * Each open descriptor has a slot number that is the same in all rings of the process, and a
 * serial that is never used again. A ring's table says which serial it has registered in each
 * slot; a descriptor is registered when it is first used with a ring, and taken out of every ring
 * before it is closed. When there are no slots left the plain descriptor is used.
 *
 * Threads: fixed_slot only on the ring's own thread; the others from any. A descriptor may only be
 * dropped when nothing uses it any more, so a slot that changes hands is never looked at meanwhile.
 */

#include <stdint.h>

struct fixed_file {
	int fd;
	int slot;                      /* -1: none */
	uint64_t serial;               /* from 1 */
	const struct fixed_file *rest; /* where what is left of a short transfer goes */
};

struct fixed_table {
	int ring_fd;
	unsigned slots; /* 0: registration does not work here */
	uint64_t *serial;
	struct fixed_table *next, *prev;
};

void fixed_file_take(struct fixed_file *file, int fd, const struct fixed_file *rest);
/* Undo fixed_file_take; does not close the descriptor. */
void fixed_file_drop(struct fixed_file *file);

/* Never fails: without a table every descriptor is used plainly. */
void fixed_table_open(struct fixed_table *table, int ring_fd);
void fixed_table_close(struct fixed_table *table);

/* Register `file` in its slot. Returns the slot, or -1 when it cannot be. */
int fixed_table_register(struct fixed_table *table, const struct fixed_file *file);

/* The slot of `file` in this ring, or -1: use file->fd. */
static inline int fixed_slot(struct fixed_table *table, const struct fixed_file *file)
{
	if (file->slot < 0 || (unsigned)file->slot >= table->slots)
		return -1;
	if (table->serial[file->slot] == file->serial)
		return file->slot;
	return fixed_table_register(table, file);
}

#endif

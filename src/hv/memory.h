/* SPDX-License-Identifier: MIT */
#ifndef STRATA_HV_MEMORY_H
#define STRATA_HV_MEMORY_H

/*
 * Guest-physical memory: the only place that turns a guest address into a pointer (G1).
 *
 * RAM is one mapping, seen by the guest in two parts: from 0 up to MEMORY_HOLE, and what does not
 * fit there from 4 GiB up. Everything else is not RAM, and every function here refuses it (G8).
 *
 * The guest changes its memory while we look. So: copy what is to be judged with memory_read, once,
 * and judge the copy. Pointers from memory_at are for payload (I/O buffers) and for the few words
 * that are accessed atomically; nothing read through them may be trusted twice.
 *
 * Every write of ours goes through memory_write or was asked for with MEMORY_WRITE: KVM does not
 * see it, so whoever wants to know what changed has to learn it here.
 *
 * Threads: any; the map does not change between memory_create and memory_destroy.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/err.h"

#define GUEST_PAGE  4096u
#define MEMORY_HOLE 0xC0000000ull  /* RAM ends here ... */
#define MEMORY_HIGH 0x100000000ull /* ... and goes on here */
#define MEMORY_MAX  (1ull << 40)
#define MEMORY_MIN  (16ull << 20)

enum memory_use { MEMORY_READ, MEMORY_WRITE };

struct memory;

/* A part of RAM, as KVM and the e820 map want to know it. */
struct memory_part {
	uint64_t gpa;
	uint64_t size_bytes;
	void *host;
};

/*
 * `size_bytes`: a multiple of 1 MiB from MEMORY_MIN to MEMORY_MAX. Reads as zero; takes huge pages
 * where the system allows. ERR_NOMEM where the system has no room.
 */
enum err memory_create(uint64_t size_bytes, struct memory **out, struct err_why *why);
/* NULL is allowed. Nobody may use a pointer into it any more. */
void memory_destroy(struct memory *memory);

uint64_t memory_size(const struct memory *memory);
/* The parts, in order of their address; returns how many (1 or 2). */
unsigned memory_parts(const struct memory *memory, struct memory_part out[2]);

/* False when [gpa, gpa + len) is not RAM as a whole; nothing is copied then. */
bool memory_read(struct memory *memory, uint64_t gpa, void *buf, size_t len);
bool memory_write(struct memory *memory, uint64_t gpa, const void *buf, size_t len);

/* All of it reads as zero again; the system gets its pages back. Nobody else may use it now. */
void memory_clear(struct memory *memory);

/* NULL when [gpa, gpa + len) is not RAM as a whole, or not in one part. */
void *memory_at(struct memory *memory, uint64_t gpa, uint64_t len, enum memory_use use);

#endif

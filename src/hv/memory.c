/* SPDX-License-Identifier: MIT */
#include "hv/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "util/bytes.h"

struct memory {
	uint8_t *base;
	uint64_t size;
	uint64_t low; /* bytes below MEMORY_HOLE; the rest begins at MEMORY_HIGH */
};

enum err memory_create(uint64_t size_bytes, struct memory **out, struct err_why *why)
{
	struct memory *memory;
	void *base;

	if (size_bytes < MEMORY_MIN || size_bytes > MEMORY_MAX || size_bytes % (1u << 20))
		return err_set(why, ERR_USAGE,
			       "memory of %llu bytes: not a whole number of MiB from 16 MiB to "
			       "1 TiB",
			       (unsigned long long)size_bytes);
	memory = malloc(sizeof(*memory));
	if (!memory)
		return err_set(why, ERR_NOMEM, "no memory for the map of guest memory");
	base = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED) {
		int e = errno;

		free(memory);
		return err_sys(why, e, "mapping %llu bytes of guest memory",
			       (unsigned long long)size_bytes);
	}
	/* Both are wishes: a kernel without them serves the guest just as well. */
	madvise(base, size_bytes, MADV_HUGEPAGE);
	madvise(base, size_bytes, MADV_DONTDUMP);
	*memory = (struct memory){
	    .base = base,
	    .size = size_bytes,
	    .low = min_u64(size_bytes, MEMORY_HOLE),
	};
	*out = memory;
	return ERR_OK;
}

void memory_destroy(struct memory *memory)
{
	if (!memory)
		return;
	munmap(memory->base, memory->size);
	free(memory);
}

void memory_clear(struct memory *memory)
{
	/* private and anonymous: what is dropped reads as zero. It fails only for wrong ranges. */
	(void)madvise(memory->base, memory->size, MADV_DONTNEED);
}

uint64_t memory_size(const struct memory *memory)
{
	return memory->size;
}

unsigned memory_parts(const struct memory *memory, struct memory_part out[2])
{
	out[0] = (struct memory_part){
	    .gpa = 0,
	    .size_bytes = memory->low,
	    .host = memory->base,
	};
	if (memory->low == memory->size)
		return 1;
	out[1] = (struct memory_part){
	    .gpa = MEMORY_HIGH,
	    .size_bytes = memory->size - memory->low,
	    .host = memory->base + memory->low,
	};
	return 2;
}

/* G1, G8: the one place that knows which addresses are RAM. No sum here can overflow. */
static uint8_t *resolve(const struct memory *memory, uint64_t gpa, uint64_t len)
{
	uint64_t high = memory->size - memory->low;

	if (gpa < memory->low)
		return len <= memory->low - gpa ? memory->base + gpa : NULL;
	if (gpa < MEMORY_HIGH)
		return NULL;
	gpa -= MEMORY_HIGH;
	if (gpa >= high || len > high - gpa)
		return NULL;
	return memory->base + memory->low + gpa;
}

/* The compiler must not look at the source again in place of the copy (G1). */
static void copy_once(void *to, const void *from, size_t len)
{
	memcpy(to, from, len);
	__asm__ volatile("" ::: "memory");
}

bool memory_read(struct memory *memory, uint64_t gpa, void *buf, size_t len)
{
	const uint8_t *from = resolve(memory, gpa, len);

	if (!from)
		return false;
	copy_once(buf, from, len);
	return true;
}

bool memory_write(struct memory *memory, uint64_t gpa, const void *buf, size_t len)
{
	uint8_t *to = resolve(memory, gpa, len);

	if (!to)
		return false;
	copy_once(to, buf, len);
	return true;
}

void *memory_at(struct memory *memory, uint64_t gpa, uint64_t len, enum memory_use use)
{
	/* Nobody asks yet which pages were given out for writing. */
	(void)use;
	return resolve(memory, gpa, len);
}

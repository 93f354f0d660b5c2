/* SPDX-License-Identifier: MIT */
#include "tests/kill/content.h"

#include <stdlib.h>
#include <string.h>

#include "block/block.h"
#include "util/bytes.h"

#define WORDS (DISK_SECTOR / 8)
#define CHUNK 512u /* sectors */

static uint64_t word(uint32_t tag, uint32_t place, unsigned i)
{
	return tag ? (uint64_t)tag << 32 | (uint64_t)i << 24 | place : 0;
}

void content_fill(uint8_t *sector, uint32_t tag, uint32_t place)
{
	for (unsigned i = 0; i < WORDS; i++)
		put_le64(sector + (size_t)i * 8, word(tag, place, i));
}

bool content_tag(const uint8_t *sector, uint32_t place, uint32_t *tag)
{
	*tag = (uint32_t)(get_le64(sector) >> 32);
	for (unsigned i = 0; i < WORDS; i++)
		if (get_le64(sector + (size_t)i * 8) != word(*tag, place, i))
			return false;
	return true;
}

bool content_fits_torn(const uint8_t *sector, uint32_t place, uint32_t low, uint64_t high)
{
	for (unsigned i = 0; i < WORDS; i++) {
		uint64_t found = get_le64(sector + (size_t)i * 8);
		uint32_t tag = (uint32_t)(found >> 32);

		if (found != word(tag, place, i) || !tag_fits(tag, low, high))
			return false;
	}
	return true;
}

static bool tags_of(const uint8_t *buf, uint32_t place, uint32_t count, uint32_t *tags,
		    struct err_why *why)
{
	for (uint32_t i = 0; i < count; i++) {
		const uint8_t *sector = buf + (size_t)i * DISK_SECTOR;

		if (content_tag(sector, place + i, &tags[i]))
			continue;
		err_set(why, ERR_CORRUPT, "place %u holds what was never written to it: 0x%llx...",
			place + i, (unsigned long long)get_le64(sector));
		return false;
	}
	return true;
}

static bool tags_of_disk(struct disk *disk, unsigned d, struct queue *queue, uint8_t *buf,
			 uint32_t *tags, struct err_why *why)
{
	for (uint32_t s = 0; s < disk_sectors(d); s += CHUNK) {
		uint32_t place = first_place(d) + s;

		if (disk_read(disk, queue, buf, (uint64_t)s * DISK_SECTOR, CHUNK * DISK_SECTOR,
			      why) ||
		    !tags_of(buf, place, CHUNK, &tags[place], why))
			return false;
	}
	return true;
}

bool content_of_view(struct snap_view *view, struct queue *queue, uint32_t *tags,
		     struct err_why *why)
{
	uint8_t *buf = aligned_alloc(4096, CHUNK * DISK_SECTOR);
	bool ok = buf;

	for (unsigned d = 0; d < DISKS && ok; d++)
		ok = tags_of_disk(view->disk[d], d, queue, buf, tags, why);
	free(buf);
	return ok;
}

bool content_fits(const uint32_t *tags, const uint32_t *low, const uint64_t *high,
		  struct err_why *why)
{
	for (uint32_t p = 0; p < PLACES; p++) {
		if (tag_fits(tags[p], low[p], high[p]))
			continue;
		err_set(why, ERR_CORRUPT,
			"place %u reads as write %u; allowed is %u to %u, zeros from %u", p,
			tags[p], low[p], (uint32_t)(high[p] >> 32), (uint32_t)high[p]);
		return false;
	}
	return true;
}

void content_bounds(const uint32_t *tags, struct bounds *out)
{
	for (uint32_t p = 0; p < PLACES; p++) {
		out->low[p] = tags[p];
		out->high[p] = pack_high(tags[p], 0);
	}
}

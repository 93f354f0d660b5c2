/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "block/copy.h"
#include "block/reader.h"
#include "util/bytes.h"

/* Compared at once; sectors only where it differs. */
#define STEP_BYTES 4096u

struct search {
	bool (*each)(void *arg, const struct disk_difference *difference);
	void *arg;
	struct disk_difference run; /* not reported yet: it may go on; len 0: none */
	bool first_only;            /* do not wait for the run to end */
	bool stopped;
};

static void report_run(struct search *search)
{
	if (search->run.len_bytes && !search->stopped)
		search->stopped = !search->each(search->arg, &search->run);
	search->run.len_bytes = 0;
}

static void note(struct search *search, uint64_t off_bytes, uint64_t len_bytes)
{
	struct disk_difference *run = &search->run;

	if (run->len_bytes && run->start_bytes + run->len_bytes == off_bytes) {
		run->len_bytes += len_bytes;
	} else {
		report_run(search);
		*run = (struct disk_difference){off_bytes, len_bytes};
	}
	if (search->first_only)
		report_run(search);
}

static bool equal(const uint8_t *a, const uint8_t *b, uint64_t off, uint64_t len)
{
	if (a && b)
		return !memcmp(a + off, b + off, len);
	if (a || b)
		return bytes_are_zero((a ? a : b) + off, len);
	return true;
}

static void search_step(struct search *search, const struct reader_piece *piece, uint64_t off,
			uint64_t len)
{
	for (uint64_t s = off; s < off + len && !search->stopped; s += DISK_SECTOR)
		if (!equal(piece->data[0], piece->data[1], s, DISK_SECTOR))
			note(search, piece->off_bytes + s, DISK_SECTOR);
}

static void search_piece(struct search *search, const struct reader_piece *piece)
{
	const uint8_t *a = piece->data[0], *b = piece->data[1];
	uint64_t len = 0;

	if (!a && !b)
		return;
	for (uint64_t off = 0; off < piece->len_bytes && !search->stopped; off += len) {
		len = min_u64(STEP_BYTES, piece->len_bytes - off);
		if (!equal(a, b, off, len))
			search_step(search, piece, off, len);
	}
}

static enum err run(struct disk *a, struct disk *b, struct queue *queue, struct search *search,
		    struct progress *progress, struct err_why *why)
{
	struct disk *disks[] = {a, b};
	struct reader_piece *piece = NULL;
	struct reader *reader;
	enum err err;

	err = reader_open(disks, 2, queue, progress, &reader, why);
	if (err != ERR_OK)
		return err;
	while (!search->stopped) {
		err = reader_next(reader, &piece, why);
		if (err != ERR_OK || !piece)
			break;
		search_piece(search, piece);
		reader_release(reader, piece);
	}
	if (err == ERR_OK)
		report_run(search);
	reader_close(reader);
	return err;
}

enum err disk_differences(struct disk *a, struct disk *b, struct queue *queue,
			  bool (*each)(void *arg, const struct disk_difference *difference),
			  void *arg, struct progress *progress, struct err_why *why)
{
	struct search search = {.each = each, .arg = arg};

	return run(a, b, queue, &search, progress, why);
}

static bool keep_first(void *arg, const struct disk_difference *difference)
{
	*(uint64_t *)arg = difference->start_bytes;
	return false;
}

enum err disk_first_difference(struct disk *a, struct disk *b, struct queue *queue,
			       uint64_t *off_bytes, struct progress *progress, struct err_why *why)
{
	struct search search = {.each = keep_first, .arg = off_bytes, .first_only = true};

	*off_bytes = UINT64_MAX;
	return run(a, b, queue, &search, progress, why);
}

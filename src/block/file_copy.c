/* SPDX-License-Identifier: MIT */

/* Copying a whole file, whatever is in it. */

#include <stdlib.h>

#include "block/file.h"
#include "util/bytes.h"
#include "util/progress.h"

#define COPY_BYTES (1u << 20)

struct copy {
	struct file *from, *to;
	struct progress *progress;
	uint64_t size_bytes;
	uint8_t *buf;
};

/* Zeros need not be written: what the new file does not have reads as zero. */
static enum err copy_piece(struct copy *copy, uint64_t off, uint64_t len, struct err_why *why)
{
	enum err e = file_read(copy->from, EV_DATA, copy->buf, off, len, why);

	if (e || bytes_are_zero(copy->buf, len))
		return e;
	return file_write(copy->to, EV_DATA, copy->buf, off, len, why);
}

static enum err next_data(const struct copy *copy, uint64_t off, bool *is_data, uint64_t *end,
			  struct err_why *why)
{
	enum err e = ERR_OK;

	*is_data = true;
	*end = UINT64_MAX;
	if (copy->from->ops->map_data)
		e = copy->from->ops->map_data(copy->from, off, is_data, end, why);
	*end = min_u64(*end, copy->size_bytes);
	return e;
}

static enum err copy_data(struct copy *copy, struct err_why *why)
{
	enum err e = ERR_OK;

	for (uint64_t off = 0, end; off < copy->size_bytes && !e; off = end) {
		bool is_data;

		e = next_data(copy, off, &is_data, &end, why);
		if (!e && is_data) {
			end = min_u64(end, off + COPY_BYTES);
			e = copy_piece(copy, off, end - off, why);
		}
		if (!e && !progress_report(copy->progress, off, copy->size_bytes))
			e = err_set(why, ERR_CANCELLED, "stopped while copying");
	}
	return e;
}

static enum err fill(struct copy *copy, struct err_why *why)
{
	struct file_info info;
	enum err e = file_get_info(copy->from, &info, why);

	if (e)
		return e;
	copy->size_bytes = info.size_bytes;
	if (!copy->to->ops->clone || copy->to->ops->clone(copy->to, copy->from, NULL)) {
		e = file_truncate(copy->to, copy->size_bytes, why);
		if (!e)
			e = copy_data(copy, why);
	}
	return e ? e : file_sync_all(copy->to, why);
}

enum err file_ns_copy(struct file_ns *ns, const char *from, const char *to,
		      struct progress *progress, struct err_why *why)
{
	struct copy copy = {.progress = progress, .buf = malloc(COPY_BYTES)};
	enum err e = copy.buf ? ERR_OK : err_set(why, ERR_NOMEM, "no memory to copy a file");

	if (!e)
		e = file_ns_open(ns, from, 0, &copy.from, why);
	if (!e)
		e = file_lock(copy.from, FILE_LOCK_READ, why);
	if (!e)
		e = file_ns_open(ns, to, FILE_OPEN_CREATE, &copy.to, why);
	if (!e) {
		e = fill(&copy, why);
		enum err closed = file_close(copy.to, e ? NULL : why);
		e = e ? e : closed;
		if (e)
			file_ns_unlink(ns, to, NULL);
	}
	file_close(copy.from, NULL);
	free(copy.buf);
	return e;
}

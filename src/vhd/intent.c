/* SPDX-License-Identifier: MIT */
#include "vhd/intent.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "util/bytes.h"
#include "vhd/vhd.h"

/*
 * Layout: magic 8, version 4, count 4, uuid 16, size 8; then for each write: offset 8, length 4,
 * zero 4; then for each write: the old bytes, the new bytes; then xxHash64 8.
 */
#define HEAD_BYTES      40u
#define ENTRY_BYTES     16u
#define MAX_WRITE_BYTES (128u << 10)
#define MAX_RECORD      (HEAD_BYTES + INTENT_MAX_WRITES * (ENTRY_BYTES + 2 * MAX_WRITE_BYTES) + 8)

static const char magic[8] = {'S', 't', 'r', 'I', 'n', 't', 'n', 't'};

static char *record_path(const char *path)
{
	char *out;

	return asprintf(&out, "%s" INTENT_SUFFIX, path) < 0 ? NULL : out;
}

/* ---- encoding ---- */

static uint64_t payload_bytes(const struct intent *intent)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < intent->count; i++)
		sum += intent->write[i].len_bytes;
	return sum;
}

static uint8_t *encode(struct file *file, const struct intent *intent, uint64_t *len,
		       struct err_why *why)
{
	uint64_t body = HEAD_BYTES + (uint64_t)intent->count * ENTRY_BYTES;
	uint8_t *rec = calloc(1, body + 2 * payload_bytes(intent) + 8);
	enum err e = ERR_OK;

	if (!rec) {
		err_set(why, ERR_NOMEM, "out of memory");
		return NULL;
	}
	memcpy(rec, magic, 8);
	put_le32(rec + 8, 1);
	put_le32(rec + 12, intent->count);
	memcpy(rec + 16, intent->uuid.b, 16);
	put_le64(rec + 32, intent->size_bytes);
	uint8_t *at = rec + body;
	for (unsigned i = 0; i < intent->count && !e; i++) {
		const struct intent_write *w = &intent->write[i];
		uint8_t *entry = rec + HEAD_BYTES + (size_t)i * ENTRY_BYTES;

		put_le64(entry, w->off_bytes);
		put_le32(entry + 8, w->len_bytes);
		e = file_read(file, EV_INTENT, at, w->off_bytes, w->len_bytes, why);
		memcpy(at + w->len_bytes, w->data, w->len_bytes);
		at += 2 * (size_t)w->len_bytes;
	}
	if (e) {
		free(rec);
		return NULL;
	}
	put_le64(at, XXH64(rec, (size_t)(at - rec), 0));
	*len = (uint64_t)(at - rec) + 8;
	return rec;
}

static enum err damaged(const char *path, const char *what, struct err_why *why)
{
	return err_set(why, ERR_REPAIRABLE, "%s" INTENT_SUFFIX ": %s", path, what);
}

/* `old_out` (may be NULL) gets pointers to the bytes that were there before. */
static enum err decode(const char *path, uint8_t *rec, uint64_t len, struct intent *out,
		       const uint8_t **old_out, struct err_why *why)
{
	if (len < HEAD_BYTES + 8 || memcmp(rec, magic, 8) != 0)
		return damaged(path, "not an intent record", why);
	if (get_le64(rec + len - 8) != XXH64(rec, len - 8, 0))
		return damaged(path, "checksum does not match", why);
	uint32_t count = get_le32(rec + 12);
	if (get_le32(rec + 8) != 1 || count == 0 || count > INTENT_MAX_WRITES)
		return damaged(path, "unknown version, or a count out of range", why);

	if (len < HEAD_BYTES + (uint64_t)count * ENTRY_BYTES + 8)
		return damaged(path, "cut short", why);
	*out = (struct intent){.count = count, .size_bytes = get_le64(rec + 32)};
	memcpy(out->uuid.b, rec + 16, 16);
	uint64_t at = HEAD_BYTES + (uint64_t)count * ENTRY_BYTES;
	for (uint32_t i = 0; i < count; i++) {
		const uint8_t *entry = rec + HEAD_BYTES + (size_t)i * ENTRY_BYTES;
		struct intent_write *w = &out->write[i];

		w->off_bytes = get_le64(entry);
		w->len_bytes = get_le32(entry + 8);
		if (w->len_bytes == 0 || w->len_bytes > MAX_WRITE_BYTES ||
		    w->len_bytes % DISK_SECTOR || w->off_bytes % DISK_SECTOR ||
		    w->off_bytes > VHD_MAX_SIZE * 2 || at + 2ull * w->len_bytes > len - 8)
			return damaged(path, "a write is out of range", why);
		if (old_out)
			old_out[i] = rec + at;
		w->data = rec + at + w->len_bytes;
		at += 2ull * w->len_bytes;
	}
	if (at != len - 8 || out->size_bytes > VHD_MAX_SIZE * 2)
		return damaged(path, "length or size is out of range", why);
	return ERR_OK;
}

static enum err read_record(struct file_ns *ns, const char *path, struct intent *out,
			    const uint8_t **old_out, struct err_why *why)
{
	char *name = record_path(path);
	struct file *file;
	struct file_info info;
	uint8_t *rec = NULL;

	if (!name)
		return err_set(why, ERR_NOMEM, "out of memory");
	enum err e = file_ns_open(ns, name, 0, &file, why);
	free(name);
	if (e)
		return e;
	e = file_get_info(file, &info, why);
	if (!e && (info.size_bytes < HEAD_BYTES + 8 || info.size_bytes > MAX_RECORD))
		e = damaged(path, "its size is out of range", why);
	if (!e && !(rec = malloc(info.size_bytes)))
		e = err_set(why, ERR_NOMEM, "out of memory");
	if (!e)
		e = file_read(file, EV_INTENT, rec, 0, info.size_bytes, why);
	if (!e)
		e = decode(path, rec, info.size_bytes, out, old_out, why);
	file_close(file, NULL);
	if (e) {
		free(rec);
		return e;
	}
	out->owned = rec;
	return ERR_OK;
}

/* ERR_NOENT and ERR_REPAIRABLE are ordinary answers to the callers: they leave no text behind. */
static enum err load(struct file_ns *ns, const char *path, struct intent *out,
		     const uint8_t **old_out, struct err_why *why)
{
	struct err_why here = {0};
	enum err e = read_record(ns, path, out, old_out, &here);

	if (e && e != ERR_NOENT && e != ERR_REPAIRABLE && why)
		*why = here;
	return e;
}

void intent_free(struct intent *intent)
{
	free(intent->owned);
	*intent = (struct intent){0};
}

/* ---- carrying out ---- */

static enum err apply(struct file *file, const struct intent *intent, struct err_why *why)
{
	enum err e = ERR_OK;

	if (intent->size_bytes)
		e = file_truncate(file, intent->size_bytes, why);
	for (unsigned i = 0; i < intent->count && !e; i++)
		e = file_write(file, EV_INTENT, intent->write[i].data, intent->write[i].off_bytes,
			       intent->write[i].len_bytes, why);
	return e ? e : file_sync(file, why);
}

static enum err remove_record(struct file_ns *ns, const char *name, struct err_why *why)
{
	enum err e = file_ns_unlink(ns, name, why);

	return e ? e : file_ns_sync_dir(ns, name, why);
}

static enum err write_record(struct file_ns *ns, const char *name, const uint8_t *rec, uint64_t len,
			     struct err_why *why)
{
	struct file *file;
	enum err e = file_ns_open(ns, name, FILE_OPEN_CREATE, &file, why);

	if (e)
		return e;
	e = file_write(file, EV_INTENT, rec, 0, len, why);
	if (!e)
		e = file_sync(file, why);
	enum err closed = file_close(file, e ? NULL : why);
	if (!e)
		e = closed;
	if (!e)
		e = file_ns_sync_dir(ns, name, why);
	if (e)
		remove_record(ns, name, NULL); /* nothing has been changed yet */
	return e;
}

enum err intent_commit(struct file_ns *ns, const char *path, struct file *file,
		       const struct intent *intent, struct err_why *why)
{
	char *name = record_path(path);
	uint64_t len = 0;
	uint8_t *rec = name ? encode(file, intent, &len, why) : NULL;

	if (!rec) {
		free(name);
		return why && why->code ? why->code : err_set(why, ERR_NOMEM, "out of memory");
	}
	enum err e = write_record(ns, name, rec, len, why);
	free(rec);
	if (!e)
		e = apply(file, intent, why);
	if (!e)
		e = remove_record(ns, name, why);
	free(name);
	return e;
}

/* Byte by byte, because applying the record may have been cut off inside a sector. */
static bool is_old_or_new(const uint8_t *now, const uint8_t *before, const uint8_t *after)
{
	for (unsigned i = 0; i < DISK_SECTOR; i++) {
		if (now[i] != before[i] && now[i] != after[i])
			return false;
	}
	return true;
}

/* Every sector still holds what it did before, or what it is to hold, or a torn mix of them. */
static enum err is_current(struct file *file, const struct intent *intent,
			   const uint8_t *const *old, bool *current, struct err_why *why)
{
	uint8_t now[DISK_SECTOR];

	*current = true;
	for (unsigned i = 0; i < intent->count && *current; i++) {
		const struct intent_write *w = &intent->write[i];

		for (uint32_t s = 0; s < w->len_bytes && *current; s += DISK_SECTOR) {
			enum err e =
			    file_read(file, EV_INTENT, now, w->off_bytes + s, DISK_SECTOR, why);

			if (e)
				return e;
			*current = is_old_or_new(now, old[i] + s, w->data + s);
		}
	}
	return ERR_OK;
}

static enum err replay(struct file_ns *ns, const char *path, const char *name,
		       const struct intent *intent, const uint8_t *const *old, struct err_why *why)
{
	struct file *file;
	bool current;
	enum err e = file_ns_open(ns, path, FILE_OPEN_RDWR, &file, why);

	if (e)
		return e;
	e = file_lock(file, FILE_LOCK_WRITE, why);
	if (!e)
		e = is_current(file, intent, old, &current, why);
	if (!e && current)
		e = apply(file, intent, why);
	/* A stale record is of no use to anybody: the image was changed after it. */
	if (!e)
		e = remove_record(ns, name, why);
	enum err closed = file_close(file, e ? NULL : why);
	return e ? e : closed;
}

enum err intent_replay(struct file_ns *ns, const char *path, struct err_why *why)
{
	const uint8_t *old[INTENT_MAX_WRITES] = {0};
	struct intent intent;
	enum err e = load(ns, path, &intent, old, why);

	if (e == ERR_NOENT)
		return ERR_OK;
	char *name = record_path(path);
	if (!name) {
		if (!e)
			intent_free(&intent);
		return err_set(why, ERR_NOMEM, "out of memory");
	}
	if (e == ERR_REPAIRABLE) {
		/* torn before it was complete, so that nothing of it was begun */
		e = remove_record(ns, name, why);
	} else if (!e) {
		e = replay(ns, path, name, &intent, old, why);
		intent_free(&intent);
	}
	free(name);
	return e;
}

enum err intent_load(struct file_ns *ns, const char *path, struct file *file, struct intent *out,
		     struct err_why *why)
{
	const uint8_t *old[INTENT_MAX_WRITES] = {0};
	bool current = false;
	enum err e = load(ns, path, out, old, why);

	if (e)
		return e == ERR_REPAIRABLE ? ERR_NOENT : e;
	e = is_current(file, out, old, &current, why);
	if (!e && !current)
		e = ERR_NOENT;
	if (e)
		intent_free(out);
	return e;
}

void intent_overlay(const struct intent *intent, uint64_t off_bytes, void *buf, uint64_t len_bytes)
{
	for (unsigned i = 0; i < intent->count; i++) {
		const struct intent_write *w = &intent->write[i];
		uint64_t from = max_u64(off_bytes, w->off_bytes);
		uint64_t to = min_u64(off_bytes + len_bytes, w->off_bytes + w->len_bytes);

		if (from < to)
			memcpy((uint8_t *)buf + (from - off_bytes), w->data + (from - w->off_bytes),
			       to - from);
	}
}

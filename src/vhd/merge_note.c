/* SPDX-License-Identifier: MIT */
#include "vhd/merge_note.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "util/bytes.h"
#include "vhd/locator.h"
#include "vhd/path.h"

#define HEAD_BYTES 56u
#define FILE_BYTES 20u
#define HASH_BYTES 8u
#define MARK_BYTES 16u
#define MAX_PATH   4096u
#define MAX_BYTES  (HEAD_BYTES + VHD_MAX_DEPTH * (FILE_BYTES + MAX_PATH) + 2 * DISK_SECTOR)

static const char magic[8] = {'S', 't', 'r', 'M', 'e', 'r', 'g', 'e'};
static const char mark_magic[8] = {'S', 't', 'r', 'C', 'o', 'p', 'i', 'd'};

static char *note_path(const char *ancestor, const char *suffix)
{
	char *out;

	return asprintf(&out, "%s%s", ancestor, suffix) < 0 ? NULL : out;
}

static enum err no_memory(struct err_why *why)
{
	return err_set(why, ERR_NOMEM, "out of memory");
}

/* ---- paths ---- */

bool merge_note_add(struct merge_note *note, struct file_ns *ns, const char *ancestor,
		    const char *path, const struct guid *uuid)
{
	struct merge_file *grown = realloc(note->file, (note->count + 1) * sizeof(*grown));
	char *from = path_absolute(ns, ancestor);
	char *to = path_absolute(ns, path);
	char *relative = from && to ? locator_relative_path(from, to) : NULL;
	char *kept = NULL;

	if (grown)
		note->file = grown;
	for (char *p = relative; p && *p; p++) {
		if (*p == '\\')
			*p = '/';
	}
	/* Outside the ancestor's folder only an absolute path is sure to be understood. */
	if (relative)
		kept = strncmp(relative, "./", 2) == 0 ? strdup(relative + 2) : strdup(to);
	free(relative);
	free(from);
	free(to);
	if (!grown || !kept) {
		free(kept);
		return false;
	}
	note->file[note->count++] = (struct merge_file){*uuid, kept};
	return true;
}

char *merge_note_path(const struct merge_note *note, const char *ancestor, unsigned idx)
{
	const char *path = note->file[idx].path;

	return path[0] == '/' ? strdup(path) : path_beside(ancestor, path);
}

void merge_note_free(struct merge_note *note)
{
	for (unsigned i = 0; i < note->count; i++)
		free(note->file[i].path);
	free(note->file);
	*note = (struct merge_note){0};
}

/* ---- the format ---- */

static uint8_t *encode(const struct merge_note *note, uint64_t *len_bytes)
{
	uint64_t len = HEAD_BYTES + HASH_BYTES;

	for (unsigned i = 0; i < note->count; i++)
		len += FILE_BYTES + strlen(note->file[i].path);
	uint8_t *buf = calloc(1, len);
	if (!buf)
		return NULL;
	uint8_t *at = buf + HEAD_BYTES;
	memcpy(buf, magic, sizeof(magic));
	put_le32(buf + 8, 1);
	put_le32(buf + 12, note->count);
	memcpy(buf + 16, note->ancestor.b, 16);
	memcpy(buf + 32, note->child.b, 16);
	put_le64(buf + 48, note->child_bytes);
	for (unsigned i = 0; i < note->count; i++) {
		size_t path_len = strlen(note->file[i].path);

		memcpy(at, note->file[i].uuid.b, 16);
		put_le32(at + 16, (uint32_t)path_len);
		memcpy(at + FILE_BYTES, note->file[i].path, path_len);
		at += FILE_BYTES + path_len;
	}
	put_le64(at, XXH64(buf, len - HASH_BYTES, 0));
	*len_bytes = len;
	return buf;
}

/* One file of the list; false when it breaks a rule or memory is short. */
static bool decode_file(const uint8_t *buf, uint64_t len, uint64_t *at, struct merge_file *out)
{
	if (len - *at < FILE_BYTES)
		return false;
	uint32_t path_len = get_le32(buf + *at + 16);
	if (path_len == 0 || path_len > MAX_PATH || len - *at - FILE_BYTES < path_len)
		return false;
	const char *path = (const char *)buf + *at + FILE_BYTES;
	if (memchr(path, 0, path_len))
		return false;
	memcpy(out->uuid.b, buf + *at, 16);
	out->path = strndup(path, path_len);
	*at += FILE_BYTES + path_len;
	return out->path != NULL;
}

/* `end`: where the note ends, its hash included. False: not a whole note. */
static bool decode(const uint8_t *buf, uint64_t len, struct merge_note *out, uint64_t *end)
{
	uint64_t at = HEAD_BYTES;

	if (len < HEAD_BYTES + HASH_BYTES || memcmp(buf, magic, sizeof(magic)) != 0 ||
	    get_le32(buf + 8) != 1)
		return false;
	uint32_t count = get_le32(buf + 12);
	if (count == 0 || count > VHD_MAX_DEPTH)
		return false;
	out->child_bytes = get_le64(buf + 48);
	if (!out->child_bytes || out->child_bytes % DISK_SECTOR || out->child_bytes > VHD_MAX_SIZE)
		return false;
	memcpy(out->ancestor.b, buf + 16, 16);
	memcpy(out->child.b, buf + 32, 16);
	out->file = calloc(count, sizeof(*out->file));
	while (out->file && out->count < count &&
	       decode_file(buf, len, &at, &out->file[out->count]))
		out->count++;
	if (out->count != count || len - at < HASH_BYTES)
		return false;
	*end = at + HASH_BYTES;
	return get_le64(buf + at) == XXH64(buf, at, 0);
}

static void encode_mark(const uint8_t *buf, uint64_t end, uint8_t mark[MARK_BYTES])
{
	memcpy(mark, mark_magic, sizeof(mark_magic));
	memcpy(mark + 8, buf + end - HASH_BYTES, HASH_BYTES);
}

static bool is_marked(const uint8_t *buf, uint64_t len, uint64_t end)
{
	uint64_t at = round_up(end, DISK_SECTOR);
	uint8_t mark[MARK_BYTES];

	encode_mark(buf, end, mark);
	return len >= at + MARK_BYTES && memcmp(buf + at, mark, MARK_BYTES) == 0;
}

/* ---- the file ---- */

/* All of an open note, to be freed; ERR_NOENT when it cannot be one. */
static enum err read_all(struct file *file, uint8_t **out, uint64_t *len, struct err_why *why)
{
	struct file_info info;
	enum err e = file_get_info(file, &info, why);

	if (e)
		return e;
	if (info.size_bytes < HEAD_BYTES || info.size_bytes > MAX_BYTES)
		return err_set(why, ERR_NOENT, "%s: not a note of a merge", file->path);
	uint8_t *buf = malloc(info.size_bytes);
	if (!buf)
		return no_memory(why);
	e = file_read(file, EV_INTENT, buf, 0, info.size_bytes, why);
	if (e) {
		free(buf);
		return e;
	}
	*out = buf;
	*len = info.size_bytes;
	return ERR_OK;
}

/* Open and decode; `file` and `buf` stay the caller's, also those of a damaged note (ERR_NOENT). */
static enum err open_note(struct file_ns *ns, const char *ancestor, unsigned flags,
			  struct file **file, uint8_t **buf, struct merge_note *note, uint64_t *end,
			  struct err_why *why)
{
	char *name = note_path(ancestor, MERGE_NOTE_SUFFIX);
	uint64_t len = 0;

	*file = NULL;
	*buf = NULL;
	*note = (struct merge_note){0};
	if (!name)
		return no_memory(why);
	enum err e = file_ns_open(ns, name, flags, file, why);
	free(name);
	if (!e)
		e = read_all(*file, buf, &len, why);
	if (!e && !decode(*buf, len, note, end))
		e = err_set(why, ERR_NOENT, "%s: not a whole note of a merge", (*file)->path);
	if (!e)
		note->copied = is_marked(*buf, len, *end);
	return e;
}

enum err merge_note_load(struct file_ns *ns, const char *ancestor, struct merge_note *out,
			 struct err_why *why)
{
	struct file *file;
	uint8_t *buf;
	uint64_t end;
	enum err e = open_note(ns, ancestor, 0, &file, &buf, out, &end, why);

	file_close(file, NULL);
	free(buf);
	if (e)
		merge_note_free(out);
	return e;
}

/* ERR_OK when there is no such file, and then nothing in `why`. */
static enum err unlink_if_there(struct file_ns *ns, const char *name, struct err_why *why)
{
	struct err_why here = {0};
	enum err e = file_ns_unlink(ns, name, &here);

	if (e == ERR_NOENT)
		return ERR_OK;
	if (e && why)
		*why = here;
	return e;
}

static enum err write_file(struct file_ns *ns, const char *name, const uint8_t *buf, uint64_t len,
			   struct err_why *why)
{
	struct file *file;
	enum err e = unlink_if_there(ns, name, why);

	if (!e)
		e = file_ns_open(ns, name, FILE_OPEN_CREATE, &file, why);
	if (e)
		return e;
	e = file_write(file, EV_INTENT, buf, 0, len, why);
	if (!e)
		e = file_sync(file, why);
	enum err closed = file_close(file, e ? NULL : why);
	return e ? e : closed;
}

/* Written beside it and renamed into place, so that there is a whole note at every moment. */
enum err merge_note_write(struct file_ns *ns, const char *ancestor, const struct merge_note *note,
			  struct err_why *why)
{
	char *name = note_path(ancestor, MERGE_NOTE_SUFFIX);
	char *fresh = note_path(ancestor, MERGE_NOTE_SUFFIX ".new");
	uint64_t len;
	uint8_t *buf = name && fresh ? encode(note, &len) : NULL;
	enum err e = buf ? write_file(ns, fresh, buf, len, why) : no_memory(why);

	if (!e)
		e = file_ns_rename(ns, fresh, name, why);
	if (!e)
		e = file_ns_sync_dir(ns, name, why);
	free(buf);
	free(fresh);
	free(name);
	return e;
}

enum err merge_note_mark(struct file_ns *ns, const char *ancestor, struct err_why *why)
{
	struct merge_note note;
	struct file *file;
	uint8_t *buf, mark[MARK_BYTES];
	uint64_t end;
	enum err e = open_note(ns, ancestor, FILE_OPEN_RDWR, &file, &buf, &note, &end, why);

	if (!e && !note.copied) {
		encode_mark(buf, end, mark);
		e = file_write(file, EV_INTENT, mark, round_up(end, DISK_SECTOR), MARK_BYTES, why);
		if (!e)
			e = file_sync(file, why);
	}
	enum err closed = file_close(file, e ? NULL : why);
	merge_note_free(&note);
	free(buf);
	return e ? e : closed;
}

enum err merge_note_remove(struct file_ns *ns, const char *ancestor, struct err_why *why)
{
	char *name = note_path(ancestor, MERGE_NOTE_SUFFIX);
	enum err e = name ? unlink_if_there(ns, name, why) : no_memory(why);

	free(name);
	return e;
}

/* SPDX-License-Identifier: MIT */

/*
 * The catalogue as a file. It is never written in place: a new one is complete and durable before
 * it takes the name (W16), so that a reader finds the old one or the new one.
 */

#include <stdlib.h>
#include <string.h>

#include "snapshot/store.h"
#include "util/bytes.h"

static enum err no_memory(struct err_why *why)
{
	return err_set(why, ERR_NOMEM, "out of memory");
}

static enum err read_all(struct file *file, uint8_t **bytes, size_t *len, struct err_why *why)
{
	struct file_info info;
	enum err e = file_get_info(file, &info, why);

	if (e)
		return e;
	if (info.size_bytes > CAT_MAX_BYTES)
		return err_set(why, ERR_CORRUPT, "catalogue: %llu bytes are too many",
			       (unsigned long long)info.size_bytes);
	*len = (size_t)info.size_bytes;
	*bytes = malloc(*len + 1);
	if (!*bytes)
		return no_memory(why);
	e = file_read(file, EV_CATALOGUE, *bytes, 0, *len, why);
	if (e)
		free(*bytes);
	return e;
}

enum err catalogue_read(struct file_ns *ns, const char *dir, const char *name,
			struct catalogue **out, struct err_why *why)
{
	char *path = store_name_path(dir, name);
	struct file *file;
	uint8_t *bytes;
	size_t len;
	enum err e = path ? file_ns_open(ns, path, FILE_OPEN_NOFOLLOW, &file, why) : no_memory(why);

	if (!e) {
		e = read_all(file, &bytes, &len, why);
		file_close(file, NULL);
		if (!e) {
			e = cat_decode(bytes, len, out, why);
			free(bytes);
		}
		if (e)
			err_context(why, "%s", path);
	}
	free(path);
	return e;
}

enum err catalogue_peek(struct file_ns *ns, const char *dir, struct guid *vm, uint64_t *generation,
			struct err_why *why)
{
	uint8_t header[CAT_HEADER_BYTES];
	char *path = store_name_path(dir, STORE_CATALOGUE);
	struct file *file;
	enum err e = path ? file_ns_open(ns, path, FILE_OPEN_NOFOLLOW, &file, why) : no_memory(why);

	if (!e) {
		e = file_read(file, EV_CATALOGUE, header, 0, sizeof(header), why);
		file_close(file, NULL);
		*generation = get_le64(header + 40);
		memcpy(vm->b, header + 48, sizeof(vm->b));
	}
	free(path);
	return e;
}

/* All but making the name durable. */
static enum err put_new(struct file_ns *ns, const char *fresh, const char *path,
			const uint8_t *bytes, size_t len, struct err_why *why)
{
	struct file *file;
	enum err e = file_ns_unlink(ns, fresh, NULL); /* what an attempt that died has left */

	if (e && e != ERR_NOENT)
		return err_set(why, e, "%s: cannot be removed", fresh);
	e = file_ns_open(ns, fresh, FILE_OPEN_CREATE, &file, why);
	if (e)
		return e;
	e = file_write(file, EV_CATALOGUE, bytes, 0, len, why);
	if (!e)
		e = file_sync(file, why);
	enum err closed = file_close(file, e ? NULL : why);
	e = e ? e : closed;
	if (!e)
		e = file_ns_rename(ns, fresh, path, why);
	if (e)
		file_ns_unlink(ns, fresh, NULL);
	return e;
}

/*
 * For repair alone, so what fails here is no error; in place and without a barrier, so that it
 * costs nothing: a torn one is known by its checksums, and the first copy is safe by then.
 */
static void write_copy(struct file_ns *ns, const char *dir, const uint8_t *bytes, size_t len)
{
	char *path = store_name_path(dir, CATALOGUE_COPY);
	struct file *file;

	if (path && (!file_ns_open(ns, path, FILE_OPEN_RDWR | FILE_OPEN_NOFOLLOW, &file, NULL) ||
		     !file_ns_open(ns, path, FILE_OPEN_CREATE, &file, NULL))) {
		if (!file_write(file, EV_CATALOGUE, bytes, 0, len, NULL))
			file_truncate(file, len, NULL);
		file_close(file, NULL);
	}
	free(path);
}

enum err catalogue_replace(struct file_ns *ns, const char *dir, const struct catalogue *cat,
			   bool *renamed, struct err_why *why)
{
	char *path = store_name_path(dir, STORE_CATALOGUE);
	char *fresh = store_name_path(dir, CATALOGUE_NEW);
	uint8_t *bytes = NULL;
	size_t len;
	enum err e = path && fresh ? cat_encode(cat, &bytes, &len, why) : no_memory(why);

	*renamed = false;
	if (!e)
		e = put_new(ns, fresh, path, bytes, len, why);
	if (!e) {
		*renamed = true;
		e = file_ns_sync_dir(ns, path, why);
	}
	if (!e)
		write_copy(ns, dir, bytes, len);
	free(bytes);
	free(fresh);
	free(path);
	return e;
}

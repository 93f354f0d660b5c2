/* SPDX-License-Identifier: MIT */

/* Files that are not the store's: what lies below a disk that stays where it is, or was copied. */

#include <stdlib.h>
#include <string.h>

#include "tests/crash/store_run.h"

static const char *path_of(const struct store_run *run, unsigned i)
{
	if (i < run->disks)
		return run->disk_path[i];
	return run->config->chain ? SRUN_BASE : NULL;
}

void srun_note_outside(struct store_run *run)
{
	for (unsigned i = 0; i <= run->disks; i++) {
		struct srun_outside *file = &run->outside[i];
		const char *path = path_of(run, i);

		if (!path)
			continue;
		file->size_bytes = mem_ns_size(run->mem, path);
		file->bytes = malloc(file->size_bytes);
		if (!file->bytes)
			abort();
		mem_ns_get(run->mem, path, 0, file->bytes, file->size_bytes);
	}
}

void srun_free_outside(struct store_run *run)
{
	for (unsigned i = 0; i <= run->disks; i++)
		free(run->outside[i].bytes);
}

static enum err compare(struct file_ns *ns, const char *path, const struct srun_outside *wanted,
			struct err_why *why)
{
	struct file_info info;
	struct file *file;
	uint8_t *bytes = malloc(wanted->size_bytes);
	enum err e = file_ns_open(ns, path, 0, &file, why);

	if (!bytes)
		abort();
	if (!e) {
		e = file_get_info(file, &info, why);
		if (!e)
			e = file_read(file, EV_DATA, bytes, 0, wanted->size_bytes, why);
		if (!e && (info.size_bytes != wanted->size_bytes ||
			   memcmp(bytes, wanted->bytes, wanted->size_bytes) != 0))
			e = err_set(why, ERR_CORRUPT, "%s is not the VM's and was changed", path);
		file_close(file, NULL);
	}
	free(bytes);
	return e;
}

enum err srun_check_outside(const struct store_run *run, struct file_ns *ns, bool disks_too,
			    struct err_why *why)
{
	enum err e = ERR_OK;

	for (unsigned i = disks_too ? 0 : run->disks; i <= run->disks && !e; i++)
		if (run->outside[i].bytes)
			e = compare(ns, path_of(run, i), &run->outside[i], why);
	return e;
}

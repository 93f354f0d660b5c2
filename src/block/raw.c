/* SPDX-License-Identifier: MIT */

/*
 * A raw image or block device as a disk: every offset is the file's own. What is here besides
 * passing on: FUA as a write and a sync, poisoning after a failed sync, the ragged end of a file
 * that is not a whole number of sectors, and the holes of the file for map.
 *
 * Threads: `poisoned` and `dirty` are atomic, the rest does not change while the disk is open.
 */

#include <stdatomic.h>
#include <stdlib.h>

#include "block/block.h"
#include "block/file.h"
#include "util/bytes.h"

struct raw_disk {
	struct disk base;
	struct file *file;
	uint64_t size_bytes;
	bool writable;
	bool can_trim;
	atomic_bool poisoned; /* a sync has failed: what is on the device is unknown */
	atomic_bool dirty;    /* something has been written since the disk was opened */
};

/* One request below: the disk's own, or the sync that makes it durable. */
struct raw_req {
	struct file_req file_req;
	struct raw_disk *disk;
	struct disk_req *disk_req;
};

static const enum file_op file_op_for[] = {
    [DISK_READ] = FILE_READ,  [DISK_WRITE] = FILE_WRITE, [DISK_FLUSH] = FILE_SYNC,
    [DISK_ZERO] = FILE_PUNCH, [DISK_TRIM] = FILE_PUNCH,
};

static void finish(struct raw_req *raw)
{
	struct disk_req *req = raw->disk_req;

	free(raw);
	disk_done(req);
}

static void start_sync(struct raw_req *raw)
{
	struct file_req *req = &raw->file_req;

	req->op = FILE_SYNC;
	req->off_bytes = req->len_bytes = 0;
	file_submit(raw->disk->file, raw->disk_req->queue, req);
}

static void file_done(struct file_req *req)
{
	struct raw_req *raw = container_of(req, struct raw_req, file_req);

	raw->disk_req->result = req->result;
	if (req->result != ERR_OK) {
		/* What a failed sync left behind is unknown, and a second one would not tell. */
		if (req->op == FILE_SYNC)
			atomic_store(&raw->disk->poisoned, true);
		file_req_explain(req, raw->disk_req->why);
	} else if (req->op != FILE_SYNC && raw->disk_req->flags & DISK_FUA) {
		start_sync(raw);
		return;
	}
	finish(raw);
}

static bool is_change(enum disk_op op)
{
	return op == DISK_WRITE || op == DISK_ZERO || op == DISK_TRIM;
}

/* Whether there is anything to do; if not, the request's result is set. */
static bool admit(struct raw_disk *disk, struct disk_req *req)
{
	if (req->op != DISK_READ && atomic_load(&disk->poisoned)) {
		req->result = err_set(req->why, ERR_POISONED,
				      "an earlier sync failed: the disk takes no more writes");
		return false;
	}
	req->result = ERR_OK;
	/* Nobody is owed anything by a trim: where space cannot be given back, it is kept. */
	if ((req->op == DISK_TRIM && !disk->can_trim) || (req->op == DISK_FLUSH && !disk->writable))
		return false;
	return true;
}

static void raw_submit(struct disk *base, struct queue *queue, struct disk_req *req)
{
	struct raw_disk *disk = container_of(base, struct raw_disk, base);
	struct raw_req *raw;

	if (!admit(disk, req)) {
		disk_done_later(req);
		return;
	}
	raw = malloc(sizeof(*raw));
	if (!raw) {
		req->result = err_set(req->why, ERR_NOMEM, "no memory for a request");
		disk_done_later(req);
		return;
	}
	if (is_change(req->op))
		atomic_store_explicit(&disk->dirty, true, memory_order_relaxed);
	raw->disk = disk;
	raw->disk_req = req;
	raw->file_req = (struct file_req){
	    .op = req->flags & DISK_KEEP_SPACE ? FILE_ZERO : file_op_for[req->op],
	    .event = EV_DATA,
	    .off_bytes = req->off_bytes,
	    .len_bytes = req->len_bytes,
	    .iov = req->iov,
	    .iov_count = req->iov_count,
	    .done = file_done,
	};
	file_submit(disk->file, queue, &raw->file_req);
}

static enum err raw_map(struct disk *base, uint64_t off_bytes, uint64_t len_bytes,
			struct disk_extent *out, struct err_why *why)
{
	struct raw_disk *disk = container_of(base, struct raw_disk, base);
	struct file *file = disk->file;
	uint64_t end = UINT64_MAX;
	bool is_data = true;
	enum err err;

	if (file->ops->map_data) {
		err = file->ops->map_data(file, off_bytes, &is_data, &end, why);
		if (err != ERR_OK)
			return err;
	}
	/* A sector that is partly stored is data. */
	if (!is_data && round_down(end, DISK_SECTOR) <= off_bytes) {
		is_data = true;
		end = off_bytes + DISK_SECTOR;
	}
	end = min_u64(end, off_bytes + len_bytes);
	end = is_data ? round_up(end, DISK_SECTOR) : round_down(end, DISK_SECTOR);
	*out = (struct disk_extent){
	    .start_bytes = off_bytes,
	    .len_bytes = end - off_bytes,
	    .state = is_data ? EXTENT_DATA : EXTENT_ZERO,
	    .path = is_data ? file->path : NULL,
	    .file_off_bytes = is_data ? off_bytes : 0,
	};
	return ERR_OK;
}

static void raw_info(struct disk *base, struct disk_info *out)
{
	const struct raw_disk *disk = container_of(base, struct raw_disk, base);

	*out = (struct disk_info){
	    .size_bytes = disk->size_bytes,
	    .optimal_bytes = 4096,
	    .writable = disk->writable,
	    .can_trim = disk->can_trim,
	    .poisoned = atomic_load_explicit(&disk->poisoned, memory_order_relaxed),
	};
}

static enum err raw_close(struct disk *base, struct err_why *why)
{
	struct raw_disk *disk = container_of(base, struct raw_disk, base);
	enum err err = ERR_OK, close_err;

	if (atomic_load(&disk->poisoned))
		err = err_set(why, ERR_POISONED, "an earlier sync failed: writes may be lost");
	else if (atomic_load(&disk->dirty))
		err = file_sync(disk->file, why);
	close_err = file_close(disk->file, err == ERR_OK ? why : NULL);
	free(disk);
	return err == ERR_OK ? close_err : err;
}

static const struct disk_ops raw_ops = {
    .name = "raw",
    .submit = raw_submit,
    .map = raw_map,
    .info = raw_info,
    .close = raw_close,
};

enum err raw_disk_open(struct file *file, struct disk **out, struct err_why *why)
{
	struct raw_disk *disk = calloc(1, sizeof(*disk));
	struct file_info info = {0};
	enum err err;

	*out = NULL;
	if (!disk) {
		file_close(file, NULL);
		return err_set(why, ERR_NOMEM, "no memory to open a raw disk");
	}
	err = file_get_info(file, &info, why);
	if (err == ERR_OK && info.size_bytes > INT64_MAX - DISK_SECTOR)
		err = err_set(why, ERR_UNSUPPORTED, "a raw disk of %llu bytes is too large",
			      (unsigned long long)info.size_bytes);
	if (err != ERR_OK) {
		file_close(file, NULL);
		free(disk);
		return err;
	}
	*disk = (struct raw_disk){
	    .base.ops = &raw_ops,
	    .file = file,
	    .size_bytes = round_up(info.size_bytes, DISK_SECTOR),
	    .writable = info.writable,
	    .can_trim = info.can_punch,
	};
	*out = &disk->base;
	return ERR_OK;
}

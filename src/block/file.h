/* SPDX-License-Identifier: MIT */
#ifndef STRATA_BLOCK_FILE_H
#define STRATA_BLOCK_FILE_H

/*
 * The file contract: what a disk format may ask of the file it lives in, and of the folder that
 * names the file. Formats never call pwrite or io_uring themselves. Everything that can go wrong
 * below a format - a power cut, an I/O error, a full disk - is simulated behind this contract
 * (file_mem.h, record.h, fault.h), so it is also all that crash tests need.
 *
 * Units: bytes. Offsets and lengths may have any alignment; a backend that needs more (O_DIRECT)
 * bounces inside. A 512-byte aligned sector is written wholly or not at all; larger writes may
 * tear between sectors (robustness.md section 2).
 *
 * Durability: a completed write is *not* durable. FILE_SYNC completing makes every request on
 * this file that had completed before it was submitted durable, the file's size included. A new
 * or renamed name is durable after file_ns_sync_dir.
 *
 * Ownership: the caller owns a request, its iovec array and its buffers until `done` runs. `done`
 * runs exactly once, on the thread of the queue it was submitted to, from inside
 * queue_wait/queue_poll - never from inside file_submit.
 *
 * Threads: a file may be used from many queues at once. close must come after the last `done`.
 *
 * Errors: `result` carries the class, `sys_errno` the detail. Short transfers, EINTR and EAGAIN
 * never reach the caller. A read past the end of the file yields zeros.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "util/err.h"

struct queue;
struct file;
struct fixed_file;

enum file_op {
	FILE_READ,
	FILE_WRITE,
	FILE_SYNC,  /* fdatasync */
	FILE_ZERO,  /* the range reads as zero afterwards and stays allocated where possible */
	FILE_PUNCH, /* the range reads as zero afterwards and its space is given back if possible */
	FILE_ALLOCATE, /* reserve space, extending the file with zeros when it ends beyond the end
			*/
	FILE_TRUNCATE, /* set the size to off_bytes; new bytes read as zero */
};

/*
 * What a request is for. Fault rules and crash scenarios name these, so they survive a
 * refactoring of the code that makes the calls.
 */
enum file_event {
	EV_DATA, /* payload */
	EV_FOOTER,
	EV_FOOTER_COPY,
	EV_HEADER,
	EV_BAT,
	EV_BITMAP,
	EV_LOCATOR,
	EV_BATMAP,
	EV_SPACE,     /* allocate, punch, truncate: room, not content */
	EV_INTENT,    /* the record beside an image (W19) */
	EV_MOVE,      /* payload moved by compact or expand */
	EV_CATALOGUE, /* of a VM's store */
	EV_COUNT
};

struct file_req {
	enum file_op op;
	enum file_event event;
	uint64_t off_bytes;
	uint64_t len_bytes; /* for READ and WRITE: the sum of the iovec */
	const struct iovec *iov;
	unsigned iov_count;
	void (*done)(struct file_req *req);
	void *owner; /* the caller's */

	enum err result; /* valid in done */
	int sys_errno;

	/* private to the backends and the queue */
	struct file *file;
	struct file_req *next;
	const struct fixed_file *fd;
	uint64_t moved_bytes;
	void *bounce;
};

/* What the storage below promises, so that the code above can adapt instead of hoping. */
struct file_info {
	uint64_t size_bytes;
	uint64_t usage_bytes; /* what the file takes on its file system */
	int64_t mtime_ns;     /* when the content changed last; 0: not known */
	dev_t dev;
	ino_t ino;
	bool block_device; /* fixed size; no truncate, punch may be slow */
	bool writable;
	bool can_punch;           /* FILE_PUNCH gives space back */
	bool direct;              /* aligned requests bypass the page cache */
	uint32_t align_off_bytes; /* what O_DIRECT wants; 1 when not direct */
	uint32_t align_mem_bytes;
};

struct file_ops {
	const char *name;
	/* Carry out `req` and return its result; fills result and sys_errno; does not call done. */
	enum err (*run)(struct file *file, struct file_req *req);
	/* Start `req` on `queue`. NULL: run it at once and let the queue deliver the completion. */
	void (*submit)(struct file *file, struct queue *queue, struct file_req *req);
	/* Fresh facts, size included. */
	enum err (*info)(struct file *file, struct file_info *out, struct err_why *why);
	/* Take (1 reader, 2 writer) or drop (0) the image lock; NULL: locking is not needed. */
	enum err (*lock)(struct file *file, int mode, struct err_why *why);
	/*
	 * Whether the byte at off_bytes is stored (else it reads as zero), and where that changes;
	 * *end_bytes is UINT64_MAX when it does not. NULL: nothing known, all is data.
	 */
	enum err (*map_data)(struct file *file, uint64_t off_bytes, bool *is_data,
			     uint64_t *end_bytes, struct err_why *why);
	/* As FILE_SYNC, and times too; NULL: FILE_SYNC does that. */
	enum err (*sync_all)(struct file *file, struct err_why *why);
	/* See file_lock_range; NULL: locking is not needed. */
	enum err (*lock_range)(struct file *file, uint64_t off_bytes, uint64_t len_bytes, int mode,
			       struct err_why *why);
	/* Make this empty file share the content of `from`, of the same backend; NULL: cannot. */
	enum err (*clone)(struct file *file, struct file *from, struct err_why *why);
	/* Release everything. An error here is a lost write and must be reported. */
	enum err (*close)(struct file *file, struct err_why *why);
};

struct file {
	const struct file_ops *ops;
	char *path; /* for messages and for resolving neighbours; owned by the backend */
};

/* Start a request; see the contract above. */
void file_submit(struct file *file, struct queue *queue, struct file_req *req);

/* Put into `why` what a failed request was about: "path: writing 512 bytes of BAT at 0x600: ...".
 */
enum err file_req_explain(const struct file_req *req, struct err_why *why);

/* Synchronous helpers: block the calling thread, use no queue. `why` may be NULL. */
enum err file_read(struct file *file, enum file_event event, void *buf, uint64_t off_bytes,
		   uint64_t len_bytes, struct err_why *why);
enum err file_write(struct file *file, enum file_event event, const void *buf, uint64_t off_bytes,
		    uint64_t len_bytes, struct err_why *why);
enum err file_sync(struct file *file, struct err_why *why);
/* The file's time of change is durable too, and will not change if nobody writes. */
enum err file_sync_all(struct file *file, struct err_why *why);
enum err file_zero(struct file *file, enum file_event event, uint64_t off_bytes, uint64_t len_bytes,
		   struct err_why *why);
enum err file_punch(struct file *file, uint64_t off_bytes, uint64_t len_bytes, struct err_why *why);
enum err file_allocate(struct file *file, uint64_t off_bytes, uint64_t len_bytes,
		       struct err_why *why);
enum err file_truncate(struct file *file, uint64_t size_bytes, struct err_why *why);
enum err file_get_info(struct file *file, struct file_info *out, struct err_why *why);

enum file_lock { FILE_UNLOCKED, FILE_LOCK_READ, FILE_LOCK_WRITE };

/*
 * One writer or many readers, as QEMU's image locking understands it (shared OFD locks on byte
 * 100+n for a permission held, 200+n for one denied to others). ERR_LOCKED when excluded.
 */
enum err file_lock(struct file *file, enum file_lock mode, struct err_why *why);
/*
 * Advisory lock on a range, which may lie behind the end of the file: other opens of the file, in
 * this process too, exclude each other; one open may change its own mode. Does not wait:
 * ERR_LOCKED.
 */
enum err file_lock_range(struct file *file, uint64_t off_bytes, uint64_t len_bytes,
			 enum file_lock mode, struct err_why *why);
/* NULL is allowed. Sets nothing free that is still in flight: drain first. */
enum err file_close(struct file *file, struct err_why *why);

/* ---- the folder side: names ---- */

enum file_open_flags {
	FILE_OPEN_RDWR = 1,
	FILE_OPEN_CREATE = 2,   /* must not exist yet; implies RDWR */
	FILE_OPEN_DIRECT = 4,   /* bypass the page cache where alignment allows */
	FILE_OPEN_NOFOLLOW = 8, /* `path` itself must not be a symbolic link */
};

struct file_ns;

struct file_ns_ops {
	enum err (*open)(struct file_ns *ns, const char *path, unsigned flags, struct file **out,
			 struct err_why *why);
	enum err (*unlink)(struct file_ns *ns, const char *path, struct err_why *why);
	enum err (*rename)(struct file_ns *ns, const char *from, const char *to,
			   struct err_why *why);
	/* Make the names in the folder of `path` durable. */
	enum err (*sync_dir)(struct file_ns *ns, const char *path, struct err_why *why);
	/* Names in folder `dir`, one call each; stops when `each` returns false. */
	enum err (*list)(struct file_ns *ns, const char *dir,
			 bool (*each)(void *arg, const char *name), void *arg, struct err_why *why);
	/* Facts of the file `path` names, without opening it; NULL: by opening it. */
	enum err (*info)(struct file_ns *ns, const char *path, struct file_info *out,
			 struct err_why *why);
	/* A new folder; removing an empty one. NULL: folders exist by themselves. */
	enum err (*mkdir)(struct file_ns *ns, const char *path, struct err_why *why);
	enum err (*rmdir)(struct file_ns *ns, const char *path, struct err_why *why);
};

struct file_ns {
	const struct file_ns_ops *ops;
};

/* The real file system, files on io_uring. Opens only regular files and block devices. */
extern struct file_ns file_ns_posix;

enum err file_ns_open(struct file_ns *ns, const char *path, unsigned flags, struct file **out,
		      struct err_why *why);
enum err file_ns_unlink(struct file_ns *ns, const char *path, struct err_why *why);
enum err file_ns_rename(struct file_ns *ns, const char *from, const char *to, struct err_why *why);
enum err file_ns_sync_dir(struct file_ns *ns, const char *path, struct err_why *why);
enum err file_ns_list(struct file_ns *ns, const char *dir,
		      bool (*each)(void *arg, const char *name), void *arg, struct err_why *why);
/* Facts of a file: size, usage, time, dev, ino; the rest may be zero. Follows no link. */
enum err file_ns_info(struct file_ns *ns, const char *path, struct file_info *out,
		      struct err_why *why);
enum err file_ns_mkdir(struct file_ns *ns, const char *path, struct err_why *why);
enum err file_ns_rmdir(struct file_ns *ns, const char *path, struct err_why *why);

/*
 * A new file `to` with the content of `from`, durable but for its name; by reflink where that
 * works, else holes stay holes. `from` is locked as an image that is read. `progress` in bytes. On
 * an error `to` is not left behind.
 */
struct progress;
enum err file_ns_copy(struct file_ns *ns, const char *from, const char *to,
		      struct progress *progress, struct err_why *why);

#endif

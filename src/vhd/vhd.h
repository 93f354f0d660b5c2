/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VHD_VHD_H
#define STRATA_VHD_VHD_H

/*
 * The VHD engine: fixed, dynamic and differencing disks after "Virtual Hard Disk Image Format
 * Specification" (Microsoft, 2006, version 1.0), chains of any depth up to 4096, and the
 * operations on them. What it does not do: probe for a type, follow a parent out of its folder
 * unasked, print, or keep state beside an image except the intent record of W13 and W17.
 *
 * Sizes are bytes, and the size of a disk is the footer's current size, never its geometry.
 * Promises P1 to P6 of docs/INVARIANTS.md hold for every function here: whatever fails or dies
 * half way, the image opens again, what was flushed is there, and the operation either did not
 * happen, or finishes when it is asked for again or by itself at the next writable open.
 *
 * Threads: operations on a path block the caller and lock the files they use. An open disk follows
 * block.h. Strings and arrays in results belong to the result; free it with its own function.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "block/block.h"
#include "block/file.h"
#include "util/err.h"
#include "util/guid.h"
#include "util/progress.h"

#define VHD_MAX_SIZE      (2040ull << 30) /* the format's limit on a disk */
#define VHD_MIN_BLOCK     (64u << 10)
#define VHD_MAX_BLOCK     (256u << 20)
#define VHD_DEFAULT_BLOCK (2u << 20)
#define VHD_MAX_DEPTH     4096u
#define VHD_LOCATORS      8u

enum vhd_type { VHD_FIXED = 2, VHD_DYNAMIC = 3, VHD_DIFFERENCING = 4 };

/* "fixed", "dynamic", "differencing". */
const char *vhd_type_name(enum vhd_type type);

/* How the parents of a differencing disk are found; all fields may be zero. */
struct vhd_open_opts {
	struct file_ns *ns;        /* NULL: the real file system */
	bool writable;             /* the leaf; parents are always read-only */
	bool direct;               /* bypass the page cache */
	bool no_lock;              /* read a disk another program may be writing */
	const char *parent;        /* path of the leaf's parent, instead of what its locators say */
	const char *const *search; /* folders in which to look for parents by UUID */
	unsigned search_count;
	bool ignore_parent_id; /* accept a parent whose UUID does not match (only with `parent`) */
	uint64_t map_budget_bytes; /* bound on the owner map; 0: 32 MiB */
};

/*
 * Open `path` with its whole chain. ERR_PARENT when a parent is missing or another disk;
 * ERR_UNSUPPORTED for VHDX and the like; ERR_CORRUPT with field and offset; ERR_LOCKED.
 * A writable open first finishes what an interrupted operation left behind (trailing footer,
 * intent record). The result is closed with disk_close.
 */
enum err vhd_open(const char *path, const struct vhd_open_opts *opts, struct disk **out,
		  struct err_why *why);

/* Facts about an open disk made by vhd_open. */
struct vhd_usage {
	unsigned depth;     /* files in the chain */
	uint64_t map_bytes; /* memory the owner map holds now */
	uint64_t map_budget_bytes;
	uint64_t syncs;            /* file syncs issued so far */
	uint64_t blocks_allocated; /* blocks allocated since open */
	uint64_t flushes;          /* DISK_FLUSH requests completed */
};
void vhd_get_usage(struct disk *disk, struct vhd_usage *out);

/* ---- what the headers of one file say ---- */

struct vhd_locator {
	char code[5]; /* "W2ku", ...; empty slot: "" */
	uint64_t off_bytes;
	uint32_t space; /* as stored: bytes or sectors */
	uint32_t len_bytes;
	char *path; /* decoded, UTF-8; NULL when not readable */
};

struct vhd_info {
	char *path;
	enum vhd_type type;
	uint64_t virtual_size;
	uint64_t original_size;
	uint64_t file_size;
	uint64_t disk_usage; /* bytes the file takes on its file system */
	struct guid uuid;
	char creator_app[5]; /* raw bytes, NUL-terminated */
	unsigned creator_major, creator_minor;
	char creator_host[5];
	int64_t timestamp; /* seconds since 1970 */
	unsigned cylinders, heads, sectors;
	uint32_t features;
	bool saved_state;
	bool trailing_footer_ok; /* false: the copy at offset 0 was used */
	/* dynamic and differencing; 0 otherwise */
	uint32_t block_size;
	uint64_t bat_off;
	uint64_t total_blocks;
	uint64_t allocated_blocks;
	uint64_t partial_blocks; /* allocated, with some bits of the bitmap clear */
	uint64_t fragments;      /* runs of blocks that are adjacent on disk and in the file */
	bool data_aligned;       /* every block's data starts on a 4 KiB boundary */
	bool has_batmap;
	/* differencing */
	struct guid parent_uuid;
	int64_t parent_timestamp;
	char *parent_name;         /* NULL when empty or not valid UTF-16 */
	char *parent_path;         /* where the parent was found, NULL when it was not */
	struct err_why parent_why; /* why not */
	struct vhd_locator locator[VHD_LOCATORS];
};

/* One file; does not need its parent. Works on a disk in use. Uses opts->ns, parent, search. */
enum err vhd_inspect(const char *path, const struct vhd_open_opts *opts, struct vhd_info *out,
		     struct err_why *why);
void vhd_info_free(struct vhd_info *info);
/* The chain from the leaf down, *count entries; free each and then the array. */
enum err vhd_inspect_chain(const char *path, const struct vhd_open_opts *opts,
			   struct vhd_info **out, unsigned *count, struct err_why *why);

/* ---- operations ---- */

struct vhd_create_opts {
	struct file_ns *ns;
	enum vhd_type type;
	uint64_t size_bytes;     /* 0 for differencing: the parent's */
	uint32_t block_size;     /* 0: 2 MiB, or the parent's */
	const char *parent;      /* differencing: path, also what the locators are made from */
	bool azure;              /* fixed, size rounded up to a whole MiB, as Azure demands */
	const struct guid *uuid; /* NULL: a fresh one */
	bool no_lock;            /* the caller sees to it that the parent stays as it is */
	bool unnamed; /* the caller makes the name durable, and until then nobody uses it */
};

/* A new image; never overwrites. Complete and durable on return, or nothing is left behind (W16).
 */
enum err vhd_create(const char *path, const struct vhd_create_opts *opts, struct err_why *why);

enum vhd_finding_kind {
	FINDING_NOTE,       /* unusual but harmless, e.g. a producer's quirk */
	FINDING_REPAIRABLE, /* wrong; repair mends it without losing data */
	FINDING_CORRUPT,    /* wrong; data may be lost, repair leaves it alone */
};

struct vhd_finding {
	enum vhd_finding_kind kind;
	uint64_t off_bytes; /* in the file */
	char field[40];     /* "footer.checksum", "bat[17]", ... */
	char rule[160];     /* what should hold */
	char action[160];   /* what repair would do; "" when nothing */
};

struct vhd_report {
	char *path;
	struct vhd_finding *finding;
	size_t count;
	size_t suppressed; /* findings of the same kind beyond the first 1000 */
};

/*
 * Check one file in linear time, writing nothing. ERR_OK with a report whatever was found; other
 * errors only when checking itself was not possible. vhd_report_result condenses it: ERR_OK,
 * ERR_REPAIRABLE or ERR_CORRUPT.
 */
enum err vhd_check(const char *path, const struct vhd_open_opts *opts, struct progress *progress,
		   struct vhd_report *out, struct err_why *why);
enum err vhd_report_result(const struct vhd_report *report);
void vhd_report_free(struct vhd_report *report);
/* Carry out the actions of a fresh check, which `out` holds. The file is locked for writing. */
enum err vhd_repair(const char *path, const struct vhd_open_opts *opts, struct vhd_report *out,
		    struct err_why *why);

enum vhd_compact_mode {
	COMPACT_FULL,      /* zero blocks, and blocks the file systems inside call free */
	COMPACT_QUICK,     /* only what the file systems say; reads no payload */
	COMPACT_PREZEROED, /* only blocks that read zero */
};

struct vhd_compact_opts {
	enum vhd_compact_mode mode;
	bool dry_run; /* count, change nothing */
	struct progress *progress;
};

struct vhd_compact_result {
	uint64_t blocks_before, blocks_after;
	uint64_t blocks_zero,
	    blocks_free; /* dropped because they read zero / hold only free clusters */
	uint64_t blocks_moved;
	uint64_t file_before, file_after;
	unsigned filesystems; /* understood and clean, so that they were asked */
	char note[256];       /* why a file system was not asked; "" */
};

/* In place, no second copy (W9, W10, W11). Interrupted: the image is valid, ask again. */
enum err vhd_compact(const char *path, const struct vhd_open_opts *open_opts,
		     const struct vhd_compact_opts *opts, struct vhd_compact_result *out,
		     struct err_why *why);

struct vhd_resize_opts {
	uint64_t size_bytes; /* new size */
	bool dry_run;
	struct progress *progress;
};

/*
 * Grow (W12, W13) or shrink (W14) in place. Refused (ERR_REFUSED) when the folder or `search`
 * holds a child of this disk, and when shrinking would cut allocated blocks that do not read zero.
 */
enum err vhd_resize(const char *path, const struct vhd_open_opts *open_opts,
		    const struct vhd_resize_opts *opts, struct err_why *why);

struct vhd_merge_opts {
	const char *into; /* path of an ancestor; NULL: the parent */
	bool dry_run;
	struct progress *progress;
};

struct vhd_merge_result {
	char *into; /* where the content is now; free() it */
	uint64_t copied_bytes;
	unsigned files_removed;
};

/*
 * Fold `child` and all between it and `into` into that ancestor in one pass (W17), and remove the
 * folded files. The ancestor takes the child's UUID, so that the child's own children only need a
 * relink and any other child of the ancestor is refused instead of reading wrong data.
 */
enum err vhd_merge(const char *child, const struct vhd_open_opts *open_opts,
		   const struct vhd_merge_opts *opts, struct vhd_merge_result *out,
		   struct err_why *why);

struct vhd_relink_opts {
	const char *parent;      /* NULL: look in opts->search and the child's folder */
	bool ignore_id_mismatch; /* take another parent all the same, and store its UUID */
	bool dry_run;
};

/* Rewrite parent name and locators of `child`. *parent_path (free it) is the parent found. */
enum err vhd_relink(const char *child, const struct vhd_open_opts *open_opts,
		    const struct vhd_relink_opts *opts, char **parent_path, struct err_why *why);

#endif

/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <sys/stat.h>

#include "cli/out.h"
#include "util/guid.h"
#include "vhd/vhd.h"
#include "vhdtool/info.h"
#include "vhdtool/verbs.h"

struct create_args {
	struct common common;
	struct opt_size size, block_size;
	unsigned type; /* 1 dynamic, 2 fixed, 3 diff */
	const char *parent, *uuid;
	bool azure;
};

static const struct opt create_opts[] = {
    {"size", 's', OPT_SIZE, "SIZE", offsetof(struct create_args, size),
     "size of the disk; a child has its parent's by default"},
    {"type", 't', OPT_CHOICE, "dynamic|fixed|diff", offsetof(struct create_args, type),
     "kind of disk; dynamic by default, diff with --parent"},
    {"parent", 'p', OPT_TEXT, "FILE", offsetof(struct create_args, parent),
     "disk that a differencing disk builds on"},
    {"block-size", 'b', OPT_SIZE, "SIZE", offsetof(struct create_args, block_size),
     "unit of allocation, a power of two from 64K to 256M; 2M by default"},
    {"azure", 0, OPT_FLAG, NULL, offsetof(struct create_args, azure),
     "fixed, its size rounded up to a whole MiB, as Azure demands"},
    {"uuid", 0, OPT_TEXT, "UUID", offsetof(struct create_args, uuid),
     "identifier of the disk, instead of a fresh random one"},
    {0},
};

/* Fills what vhd_create wants; returns 0 or the exit code. */
static int plan(const struct create_args *args, struct guid *uuid, struct vhd_create_opts *out)
{
	static const enum vhd_type types[] = {VHD_DYNAMIC, VHD_DYNAMIC, VHD_FIXED,
					      VHD_DIFFERENCING};
	enum vhd_type type = types[args->type];

	*out = (struct vhd_create_opts){0};
	if (!args->type && args->parent)
		type = VHD_DIFFERENCING;
	if (!args->type && args->azure)
		type = VHD_FIXED;
	if (args->azure && type != VHD_FIXED)
		return out_usage("create", "--azure makes a fixed disk, not another type");
	if (type == VHD_DIFFERENCING && !args->parent)
		return out_usage("create", "a differencing disk needs --parent");
	if (type != VHD_DIFFERENCING && args->parent)
		return out_usage("create", "--parent is for differencing disks only");
	if (type != VHD_DIFFERENCING && !args->size.given)
		return out_usage("create", "--size is wanted");
	if (args->size.given && (!args->size.bytes || args->size.bytes % DISK_SECTOR))
		return out_usage("create", "--size must be a multiple of 512 bytes and not 0");
	if (type == VHD_FIXED && args->block_size.given)
		return out_usage("create", "--block-size has no meaning for a fixed disk");
	if (args->block_size.given &&
	    (args->block_size.bytes < VHD_MIN_BLOCK || args->block_size.bytes > VHD_MAX_BLOCK))
		return out_usage("create", "--block-size must be from 64K to 256M");
	if (args->uuid && !guid_parse(args->uuid, uuid))
		return out_usage("create", "--uuid: '%s' is not a UUID", args->uuid);

	*out = (struct vhd_create_opts){
	    .type = type,
	    .size_bytes = args->size.bytes,
	    .block_size = (uint32_t)args->block_size.bytes,
	    .parent = args->parent,
	    .azure = args->azure,
	    .uuid = args->uuid ? uuid : NULL,
	};
	return 0;
}

static int dry_run(const char *path, const struct vhd_create_opts *opts)
{
	struct err_why why = {0};
	struct vhd_info parent;
	struct stat st;

	if (!lstat(path, &st)) {
		err_set(&why, ERR_EXIST, "is there already");
		return out_fail(path, &why);
	}
	if (opts->parent) {
		struct vhd_open_opts open_opts = {0};

		if (vhd_inspect(opts->parent, &open_opts, &parent, &why))
			return out_fail(opts->parent, &why);
		vhd_info_free(&parent);
	}
	printf("would create %s disk %s%s%s\n", vhd_type_name(opts->type), out_name(path),
	       opts->parent ? " with parent " : "", opts->parent ? out_name(opts->parent) : "");
	return 0;
}

static int run(void *arg)
{
	struct create_args *args = arg;
	const char *path = args->common.arg[0];
	struct vhd_open_opts open_opts = {0};
	struct vhd_create_opts opts;
	struct err_why why = {0};
	struct vhd_info info;
	struct guid uuid;
	int rc;

	rc = plan(args, &uuid, &opts);
	if (rc)
		return rc;
	if (args->common.dry_run)
		return dry_run(path, &opts);
	if (vhd_create(path, &opts, &why))
		return out_fail(path, &why);
	if (!args->common.json)
		return 0;
	if (vhd_inspect(path, &open_opts, &info, &why))
		return out_fail(path, &why);
	json_emit(info_json(&info));
	vhd_info_free(&info);
	return 0;
}

const struct verb verb_create = {
    .name = "create",
    .summary = "make a new disk",
    .usage = "FILE",
    .details =
	"Make a new disk in FILE, which must not exist. A fixed disk is allocated in full, a\n"
	"dynamic one grows as it is written, a differencing one holds what differs from its\n"
	"parent. From then on the parent must not be written. With --json, what 'inspect'\n"
	"says about the new disk is printed.",
    .opts = create_opts,
    .groups = GROUP_DRY_RUN | GROUP_JSON,
    .min_args = 1,
    .max_args = 1,
    .args_bytes = sizeof(struct create_args),
    .run = run,
};

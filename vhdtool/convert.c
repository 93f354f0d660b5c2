/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/copy.h"
#include "block/file.h"
#include "block/queue.h"
#include "cli/out.h"
#include "cli/progress.h"
#include "util/bytes.h"
#include "vhd/vhd.h"
#include "vhdtool/delta.h"
#include "vhdtool/image.h"
#include "vhdtool/measure.h"
#include "vhdtool/stream.h"
#include "vhdtool/verbs.h"

#define QUEUE_DEPTH 64

struct convert_args {
	struct common common;
	struct image_args image;
	struct opt_size size, block_size;
	unsigned from, format; /* enum image_format */
	unsigned type;         /* 1 dynamic, 2 fixed, 3 diff */
	const char *src_parent;
	bool azure, force;
};

static const struct opt convert_opts[] = {
    {"from", 'f', OPT_CHOICE, IMAGE_FORMATS, offsetof(struct convert_args, from),
     "what SRC is; by its name when not given, raw for '-'"},
    {"format", 'O', OPT_CHOICE, IMAGE_FORMATS, offsetof(struct convert_args, format),
     "what DST becomes; by its name when not given, raw for '-'"},
    {"type", 't', OPT_CHOICE, "dynamic|fixed|diff", offsetof(struct convert_args, type),
     "kind of VHD to make; dynamic by default"},
    {"block-size", 'b', OPT_SIZE, "SIZE", offsetof(struct convert_args, block_size),
     "block size of a dynamic or differencing DST; 2M by default"},
    {"parent", 'p', OPT_TEXT, "FILE", offsetof(struct convert_args, image.parent),
     "with --type diff: store in DST only what differs from this disk"},
    {"azure", 0, OPT_FLAG, NULL, offsetof(struct convert_args, azure),
     "fixed, its size rounded up to a whole MiB, as Azure demands"},
    {"src-parent", 0, OPT_TEXT, "FILE", offsetof(struct convert_args, src_parent),
     "where the parent of SRC is, instead of what SRC says"},
    {"size", 's', OPT_SIZE, "SIZE", offsetof(struct convert_args, size),
     "how much a pipe on standard input holds"},
    {"force", 0, OPT_FLAG, NULL, offsetof(struct convert_args, force),
     "DST may be an existing block device; its content is lost"},
    IMAGE_SEARCH(struct convert_args),
    IMAGE_NO_LOCK(struct convert_args),
    {0},
};

struct job {
	const struct convert_args *args;
	const char *src_path, *dst_path;
	enum image_format from, format;
	enum vhd_type type;
	struct disk *src;    /* NULL: standard input */
	uint64_t size_bytes; /* of the content */
	struct disk *dst;    /* NULL: standard output */
	bool dst_is_zero;
	bool created; /* dst_path is ours to remove */
	struct queue *queue;
};

static bool is_dash(const char *path)
{
	return !strcmp(path, "-");
}

static int decide_formats(struct job *job)
{
	const struct convert_args *args = job->args;
	static const enum vhd_type types[] = {VHD_DYNAMIC, VHD_DYNAMIC, VHD_FIXED,
					      VHD_DIFFERENCING};

	job->from = args->from ? args->from : image_format_of_name(job->src_path);
	if (is_dash(job->src_path) && args->from != IMAGE_VHD)
		job->from = IMAGE_RAW;
	job->format = args->format ? args->format : image_format_of_name(job->dst_path);
	if (is_dash(job->dst_path) && args->format != IMAGE_VHD)
		job->format = IMAGE_RAW;
	else if (!job->format && (args->type || args->azure))
		job->format = IMAGE_VHD;
	job->type = args->azure && !args->type ? VHD_FIXED : types[args->type];

	if (!job->from)
		return out_usage(
		    "convert", "the name of %s does not say what it is: give --from " IMAGE_FORMATS,
		    job->src_path);
	if (!job->format)
		return out_usage(
		    "convert",
		    "the name of %s does not say what to make: give --format " IMAGE_FORMATS,
		    job->dst_path);
	return 0;
}

static int check_options(const struct job *job)
{
	const struct convert_args *args = job->args;
	bool vhd = job->format == IMAGE_VHD;

	if (is_dash(job->src_path) && is_dash(job->dst_path))
		return out_usage("convert", "SRC and DST cannot both be '-'");
	if (is_dash(job->src_path) && job->from == IMAGE_VHD)
		return out_usage("convert",
				 "a VHD cannot be read from a pipe; only raw content can");
	if (is_dash(job->src_path) && vhd && job->type == VHD_DIFFERENCING)
		return out_usage("convert", "--type diff needs SRC in a file");
	if (is_dash(job->dst_path) && vhd)
		return out_usage("convert",
				 "a VHD cannot be written to a pipe; only raw content can");
	if (is_dash(job->dst_path) && isatty(STDOUT_FILENO))
		return out_usage("convert", "standard output is a terminal: pipe it somewhere");
	if (!vhd && (args->type || args->block_size.given || args->azure))
		return out_usage("convert", "--type, --block-size and --azure are for a VHD");
	if (args->azure && job->type != VHD_FIXED)
		return out_usage("convert", "--azure makes a fixed disk, not another type");
	if (vhd && (job->type == VHD_DIFFERENCING) != (args->image.parent != NULL))
		return out_usage("convert", "--type diff and --parent go together");
	if (!vhd && args->image.parent)
		return out_usage("convert", "--parent is for --type diff; see --src-parent");
	if (args->block_size.given &&
	    (job->type == VHD_FIXED || !is_power_of_two(args->block_size.bytes) ||
	     args->block_size.bytes < VHD_MIN_BLOCK || args->block_size.bytes > VHD_MAX_BLOCK))
		return out_usage("convert", "--block-size is a power of two from 64K to 256M, and "
					    "not for fixed disks");
	if (args->size.given && !is_dash(job->src_path))
		return out_usage("convert", "--size is for standard input only");
	return 0;
}

/* How much standard input holds: said by the user, or known because it is a file. */
static enum err stdin_size(const struct convert_args *args, uint64_t *out, struct err_why *why)
{
	struct stat st;
	off_t at, end;

	if (args->size.given) {
		*out = args->size.bytes;
		return *out ? ERR_OK : err_set(why, ERR_USAGE, "--size must not be 0");
	}
	if (fstat(STDIN_FILENO, &st))
		return err_sys(why, errno, "standard input");
	at = lseek(STDIN_FILENO, 0, SEEK_CUR);
	if (at < 0 || !(S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)))
		return err_set(why, ERR_USAGE,
			       "what a pipe holds is not known beforehand: give --size");
	end = lseek(STDIN_FILENO, 0, SEEK_END);
	if (end < 0 || lseek(STDIN_FILENO, at, SEEK_SET) < 0)
		return err_sys(why, errno, "standard input");
	if (end <= at)
		return err_set(why, ERR_USAGE, "standard input is empty");
	*out = (uint64_t)(end - at);
	return ERR_OK;
}

static enum err open_source(struct job *job, struct err_why *why)
{
	struct vhd_open_opts opts = image_open_opts(&job->args->image);
	enum err err;

	if (is_dash(job->src_path))
		return stdin_size(job->args, &job->size_bytes, why);
	opts.parent = job->args->src_parent;
	err = image_open(job->src_path, job->from, &opts, &job->src, why);
	if (!err)
		job->size_bytes = image_size(job->src);
	return err;
}

/* An existing block device: allowed with --force, and it must be large enough. */
static enum err open_device(struct job *job, struct err_why *why)
{
	struct vhd_open_opts opts = {.writable = true};
	enum err err = image_open(job->dst_path, IMAGE_RAW, &opts, &job->dst, why);

	if (err)
		return err;
	if (image_size(job->dst) < job->size_bytes)
		return err_set(why, ERR_NOSPC,
			       "the device holds %" PRIu64 " bytes of the %" PRIu64 " wanted",
			       image_size(job->dst), job->size_bytes);
	return ERR_OK;
}

static enum err create_raw(struct job *job, struct err_why *why)
{
	struct file *file;
	struct stat st;
	enum err err;

	if (job->args->force && !stat(job->dst_path, &st) && S_ISBLK(st.st_mode))
		return open_device(job, why);
	err = file_ns_open(&file_ns_posix, job->dst_path, FILE_OPEN_CREATE, &file, why);
	if (err)
		return err;
	job->created = true;
	job->dst_is_zero = true;
	err = file_lock(file, FILE_LOCK_WRITE, why);
	if (!err)
		err = file_truncate(file, round_up(job->size_bytes, DISK_SECTOR), why);
	if (err) {
		file_close(file, NULL);
		return err;
	}
	return raw_disk_open(file, &job->dst, why);
}

static enum err create_vhd(struct job *job, struct err_why *why)
{
	const struct convert_args *args = job->args;
	struct vhd_open_opts open_opts = {.writable = true, .parent = args->image.parent};
	struct vhd_create_opts opts = {
	    .type = job->type,
	    .size_bytes = round_up(job->size_bytes, DISK_SECTOR),
	    .block_size = (uint32_t)args->block_size.bytes,
	    .parent = args->image.parent,
	    .azure = args->azure,
	};
	enum err err = vhd_create(job->dst_path, &opts, why);

	if (err)
		return err;
	job->created = true;
	job->dst_is_zero = job->type != VHD_DIFFERENCING;
	return vhd_open(job->dst_path, &open_opts, &job->dst, why);
}

static enum err open_target(struct job *job, struct err_why *why)
{
	if (is_dash(job->dst_path))
		return ERR_OK;
	return job->format == IMAGE_RAW ? create_raw(job, why) : create_vhd(job, why);
}

static enum err copy(struct job *job, struct progress *progress, struct err_why *why)
{
	if (!job->dst)
		return stream_out(job->src, job->queue, STDOUT_FILENO, progress, why);
	if (!job->src)
		return stream_in(job->dst, job->queue, STDIN_FILENO, job->size_bytes, progress,
				 why);
	if (job->format == IMAGE_VHD && job->type == VHD_DIFFERENCING)
		return delta_copy(job->src, job->dst, job->queue, progress, why);
	return disk_copy(job->src, job->dst, job->dst_is_zero, job->queue, progress, why);
}

/* Make DST and fill it; whatever fails or is stopped, a file made here is removed again. */
static enum err carry_out(struct job *job, struct err_why *why)
{
	struct cli_progress progress;
	struct progress *base = progress_begin(&progress, job->args->common.progress, "convert");
	enum err err = queue_create(QUEUE_DEPTH, &job->queue, why);

	if (!err)
		err = open_target(job, why);
	if (!err)
		err = copy(job, base, why);
	err = image_close(job->dst, err, why);
	queue_destroy(job->queue);
	if (!err && job->created)
		err = file_ns_sync_dir(&file_ns_posix, job->dst_path, why);
	if (err && job->created)
		file_ns_unlink(&file_ns_posix, job->dst_path, NULL);
	progress_end(&progress);
	return err;
}

static enum err print_plan(const struct job *job, struct err_why *why)
{
	uint32_t block_size =
	    job->args->block_size.given ? (uint32_t)job->args->block_size.bytes : VHD_DEFAULT_BLOCK;
	uint64_t bytes = job->size_bytes;
	struct measure measure;
	struct stat st;
	enum err err;

	if (!is_dash(job->dst_path) && !lstat(job->dst_path, &st) &&
	    !(job->args->force && S_ISBLK(st.st_mode)))
		return err_set(why, ERR_EXIST, "%s: is there already", job->dst_path);
	if (job->src) {
		err = measure_disk(job->src, block_size, &measure, why);
		if (err)
			return err;
		bytes = job->format == IMAGE_RAW ? measure.raw_bytes
			: job->type == VHD_FIXED ? measure.fixed_bytes
						 : measure.dynamic_bytes;
	}
	printf("would write %s as %s%s, a disk of %s, to %s; at most %s\n", out_name(job->src_path),
	       job->format == IMAGE_RAW ? "raw" : vhd_type_name(job->type),
	       job->format == IMAGE_RAW ? "" : " VHD", out_size(job->size_bytes),
	       out_name(job->dst_path), out_size(bytes));
	return ERR_OK;
}

/* The file an error is about, when its text does not name one. */
static const char *blame(const struct job *job)
{
	return job->src || is_dash(job->src_path) ? job->dst_path : job->src_path;
}

static int run(void *arg)
{
	const struct convert_args *args = arg;
	struct job job = {
	    .args = args, .src_path = args->common.arg[0], .dst_path = args->common.arg[1]};
	struct err_why why = {0};
	const char *path;
	enum err err;
	int rc;

	rc = decide_formats(&job);
	if (!rc)
		rc = check_options(&job);
	if (rc)
		return rc;
	err = open_source(&job, &why);
	if (!err)
		err = args->common.dry_run ? print_plan(&job, &why) : carry_out(&job, &why);
	path = blame(&job);
	disk_close(job.src, NULL); /* read-only */
	return err ? out_fail(is_dash(path) ? NULL : path, &why) : 0;
}

const struct verb verb_convert = {
    .name = "convert",
    .summary = "copy a disk into another format or type",
    .usage = "SRC DST",
    .details =
	"Copy the content of SRC, with its whole chain, to DST, a new raw image or VHD. What\n"
	"they are is said by --from and --format, or by their names: .vhd and .avhd, or .raw,\n"
	".img, .bin and .iso; nothing is probed. '-' is raw content on standard input or\n"
	"output; the size of a pipe is not known beforehand and needs --size. Zeros take no\n"
	"space in DST, except in a fixed VHD. DST must not exist; it is removed again when\n"
	"the copy fails or is stopped.",
    .opts = convert_opts,
    .groups = GROUP_DRY_RUN | GROUP_PROGRESS,
    .min_args = 2,
    .max_args = 2,
    .args_bytes = sizeof(struct convert_args),
    .run = run,
};

/* SPDX-License-Identifier: MIT */
#include "vhdtool/image.h"

#include <string.h>
#include <strings.h>

#include "block/file.h"
#include "util/bytes.h"

enum image_format image_format_of_name(const char *path)
{
	static const struct {
		const char *suffix;
		enum image_format format;
	} known[] = {
	    {".vhd", IMAGE_VHD}, {".avhd", IMAGE_VHD}, {".vhdx", IMAGE_VHD}, {".avhdx", IMAGE_VHD},
	    {".raw", IMAGE_RAW}, {".img", IMAGE_RAW},  {".bin", IMAGE_RAW},  {".iso", IMAGE_RAW},
	};
	const char *suffix = strrchr(path, '.');

	for (size_t i = 0; suffix && i < ARRAY_LEN(known); i++)
		if (!strcasecmp(suffix, known[i].suffix))
			return known[i].format;
	return IMAGE_UNKNOWN;
}

struct vhd_open_opts image_open_opts(const struct image_args *args)
{
	return (struct vhd_open_opts){
	    .no_lock = args->no_lock,
	    .parent = args->parent,
	    .search = args->search.item,
	    .search_count = args->search.count,
	};
}

static enum err open_raw(const char *path, const struct vhd_open_opts *opts, struct disk **out,
			 struct err_why *why)
{
	unsigned flags =
	    (opts->writable ? FILE_OPEN_RDWR : 0) | (opts->direct ? FILE_OPEN_DIRECT : 0);
	struct file *file;
	enum err err;

	err = file_ns_open(&file_ns_posix, path, flags, &file, why);
	if (err)
		return err;
	if (!opts->no_lock) {
		err = file_lock(file, opts->writable ? FILE_LOCK_WRITE : FILE_LOCK_READ, why);
		if (err) {
			file_close(file, NULL);
			return err;
		}
	}
	return raw_disk_open(file, out, why);
}

enum err image_open(const char *path, enum image_format format, const struct vhd_open_opts *opts,
		    struct disk **out, struct err_why *why)
{
	return format == IMAGE_RAW ? open_raw(path, opts, out, why)
				   : vhd_open(path, opts, out, why);
}

enum err image_close(struct disk *disk, enum err err, struct err_why *why)
{
	struct err_why close_why = {0};
	enum err close_err = disk_close(disk, &close_why);

	if (err || !close_err)
		return err;
	*why = close_why;
	return close_err;
}

uint64_t image_size(struct disk *disk)
{
	struct disk_info info;

	disk_get_info(disk, &info);
	return info.size_bytes;
}

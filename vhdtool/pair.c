/* SPDX-License-Identifier: MIT */
#include "vhdtool/pair.h"

#include "cli/out.h"

static int open_one(const struct pair_args *args, const char *verb, const char *path,
		    unsigned format, const char *option, struct disk **out)
{
	struct vhd_open_opts opts = image_open_opts(&args->image);
	struct err_why why = {0};

	if (!format)
		format = image_format_of_name(path);
	if (!format)
		return out_usage(verb,
				 "the name of %s does not say what it is: give --%s " IMAGE_FORMATS,
				 path, option);
	if (image_open(path, format, &opts, out, &why))
		return out_fail(path, &why);
	return 0;
}

int pair_open(const struct pair_args *args, const char *verb, struct pair *out)
{
	struct err_why why = {0};
	int rc;

	*out = (struct pair){0};
	rc = open_one(args, verb, args->common.arg[0], args->format_a, "format-a", &out->a);
	if (!rc)
		rc = open_one(args, verb, args->common.arg[1], args->format_b, "format-b", &out->b);
	if (!rc && queue_create(64, &out->queue, &why))
		rc = out_fail(NULL, &why);
	if (rc) {
		pair_close(out);
		return rc;
	}
	out->size_a = image_size(out->a);
	out->size_b = image_size(out->b);
	return 0;
}

void pair_close(struct pair *pair)
{
	/* Both are read-only: closing them cannot lose a write. */
	disk_close(pair->a, NULL);
	disk_close(pair->b, NULL);
	queue_destroy(pair->queue);
}

/* SPDX-License-Identifier: MIT */
/* mount and umount only find the program that does the work and become it. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/out.h"
#include "vhdtool/image.h"
#include "vhdtool/verbs.h"

struct mount_args {
	struct common common;
	struct image_args image;
	const char *options;
};

static const struct opt mount_opts[] = {
    {"options", 'o', OPT_TEXT, "OPTS", offsetof(struct mount_args, options),
     "mount options for vhdmount, such as ro"},
    IMAGE_PARENT(struct mount_args),
    IMAGE_SEARCH(struct mount_args),
    {0},
};

static const struct opt umount_opts[] = {{0}};

/* vhdmount beside this program, else its bare name, which execvp looks up in PATH. */
static const char *find_vhdmount(char out[PATH_MAX])
{
	static const char name[] = "vhdmount";
	ssize_t length = readlink("/proc/self/exe", out, PATH_MAX - sizeof(name));

	while (length > 0 && out[length - 1] != '/')
		length--;
	if (length <= 0)
		return name;
	memcpy(out + length, name, sizeof(name));
	return access(out, X_OK) ? name : out;
}

static int become(const char *program, const char *const *argv, bool dry_run)
{
	struct err_why why = {0};

	if (dry_run) {
		printf("would run:");
		for (unsigned i = 0; argv[i]; i++)
			printf(" %s", out_name(argv[i]));
		putchar('\n');
		return 0;
	}
	execvp(program, (char *const *)argv);
	err_sys(&why, errno, "cannot be run");
	return out_fail(program, &why);
}

static int run_mount(void *arg)
{
	struct mount_args *args = arg;
	const struct opt_list *search = &args->image.search;
	const char *argv[2 * OPT_LIST_MAX + 12], **next = argv;
	char path[PATH_MAX];
	const char *program = find_vhdmount(path);

	*next++ = program;
	if (args->options) {
		*next++ = "-o";
		*next++ = args->options;
	}
	if (args->image.parent) {
		*next++ = "--parent";
		*next++ = args->image.parent;
	}
	for (unsigned i = 0; i < search->count; i++) {
		*next++ = "--search";
		*next++ = search->item[i];
	}
	*next++ = "--"; /* a file may be called -x */
	*next++ = args->common.arg[0];
	*next++ = args->common.arg[1];
	*next = NULL;
	return become(program, argv, args->common.dry_run);
}

static int run_umount(void *arg)
{
	struct mount_args *args = arg;
	const char *argv[] = {"fusermount3", "-u", "--", args->common.arg[0], NULL};

	return become(argv[0], argv, args->common.dry_run);
}

const struct verb verb_mount = {
    .name = "mount",
    .summary = "show a disk and its partitions as files (runs vhdmount)",
    .usage = "FILE DIR",
    .details =
	"Run vhdmount, found beside vhdtool or in PATH: DIR/disk.img is the disk, DIR/p1.img\n"
	"its first partition, DIR/info.json its description. Ends with 'vhdtool umount DIR'.",
    .opts = mount_opts,
    .groups = GROUP_DRY_RUN,
    .min_args = 2,
    .max_args = 2,
    .args_bytes = sizeof(struct mount_args),
    .run = run_mount,
};

const struct verb verb_umount = {
    .name = "umount",
    .summary = "end what mount began (runs fusermount3 -u)",
    .usage = "DIR",
    .details = "Run 'fusermount3 -u DIR'. What was written and synced is in the image.",
    .opts = umount_opts,
    .groups = GROUP_DRY_RUN,
    .min_args = 1,
    .max_args = 1,
    .args_bytes = sizeof(struct mount_args),
    .run = run_umount,
};

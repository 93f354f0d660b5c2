/* SPDX-License-Identifier: MIT */
#include "fuse/options.h"

#define FUSE_USE_VERSION 314
#include <errno.h>
#include <fuse_opt.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "snapshot/snapshot.h"
#include "util/bytes.h"

/* How many views of a VM may be open, and for how many seconds if nobody uses them. */
#define DEFAULT_VIEWS 32
#define DEFAULT_IDLE  10

enum key { KEY_SEARCH, KEY_IGNORED };

#define FIELD(templ, member)                               \
	{                                                  \
		templ, offsetof(struct options, member), 1 \
	}
#define FIELD_OFF(templ, member)                           \
	{                                                  \
		templ, offsetof(struct options, member), 0 \
	}

/* Shared by both ways to be called. Where two match, the first counts. */
#define COMMON_OPTIONS                                                                           \
	FIELD("ro", readonly), FIELD("-r", readonly), FIELD_OFF("rw", readonly),                 \
	    FIELD_OFF("-w", readonly), FIELD("parent=%s", parent), FIELD("uid=%u", uid),         \
	    FIELD("gid=%u", gid), FIELD("umask=%o", umask), FUSE_OPT_KEY("search=", KEY_SEARCH), \
	    FIELD("kernel_cache", kernel_cache), FIELD("vm=%s", vm), FIELD("home=%s", home),     \
	    FIELD("views=%u", views), FIELD("idle=%u", idle)

static const struct fuse_opt own_options[] = {
    COMMON_OPTIONS,
    FIELD("-f", foreground),
    FIELD("--foreground", foreground),
    FIELD("-d", debug),
    FIELD("--debug", debug),
    FIELD("debug", debug),
    FIELD("--read-only", readonly),
    FIELD("--parent=%s", parent),
    FIELD("--parent %s", parent),
    FIELD("--vm=%s", vm),
    FIELD("--vm %s", vm),
    FIELD("--home=%s", home),
    FIELD("--home %s", home),
    FUSE_OPT_KEY("--search=", KEY_SEARCH),
    FUSE_OPT_KEY("--search ", KEY_SEARCH),
    FIELD("-h", help),
    FIELD("--help", help),
    FUSE_OPT_END,
};

static const struct fuse_opt helper_options[] = {
    COMMON_OPTIONS,
    FIELD("-f", fake),
    FIELD("-s", sloppy),
    FUSE_OPT_KEY("-n", KEY_IGNORED),
    FUSE_OPT_KEY("-v", KEY_IGNORED),
    FUSE_OPT_KEY("-t ", KEY_IGNORED),
    FUSE_OPT_KEY("-N ", KEY_IGNORED),
    FUSE_OPT_END,
};

/* For libfuse and the kernel. */
static const char *const passed_on[] = {
    "allow_other", "allow_root", "auto_unmount", "nosuid", "suid",  "nodev",   "dev",
    "noexec",      "exec",       "noatime",      "atime",  "async", "dirsync", "sync",
};

/* For mount(8), fstab and systemd; a trailing '=' or '-' stands for anything that begins so. */
static const char *const not_for_us[] = {
    "defaults",
    "user",
    "users",
    "nouser",
    "owner",
    "group",
    "auto",
    "noauto",
    "nofail",
    "_netdev",
    "relatime",
    "norelatime",
    "user=",
    "uhelper=",
    "helper=",
    "comment=",
    "x-",
    "X-",
    "subtype=",
    "fsname=",
    "blksize=",
    "max_read=",
    "default_permissions",
};

static bool listed(const char *arg, const char *const *list, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		size_t len = strlen(list[i]);
		char last = list[i][len - 1];
		bool prefix = last == '=' || last == '-';

		if (prefix ? !strncmp(arg, list[i], len) : !strcmp(arg, list[i]))
			return true;
	}
	return false;
}

/* ---- operands and unknown options ---- */

static enum err absolute(const char *path, char **out, struct err_why *why)
{
	char *cwd = NULL;
	int rc;

	if (path[0] == '/') {
		*out = strdup(path);
		return *out ? ERR_OK : err_set(why, ERR_NOMEM, "no memory for a path");
	}
	cwd = getcwd(NULL, 0);
	if (!cwd)
		return err_sys(why, errno, "cannot tell the current folder");
	rc = asprintf(out, "%s/%s", strcmp(cwd, "/") ? cwd : "", path);
	free(cwd);
	return rc < 0 ? err_set(why, ERR_NOMEM, "no memory for a path") : ERR_OK;
}

static enum err add_operand(struct options *options, const char *arg)
{
	if (options->operand_count == ARRAY_LEN(options->operand))
		return err_set(options->why, ERR_USAGE, "one operand too many: %s", arg);
	options->operand[options->operand_count] = strdup(arg);
	if (!options->operand[options->operand_count])
		return err_set(options->why, ERR_NOMEM, "no memory for an operand");
	options->operand_count++;
	return ERR_OK;
}

static enum err add_search(struct options *options, const char *dir)
{
	char **search = reallocarray(options->search, options->search_count + 1, sizeof(*search));

	if (!search)
		return err_set(options->why, ERR_NOMEM, "no memory for --search");
	options->search = search;
	if (absolute(dir, &search[options->search_count], options->why))
		return options->why->code;
	options->search_count++;
	return ERR_OK;
}

static enum err add_mount_option(struct options *options, const char *arg)
{
	if (listed(arg, not_for_us, ARRAY_LEN(not_for_us)))
		return ERR_OK;
	if (listed(arg, passed_on, ARRAY_LEN(passed_on))) {
		if (fuse_opt_add_opt(&options->mount_options, arg))
			return err_set(options->why, ERR_NOMEM, "no memory for an option");
		return ERR_OK;
	}
	if (arg[0] == '-')
		return err_set(options->why, ERR_USAGE, "unknown option %s", arg);
	if (options->sloppy)
		return ERR_OK;
	return err_set(options->why, ERR_USAGE, "unknown mount option '%s'", arg);
}

/* "search=X", "--search=X", or "--searchX", which is what fuse_opt makes of two arguments. */
static const char *search_value(const char *arg)
{
	arg = strstr(arg, "search") + strlen("search");
	return *arg == '=' ? arg + 1 : arg;
}

static int take(void *data, const char *arg, int key, struct fuse_args *rest)
{
	struct options *options = data;
	enum err err = ERR_OK;

	(void)rest;
	if (key == KEY_SEARCH)
		err = add_search(options, search_value(arg));
	else if (key == FUSE_OPT_KEY_NONOPT)
		err = add_operand(options, arg);
	else if (key == FUSE_OPT_KEY_OPT)
		err = add_mount_option(options, arg);
	return err ? -1 : 0;
}

/* ---- the whole ---- */

static bool is_helper(const char *program)
{
	const char *slash = strrchr(program, '/');

	return !strncmp(slash ? slash + 1 : program, "mount.", 6);
}

/* What is left of the operands when what is to be mounted is taken: the folder to mount on. */
static enum err set_dir(struct options *options, unsigned idx)
{
	if (options->operand_count > idx + 1)
		return err_set(options->why, ERR_USAGE, "one operand too many: %s",
			       options->operand[idx + 1]);
	options->dir = realpath(options->operand[idx], NULL);
	return options->dir ? ERR_OK : err_sys(options->why, errno, "%s", options->operand[idx]);
}

static enum err finish_image(struct options *options)
{
	char *parent = options->parent;

	if (options->operand_count < 2)
		return err_set(options->why, ERR_USAGE, "a file and a folder are needed");
	if (options->home)
		return err_set(options->why, ERR_USAGE, "--home is for --vm");
	if (options->kernel_cache && !options->readonly)
		return err_set(options->why, ERR_USAGE, "kernel_cache is for read-only mounts");
	if (parent) {
		options->parent = NULL;
		absolute(parent, &options->parent, options->why);
		free(parent);
	}
	if (options->why->code || absolute(options->operand[0], &options->file, options->why))
		return options->why->code;
	return set_dir(options, 1);
}

/* mount(8) names a source too, which says nothing. */
static enum err finish_vm(struct options *options)
{
	unsigned dir_idx = options->helper ? 1 : 0;
	char *home;

	if (options->operand_count <= dir_idx)
		return err_set(options->why, ERR_USAGE, "a folder to mount on is needed");
	if (options->parent || options->search_count)
		return err_set(options->why, ERR_USAGE, "--parent and --search are for images");
	if (!options->views)
		return err_set(options->why, ERR_USAGE, "at least one view must be allowed");
	options->readonly = 1;
	if (snap_home(options->home, &home, options->why))
		return options->why->code;
	snap_vm_dir(home, options->vm, &options->file, options->why);
	free(home);
	return options->why->code ? options->why->code : set_dir(options, dir_idx);
}

static enum err finish(struct options *options)
{
	if (options->help)
		return ERR_OK;
	if (options->debug)
		options->foreground = 1;
	return options->vm ? finish_vm(options) : finish_image(options);
}

enum err options_parse(int argc, char **argv, struct options *out, struct err_why *why)
{
	struct fuse_args args = FUSE_ARGS_INIT(argc, argv);
	int rc;

	*out = (struct options){
	    .helper = argc > 0 && is_helper(argv[0]),
	    .uid = getuid(),
	    .gid = getgid(),
	    .umask = 077,
	    .views = DEFAULT_VIEWS,
	    .idle = DEFAULT_IDLE,
	    .why = why,
	};
	rc = fuse_opt_parse(&args, out, out->helper ? helper_options : own_options, take);
	fuse_opt_free_args(&args);
	if (!rc)
		return finish(out);
	return why->code ? why->code : err_set(why, ERR_USAGE, "an option has no valid value");
}

void options_free(struct options *options)
{
	free(options->file);
	free(options->dir);
	free(options->vm);
	free(options->home);
	free(options->parent);
	for (unsigned i = 0; i < options->operand_count; i++)
		free(options->operand[i]);
	for (unsigned i = 0; i < options->search_count; i++)
		free(options->search[i]);
	free(options->search);
	free(options->mount_options);
}

void options_help(FILE *to)
{
	fputs(
	    "Usage: vhdmount [OPTION]... FILE DIR\n"
	    "       vhdmount --vm NAME [OPTION]... DIR\n"
	    "       mount -t fuse.vhd [-o OPTIONS] FILE DIR\n"
	    "Show a Virtual Hard Disk as files in DIR: disk.img, p1.img, ... and info.json; or, of "
	    "a\n"
	    "VM, the disks of all its snapshots at once, read-only: DIR/SNAPSHOT/disk0/disk.img, "
	    "...\n"
	    "and DIR/current/disk0/disk.img, ...\n\n"
	    "  -r, --read-only      write to no file (also -o ro)\n"
	    "      --parent FILE    where the parent of the disk is, instead of what it says\n"
	    "      --search DIR     look for parents in DIR too; may be repeated\n"
	    "      --vm NAME        show the snapshots of this VM\n"
	    "      --home DIR       where the VMs are, instead of $STRATA_HOME\n"
	    "  -o OPTIONS           ro, rw, parent=, search=, vm=, home=, views=N, idle=SECONDS,\n"
	    "                       uid=, gid=, umask=, allow_other, allow_root, auto_unmount,\n"
	    "                       kernel_cache (read-only), and the usual ones of mount(8)\n"
	    "  -f, --foreground     stay in the foreground\n"
	    "  -d, --debug          show each request of the kernel; implies -f\n"
	    "  -h, --help           show this help\n"
	    "\n"
	    "Ends with 'fusermount3 -u DIR', 'umount DIR', or SIGTERM.\n",
	    to);
}

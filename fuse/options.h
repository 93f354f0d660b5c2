/* SPDX-License-Identifier: MIT */
#ifndef STRATA_FUSE_OPTIONS_H
#define STRATA_FUSE_OPTIONS_H

/*
 * The command line: vhdmount's own, and the one by which mount(8) calls its helpers. All paths come
 * out absolute, so that a daemon may leave its folder.
 */

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

#include "util/err.h"

struct options {
	char *file; /* the image; with `vm` the folder of its store */
	char *dir;
	char *vm;   /* NULL: an image is mounted */
	char *home; /* of the VMs; NULL: as snap_home says */
	unsigned views, idle;
	char *parent; /* NULL: as the disk says */
	char **search;
	unsigned search_count;
	int readonly; /* ints: libfuse stores them */
	int kernel_cache;
	int foreground;
	int debug;
	int help;
	bool helper; /* called by mount(8) */
	int fake;    /* helper: do everything but mount */
	int sloppy;  /* helper: ignore unknown mount options */
	unsigned uid, gid, umask;
	char *mount_options; /* for libfuse and the kernel, comma-separated; NULL: none */
	/* private */
	char *operand[2];
	unsigned operand_count;
	struct err_why *why;
};

/* ERR_USAGE when the command line makes no sense. Free with options_free, on error too. */
enum err options_parse(int argc, char **argv, struct options *out, struct err_why *why);
void options_free(struct options *options);
void options_help(FILE *to);

#endif

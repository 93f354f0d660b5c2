/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VHD_PATH_H
#define STRATA_VHD_PATH_H

#include "block/file.h"

/* Small tools for the names of images. Results are the caller's to free(); NULL: out of memory. */

/* Path of `name` in the folder of `path`. */
char *path_beside(const char *path, const char *name);

/* The folder of `path`, "." when it has none. */
char *path_folder(const char *path);

/* The last component of a path as an image stores it, with slashes or backslashes. */
const char *path_last(const char *path);

/* The last component of a path on this system. */
const char *path_file(const char *path);

/*
 * Absolute, without links and dots, as locators need it; the file itself need not exist, its
 * folder must. In a namespace other than the real file system: a copy of `path`. NULL also when
 * the folder is not there.
 */
char *path_absolute(struct file_ns *ns, const char *path);

#endif

/* SPDX-License-Identifier: MIT */
#ifndef STRATA_TESTS_NAMES_NS_H
#define STRATA_TESTS_NAMES_NS_H

/*
 * A namespace whose calls about names - opening, creating, removing, renaming, making durable - can
 * fail, as those about content can with block/fault.h. Files pass through unchanged.
 *
 * It also tells what files in memory do not: how much space a file takes (its size) and, if wanted,
 * when it was changed: a number that depends on the content alone, so that it is another one after
 * every change and the same one when a power cut has undone it.
 *
 * Threads: none.
 */

#include <stdbool.h>
#include <stdint.h>

#include "block/file.h"

enum name_call {
	NAME_OPEN = 1, /* of a file that is there */
	NAME_CREATE = 2,
	NAME_UNLINK = 4,
	NAME_RENAME = 8,
	NAME_SYNC_DIR = 16,
	NAME_LIST = 32,
	NAME_INFO = 64,
};

struct names_rule {
	unsigned calls; /* of enum name_call */
	uint64_t nth;   /* fail the nth of them, counted from 1 */
	bool sticky;    /* and every one after it */
	int sys_errno;
};

struct names_ns;

/* Wraps `below`, which must outlive it. */
struct names_ns *names_ns_new(struct file_ns *below);
void names_ns_free(struct names_ns *ns);
struct file_ns *names_ns_base(struct names_ns *ns);
void names_ns_tell_times(struct names_ns *ns);
/* All changes of content come through `ns`: a time that is known need not be found out again. */
void names_ns_alone(struct names_ns *ns);
/* Have somebody told before a file is renamed. */
void names_ns_watch(struct names_ns *ns,
		    void (*renaming)(void *arg, const char *from, const char *to), void *arg);
/* One rule at a time; NULL: none. */
void names_ns_set(struct names_ns *ns, const struct names_rule *rule);
/* Whether the rule has made something fail. */
bool names_ns_fired(const struct names_ns *ns);

#endif

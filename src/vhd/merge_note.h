/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VHD_MERGE_NOTE_H
#define STRATA_VHD_MERGE_NOTE_H

/*
 * The note of a merge that is under way (W17): a small file beside the ancestor, named
 * <ancestor>.strata-merging, there from before the ancestor's content changes until nothing is
 * left to be done. It says what is folded into what. merge_guard.h says what follows from it.
 *
 * It is written once; later one mark is appended, that all content has been copied. A note that is
 * damaged was never complete, and the merge not begun: it counts as none.
 *
 * Format (docs/FORMATS.md): integers little-endian. Magic 8, version 4, count 4, ancestor's UUID
 * 16, child's UUID 16, child's size 8; for each folded file, from the child down: UUID 16, length
 * of the path 4, path; then xxHash64 of all that. The mark is in the next sector, so that writing
 * it cannot harm the note: magic 8, the note's xxHash64 again.
 */

#include <stdbool.h>

#include "block/file.h"
#include "util/guid.h"

#define MERGE_NOTE_SUFFIX ".strata-merging"

struct merge_file {
	struct guid uuid;
	char *path; /* beside the ancestor ("name", "folder/name") or absolute */
};

struct merge_note {
	struct guid ancestor; /* its UUID until the merge is complete */
	struct guid child;    /* its UUID from then on */
	uint64_t child_bytes; /* size of the child's disk */
	bool copied;
	struct merge_file *file; /* folded, the child first */
	unsigned count;
};

/* A new note, durable on return; one that is there is replaced in one step. */
enum err merge_note_write(struct file_ns *ns, const char *ancestor, const struct merge_note *note,
			  struct err_why *why);
/* Everything the note speaks of has been copied, durably; durable on return. */
enum err merge_note_mark(struct file_ns *ns, const char *ancestor, struct err_why *why);
/* ERR_NOENT: none, or a damaged one. Free what is found. */
enum err merge_note_load(struct file_ns *ns, const char *ancestor, struct merge_note *out,
			 struct err_why *why);
/*
 * ERR_OK when there is none. Not durable, and need not be: one that comes back is of an ancestor
 * that has another UUID by then, and finishing it again does nothing.
 */
enum err merge_note_remove(struct file_ns *ns, const char *ancestor, struct err_why *why);
void merge_note_free(struct merge_note *note);

/* Add a file whose real path is `path`. False: out of memory. */
bool merge_note_add(struct merge_note *note, struct file_ns *ns, const char *ancestor,
		    const char *path, const struct guid *uuid);
/* Where the note says file `idx` is; free() it. NULL: out of memory. */
char *merge_note_path(const struct merge_note *note, const char *ancestor, unsigned idx);

#endif

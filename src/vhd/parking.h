/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VHD_PARKING_H
#define STRATA_VHD_PARKING_H

/*
 * Descriptors for more files than a process may have open. A layer of which all facts are known
 * beforehand (layer_new_parked) starts *parked*, without an open file; whoever needs the file holds
 * it for that time. When too many are open, one that nobody holds and that was not used lately is
 * parked again. How many is a share of the process's limit on descriptors.
 *
 * What is opened must be the disk that the facts tell of, in the very file where they say which.
 * That nobody but a fold (snapshot/fold.h) changes the file meanwhile is its owner's business.
 *
 * Threads: hold and release from any thread. A layer that is held, once, may be released on
 * another.
 */

#include "vhd/layer.h"

/* What is known of a layer without opening it. */
struct layer_facts {
	const char *path;
	struct guid uuid;
	enum vhd_type type;
	uint64_t size_bytes;
	uint32_t block_bytes; /* 0 for a fixed disk */
	/*
	 * The file, once it was looked at; ino 0: not yet. It then counts more than the UUID, which
	 * a fold may change.
	 */
	dev_t dev;
	ino_t ino;
};

enum err layer_new_parked(struct file_ns *ns, const struct layer_facts *facts, unsigned flags,
			  struct vhd_layer **out, struct err_why *why);

/* ERR_PARENT when the file is gone or is another one than it was. Layers that are not of this kind
 * are always open: nothing happens. */
enum err layer_hold(struct vhd_layer *layer, struct err_why *why);
void layer_release(struct vhd_layer *layer);

/* Whether somebody holds it. */
bool layer_is_held(const struct vhd_layer *layer);

/* Look again where the file ends: a fold may have made it longer. Held. */
enum err layer_refresh(struct vhd_layer *layer, struct err_why *why);

/* layer_close's part: the layer is not to be found here any more. */
void layer_forget(struct vhd_layer *layer);

/* At most so many files of parked layers open in this process; 0: a share of the limit. For tests.
 */
void parking_limit(unsigned files);
/* How many there are now. */
unsigned parking_open_files(void);

#endif

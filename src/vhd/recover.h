/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VHD_RECOVER_H
#define STRATA_VHD_RECOVER_H

#include "vhd/layer.h"

/*
 * What a crash can leave behind, mended when an image is opened for writing (P3): a trailing
 * footer that is not there because the file was growing or shrinking is written again behind the
 * last block; a copy at 0 that is not the trailing footer's (a cut in the middle of W2) is made
 * so; a 511-byte footer becomes one of 512. The image is locked by the caller.
 */
enum err recover_layer(struct vhd_layer *layer, struct err_why *why);

#endif

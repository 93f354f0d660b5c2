/* SPDX-License-Identifier: MIT */
#ifndef STRATA_VHD_ORDER_H
#define STRATA_VHD_ORDER_H

/*
 * Blocks in the order of their places in the file. In place and linear whatever the input is: a
 * hostile BAT of eight million entries costs neither a second copy nor a second of time.
 */

#include <stdint.h>

/* Sort `count` block indexes by bat[index], lowest first. */
void order_by_place(uint32_t *blocks, uint32_t count, const uint32_t *bat);

#endif

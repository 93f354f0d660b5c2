/* SPDX-License-Identifier: MIT */
#ifndef STRATA_TESTS_HV_BUS_VICTIM_H
#define STRATA_TESTS_HV_BUS_VICTIM_H

/*
 * One hostile message at a time (G3, G4, G7), against a bus in a known state:
 *
 *    channel 1 is offered, 2 is open, 3 is rescinded and not released, 4 waits for that release
 *    list 0x100 (4 pages) of channel 1 is complete, 0x101 lacks one page of 27, RINGS is open
 *
 * Whatever it is: the answer is the one stated, the open channel works unless it is the one that
 * was hit, and the next kernel finds everything as new.
 */

#include "tests/unit/hv_bus_lab.h"
#include "util/bytes.h"

#define OFFERED   1u
#define OPEN      2u
#define RESCINDED 3u
#define WAITING   4u

#define COMPLETE 0x100u
#define PARTIAL  0x101u
#define RINGS    0x102u
#define FRESH    0x200u /* no list */

#define MAX   0xFFFFFFFFu
#define BAD   0xC0000001u
#define PAGE  4096u
#define PAGES 0x4000u /* of RAM, all below the hole */

/* Which other things come of it. */
enum { FAULT = 1, CLOSES = 2, DISCONNECTS = 4 };

#define SILENT .answer = 0

struct hostile {
	const char *name;
	unsigned len;
	uint32_t word[12]; /* the message; zeroes follow */
	uint32_t answer;   /* its type; 0: none */
	uint32_t status;   /* its last word */
	unsigned also;
};

extern struct victim {
	struct guest_bus g;
	struct echo offered, opened;
	struct guest_channel ch; /* the open channel */
} victim;

void victim_setup(void);
/* A kernel that starts now finds all devices, and they work. */
void victim_new_kernel(const char *name);
/* A fresh bus, the message, and all that is stated about it. */
void victim_try(const struct hostile *h);

#define TRY_ALL(table)                                        \
	for (unsigned row = 0; row < ARRAY_LEN(table); row++) \
	victim_try(&(table)[row])

#endif

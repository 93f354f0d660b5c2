/* SPDX-License-Identifier: MIT */
#ifndef STRATA_HV_GPADL_H
#define STRATA_HV_GPADL_H

/*
 * Guest physical address descriptor lists: pages of guest memory the guest has announced for a
 * channel, in a header and bodies. What is announced is counted and capped before it is allocated,
 * and every page is RAM (G3). A handle names one list from its header to its teardown.
 *
 * Threads: the bus's. Pages may be used by others while `channel_open`.
 */

#include <stdbool.h>
#include <stdint.h>

#include "hv/vmbus_message.h"

struct memory;

struct gpadl {
	struct gpadl *next;
	uint32_t id;
	uint32_t relid;
	uint32_t byte_count;
	uint32_t byte_offset; /* into the first page */
	uint32_t pages;
	uint32_t filled;   /* pages that have come: complete when equal */
	bool channel_open; /* its rings are here */
	uint8_t *page[];
};

struct gpadls {
	struct memory *memory;
	struct gpadl *head;
	unsigned count;
	uint32_t pages; /* of all */
};

enum gpadl_result {
	GPADL_MORE,    /* bodies are to come */
	GPADL_DONE,    /* complete */
	GPADL_BAD,     /* refused, or given up: it is not there (any more) */
	GPADL_UNKNOWN, /* a body of no list that is being built */
};

void gpadls_init(struct gpadls *lists, struct memory *memory);

/* *fault says why, where the result is BAD or UNKNOWN. */
enum gpadl_result gpadl_begin(struct gpadls *lists, const struct message_gpadl_header *header,
			      const char **fault);
/* *relid: of the list that the body was for; not set when it is unknown. */
enum gpadl_result gpadl_extend(struct gpadls *lists, const struct message_gpadl_body *body,
			       uint32_t *relid, const char **fault);

struct gpadl *gpadl_find(const struct gpadls *lists, uint32_t id);
bool gpadl_is_complete(const struct gpadl *gpadl);
/* Nobody uses its pages. */
void gpadl_free(struct gpadls *lists, struct gpadl *gpadl);
void gpadl_free_channel(struct gpadls *lists, uint32_t relid);
void gpadl_free_all(struct gpadls *lists);

#endif

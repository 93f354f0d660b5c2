/* SPDX-License-Identifier: MIT */
#include "hv/gpadl.h"

#include <stdlib.h>

#include "hv/memory.h"
#include "hv/vmbus.h"
#include "util/bytes.h"

#define RANGE_BYTES 8u
#define PFN_BYTES   8u

void gpadls_init(struct gpadls *lists, struct memory *memory)
{
	*lists = (struct gpadls){.memory = memory};
}

struct gpadl *gpadl_find(const struct gpadls *lists, uint32_t id)
{
	struct gpadl *gpadl = lists->head;

	while (gpadl && gpadl->id != id)
		gpadl = gpadl->next;
	return gpadl;
}

bool gpadl_is_complete(const struct gpadl *gpadl)
{
	return gpadl->filled == gpadl->pages;
}

void gpadl_free(struct gpadls *lists, struct gpadl *gpadl)
{
	struct gpadl **link = &lists->head;

	while (*link != gpadl)
		link = &(*link)->next;
	*link = gpadl->next;
	lists->count--;
	lists->pages -= gpadl->pages;
	free(gpadl);
}

void gpadl_free_channel(struct gpadls *lists, uint32_t relid)
{
	struct gpadl *gpadl = lists->head;

	while (gpadl) {
		struct gpadl *next = gpadl->next;

		if (gpadl->relid == relid)
			gpadl_free(lists, gpadl);
		gpadl = next;
	}
}

void gpadl_free_all(struct gpadls *lists)
{
	while (lists->head)
		gpadl_free(lists, lists->head);
}

/* How many pages a header announces, within all limits (G3); 0 with *fault set when it is not. */
static uint32_t announced_pages(const struct gpadls *lists,
				const struct message_gpadl_header *header, const char **fault)
{
	uint64_t end = (uint64_t)header->byte_offset + header->byte_count;
	uint64_t pages = div_round_up(end, GUEST_PAGE);

	if (header->range_count != 1)
		*fault = "an address list is not of one range";
	else if (!header->byte_count || header->byte_offset >= GUEST_PAGE)
		*fault = "the range of an address list is empty or begins behind its first page";
	else if (header->range_bytes != RANGE_BYTES + pages * PFN_BYTES)
		*fault = "the length of an address list does not agree with its range";
	else if (gpadl_find(lists, header->gpadl))
		*fault = "the handle of an address list is taken";
	else if (lists->count >= VMBUS_MAX_GPADLS || pages > VMBUS_MAX_GPADL_PAGES - lists->pages)
		*fault = "too many address lists, or too many pages in them";
	else
		return (uint32_t)pages;
	return 0;
}

/* Take over the page numbers of one message. BAD: the list is gone. */
static enum gpadl_result fill(struct gpadls *lists, struct gpadl *gpadl,
			      const struct message_pfns *pfn, const char **fault)
{
	if (pfn->count > gpadl->pages - gpadl->filled) {
		*fault = "a body has more pages than its address list lacks";
		goto bad;
	}
	for (unsigned i = 0; i < pfn->count; i++) {
		uint64_t n = message_pfn(pfn, i);
		void *page = NULL;

		if (n <= UINT64_MAX / GUEST_PAGE)
			page = memory_at(lists->memory, n * GUEST_PAGE, GUEST_PAGE, MEMORY_WRITE);
		if (!page) {
			*fault = "a page of an address list is not RAM";
			goto bad;
		}
		gpadl->page[gpadl->filled++] = page;
	}
	return gpadl_is_complete(gpadl) ? GPADL_DONE : GPADL_MORE;
bad:
	gpadl_free(lists, gpadl);
	return GPADL_BAD;
}

enum gpadl_result gpadl_begin(struct gpadls *lists, const struct message_gpadl_header *header,
			      const char **fault)
{
	uint32_t pages = announced_pages(lists, header, fault);
	struct gpadl *gpadl;

	if (!pages)
		return GPADL_BAD;
	gpadl = malloc(sizeof(*gpadl) + pages * sizeof(gpadl->page[0]));
	if (!gpadl) {
		*fault = "no memory for an address list";
		return GPADL_BAD;
	}
	*gpadl = (struct gpadl){
	    .next = lists->head,
	    .id = header->gpadl,
	    .relid = header->relid,
	    .byte_count = header->byte_count,
	    .byte_offset = header->byte_offset,
	    .pages = pages,
	};
	lists->head = gpadl;
	lists->count++;
	lists->pages += pages;
	return fill(lists, gpadl, &header->pfn, fault);
}

enum gpadl_result gpadl_extend(struct gpadls *lists, const struct message_gpadl_body *body,
			       uint32_t *relid, const char **fault)
{
	struct gpadl *gpadl = gpadl_find(lists, body->gpadl);

	if (!gpadl || gpadl_is_complete(gpadl)) {
		*fault = "a body of an address list that is not being built";
		return GPADL_UNKNOWN;
	}
	*relid = gpadl->relid;
	return fill(lists, gpadl, &body->pfn, fault);
}

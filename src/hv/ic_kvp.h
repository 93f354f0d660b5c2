/* SPDX-License-Identifier: MIT */
#ifndef STRATA_HV_IC_KVP_H
#define STRATA_HV_IC_KVP_H

/*
 * Key-value exchange: reads the guest's facts (pool 2) one by one, by number, until the guest says
 * that there are no more, KVP_MAX_ITEMS at most. It is a program in the guest that answers, if
 * there is one: the agreement on versions may come minutes after the boot, or never.
 *
 * Everything in the answers is the guest's: sizes are checked against their fields, text against
 * the rules of UTF-16. An item that breaks one is left out.
 *
 * Threads: the bus's.
 */

#include "hv/ic.h"
#include "hv/integration.h"

#define KVP_MAX_ITEMS   64u
#define KVP_KEY_BYTES   512u /* of UTF-16, with its terminator */
#define KVP_VALUE_BYTES 2048u
#define KVP_KEY_TEXT    (KVP_KEY_BYTES / 2 * 3 + 1)
#define KVP_VALUE_TEXT  (KVP_VALUE_BYTES / 2 * 3 + 1)

struct ic_kvp {
	bool there; /* somebody answers */
	bool reading, complete;
	uint32_t index;       /* of the item that is being read */
	struct kvp_list list; /* what the last complete reading gave */
	struct kvp_list next; /* what the present one has given so far */
};

extern const struct ic_component ic_kvp;

/* One item as text. */
struct kvp_text {
	char key[KVP_KEY_TEXT];
	char value[KVP_VALUE_TEXT];
};

/* Pure: the request for item `index` of pool 2, and what a successful answer to it says. */
size_t kvp_encode(uint32_t index, uint8_t *body, size_t cap);
bool kvp_decode(const struct ic_message *answer, uint32_t index, struct kvp_text *out);

/* Begin to read; false: nobody answers. A reading that goes on goes on. */
bool kvp_refresh(struct ic_kvp *kvp);
/* Forget everything that was read. */
void kvp_forget(struct ic_kvp *kvp);

#endif

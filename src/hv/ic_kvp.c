/* SPDX-License-Identifier: MIT */
#include "hv/ic_kvp.h"

#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"

#define PATIENCE_NS 60000000000ull /* the guest's driver gives its program half of that */

static void free_list(struct kvp_list *list)
{
	for (unsigned i = 0; i < list->count; i++) {
		free(list->item[i].key);
		free(list->item[i].value);
	}
	free(list->item);
	*list = (struct kvp_list){0};
}

static bool append(struct kvp_list *list, const struct kvp_text *text)
{
	struct kvp_item *grown = realloc(list->item, (list->count + 1) * sizeof(*grown));
	struct kvp_item item;

	if (!grown)
		return false;
	list->item = grown;
	item.key = strdup(text->key);
	item.value = strdup(text->value);
	if (!item.key || !item.value) {
		free(item.key);
		free(item.value);
		return false;
	}
	list->item[list->count++] = item;
	return true;
}

bool kvp_refresh(struct ic_kvp *k)
{
	if (k->there && !k->reading) {
		k->reading = true;
		k->complete = false;
		k->index = 0;
	}
	return k->there;
}

static void stop_reading(void *self)
{
	struct ic_kvp *k = self;

	k->reading = false;
	free_list(&k->next);
}

static void finish(struct ic_kvp *k)
{
	free_list(&k->list);
	k->list = k->next;
	k->next = (struct kvp_list){0};
	k->reading = false;
	k->complete = true;
}

void kvp_forget(struct ic_kvp *k)
{
	stop_reading(k);
	free_list(&k->list);
	k->complete = false;
}

static void ready(void *self)
{
	struct ic_kvp *k = self;

	k->there = true;
}

static void gone(void *self)
{
	struct ic_kvp *k = self;

	k->there = false;
	stop_reading(k);
}

static size_t request(void *self, struct ic_version version, uint64_t now_ns, uint8_t *body,
		      size_t cap)
{
	struct ic_kvp *k = self;

	(void)version;
	(void)now_ns;
	return k->reading ? kvp_encode(k->index, body, cap) : 0;
}

static bool answer(void *self, const struct ic_message *m)
{
	struct ic_kvp *k = self;
	struct kvp_text text;
	bool good;

	if (!k->reading) /* forgotten meanwhile */
		return true;
	if (m->status) { /* no more items, or none for us */
		finish(k);
		return true;
	}
	good = kvp_decode(m, k->index, &text);
	if (good && !append(&k->next, &text)) {
		stop_reading(k);
		return true;
	}
	if (++k->index == KVP_MAX_ITEMS)
		finish(k);
	return good;
}

static const struct ic_version frameworks[] = {{1, 0}, {3, 0}};
static const struct ic_version versions[] = {{1, 0}, {3, 0}, {4, 0}};

const struct ic_component ic_kvp = {
    .type = IC_GUID(0xa9a0f4e7, 0x5a45, 0x4d96, 0xb8, 0x27, 0x8a, 0x84, 0x1e, 0x8c, 0x03, 0xe6),
    .instance = IC_GUID(0x242ff919, 0x07db, 0x4180, 0x9c, 0x2e, 0xb8, 0x6c, 0xb6, 0x8c, 0x8c, 0x55),
    .message_type = IC_KVP,
    .frameworks = frameworks,
    .framework_count = ARRAY_LEN(frameworks),
    .versions = versions,
    .version_count = ARRAY_LEN(versions),
    .patience_ns = PATIENCE_NS,
    .ready = ready,
    .gone = gone,
    .request = request,
    .answer = answer,
    .given_up = stop_reading,
};

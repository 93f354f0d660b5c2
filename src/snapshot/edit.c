/* SPDX-License-Identifier: MIT */

/* Changes of what the catalogue says that touch no layer. */

#include <stdlib.h>
#include <string.h>

#include "snapshot/take.h"

static enum err set_text(char **to, const char *text, struct err_why *why)
{
	char *copy = strdup(text);

	if (!copy)
		return err_set(why, ERR_NOMEM, "out of memory");
	free(*to);
	*to = copy;
	return ERR_OK;
}

static enum err rename_node(struct catalogue *cat, const struct guid *id, const char *name,
			    const char *note, struct err_why *why)
{
	struct cat_node *node = cat_node_by_id(cat, id);
	char text[GUID_TEXT_BYTES];
	enum err e = take_check_note(note, why);

	if (!node)
		return err_set(why, ERR_NOENT, "there is no snapshot %s", guid_text(id, text));
	if (!e && name && strcmp(name, node->name) != 0) {
		e = take_check_name(cat, name, why);
		if (!e)
			e = set_text(&node->name, name, why);
	}
	if (!e && note)
		e = set_text(&node->note, note, why);
	return e;
}

enum err snap_rename(struct store *store, const struct guid *id, const char *name, const char *note,
		     struct err_why *why)
{
	struct catalogue *cat;
	enum err e = store_begin(store, &cat, why);

	if (e)
		return e;
	e = rename_node(cat, id, name, note, why);
	if (e)
		cat_free(cat);
	else
		e = store_commit(store, cat, why);
	store_end(store);
	return e;
}

enum err config_check(const struct snap_config *config, struct err_why *why)
{
	const char *texts[] = {config->kernel, config->initrd, config->cmdline};

	if (config->memory_bytes < (1u << 20) || config->memory_bytes > (16ull << 40))
		return err_set(why, ERR_USAGE, "memory of %llu bytes is not from 1 MiB to 16 TiB",
			       (unsigned long long)config->memory_bytes);
	if (!config->cpus || config->cpus > 1024)
		return err_set(why, ERR_USAGE, "%u processors are not from 1 to 1024",
			       config->cpus);
	for (unsigned i = 0; i < 3; i++)
		if (texts[i] && strlen(texts[i]) > 4096)
			return err_set(why, ERR_USAGE,
				       "a path or command line has at most 4096 bytes");
	return ERR_OK;
}

enum err snap_set_config(struct store *store, const struct snap_config *config, struct err_why *why)
{
	struct catalogue *cat;
	uint32_t idx;
	enum err e = config_check(config, why);

	if (e)
		return e;
	e = store_begin(store, &cat, why);
	if (e)
		return e;
	if (cat_add_config(cat, config, &idx)) {
		cat->current_config = idx;
		cat_sweep_configs(cat);
		e = store_commit(store, cat, why);
	} else {
		e = err_set(why, ERR_NOMEM, "out of memory");
		cat_free(cat);
	}
	store_end(store);
	return e;
}

/* SPDX-License-Identifier: MIT */

/*
 * The catalogue's bytes (docs/FORMATS.md has the tables). All integers little-endian. A header of
 * CAT_HEADER_BYTES, then, one after the other and without gaps: leaves, configurations, layers,
 * nodes, garbage, folds, text.
 */

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "snapshot/catalogue.h"
#include "util/bytes.h"

#define MAJOR 1u
#define MINOR 0u

#define CONFIG_BYTES 40u
#define LAYER_BYTES  88u
#define NODE_BYTES   72u /* and 8 for each disk */
#define FOLD_BYTES   32u

#define NO_TEXT UINT32_MAX

static const uint8_t magic[8] = {'S', 'T', 'R', 'A', 'T', 'A', 'C', 'T'};

enum fold_flags { FOLD_DOWN = 1 };

/* What a reader must know. */
enum features { FEATURE_EMPTY_SLOTS = 1 /* a slot may have no disk: layer 0 */ };

/* ---- writing ---- */

struct writer {
	uint8_t *bytes; /* NULL: only count */
	size_t at;
	uint8_t *text;
	size_t text_len;
};

static void put64(struct writer *w, uint64_t v)
{
	if (w->bytes)
		put_le64(w->bytes + w->at, v);
	w->at += 8;
}

static void put32(struct writer *w, uint32_t v)
{
	if (w->bytes)
		put_le32(w->bytes + w->at, v);
	w->at += 4;
}

static void put_guid(struct writer *w, const struct guid *guid)
{
	if (w->bytes)
		memcpy(w->bytes + w->at, guid->b, sizeof(guid->b));
	w->at += sizeof(guid->b);
}

/* A reference to text: where it is and how long. */
static void put_text(struct writer *w, const char *text)
{
	size_t len = text ? strlen(text) : 0;

	put32(w, text ? (uint32_t)w->text_len : NO_TEXT);
	put32(w, (uint32_t)len);
	if (w->bytes && len)
		memcpy(w->text + w->text_len, text, len);
	w->text_len += len;
}

static void put_config(struct writer *w, const struct snap_config *config)
{
	put64(w, config->memory_bytes);
	put32(w, config->cpus);
	put32(w, 0);
	put_text(w, config->kernel);
	put_text(w, config->initrd);
	put_text(w, config->cmdline);
}

static void put_layer(struct writer *w, const struct cat_layer *layer)
{
	put64(w, layer->number);
	put64(w, layer->parent);
	put64(w, layer->file);
	put_text(w, layer->path);
	put_guid(w, &layer->uuid);
	put64(w, layer->size_bytes);
	put32(w, layer->block_bytes);
	put32(w, (uint32_t)layer->type);
	put32(w, layer->flags);
	put32(w, 0);
	put64(w, layer->sealed_bytes);
	put64(w, (uint64_t)layer->sealed_mtime_ns);
}

static void put_node(struct writer *w, const struct cat_node *node, unsigned disks)
{
	put64(w, node->number);
	put64(w, node->parent);
	put_guid(w, &node->id);
	put64(w, (uint64_t)node->time);
	put_text(w, node->name);
	put_text(w, node->note);
	put32(w, node->config);
	put32(w, 0);
	put64(w, node->state);
	for (unsigned d = 0; d < disks; d++)
		put64(w, node->layer[d]);
}

static void put_fold(struct writer *w, const struct cat_fold *fold)
{
	put64(w, fold->lower);
	put64(w, fold->upper);
	put32(w, fold->down ? FOLD_DOWN : 0);
	put32(w, fold->phase);
	put64(w, fold->next_off);
}

static void put_body(struct writer *w, const struct catalogue *cat)
{
	for (unsigned d = 0; d < cat->disks; d++)
		put64(w, cat->leaf[d]);
	for (unsigned i = 0; i < cat->configs; i++)
		put_config(w, &cat->config[i]);
	for (unsigned i = 0; i < cat->layers; i++)
		put_layer(w, &cat->layer[i]);
	for (unsigned i = 0; i < cat->nodes; i++)
		put_node(w, &cat->node[i], cat->disks);
	for (unsigned i = 0; i < cat->garbage_count; i++)
		put64(w, cat->garbage[i]);
	if (cat->fold.lower)
		put_fold(w, &cat->fold);
}

static bool has_empty_slots(const struct catalogue *cat)
{
	for (unsigned d = 0; d < cat->disks; d++) {
		if (!cat->leaf[d])
			return true;
		for (unsigned i = 0; i < cat->nodes; i++)
			if (!cat->node[i].layer[d])
				return true;
	}
	return false;
}

static void put_header(uint8_t *h, const struct catalogue *cat, size_t len, size_t text_len)
{
	memcpy(h, magic, sizeof(magic));
	put_le16(h + 8, MAJOR);
	put_le16(h + 10, MINOR);
	put_le32(h + 12, CAT_HEADER_BYTES);
	put_le32(h + 16, has_empty_slots(cat) ? FEATURE_EMPTY_SLOTS : 0);
	/* 20, 24: further features; none yet */
	put_le64(h + 32, len);
	put_le64(h + 40, cat->generation);
	memcpy(h + 48, cat->vm.b, 16);
	put_le64(h + 64, cat->next_number);
	put_le64(h + 72, cat->current);
	put_le32(h + 80, cat->disks);
	put_le32(h + 84, cat->configs);
	put_le32(h + 88, cat->current_config);
	put_le32(h + 92, cat->layers);
	put_le32(h + 96, cat->nodes);
	put_le32(h + 100, cat->garbage_count);
	put_le32(h + 104, cat->fold.lower ? 1 : 0);
	put_le32(h + 108, (uint32_t)text_len);
	put_le64(h + 144, XXH64(h + CAT_HEADER_BYTES, len - CAT_HEADER_BYTES, 0));
	put_le64(h + 152, XXH64(h, 152, 0));
}

enum err cat_encode(const struct catalogue *cat, uint8_t **bytes, size_t *len, struct err_why *why)
{
	struct writer w = {0};

	if (cat->layers > CAT_MAX_ITEMS || cat->nodes > CAT_MAX_ITEMS ||
	    cat->garbage_count > CAT_MAX_ITEMS)
		return err_set(why, ERR_REFUSED, "the catalogue would have too many entries");
	put_body(&w, cat);
	size_t body = w.at;
	*len = CAT_HEADER_BYTES + body + w.text_len;
	if (*len > CAT_MAX_BYTES)
		return err_set(why, ERR_UNSUPPORTED, "the catalogue would be too large");
	*bytes = calloc(1, *len);
	if (!*bytes)
		return err_set(why, ERR_NOMEM, "out of memory");
	w = (struct writer){.bytes = *bytes + CAT_HEADER_BYTES,
			    .text = *bytes + CAT_HEADER_BYTES + body};
	put_body(&w, cat);
	put_header(*bytes, cat, *len, w.text_len);
	return ERR_OK;
}

/* ---- reading ---- */

struct reader {
	const uint8_t *bytes;
	size_t at; /* records are known to be inside: the header's counts give the length */
	const uint8_t *text;
	size_t text_len;
	size_t text_used; /* by what was read so far */
	enum err err;     /* the first fault */
	struct err_why *why;
};

static void fault(struct reader *r, size_t at, const char *rule)
{
	if (!r->err)
		r->err = err_set(r->why, ERR_CORRUPT, "catalogue: at 0x%zx: %s", at, rule);
}

static uint64_t get64(struct reader *r)
{
	r->at += 8;
	return get_le64(r->bytes + r->at - 8);
}

static uint32_t get32(struct reader *r)
{
	r->at += 4;
	return get_le32(r->bytes + r->at - 4);
}

static struct guid get_guid(struct reader *r)
{
	struct guid guid;

	memcpy(guid.b, r->bytes + r->at, sizeof(guid.b));
	r->at += sizeof(guid.b);
	return guid;
}

/* NULL for none, and after a fault. */
static char *get_text(struct reader *r)
{
	size_t at = r->at;
	uint32_t off = get32(r), len = get32(r);

	if (off == NO_TEXT)
		return NULL;
	if (off > r->text_len || len > r->text_len - off) {
		fault(r, at, "text is outside the file");
		return NULL;
	}
	/* Each piece is there once, so nobody can ask for more memory than the file has bytes. */
	r->text_used += len;
	if (r->text_used > r->text_len) {
		fault(r, at, "text is used twice");
		return NULL;
	}
	if (len && memchr(r->text + off, 0, len)) {
		fault(r, at, "text has a NUL inside");
		return NULL;
	}
	char *text = malloc((size_t)len + 1);
	if (!text) {
		if (!r->err)
			r->err = err_set(r->why, ERR_NOMEM, "out of memory");
		return NULL;
	}
	if (len)
		memcpy(text, r->text + off, len);
	text[len] = 0;
	return text;
}

static void get_config(struct reader *r, struct snap_config *config)
{
	config->memory_bytes = get64(r);
	config->cpus = get32(r);
	get32(r);
	config->kernel = get_text(r);
	config->initrd = get_text(r);
	config->cmdline = get_text(r);
}

/* In the store's folder, or absolute: never by way of another folder. */
static bool is_path(const char *path)
{
	return *path == '/' ||
	       (*path && !strchr(path, '/') && strcmp(path, ".") != 0 && strcmp(path, "..") != 0);
}

static void get_layer(struct reader *r, struct cat_layer *layer)
{
	size_t at = r->at;

	layer->number = get64(r);
	layer->parent = get64(r);
	layer->file = get64(r);
	layer->path = get_text(r);
	layer->uuid = get_guid(r);
	layer->size_bytes = get64(r);
	layer->block_bytes = get32(r);
	layer->type = (enum vhd_type)get32(r);
	layer->flags = get32(r);
	get32(r);
	layer->sealed_bytes = get64(r);
	layer->sealed_mtime_ns = (int64_t)get64(r);
	if (layer->path && !is_path(layer->path))
		fault(r, at, "a layer's path leads through other folders");
	if (layer->type != VHD_FIXED && layer->type != VHD_DYNAMIC &&
	    layer->type != VHD_DIFFERENCING)
		fault(r, at, "a layer is of an unknown type");
	if (!layer->size_bytes || layer->size_bytes > VHD_MAX_SIZE ||
	    layer->size_bytes % DISK_SECTOR)
		fault(r, at, "a layer's size is not that of a disk");
	if (layer->type != VHD_FIXED &&
	    (!is_power_of_two(layer->block_bytes) || layer->block_bytes < VHD_MIN_BLOCK ||
	     layer->block_bytes > VHD_MAX_BLOCK))
		fault(r, at, "a layer's block size is not a power of two from 64 KiB to 256 MiB");
}

static void get_node(struct reader *r, unsigned disks, struct cat_node *node)
{
	size_t at = r->at;

	node->number = get64(r);
	node->parent = get64(r);
	node->id = get_guid(r);
	node->time = (int64_t)get64(r);
	node->name = get_text(r);
	node->note = get_text(r);
	node->config = get32(r);
	get32(r);
	node->state = get64(r);
	node->layer = calloc(disks + 1, sizeof(*node->layer));
	for (unsigned d = 0; d < disks; d++) {
		uint64_t number = get64(r);

		if (node->layer)
			node->layer[d] = number;
	}
	if (!node->layer && !r->err)
		r->err = err_set(r->why, ERR_NOMEM, "out of memory");
	if (!node->name || !node->note)
		fault(r, at, "a node has no name or no note");
	else if (snap_check_name(node->name, NULL))
		fault(r, at, "a node's name is not allowed");
}

static void get_fold(struct reader *r, struct cat_fold *fold)
{
	size_t at = r->at;

	fold->lower = get64(r);
	fold->upper = get64(r);
	fold->down = get32(r) & FOLD_DOWN;
	fold->phase = (enum cat_fold_phase)get32(r);
	fold->next_off = get64(r);
	if (!fold->lower || (fold->phase != CAT_FOLD_COPY && fold->phase != CAT_FOLD_SETTLE) ||
	    fold->next_off > VHD_MAX_SIZE)
		fault(r, at, "a fold is in no known phase");
}

struct counts {
	uint32_t disks, configs, layers, nodes, garbage, folds, text;
};

static enum err check_header(const uint8_t *h, size_t len, struct err_why *why)
{
	if (len < CAT_HEADER_BYTES)
		return err_set(why, ERR_CORRUPT, "catalogue: %zu bytes are too few for a header",
			       len);
	if (memcmp(h, magic, sizeof(magic)) != 0)
		return err_set(why, ERR_CORRUPT, "catalogue: magic at 0x0 is not \"STRATACT\"");
	if (get_le64(h + 152) != XXH64(h, 152, 0))
		return err_set(why, ERR_CORRUPT,
			       "catalogue: checksum of the header at 0x98 does not match");
	if (get_le16(h + 8) != MAJOR || get_le32(h + 12) != CAT_HEADER_BYTES)
		return err_set(why, ERR_UNSUPPORTED, "catalogue: version %u.%u is not known here",
			       get_le16(h + 8), get_le16(h + 10));
	if ((get_le32(h + 16) & ~FEATURE_EMPTY_SLOTS) || get_le32(h + 20))
		return err_set(why, ERR_UNSUPPORTED,
			       "catalogue: needs features (0x%x, 0x%x) that are not known here",
			       get_le32(h + 16), get_le32(h + 20));
	if (get_le64(h + 32) != len)
		return err_set(why, ERR_CORRUPT,
			       "catalogue: length at 0x20 is %llu, the file has %zu bytes",
			       (unsigned long long)get_le64(h + 32), len);
	if (get_le64(h + 144) != XXH64(h + CAT_HEADER_BYTES, len - CAT_HEADER_BYTES, 0))
		return err_set(why, ERR_CORRUPT,
			       "catalogue: checksum of the records at 0x90 does not match");
	return ERR_OK;
}

/* The counts must give the length exactly; with them in bounds the sums cannot overflow. */
static enum err read_counts(const uint8_t *h, size_t len, struct counts *c, size_t *text_at,
			    struct err_why *why)
{
	*c = (struct counts){.disks = get_le32(h + 80),
			     .configs = get_le32(h + 84),
			     .layers = get_le32(h + 92),
			     .nodes = get_le32(h + 96),
			     .garbage = get_le32(h + 100),
			     .folds = get_le32(h + 104),
			     .text = get_le32(h + 108)};
	if (c->disks > SNAP_MAX_DISKS || c->configs > CAT_MAX_ITEMS || c->layers > CAT_MAX_ITEMS ||
	    c->nodes > CAT_MAX_ITEMS || c->garbage > CAT_MAX_ITEMS || c->folds > 1)
		return err_set(why, ERR_CORRUPT, "catalogue: a count at 0x50 to 0x68 is too large");
	uint64_t at = CAT_HEADER_BYTES + 8ull * c->disks + (uint64_t)CONFIG_BYTES * c->configs +
		      (uint64_t)LAYER_BYTES * c->layers +
		      (NODE_BYTES + 8ull * c->disks) * c->nodes + 8ull * c->garbage +
		      (uint64_t)FOLD_BYTES * c->folds;
	if (at + c->text != len)
		return err_set(why, ERR_CORRUPT,
			       "catalogue: the counts at 0x50 to 0x6c do not add up to the length");
	*text_at = (size_t)at;
	return ERR_OK;
}

static bool make_arrays(struct catalogue *cat, const struct counts *c)
{
	cat->leaf = calloc(c->disks + 1, sizeof(*cat->leaf));
	cat->config = calloc(c->configs + 1, sizeof(*cat->config));
	cat->layer = calloc(c->layers + 1, sizeof(*cat->layer));
	cat->node = calloc(c->nodes + 1, sizeof(*cat->node));
	cat->garbage = calloc(c->garbage + 1, sizeof(*cat->garbage));
	return cat->leaf && cat->config && cat->layer && cat->node && cat->garbage;
}

static void get_body(struct reader *r, struct catalogue *cat, const struct counts *c)
{
	cat->disks = c->disks;
	for (unsigned d = 0; d < c->disks; d++)
		cat->leaf[d] = get64(r);
	while (cat->configs < c->configs && !r->err)
		get_config(r, &cat->config[cat->configs++]);
	while (cat->layers < c->layers && !r->err)
		get_layer(r, &cat->layer[cat->layers++]);
	while (cat->nodes < c->nodes && !r->err)
		get_node(r, c->disks, &cat->node[cat->nodes++]);
	while (cat->garbage_count < c->garbage && !r->err)
		cat->garbage[cat->garbage_count++] = get64(r);
	if (c->folds && !r->err)
		get_fold(r, &cat->fold);
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* No file twice, be it of a layer or garbage, and all with numbers that were given. */
static enum err check_files(const struct catalogue *cat, struct err_why *why)
{
	size_t count = cat->layers + (size_t)cat->garbage_count;
	uint64_t *file = calloc(count + 1, sizeof(*file));
	enum err e = ERR_OK;

	if (!file)
		return err_set(why, ERR_NOMEM, "out of memory");
	for (unsigned i = 0; i < cat->layers; i++)
		file[i] = cat->layer[i].file;
	for (unsigned i = 0; i < cat->garbage_count; i++)
		file[cat->layers + i] = cat->garbage[i];
	if (count)
		qsort(file, count, sizeof(*file), by_number);
	for (size_t i = 0; i < count && !e; i++)
		if (!file[i] || file[i] >= cat->next_number || (i && file[i] == file[i - 1]))
			e = err_set(why, ERR_CORRUPT,
				    "catalogue: file %llu is named twice, or its number was never "
				    "given",
				    (unsigned long long)file[i]);
	free(file);
	return e;
}

static enum err decode(const uint8_t *bytes, size_t len, struct catalogue *cat, struct err_why *why)
{
	struct reader r = {.bytes = bytes, .at = CAT_HEADER_BYTES, .why = why};
	struct counts counts;
	size_t text_at;
	enum err e = check_header(bytes, len, why);

	if (!e)
		e = read_counts(bytes, len, &counts, &text_at, why);
	if (e)
		return e;
	r.text = bytes + text_at;
	r.text_len = len - text_at;
	if (!make_arrays(cat, &counts))
		return err_set(why, ERR_NOMEM, "out of memory");
	cat->generation = get_le64(bytes + 40);
	memcpy(cat->vm.b, bytes + 48, sizeof(cat->vm.b));
	cat->next_number = get_le64(bytes + 64);
	cat->current = get_le64(bytes + 72);
	cat->current_config = get_le32(bytes + 88);
	get_body(&r, cat, &counts);
	if (r.err)
		return r.err;
	if (has_empty_slots(cat) && !(get_le32(bytes + 16) & FEATURE_EMPTY_SLOTS))
		return err_set(why, ERR_CORRUPT,
			       "catalogue: a disk has no layer, and the feature at 0x10 does not "
			       "allow it");
	enum err derived = cat_derive(cat, why);
	return derived ? derived : check_files(cat, why);
}

enum err cat_decode(const uint8_t *bytes, size_t len, struct catalogue **out, struct err_why *why)
{
	struct catalogue *cat = calloc(1, sizeof(*cat));

	if (!cat)
		return err_set(why, ERR_NOMEM, "out of memory");
	enum err e = decode(bytes, len, cat, why);
	if (e)
		cat_free(cat);
	else
		*out = cat;
	return e;
}

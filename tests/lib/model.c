/* SPDX-License-Identifier: MIT */
#include "tests/lib/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"

#define NEVER           UINT64_MAX
#define WORDS           (MODEL_SECTOR / sizeof(uint64_t))
#define TAG_SERIAL_BITS 40
#define LITERAL         (1ull << 63)
#define TAG_STEP        0x165667b19e3779f9ull

/* A value a sector (or the size) was given. `definite`: once done, it rules out all older ones. */
struct value {
	uint64_t begin;
	uint64_t done;
	uint64_t tag;
	bool definite;
};

/* In order of `begin`; the first value is always definite and done. */
struct history {
	struct value *value;
	uint32_t count;
	uint32_t room;
};

/* An acknowledgement: at `mark`, everything in the range done by `covers` was durable. */
struct ack {
	uint64_t mark;
	uint64_t covers;
	uint64_t off_bytes;
	uint64_t len_bytes;
};

struct model {
	uint64_t id;
	uint64_t now;
	uint64_t serial;
	struct history size;
	struct history *sector;
	uint64_t sectors;
	struct ack *ack;
	size_t ack_count;
	size_t ack_room;

	/* covers[s]: the newest moment acknowledged for sector s at mark `view_mark`. */
	uint64_t view_mark;
	uint64_t *covers;
};

static void *grow(void *array, size_t count, size_t each)
{
	array = reallocarray(array, count, each);
	if (!array)
		abort();
	return array;
}

static void history_add(struct history *history, struct value value)
{
	if (history->count == history->room) {
		history->room = history->room ? history->room * 2 : 2;
		history->value = grow(history->value, history->room, sizeof(*history->value));
	}
	history->value[history->count++] = value;
}

static void model_extend(struct model *model, uint64_t sectors)
{
	if (sectors <= model->sectors)
		return;
	model->sector = grow(model->sector, sectors, sizeof(*model->sector));
	model->covers = grow(model->covers, sectors, sizeof(*model->covers));
	for (uint64_t s = model->sectors; s < sectors; s++) {
		model->sector[s] = (struct history){0};
		history_add(&model->sector[s], (struct value){.definite = true});
	}
	model->sectors = sectors;
	model->view_mark = NEVER;
}

struct model *model_new(uint64_t size_bytes)
{
	static uint64_t ids;
	struct model *model = grow(NULL, 1, sizeof(*model));

	*model = (struct model){.id = ++ids, .view_mark = NEVER};
	history_add(&model->size, (struct value){.tag = size_bytes, .definite = true});
	model_extend(model, size_bytes / MODEL_SECTOR);
	return model;
}

void model_free(struct model *model)
{
	if (!model)
		return;
	for (uint64_t s = 0; s < model->sectors; s++)
		free(model->sector[s].value);
	free(model->sector);
	free(model->covers);
	free(model->size.value);
	free(model->ack);
	free(model);
}

/* The oldest value still possible when everything done by `covers` is known to have landed. */
static uint32_t history_floor(const struct history *history, uint64_t covers)
{
	uint32_t i = history->count;

	while (--i) {
		const struct value *value = &history->value[i];

		if (value->definite && value->done <= covers)
			break;
	}
	return i;
}

struct model *model_child(const struct model *parent)
{
	struct model *child = model_new(model_size(parent));

	for (uint64_t s = 0; s < child->sectors; s++) {
		const struct history *from = &parent->sector[s];
		uint32_t first = history_floor(from, parent->now);

		child->sector[s].count = 0;
		for (uint32_t i = first; i < from->count; i++)
			history_add(&child->sector[s], (struct value){.tag = from->value[i].tag,
								      .definite = i == first});
	}
	return child;
}

/* ---- content ---- */

/* Sectors given by the caller; the tag of literal i is LITERAL | i. */
static uint8_t (*literal)[MODEL_SECTOR];
static size_t literals;

static uint64_t literal_tag(const uint8_t *buf)
{
	for (size_t i = 0; i < literals; i++)
		if (!memcmp(literal[i], buf, MODEL_SECTOR))
			return LITERAL | i;
	literal = grow(literal, literals + 1, MODEL_SECTOR);
	memcpy(literal[literals], buf, MODEL_SECTOR);
	return LITERAL | literals++;
}

static const uint8_t *literal_of(uint64_t tag)
{
	return tag & LITERAL ? literal[tag & ~LITERAL] : NULL;
}

static uint64_t tag_word(uint64_t tag, uint64_t sector, size_t i)
{
	if (!tag)
		return 0;
	if (i < 2)
		return i ? sector : tag;
	return (tag * 0x9e3779b97f4a7c15ull ^ sector * 0xc2b2ae3d27d4eb4full) + i * TAG_STEP;
}

static void tag_fill(uint64_t tag, uint64_t sector, uint8_t *buf)
{
	uint64_t word[WORDS];

	if (tag & LITERAL) {
		memcpy(buf, literal_of(tag), MODEL_SECTOR);
		return;
	}
	for (size_t i = 0; i < WORDS; i++)
		word[i] = tag_word(tag, sector, i);
	memcpy(buf, word, sizeof(word));
}

/* The same words, without a product for each: this is where crash tests spend their time. */
static bool tag_matches(uint64_t tag, uint64_t sector, const uint8_t *buf)
{
	uint64_t word[WORDS];
	uint64_t wrong = 0;

	if (tag & LITERAL)
		return !memcmp(literal_of(tag), buf, MODEL_SECTOR);
	if (!tag)
		return bytes_are_zero(buf, MODEL_SECTOR);
	memcpy(word, buf, sizeof(word));
	if (word[0] != tag || word[1] != sector)
		return false;
	uint64_t wanted = tag_word(tag, sector, 2);
	for (size_t i = 2; i < WORDS; i++, wanted += TAG_STEP)
		wrong |= word[i] ^ wanted;
	return !wrong;
}

static void tag_print(FILE *out, uint64_t tag)
{
	if (tag & LITERAL)
		fprintf(out, "literal %llu", (unsigned long long)(tag & ~LITERAL));
	else if (tag)
		fprintf(out, "%llu#%llu", (unsigned long long)(tag >> TAG_SERIAL_BITS),
			(unsigned long long)(tag & ((1ull << TAG_SERIAL_BITS) - 1)));
	else
		fprintf(out, "zeros");
}

/* ---- operations ---- */

static struct model_op begin(struct model *model, uint64_t off_bytes, uint64_t len_bytes)
{
	return (struct model_op){
	    .mark = ++model->now, .off_bytes = off_bytes, .len_bytes = len_bytes};
}

static struct model_op change(struct model *model, uint64_t off_bytes, uint64_t len_bytes,
			      uint64_t tag, bool definite)
{
	struct model_op op = begin(model, off_bytes, len_bytes);
	uint64_t end = (off_bytes + len_bytes) / MODEL_SECTOR;

	for (uint64_t s = off_bytes / MODEL_SECTOR; s < end; s++)
		history_add(&model->sector[s],
			    (struct value){
				.begin = op.mark, .done = NEVER, .tag = tag, .definite = definite});
	return op;
}

struct model_op model_write(struct model *model, uint64_t off_bytes, uint64_t len_bytes, void *buf)
{
	uint64_t tag = model->id << TAG_SERIAL_BITS | ++model->serial;
	uint8_t *p = buf;

	for (uint64_t done = 0; done < len_bytes; done += MODEL_SECTOR)
		tag_fill(tag, (off_bytes + done) / MODEL_SECTOR, p + done);
	return change(model, off_bytes, len_bytes, tag, true);
}

struct model_op model_put(struct model *model, uint64_t off_bytes, uint64_t len_bytes,
			  const void *buf)
{
	struct model_op op = begin(model, off_bytes, len_bytes);
	const uint8_t *p = buf;

	for (uint64_t done = 0; done < len_bytes; done += MODEL_SECTOR) {
		bool zero = bytes_are_zero(p + done, MODEL_SECTOR);

		history_add(&model->sector[(off_bytes + done) / MODEL_SECTOR],
			    (struct value){.begin = op.mark,
					   .done = NEVER,
					   .tag = zero ? 0 : literal_tag(p + done),
					   .definite = true});
	}
	return op;
}

struct model_op model_zero(struct model *model, uint64_t off_bytes, uint64_t len_bytes)
{
	return change(model, off_bytes, len_bytes, 0, true);
}

struct model_op model_trim(struct model *model, uint64_t off_bytes, uint64_t len_bytes)
{
	return change(model, off_bytes, len_bytes, 0, false);
}

struct model_op model_resize(struct model *model, uint64_t size_bytes)
{
	uint64_t old_size = model_size(model);
	struct model_op op = {0};

	model_extend(model, size_bytes / MODEL_SECTOR);
	if (size_bytes > old_size)
		op = change(model, old_size, size_bytes - old_size, 0, true);
	else
		op = begin(model, size_bytes, 0);
	history_add(
	    &model->size,
	    (struct value){.begin = op.mark, .done = NEVER, .tag = size_bytes, .definite = true});
	return op;
}

static void history_done(struct history *history, uint64_t mark, uint64_t now, bool ok)
{
	for (uint32_t i = history->count; i--;) {
		struct value *value = &history->value[i];

		if (value->begin != mark)
			continue;
		value->done = now;
		value->definite = value->definite && ok;
		return;
	}
}

void model_done(struct model *model, const struct model_op *op, bool ok)
{
	uint64_t end = (op->off_bytes + op->len_bytes) / MODEL_SECTOR;

	++model->now;
	for (uint64_t s = op->off_bytes / MODEL_SECTOR; s < end; s++)
		history_done(&model->sector[s], op->mark, model->now, ok);
	history_done(&model->size, op->mark, model->now, ok);
}

static uint64_t acknowledge(struct model *model, struct ack ack)
{
	if (model->ack_count == model->ack_room) {
		model->ack_room = model->ack_room ? model->ack_room * 2 : 16;
		model->ack = grow(model->ack, model->ack_room, sizeof(*model->ack));
	}
	ack.mark = ++model->now;
	model->ack[model->ack_count++] = ack;
	return ack.mark;
}

struct model_op model_flush(struct model *model)
{
	return begin(model, 0, UINT64_MAX);
}

uint64_t model_flushed(struct model *model, const struct model_op *flush)
{
	return acknowledge(model,
			   (struct ack){.covers = flush->mark, .len_bytes = flush->len_bytes});
}

uint64_t model_durable(struct model *model, const struct model_op *op)
{
	return acknowledge(model, (struct ack){.covers = model->now,
					       .off_bytes = op->off_bytes,
					       .len_bytes = op->len_bytes});
}

uint64_t model_now(const struct model *model)
{
	return model->now;
}

/* ---- questions ---- */

uint64_t model_size(const struct model *model)
{
	return model->size.value[history_floor(&model->size, model->now)].tag;
}

bool model_size_after_cut(const struct model *model, uint64_t mark, uint64_t size_bytes)
{
	uint64_t covers = 0;

	/* A resize is durable once it has returned, so any later acknowledgement covers it. */
	for (size_t i = 0; i < model->ack_count && model->ack[i].mark <= mark; i++)
		if (model->ack[i].covers > covers)
			covers = model->ack[i].covers;
	for (uint32_t i = history_floor(&model->size, covers); i < model->size.count; i++)
		if (model->size.value[i].begin <= mark && model->size.value[i].tag == size_bytes)
			return true;
	return false;
}

static void view_at(struct model *model, uint64_t mark)
{
	uint64_t all = 0;

	if (model->view_mark == mark)
		return;
	for (size_t i = 0; i < model->ack_count && model->ack[i].mark <= mark; i++)
		if (model->ack[i].len_bytes == UINT64_MAX && model->ack[i].covers > all)
			all = model->ack[i].covers;
	for (uint64_t s = 0; s < model->sectors; s++)
		model->covers[s] = all;
	for (size_t i = 0; i < model->ack_count && model->ack[i].mark <= mark; i++) {
		const struct ack *ack = &model->ack[i];

		if (ack->len_bytes == UINT64_MAX)
			continue;
		for (uint64_t done = 0; done < ack->len_bytes; done += MODEL_SECTOR) {
			uint64_t s = (ack->off_bytes + done) / MODEL_SECTOR;

			if (ack->covers > model->covers[s])
				model->covers[s] = ack->covers;
		}
	}
	model->view_mark = mark;
}

static enum err mismatch(const struct history *history, uint64_t sector, uint64_t covers,
			 uint64_t mark, const uint8_t *buf, struct err_why *why)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	uint64_t word[2];
	enum err err;

	if (!out)
		abort();
	memcpy(word, buf, sizeof(word));
	fprintf(out, "sector %llu holds ", (unsigned long long)sector);
	if (!(word[0] & LITERAL) && tag_matches(word[0], word[1], buf)) {
		tag_print(out, word[0]);
		if (word[0] && word[1] != sector)
			fprintf(out, " of sector %llu", (unsigned long long)word[1]);
	} else if (tag_matches(0, sector, buf)) {
		tag_print(out, 0);
	} else {
		fprintf(out, "garbage (%016llx ...)", (unsigned long long)word[0]);
	}
	fprintf(out, ", allowed at mark %llu:", (unsigned long long)mark);
	for (uint32_t i = history_floor(history, covers); i < history->count; i++) {
		if (history->value[i].begin > mark)
			break;
		fprintf(out, " ");
		tag_print(out, history->value[i].tag);
	}
	fclose(out);
	err = err_set(why, ERR_CORRUPT, "%s", text);
	free(text);
	return err;
}

static bool matches(uint64_t tag, uint64_t sector, const uint8_t *buf, bool is_zero)
{
	return is_zero ? !tag : tag_matches(tag, sector, buf);
}

#define ACKNOWLEDGED UINT64_MAX

/*
 * Values begun by `mark`, not older than what was done by `since`; ACKNOWLEDGED: than what was
 * acknowledged by `mark`.
 */
static bool check(struct model *model, uint64_t since, uint64_t mark, uint64_t off_bytes,
		  const void *buf, uint64_t len_bytes, struct err_why *why)
{
	static const uint8_t zeros[MODEL_SECTOR];

	for (uint64_t done = 0; done < len_bytes; done += MODEL_SECTOR) {
		const uint8_t *found_here = buf ? (const uint8_t *)buf + done : zeros;
		uint64_t s = (off_bytes + done) / MODEL_SECTOR;
		const struct history *history = &model->sector[s];
		uint64_t covers = since == ACKNOWLEDGED ? model->covers[s] : since;
		bool allowed = false;

		for (uint32_t i = history_floor(history, covers); i < history->count && !allowed;
		     i++)
			allowed = history->value[i].begin <= mark &&
				  matches(history->value[i].tag, s, found_here, !buf);
		if (!allowed) {
			mismatch(history, s, covers, mark, found_here, why);
			return false;
		}
	}
	return true;
}

bool model_check_live(struct model *model, uint64_t off_bytes, const void *buf, uint64_t len_bytes,
		      struct err_why *why)
{
	return check(model, model->now, model->now, off_bytes, buf, len_bytes, why);
}

bool model_check_read(struct model *model, uint64_t since, uint64_t off_bytes, const void *buf,
		      uint64_t len_bytes, struct err_why *why)
{
	return check(model, since, model->now, off_bytes, buf, len_bytes, why);
}

bool model_check_after_cut(struct model *model, uint64_t mark, uint64_t off_bytes, const void *buf,
			   uint64_t len_bytes, struct err_why *why)
{
	view_at(model, mark);
	return check(model, ACKNOWLEDGED, mark, off_bytes, buf, len_bytes, why);
}

void model_get(const struct model *model, uint64_t off_bytes, void *buf, uint64_t len_bytes)
{
	uint8_t *p = buf;

	for (uint64_t done = 0; done < len_bytes; done += MODEL_SECTOR) {
		uint64_t s = (off_bytes + done) / MODEL_SECTOR;
		const struct history *history = &model->sector[s];

		tag_fill(history->value[history_floor(history, model->now)].tag, s, p + done);
	}
}

/* SPDX-License-Identifier: MIT */
/* The catalogue's bytes: the codec, texts and paths, features, the largest one. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/snap_sample.h"

/* ---- the codec ---- */

Test(snap_catalogue, decoded_bytes_encode_to_themselves)
{
	struct catalogue *cat = NULL;
	size_t len, again_len;
	uint8_t *bytes = sample_bytes(&len), *again;
	struct err_why why = {0};

	cr_assert_eq(cat_decode(bytes, len, &cat, &why), ERR_OK, "%s", why.text);
	cr_assert_eq(cat_encode(cat, &again, &again_len, NULL), ERR_OK);
	cr_assert_eq(again_len, len);
	cr_assert_arr_eq(again, bytes, len);
	cat_free(cat);
	free(again);
	free(bytes);
}

Test(snap_catalogue, fields_are_where_the_format_says)
{
	struct catalogue *cat = NULL;
	size_t len;
	uint8_t *bytes = sample_bytes(&len);

	cr_expect_eq(get_le64(bytes + LEAF + 8), 6);
	cr_expect_eq(get_le64(bytes + CONFIG + 40), GIB);
	cr_expect_eq(get_le64(bytes + LAYER_AT(4) + 8), 2);
	cr_expect_eq(get_le32(bytes + LAYER_AT(2) + 64), CAT_FOREIGN);
	cr_expect_eq(get_le64(bytes + NODE_AT(8) + 8), 7);
	cr_expect_eq(get_le64(bytes + GARBAGE + 8), 10);
	cr_expect_eq(get_le64(bytes + FOLD + 24), MIB);
	cr_expect_arr_eq(bytes + TEXT, "/boot/kquiet", 12);
	cr_assert_eq(cat_decode(bytes, len, &cat, NULL), ERR_OK);
	cr_expect_str_eq(cat->config[0].kernel, "/boot/k");
	cr_expect_null(cat->config[0].initrd);
	cr_expect_str_eq(cat->layer[3].path, "disk1.1.vhd");
	cr_expect_eq(cat->layer[0].sealed_mtime_ns, -5);
	cr_expect_str_eq(cat->node[0].note, "a note");
	cr_expect_str_eq(cat->node[1].note, "");
	cr_expect_eq(cat->node[1].depth, 2);
	cr_expect(cat->layer[4].is_leaf && !cat->layer[2].is_leaf);
	cr_expect_eq(cat->layer[2].names, 2, "both nodes are on it");
	cat_free(cat);
	free(bytes);
}

Test(snap_catalogue, a_clone_is_another_one_that_says_the_same)
{
	struct catalogue *cat = sample_catalogue(), *clone = NULL;
	uint8_t *bytes, *again;
	size_t len, again_len;

	cr_assert_eq(cat_clone(cat, &clone, NULL), ERR_OK);
	cr_assert_eq(cat_encode(cat, &bytes, &len, NULL), ERR_OK);
	cat_free(cat);
	cr_assert_eq(cat_encode(clone, &again, &again_len, NULL), ERR_OK);
	cr_assert_eq(len, again_len);
	cr_assert_arr_eq(bytes, again, len);
	cat_free(clone);
	free(bytes);
	free(again);
}

Test(snap_catalogue, any_changed_bit_is_noticed)
{
	size_t len;
	uint8_t *bytes = sample_bytes(&len);

	for (size_t at = 0; at < len; at++) {
		struct err_why why = {0};

		bytes[at] ^= (uint8_t)(1u << at % 8);
		cr_expect_eq(sample_decode(bytes, len, &why), ERR_CORRUPT, "byte %zu", at);
		cr_expect(strstr(why.text, at < 8     ? "magic at 0x0"
					   : at < 160 ? "checksum of the header at 0x98"
						      : "checksum of the records at 0x90"),
			  "byte %zu: %s", at, why.text);
		bytes[at] ^= (uint8_t)(1u << at % 8);
	}
	free(bytes);
}

Test(snap_catalogue, one_that_is_cut_or_too_long_is_refused)
{
	size_t len;
	uint8_t *bytes = sample_bytes(&len);

	for (size_t cut = 0; cut < len; cut++) {
		uint8_t *part = malloc(cut + 1); /* so that a read behind it is noticed */

		cr_assert_not_null(part);
		memcpy(part, bytes, cut);
		cr_assert_eq(sample_decode(part, cut, NULL), ERR_CORRUPT, "%zu bytes", cut);
		if (cut >= CAT_HEADER_BYTES) {
			store_lab_seal(part, cut);
			cr_assert_eq(sample_decode(part, cut, NULL), ERR_CORRUPT, "%zu bytes", cut);
			store_lab_set(part, 32, 8, cut);
			store_lab_seal(part, cut);
			cr_assert_eq(sample_decode(part, cut, NULL), ERR_CORRUPT, "%zu bytes", cut);
		}
		free(part);
	}
	free(bytes);
}

/* ---- paths and texts ---- */

static char *copy(const char *text)
{
	char *out = strdup(text);

	cr_assert_not_null(out);
	return out;
}

Test(snap_catalogue, paths_stay_in_the_folder_or_are_absolute)
{
	static const char *const bad[] = {"", ".", "..", "../x.vhd", "a/b", "./x", "x/", "a/../b"};
	static const char *const good[] = {"disk0.vhd", "/a/b.vhd", "...", "\xff", "a b"};

	for (size_t i = 0; i < ARRAY_LEN(bad) + ARRAY_LEN(good); i++) {
		bool is_bad = i < ARRAY_LEN(bad);
		struct catalogue *cat = sample_catalogue();
		struct err_why why = {0};
		uint8_t *bytes;
		size_t len;

		free(cat->layer[3].path);
		cat->layer[3].path = copy(is_bad ? bad[i] : good[i - ARRAY_LEN(bad)]);
		cr_assert_eq(cat_encode(cat, &bytes, &len, NULL), ERR_OK);
		cr_expect_eq(sample_decode(bytes, len, &why), is_bad ? ERR_CORRUPT : ERR_OK,
			     "%s: %s", cat->layer[3].path, why.text);
		free(bytes);
		cat_free(cat);
	}
}

/* Each part could name the whole text: what a megabyte asks for would be terabytes. */
Test(snap_catalogue, text_is_there_once)
{
	struct catalogue *cat = sample_catalogue();
	struct err_why why = {0};
	uint8_t *bytes;
	size_t len;

	free(cat->node[0].note);
	cat->node[0].note = malloc(100001);
	cr_assert_not_null(cat->node[0].note);
	memset(cat->node[0].note, 'n', 100000);
	cat->node[0].note[100000] = 0;
	cr_assert_eq(cat_encode(cat, &bytes, &len, NULL), ERR_OK);
	memcpy(bytes + NODE_AT(8) + 48, bytes + NODE_AT(7) + 48, 8);
	store_lab_seal(bytes, len);
	cr_expect_eq(sample_decode(bytes, len, &why), ERR_CORRUPT);
	cr_expect(strstr(why.text, "text is used twice"), "%s", why.text);
	free(bytes);
	cat_free(cat);
}

/* ---- slots without a disk ---- */

Test(snap_catalogue, an_empty_slot_is_a_feature_that_readers_must_know)
{
	static const size_t slots[] = {LEAF, LEAF + 8, NODE_AT(7) + 72, NODE_AT(8) + 80};

	for (size_t i = 0; i < ARRAY_LEN(slots); i++) {
		struct catalogue *cat = NULL;
		struct err_why why = {0};
		size_t len;
		uint8_t *bytes = sample_bytes(&len), *again;

		cr_expect_eq(get_le32(bytes + 16), 0, "it is not set without need");
		store_lab_set(bytes, slots[i], 8, 0);
		store_lab_seal(bytes, len);
		cr_expect_eq(sample_decode(bytes, len, NULL), ERR_CORRUPT);
		store_lab_set(bytes, 16, 4, 1);
		store_lab_seal(bytes, len);
		cr_assert_eq(cat_decode(bytes, len, &cat, &why), ERR_OK, "%s", why.text);
		cr_assert_eq(cat_encode(cat, &again, &len, NULL), ERR_OK);
		cr_expect_arr_eq(again, bytes, len);
		free(again);
		free(bytes);
		cat_free(cat);
	}
}

/* ---- features, as a store ---- */

static void set_feature(struct slab *lab, size_t at)
{
	size_t len;
	uint8_t *bytes = store_lab_bytes(lab, SLAB_CAT, &len);

	store_lab_set(bytes, at, 4, 0x10);
	store_lab_set(bytes, 10, 2, 7); /* minor */
	store_lab_seal(bytes, len);
	store_lab_put_bytes(lab, SLAB_CAT, bytes, len);
	free(bytes);
}

Test(snap_catalogue, unknown_features_are_refused_or_cleared_before_a_write)
{
	for (size_t at = 16; at <= 24; at += 4) {
		struct slab lab;
		struct store *store;
		size_t len;

		store_lab_start(&lab, 2);
		store_lab_make_line(&lab);
		set_feature(&lab, at);
		uint64_t before = store_lab_hash(&lab, SLAB_DIR);
		for (unsigned flags = 0; flags <= SNAP_READONLY && at < 24; flags++) {
			cr_expect_eq(store_lab_try_open(&lab, flags, &store), ERR_UNSUPPORTED);
			cr_expect(store_lab_said(&lab, "features"), "%s", lab.v.why.text);
			cr_expect_eq(store_lab_repair(&lab), ERR_UNSUPPORTED, "nor repaired away");
		}
		cr_expect_eq(store_lab_hash(&lab, SLAB_DIR), before);
		if (at == 24) {
			store = store_lab_open(&lab, 0);
			store_lab_check_line(store);
			store_lab_take(store, "three");
			snap_close(store);
			uint8_t *bytes = store_lab_bytes(&lab, SLAB_CAT, &len);
			cr_expect_eq(get_le32(bytes + 24), 0, "what it promised may be no more");
			cr_expect_eq(get_le16(bytes + 10), 0);
			free(bytes);
		}
		store_lab_stop(&lab);
	}
}

/* ---- the largest ---- */

Test(snap_catalogue, many_layers_and_nodes)
{
	struct catalogue *cat = calloc(1, sizeof(*cat)), *again = NULL;
	struct snap_config config = {.memory_bytes = MIB, .cpus = 1};
	uint8_t *bytes;
	size_t len;

	cr_assert_not_null(cat);
	*cat = (struct catalogue){.next_number = 1, .disks = 1};
	cat->leaf = calloc(2, sizeof(*cat->leaf));
	cr_assert(cat->leaf && cat_add_config(cat, &config, &(uint32_t){0}));
	for (unsigned i = 0; i < CAT_MAX_LAYER_DEPTH; i++)
		sample_add_layer(cat, i);
	cat->leaf[0] = cat->layers;
	cr_assert_eq(cat_derive(cat, NULL), ERR_OK);
	cr_expect_eq(cat_layer(cat, cat->layers)->depth, CAT_MAX_LAYER_DEPTH);
	cr_assert_eq(cat_encode(cat, &bytes, &len, NULL), ERR_OK);
	cr_assert_eq(cat_decode(bytes, len, &again, NULL), ERR_OK);
	cat_free(again);
	free(bytes);
	sample_add_layer(cat, cat->layers);
	cat->leaf[0] = cat->layers;
	cr_assert_eq(cat_encode(cat, &bytes, &len, NULL), ERR_OK);
	cr_expect_eq(sample_decode(bytes, len, NULL), ERR_CORRUPT, "one too deep");
	free(bytes);
	cat_free(cat);
}

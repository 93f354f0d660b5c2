/* SPDX-License-Identifier: MIT */
/* Every field of a catalogue at its limits, with checksums that are right (T4). */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/snap_sample.h"

struct limit {
	size_t at;
	unsigned width;
	uint64_t value;
	enum err want;
	const char *says;
};

#define NO_DISK      "a disk has no layer, and the feature at 0x10 does not allow it"
#define OUT_OF_ORDER "is out of order"
#define NO_PARENT    "has a parent that is not there"
#define FILES        "is named twice, or its number was never given"
#define DISK_SIZE    "size is not that of a disk"
#define BLOCK_SIZE   "block size is not a power of two"
#define COUNTS       "do not add up"
#define TOO_MANY     "is too large"

static const struct limit limits[] = {
    /* header */
    {8, 2, 0, ERR_UNSUPPORTED, "version 0.0"},
    {8, 2, 2, ERR_UNSUPPORTED, "version 2.0"},
    {10, 2, 1, ERR_OK, NULL},
    {10, 2, 0xffff, ERR_OK, NULL},
    {12, 4, 159, ERR_UNSUPPORTED, "version"},
    {12, 4, 161, ERR_UNSUPPORTED, "version"},
    {16, 4, 1, ERR_OK, NULL}, /* slots may be empty, but none is */
    {16, 4, 2, ERR_UNSUPPORTED, "features (0x2, 0x0)"},
    {16, 4, 0x80000000, ERR_UNSUPPORTED, "features"},
    {20, 4, 1, ERR_UNSUPPORTED, "features (0x0, 0x1)"},
    {20, 4, 0x80000000, ERR_UNSUPPORTED, "features"},
    {24, 4, 0xffffffff, ERR_OK, NULL},
    {28, 4, 0xffffffff, ERR_OK, NULL},
    {32, 8, 0, ERR_CORRUPT, "length at 0x20"},
    {32, 8, UINT64_MAX, ERR_CORRUPT, "length at 0x20"},
    {40, 8, 0, ERR_OK, NULL},
    {40, 8, UINT64_MAX, ERR_OK, NULL},
    {48, 8, 0, ERR_OK, NULL},
    {64, 8, 0, ERR_CORRUPT, OUT_OF_ORDER},
    {64, 8, NEXT - 1, ERR_CORRUPT, FILES},
    {64, 8, CAT_MAX_NUMBER, ERR_OK, NULL},
    {64, 8, CAT_MAX_NUMBER + 1, ERR_UNSUPPORTED, "all numbers have been given"},
    {64, 8, UINT64_MAX, ERR_UNSUPPORTED, "all numbers have been given"},
    {72, 8, 0, ERR_OK, NULL},
    {72, 8, 6, ERR_CORRUPT, "current node 6 is not there"},
    {72, 8, UINT64_MAX, ERR_CORRUPT, "is not there"},
    {80, 4, 1, ERR_CORRUPT, COUNTS},
    {80, 4, 64, ERR_CORRUPT, COUNTS},
    {80, 4, 65, ERR_CORRUPT, TOO_MANY},
    {80, 4, UINT32_MAX, ERR_CORRUPT, TOO_MANY},
    {84, 4, 1, ERR_CORRUPT, COUNTS},
    {84, 4, CAT_MAX_ITEMS, ERR_CORRUPT, COUNTS},
    {84, 4, CAT_MAX_ITEMS + 1, ERR_CORRUPT, TOO_MANY},
    {88, 4, 2, ERR_CORRUPT, "configuration 2 is not there"},
    {88, 4, UINT32_MAX, ERR_CORRUPT, "is not there"},
    {92, 4, 5, ERR_CORRUPT, COUNTS},
    {92, 4, CAT_MAX_ITEMS, ERR_CORRUPT, COUNTS},
    {92, 4, CAT_MAX_ITEMS + 1, ERR_CORRUPT, TOO_MANY},
    {96, 4, 3, ERR_CORRUPT, COUNTS},
    {96, 4, UINT32_MAX, ERR_CORRUPT, TOO_MANY},
    {100, 4, 3, ERR_CORRUPT, COUNTS},
    {100, 4, UINT32_MAX, ERR_CORRUPT, TOO_MANY},
    {104, 4, 0, ERR_CORRUPT, COUNTS},
    {104, 4, 2, ERR_CORRUPT, TOO_MANY},
    {108, 4, 0, ERR_CORRUPT, COUNTS},
    {108, 4, UINT32_MAX, ERR_CORRUPT, COUNTS},
    {112, 8, UINT64_MAX, ERR_OK, NULL},
    {136, 8, UINT64_MAX, ERR_OK, NULL},
    /* leaves */
    {LEAF, 8, 0, ERR_CORRUPT, NO_DISK},
    {LEAF, 8, 3, ERR_CORRUPT, "disk 0 has no leaf of its own"},
    {LEAF, 8, NEXT, ERR_CORRUPT, "disk 0 has no leaf of its own"},
    {LEAF + 8, 8, 5, ERR_CORRUPT, "disk 1 has no leaf of its own"},
    /* configurations: what they say is nobody's business here */
    {CONFIG, 8, 0, ERR_OK, NULL},
    {CONFIG, 8, UINT64_MAX, ERR_OK, NULL},
    {CONFIG + 8, 4, UINT32_MAX, ERR_OK, NULL},
    {CONFIG + 12, 4, UINT32_MAX, ERR_OK, NULL},
    {CONFIG + 16, 4, UINT32_MAX, ERR_OK, NULL},
    {CONFIG + 16, 4, UINT32_MAX - 1, ERR_CORRUPT, "at 0xc0: text is outside"},
    {CONFIG + 20, 4, UINT32_MAX, ERR_CORRUPT, "text is outside"},
    {CONFIG + 20, 4, 30, ERR_CORRUPT, "text is used twice"},
    {CONFIG + 20, 4, 0, ERR_OK, NULL},
    /* layers */
    {LAYER_AT(1), 8, 0, ERR_CORRUPT, "layer 0 " OUT_OF_ORDER},
    {LAYER_AT(1), 8, 2, ERR_CORRUPT, OUT_OF_ORDER},
    {LAYER_AT(6), 8, 5, ERR_CORRUPT, "layer 5 " OUT_OF_ORDER},
    {LAYER_AT(6), 8, NEXT, ERR_CORRUPT, "layer 11 " OUT_OF_ORDER},
    {LAYER_AT(6), 8, UINT64_MAX, ERR_CORRUPT, OUT_OF_ORDER},
    {LAYER_AT(3) + 8, 8, 0, ERR_CORRUPT, "does not fit its place"},
    {LAYER_AT(3) + 8, 8, 3, ERR_CORRUPT, "layer 3 " NO_PARENT},
    {LAYER_AT(3) + 8, 8, 5, ERR_CORRUPT, "layer 3 " NO_PARENT},
    {LAYER_AT(3) + 8, 8, UINT64_MAX, ERR_CORRUPT, NO_PARENT},
    {LAYER_AT(2) + 8, 8, 1, ERR_CORRUPT, "does not fit its place"},
    {LAYER_AT(5) + 8, 8, 1, ERR_OK, NULL},
    {LAYER_AT(1) + 16, 8, 0, ERR_CORRUPT, FILES},
    {LAYER_AT(1) + 16, 8, 2, ERR_CORRUPT, "file 2 " FILES},
    {LAYER_AT(1) + 16, 8, 9, ERR_CORRUPT, "file 9 " FILES},
    {LAYER_AT(1) + 16, 8, 7, ERR_OK, NULL},
    {LAYER_AT(1) + 16, 8, NEXT, ERR_CORRUPT, OUT_OF_ORDER},
    {LAYER_AT(1) + 16, 8, UINT64_MAX, ERR_CORRUPT, OUT_OF_ORDER},
    {LAYER_AT(4) + 24, 4, UINT32_MAX, ERR_OK, NULL},
    {LAYER_AT(4) + 24, 4, 0x1000, ERR_CORRUPT, "text is outside"},
    {LAYER_AT(4) + 24, 4, 0, ERR_OK, NULL}, /* "/boot/kquie" */
    {LAYER_AT(4) + 28, 4, 0, ERR_CORRUPT, "leads through other folders"},
    {LAYER_AT(2) + 28, 4, 1, ERR_OK, NULL}, /* "/", which cannot be opened */
    {LAYER_AT(1) + 48, 8, 0, ERR_CORRUPT, DISK_SIZE},
    {LAYER_AT(1) + 48, 8, 511, ERR_CORRUPT, DISK_SIZE},
    {LAYER_AT(1) + 48, 8, 512, ERR_OK, NULL},
    {LAYER_AT(1) + 48, 8, VHD_MAX_SIZE, ERR_OK, NULL},
    {LAYER_AT(1) + 48, 8, VHD_MAX_SIZE + 512, ERR_CORRUPT, DISK_SIZE},
    {LAYER_AT(1) + 48, 8, UINT64_MAX - 511, ERR_CORRUPT, DISK_SIZE},
    {LAYER_AT(1) + 56, 4, 0, ERR_CORRUPT, BLOCK_SIZE},
    {LAYER_AT(1) + 56, 4, VHD_MIN_BLOCK / 2, ERR_CORRUPT, BLOCK_SIZE},
    {LAYER_AT(1) + 56, 4, VHD_MIN_BLOCK * 3, ERR_CORRUPT, BLOCK_SIZE},
    {LAYER_AT(1) + 56, 4, VHD_MAX_BLOCK, ERR_OK, NULL},
    {LAYER_AT(1) + 56, 4, VHD_MAX_BLOCK * 2, ERR_CORRUPT, BLOCK_SIZE},
    {LAYER_AT(1) + 56, 4, 0x80000000, ERR_CORRUPT, BLOCK_SIZE},
    {LAYER_AT(1) + 60, 4, 0, ERR_CORRUPT, "unknown type"},
    {LAYER_AT(1) + 60, 4, 1, ERR_CORRUPT, "unknown type"},
    {LAYER_AT(1) + 60, 4, VHD_FIXED, ERR_OK, NULL},
    {LAYER_AT(1) + 60, 4, VHD_DIFFERENCING, ERR_CORRUPT, "does not fit its place"},
    {LAYER_AT(1) + 60, 4, 5, ERR_CORRUPT, "unknown type"},
    {LAYER_AT(1) + 60, 4, UINT32_MAX, ERR_CORRUPT, "unknown type"},
    {LAYER_AT(3) + 60, 4, VHD_DYNAMIC, ERR_CORRUPT, "does not fit its place"},
    {LAYER_AT(1) + 64, 4, UINT32_MAX, ERR_OK, NULL},
    {LAYER_AT(1) + 68, 4, UINT32_MAX, ERR_OK, NULL},
    {LAYER_AT(1) + 72, 8, UINT64_MAX, ERR_OK, NULL},
    {LAYER_AT(1) + 80, 8, UINT64_MAX, ERR_OK, NULL},
    /* nodes */
    {NODE_AT(7), 8, 0, ERR_CORRUPT, "node 0 " OUT_OF_ORDER},
    {NODE_AT(7), 8, 8, ERR_CORRUPT, OUT_OF_ORDER},
    {NODE_AT(8), 8, NEXT, ERR_CORRUPT, OUT_OF_ORDER},
    {NODE_AT(8) + 8, 8, 8, ERR_CORRUPT, "node 8 " NO_PARENT},
    {NODE_AT(7) + 8, 8, 8, ERR_CORRUPT, "node 7 " NO_PARENT},
    {NODE_AT(8) + 8, 8, 6, ERR_CORRUPT, NO_PARENT},
    {NODE_AT(8) + 8, 8, 0, ERR_OK, NULL},
    {NODE_AT(7) + 16, 8, 0, ERR_OK, NULL},
    {NODE_AT(7) + 32, 8, UINT64_MAX, ERR_OK, NULL},
    {NODE_AT(7) + 32, 8, INT64_MAX, ERR_OK, NULL},
    {NODE_AT(7) + 40, 4, UINT32_MAX, ERR_CORRUPT, "no name"},
    {NODE_AT(7) + 40, 4, 0, ERR_CORRUPT, "name is not allowed"},
    {NODE_AT(7) + 44, 4, 0, ERR_CORRUPT, "name is not allowed"},
    {NODE_AT(7) + 44, 4, UINT32_MAX, ERR_CORRUPT, "text is outside"},
    {NODE_AT(7) + 48, 4, UINT32_MAX, ERR_CORRUPT, "no note"},
    {NODE_AT(7) + 52, 4, 0, ERR_OK, NULL},
    {NODE_AT(7) + 56, 4, 1, ERR_OK, NULL},
    {NODE_AT(7) + 56, 4, 2, ERR_CORRUPT, "node 7 has no configuration"},
    {NODE_AT(7) + 56, 4, UINT32_MAX, ERR_CORRUPT, "has no configuration"},
    {NODE_AT(7) + 60, 4, UINT32_MAX, ERR_OK, NULL},
    {NODE_AT(7) + 64, 8, 9, ERR_OK, NULL},
    {NODE_AT(7) + 72, 8, 0, ERR_CORRUPT, NO_DISK},
    {NODE_AT(7) + 72, 8, 5, ERR_CORRUPT, "has no layer for a disk"}, /* a leaf */
    {NODE_AT(7) + 80, 8, NEXT, ERR_CORRUPT, "has no layer for a disk"},
    {NODE_AT(7) + 80, 8, 2, ERR_OK, NULL},
    /* garbage */
    {GARBAGE, 8, 0, ERR_CORRUPT, "file 0 " FILES},
    {GARBAGE, 8, 3, ERR_CORRUPT, "file 3 " FILES},
    {GARBAGE, 8, 10, ERR_CORRUPT, "file 10 " FILES},
    {GARBAGE, 8, NEXT, ERR_CORRUPT, "file 11 " FILES},
    {GARBAGE, 8, UINT64_MAX, ERR_CORRUPT, FILES},
    {GARBAGE, 8, 8, ERR_OK, NULL},
    /* the fold */
    {FOLD, 8, 0, ERR_CORRUPT, "no known phase"},
    {FOLD, 8, 2, ERR_CORRUPT, "fold of layer 2 is not into its child"},
    {FOLD + 8, 8, 0, ERR_CORRUPT, "is not into its child"},
    {FOLD + 8, 8, 5, ERR_CORRUPT, "is not into its child"},
    {FOLD + 8, 8, NEXT, ERR_CORRUPT, "is not into its child"},
    {FOLD + 16, 4, 1, ERR_OK, NULL},
    {FOLD + 16, 4, UINT32_MAX, ERR_OK, NULL},
    {FOLD + 20, 4, 0, ERR_CORRUPT, "no known phase"},
    {FOLD + 20, 4, CAT_FOLD_SETTLE, ERR_OK, NULL},
    {FOLD + 20, 4, 3, ERR_CORRUPT, "no known phase"},
    {FOLD + 20, 4, UINT32_MAX, ERR_CORRUPT, "no known phase"},
    {FOLD + 24, 8, VHD_MAX_SIZE, ERR_OK, NULL},
    {FOLD + 24, 8, VHD_MAX_SIZE + 1, ERR_CORRUPT, "no known phase"},
    {FOLD + 24, 8, UINT64_MAX, ERR_CORRUPT, "no known phase"},
    /* text */
    {TEXT, 2, 0x6100, ERR_CORRUPT, "text has a NUL inside"},
};

Test(snap_fields, fields_at_their_limits)
{
	size_t len;
	uint8_t *bytes = sample_bytes(&len), *changed = malloc(len);

	cr_assert_not_null(changed);
	for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
		const struct limit *l = &limits[i];
		struct err_why why = {0};

		memcpy(changed, bytes, len);
		store_lab_set(changed, l->at, l->width, l->value);
		store_lab_seal(changed, len);
		enum err e = sample_decode(changed, len, &why);
		cr_expect_eq(e, l->want, "0x%zx = 0x%llx: %d %s", l->at,
			     (unsigned long long)l->value, e, why.text);
		cr_expect(!l->says || strstr(why.text, l->says), "0x%zx = 0x%llx: %s", l->at,
			  (unsigned long long)l->value, why.text);
		cr_expect(!e || !strncmp(why.text, "catalogue: ", 11), "%s", why.text);
	}
	free(changed);
	free(bytes);
}

/* ---- any number anywhere, as a store ---- */

static const uint64_t numbers[] = {0,           1,
				   2,           3,
				   8,           0x7f,
				   0x10000,     0x7fffffff,
				   0x80000000,  0xffffffff,
				   0x100000000, VHD_MAX_SIZE,
				   INT64_MAX,   INT64_MAX + UINT64_C(1),
				   UINT64_MAX};

/* It decodes, so what it encodes to is one that stays as it is. */
static void check_stable(const struct catalogue *cat)
{
	struct catalogue *again = NULL;
	uint8_t *first, *second;
	size_t first_len, second_len;
	struct err_why why = {0};

	cr_assert_eq(cat_encode(cat, &first, &first_len, NULL), ERR_OK);
	cr_assert_eq(cat_decode(first, first_len, &again, &why), ERR_OK, "%s", why.text);
	cr_assert_eq(cat_encode(again, &second, &second_len, NULL), ERR_OK);
	cr_assert_eq(first_len, second_len);
	cr_assert_arr_eq(first, second, first_len);
	cat_free(again);
	free(first);
	free(second);
}

/* None of its files is there; whatever is asked ends, with an error that says why. */
static void use_store(const uint8_t *bytes, size_t len, unsigned flags)
{
	struct slab lab;
	struct store *store;
	struct snap_report report;
	struct snap_tree tree;
	struct snap_view *view;
	struct err_why why = {0};

	store_lab_start(&lab, 0);
	store_lab_put_bytes(&lab, SLAB_CAT, bytes, len);
	store_lab_put_bytes(&lab, SLAB_DIR "/" STORE_LOCK, bytes, 0);
	cr_assert_eq(snap_check(lab.ns, SLAB_DIR, true, NULL, &report, &why), ERR_OK, "%s",
		     why.text);
	cr_expect_eq(snap_report_result(&report), ERR_CORRUPT, "its layers are missing");
	snap_report_free(&report);
	if (!store_lab_try_open(&lab, flags, &store)) {
		cr_expect_eq(snap_tree(store, SNAP_TREE_SIZES, &tree, &why), ERR_OK, "%s",
			     why.text);
		snap_tree_free(&tree);
		cr_expect_eq(snap_view_open(store, NULL, NULL, &view, &why), ERR_PARENT, "%s",
			     why.text);
		snap_close(store);
	} else {
		cr_expect(*lab.v.why.text);
		cr_expect_neq(flags, SNAP_READONLY, "%s", lab.v.why.text);
	}
	store_lab_stop(&lab);
}

Test(snap_fields, any_number_anywhere_is_an_error_or_safe, .timeout = 120)
{
	size_t len;
	uint8_t *bytes = sample_bytes(&len), *changed = malloc(len);
	unsigned opened = 0, tried = 0;

	cr_assert_not_null(changed);
	for (size_t at = 0; at < TEXT; at += 4) {
		for (size_t i = 0; i < 2 * ARRAY_LEN(numbers); i++) {
			unsigned width = i % 2 && at % 8 == 0 ? 8 : 4;
			struct catalogue *cat = NULL;
			struct err_why why = {0};

			memcpy(changed, bytes, len);
			store_lab_set(changed, at, width, numbers[i / 2]);
			store_lab_seal(changed, len);
			enum err e = cat_decode(changed, len, &cat, &why);
			cr_assert(!e || e == ERR_CORRUPT || e == ERR_UNSUPPORTED, "0x%zx: %d", at,
				  e);
			cr_assert(!e || *why.text);
			tried++;
			if (e)
				continue;
			check_stable(cat);
			cat_free(cat);
			if (opened++ % 8 == 0)
				use_store(changed, len, opened % 16 ? SNAP_READONLY : 0);
		}
	}
	cr_expect_gt(opened, tried / 10, "of %u", tried);
	cr_expect_gt(tried - opened, tried / 10);
	free(changed);
	free(bytes);
}

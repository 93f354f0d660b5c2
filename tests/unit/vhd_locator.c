/* SPDX-License-Identifier: MIT */
/* Parent locators and the parent name: hostile text, and only ever a hint. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/random.h"
#include "tests/unit/vhd_lab.h"
#include "vhd/locator.h"

#define ENTRY(slot) (576u + (slot)*24u) /* of the header */
#define E_SPACE     4u
#define E_LEN       8u
#define E_OFF       16u
#define DATA_OFF    4096u /* of slot 0 in an image of our own */

static struct vlab lab;

static void start(void)
{
	vlab_start(&lab);
	vlab_create(&lab, "base", VHD_DYNAMIC, MIB, NULL);
	vlab_create(&lab, "leaf", VHD_DIFFERENCING, 0, "base");
}

static void stop(void)
{
	vlab_stop(&lab);
}

TestSuite(vhd_locator, .init = start, .fini = stop);

static enum err read_slot(unsigned slot, char **path)
{
	struct vhd_layer *layer = vlab_layer(&lab, "leaf");

	*path = NULL;
	lab.why = (struct err_why){0};
	enum err err = locator_read(layer, slot, path, &lab.why);
	layer_close(layer, NULL);
	return err;
}

/* What slot 0 says after `field` of its entry was set. */
static enum err read_with(unsigned field, unsigned width, uint64_t value)
{
	char *path;

	vlab_set_header(&lab, "leaf", ENTRY(0) + field, width, value);
	enum err err = read_slot(0, &path);
	free(path);
	return err;
}

/* Put this code and data into slot 0. */
static void put_slot(const char *code, const void *data, uint32_t len)
{
	vlab_put(&lab, "leaf", FOOTER_BYTES + ENTRY(0), code, 4);
	vlab_set_header(&lab, "leaf", ENTRY(0) + E_LEN, 4, len);
	vlab_put(&lab, "leaf", DATA_OFF, data, len);
}

static void expect_path(const char *code, const void *data, uint32_t len, const char *want)
{
	char *path;

	put_slot(code, data, len);
	enum err err = read_slot(0, &path);
	if (want)
		cr_expect(!err && strcmp(path, want) == 0, "%s: %s %s", code,
			  path ? path : "nothing", lab.why.text);
	else
		cr_expect_eq(err, ERR_CORRUPT, "%s gives %s", code, path ? path : "nothing");
	free(path);
}

Test(vhd_locator, what_create_stored_is_read_back)
{
	char *path;

	cr_assert_eq(read_slot(0, &path), ERR_OK, "%s", lab.why.text);
	cr_expect_str_eq(path, "base");
	free(path);
	cr_assert_eq(read_slot(1, &path), ERR_OK, "%s", lab.why.text);
	cr_expect_str_eq(path, ".\\base");
	free(path);
	cr_expect_eq(read_slot(2, &path), ERR_NOENT, "the other slots are empty");
}

/* ---- rules (robustness.md section 4, Locator) ---- */

Test(vhd_locator, unknown_codes_are_ignored)
{
	static const char *const codes[] = {"W2kx", "Mac ", "\0\0\0\0", "\xff\xff\xff\xff"};

	for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
		char *path;

		put_slot(codes[i], "xx", 2);
		cr_expect_eq(read_slot(0, &path), ERR_NOENT);
	}
	cr_expect_eq(vlab_probe(&lab, "leaf", false), ERR_OK, "%s", lab.why.text);
}

Test(vhd_locator, length_is_1_byte_to_64_kib)
{
	cr_expect_eq(read_with(E_LEN, 4, 0), ERR_CORRUPT);
	cr_expect(vlab_said(&lab, "parent locator 0: length 0"), "%s", lab.why.text);
	vlab_set_header(&lab, "leaf", ENTRY(0) + E_SPACE, 4, 0x10000000);
	cr_expect_eq(read_with(E_LEN, 4, LOCATOR_MAX_BYTES + 2), ERR_CORRUPT);
	cr_expect(vlab_said(&lab, "65538"), "%s", lab.why.text);
	cr_expect_eq(read_with(E_LEN, 4, 0xffffffff), ERR_CORRUPT);
}

Test(vhd_locator, length_fits_the_space_in_bytes_or_in_sectors)
{
	char text[1600];

	for (size_t i = 0; i < sizeof(text); i += 2)
		memcpy(text + i, "a", 2);
	put_slot("W2ku", text, 1600);
	cr_expect_eq(read_with(E_SPACE, 4, 2048), ERR_OK, "in bytes: %s", lab.why.text);
	cr_expect_eq(read_with(E_SPACE, 4, 4), ERR_OK, "in sectors: %s", lab.why.text);
	cr_expect_eq(read_with(E_SPACE, 4, 3), ERR_CORRUPT, "1536 bytes are not enough");
	cr_expect(vlab_said(&lab, "space of 3"), "%s", lab.why.text);
	cr_expect_eq(read_with(E_SPACE, 4, 0), ERR_CORRUPT);
}

Test(vhd_locator, space_is_told_in_bytes_whichever_unit_it_has)
{
	static const struct {
		uint32_t space, len;
		uint64_t want;
	} known[] = {
	    {4096, 62, 4096},   /* Windows 10: bytes */
	    {65536, 26, 65536}, /* the same */
	    {1, 62, 512},       /* the specification: sectors */
	    {8, 4000, 4096},    {512, 512, 512}, {512, 513, 262144},
	    {1, 513, 0},        {0, 1, 0},       {0xffffffffu, 100, 0xffffffffull * 512},
	};

	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		struct vhd_locator_entry entry = {.space = known[i].space,
						  .len_bytes = known[i].len};

		cr_expect_eq(locator_space_bytes(&entry), known[i].want, "space %u, length %u",
			     known[i].space, known[i].len);
	}
}

Test(vhd_locator, data_lies_between_the_footers)
{
	uint64_t footer = vlab_size(&lab, "leaf") - FOOTER_BYTES;
	const uint64_t bad[] = {
	    0, 511, footer, footer - 2, footer + 4096, UINT64_MAX, UINT64_MAX - 4, INT64_MAX};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		cr_expect_eq(read_with(E_OFF, 8, bad[i]), ERR_CORRUPT, "%llx",
			     (unsigned long long)bad[i]);
		cr_expect(vlab_said(&lab, "parent locator 0"), "%s", lab.why.text);
	}
}

Test(vhd_locator, data_overlaps_neither_header_nor_table)
{
	struct vhd_layer *layer = vlab_layer(&lab, "leaf");
	uint64_t bat = layer->header.bat_off;

	layer_close(layer, NULL);
	cr_expect_eq(read_with(E_OFF, 8, 512), ERR_CORRUPT, "the header");
	cr_expect_eq(read_with(E_OFF, 8, 1534), ERR_CORRUPT, "the header's end");
	cr_expect_eq(read_with(E_OFF, 8, bat), ERR_CORRUPT, "the table");
	cr_expect_eq(read_with(E_OFF, 8, bat - 2), ERR_CORRUPT, "the table's beginning");
}

Test(vhd_locator, a_broken_locator_does_not_hide_a_good_one)
{
	vlab_set_header(&lab, "leaf", ENTRY(0) + E_OFF, 8, UINT64_MAX);
	cr_expect_eq(vlab_probe(&lab, "leaf", true), ERR_OK, "%s", lab.why.text);
}

/* ---- text ---- */

Test(vhd_locator, windows_codes_are_utf_16_little_endian)
{
	expect_path("W2ku", "C\0:\0\\\0x\0", 8, "C:\\x");
	expect_path("W2ru", ".\0\\\0\xe9\x00", 6, ".\\\xc3\xa9");
	expect_path("W2ru", "a\0\x3d\xd8\x00\xde", 6, "a\xf0\x9f\x98\x80");
	expect_path("W2ku", "a\0b\0\0\0", 6, "ab"); /* with its NUL */
}

Test(vhd_locator, text_that_is_not_utf_16_is_refused)
{
	expect_path("W2ku", "a\0b", 3, NULL);
	expect_path("W2ku", "a\0\x00\xd8", 4, NULL);
	expect_path("W2ru",
		    "\x00\xdc"
		    "a\0",
		    4, NULL);
	expect_path("W2ru",
		    "\x3d\xd8"
		    "a\0",
		    4, NULL);
}

Test(vhd_locator, a_nul_inside_is_refused)
{
	expect_path("W2ku", "a\0\0\0b\0", 6, NULL);
	expect_path("W2ku", "\0\0", 2, NULL);
	expect_path("Wi2k", "a\0b", 3, NULL);
}

Test(vhd_locator, the_old_codes_are_taken_when_they_are_ascii)
{
	expect_path("Wi2r", ".\\base", 6, ".\\base");
	expect_path("Wi2k", "C:\\base", 7, "C:\\base");
	expect_path("Wi2k", "caf\xe9", 4, NULL);
}

Test(vhd_locator, encoded_paths_decode_to_themselves)
{
	static const char *const paths[] = {"C:\\x y\\z.vhd",
					    "\xc3\xa4\xe4\xb8\xad\xf0\x9f\x98\x80", ".\\a"};

	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		uint8_t *data;
		uint32_t len;

		cr_assert_eq(locator_encode(paths[i], &data, &len, NULL), ERR_OK);
		expect_path("W2ku", data, len, paths[i]);
		free(data);
	}
}

Test(vhd_locator, encoding_turns_slashes_and_refuses_what_does_not_fit)
{
	uint8_t *data;
	uint32_t len;

	cr_assert_eq(locator_encode("/a/b", &data, &len, NULL), ERR_OK);
	cr_expect_eq(len, 8);
	cr_expect_arr_eq(data, "\\\0a\0\\\0b\0", 8);
	free(data);
	cr_expect_eq(locator_encode("", &data, &len, NULL), ERR_USAGE);
	cr_expect_eq(locator_encode("\xff", &data, &len, NULL), ERR_USAGE);
	char *longest = malloc(LOCATOR_MAX_BYTES / 2 + 2);
	memset(longest, 'a', LOCATOR_MAX_BYTES / 2 + 1);
	longest[LOCATOR_MAX_BYTES / 2 + 1] = '\0';
	cr_expect_eq(locator_encode(longest, &data, &len, NULL), ERR_USAGE);
	longest[LOCATOR_MAX_BYTES / 2] = '\0';
	cr_assert_eq(locator_encode(longest, &data, &len, NULL), ERR_OK);
	free(data);
	free(longest);
}

Test(vhd_locator, relative_paths_are_seen_from_the_childs_folder)
{
	static const struct {
		const char *from, *to, *want;
	} known[] = {
	    {"/v/leaf.vhd", "/v/base.vhd", ".\\base.vhd"},
	    {"/v/leaf.vhd", "/v/sub/base.vhd", ".\\sub\\base.vhd"},
	    {"/v/a/leaf.vhd", "/v/base.vhd", "..\\base.vhd"},
	    {"/v/a/b/leaf.vhd", "/v/c/base.vhd", "..\\..\\c\\base.vhd"},
	    {"/leaf", "/base", ".\\base"},
	    {"/ab/leaf", "/abc/base", "..\\abc\\base"},
	    {"/v/base2", "/v/base", ".\\base"},
	    {"/x/leaf", "/y/base", "..\\y\\base"},
	};

	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		char *path = locator_relative_path(known[i].from, known[i].to);

		cr_expect_str_eq(path, known[i].want);
		free(path);
	}
}

/* ---- the parent name ---- */

Test(vhd_locator, the_parent_name_is_utf_16_big_endian)
{
	struct vhd_header header = {0};

	cr_expect_null(header_parent_name(&header), "empty");
	cr_assert(header_set_parent_name(&header, "b\xc3\xa4.vhd"));
	cr_expect_arr_eq(header.parent_name, "\0b\0\xe4\0.\0v\0h\0d\0\0", 14);
	char *name = header_parent_name(&header);
	cr_expect_str_eq(name, "b\xc3\xa4.vhd");
	free(name);
	cr_expect_not(header_set_parent_name(&header, "\xc0\x80"));
	memcpy(header.parent_name, "\xd8\x00\0a", 4);
	cr_expect_null(header_parent_name(&header), "half a surrogate pair");
}

Test(vhd_locator, a_long_parent_name_is_cut_on_a_character)
{
	for (unsigned shift = 0; shift < 4; shift++) {
		struct vhd_header header = {0};
		char text[2000] = {0};

		memset(text, 'a', shift);
		for (unsigned i = 0; i < 300; i++)
			memcpy(text + shift + i * 4, "\xf0\x9f\x98\x80", 4);
		cr_assert(header_set_parent_name(&header, text));
		char *name = header_parent_name(&header);
		cr_assert_not_null(name, "with %u before", shift);
		cr_expect_eq(strncmp(name, text, strlen(name)), 0);
		cr_expect_gt(strlen(name), 500);
		free(name);
	}
}

/* Any bytes at all: a text or an error, never a crash (P6). */
Test(vhd_locator, random_entries_are_read_or_refused)
{
	static const char *const codes[] = {"W2ku", "W2ru", "Wi2k", "Wi2r", "MacX"};
	struct rng rng = rng_seed(7);

	for (unsigned round = 0; round < 2000; round++) {
		struct vhd_layer *layer = vlab_layer(&lab, "leaf");
		struct vhd_locator_entry *entry = &layer->header.locator[0];
		char *path = NULL;
		struct err_why why = {0};

		memcpy(entry->code, codes[rng_below(&rng, 5)], 4);
		entry->space = (uint32_t)rng_next(&rng) >> rng_below(&rng, 32);
		entry->len_bytes = (uint32_t)rng_next(&rng) >> rng_below(&rng, 32);
		entry->off_bytes = rng_next(&rng) >> rng_below(&rng, 64);
		enum err err = locator_read(layer, 0, &path, &why);
		if (err)
			cr_assert(err == ERR_CORRUPT && *why.text);
		else
			cr_assert(path && *path);
		free(path);
		layer_close(layer, NULL);
	}
}

/* ---- images of other products ---- */

Test(vhd_locator, a_windows_10_childs_locators_are_read)
{
	vlab_fixture(&lab, "govhd-win8-chain/win8-child.vhd", "child");
	struct vhd_layer *layer = vlab_layer(&lab, "child");
	char *path, *name = header_parent_name(&layer->header);

	cr_assert_eq(locator_read(layer, 0, &path, NULL), ERR_OK);
	cr_expect_str_eq(path, "C:\\Users\\sergi\\Downloads\\win8.vhd");
	free(path);
	cr_assert_eq(locator_read(layer, 1, &path, NULL), ERR_OK);
	cr_expect_str_eq(path, ".\\win8.vhd");
	free(path);
	cr_assert_not_null(name);
	cr_expect(strstr(name, "win8.vhd"), "%s", name);
	free(name);
	layer_close(layer, NULL);
}

/* SPDX-License-Identifier: MIT */
/*
 * Malformed images (T4): every field of footer, header, BAT and locators takes every boundary value
 * in turn, in images that are otherwise valid and with their checksums made right. Each is opened,
 * inspected and checked, and written to: an error with a text, or a disk that can be read; never a
 * crash, and never more than 64 MiB.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/lib/exercise.h"
#include "tests/lib/fuzz_image.h"
#include "util/bytes.h"

#define PATH    "/f/image.vhd"
#define PARENT  "/f/parent.vhd"
#define BUDGET  (64ull << 20)
#define HARNESS (24ull << 20) /* of the test itself: buffers, arenas */

struct field {
	const char *name;
	size_t off;
	unsigned bytes;
};

static const struct field footer_fields[] = {
    {"cookie", 0, 8},
    {"features", FOOTER_FEATURES, 4},
    {"version", FOOTER_VERSION, 4},
    {"data_offset", FOOTER_DATA_OFFSET, 8},
    {"timestamp", FOOTER_TIMESTAMP, 4},
    {"creator_application", 28, 4},
    {"creator_version", FOOTER_CREATOR_VERSION, 4},
    {"creator_host", 36, 4},
    {"original_size", FOOTER_ORIGINAL_SIZE, 8},
    {"current_size", FOOTER_CURRENT_SIZE, 8},
    {"geometry", FOOTER_GEOMETRY, 4},
    {"type", FOOTER_TYPE, 4},
    {"uuid", FOOTER_UUID, 8},
    {"saved_state", FOOTER_SAVED_STATE, 1},
    {"reserved", FOOTER_SAVED_STATE + 1, 8},
};

static const struct field header_fields[] = {
    {"cookie", 0, 8},
    {"data_offset", HEADER_DATA_OFFSET, 8},
    {"table_offset", HEADER_TABLE_OFFSET, 8},
    {"version", HEADER_VERSION, 4},
    {"max_entries", HEADER_MAX_ENTRIES, 4},
    {"block_size", HEADER_BLOCK_SIZE, 4},
    {"parent_uuid", HEADER_PARENT_UUID, 8},
    {"parent_timestamp", HEADER_PARENT_TIMESTAMP, 4},
    {"reserved", HEADER_PARENT_TIMESTAMP + 4, 4},
    {"parent_name", HEADER_PARENT_NAME, 8},
    {"parent_name_end", HEADER_PARENT_NAME + 504, 8},
};

static const struct field locator_fields[] = {
    {"code", 0, 4}, {"space", 4, 4}, {"length", 8, 4}, {"reserved", 12, 4}, {"offset", 16, 8},
};

static const struct field bat_fields[] = {
    {"bat[0]", HANDMADE_BAT, 4},
    {"bat[1]", HANDMADE_BAT + 4, 4},
    {"bat[2]", HANDMADE_BAT + 8, 4},
    {"bat[last]", HANDMADE_BAT + 12, 4},
    {"bat[padding]", HANDMADE_BAT + 16, 4},
};

/* Interesting in themselves; `before` is the field's value, `len` the file's size. */
static size_t boundary_values(uint64_t before, uint64_t len, uint64_t *out)
{
	static const uint64_t fixed[] = {
	    0,
	    1,
	    2,
	    3,
	    4,
	    5,
	    7,
	    8,
	    15,
	    16,
	    127,
	    128,
	    255,
	    256,
	    511,
	    512,
	    513,
	    1023,
	    1024,
	    1535,
	    1536,
	    1537,
	    2048,
	    4095,
	    4096,
	    0x7fff,
	    0x8000,
	    0xffff,
	    0x10000,
	    0x10001,
	    0x1ffff,
	    0x20000,
	    0xfffff,
	    0x100000,
	    0x1fffff,
	    0x200000,
	    0xffffff,
	    0x1000000,
	    0x7fffffff,
	    0x80000000,
	    0x80000001,
	    0xfffffe00,
	    0xfffffffe,
	    0xffffffff,
	    0x100000000,
	    0x100000001,
	    0x1fffffffe00,
	    1ull << 40,
	    2040ull << 30,
	    (2040ull << 30) + 512,
	    1ull << 62,
	    INT64_MAX,
	    1ull << 63,
	    UINT64_MAX - 511,
	    UINT64_MAX - 1,
	    UINT64_MAX,
	};
	size_t count = 0;

	for (size_t i = 0; i < ARRAY_LEN(fixed); i++)
		out[count++] = fixed[i];
	for (int64_t d = -512; d <= 512; d += 512) {
		out[count++] = before + (uint64_t)d;
		out[count++] = len + (uint64_t)d;
		out[count++] = (len + (uint64_t)d) / DISK_SECTOR;
	}
	out[count++] = before - 1;
	out[count++] = before + 1;
	out[count++] = before * 2;
	out[count++] = before / 2;
	out[count++] = before ^ 0x80;
	return count;
}

#define MAX_VALUES 80

static uint64_t get_field(const uint8_t *at, unsigned bytes)
{
	uint64_t value = 0;

	while (bytes--)
		value = value << 8 | *at++;
	return value;
}

static void put_field(uint8_t *at, unsigned bytes, uint64_t value)
{
	while (bytes--) {
		at[bytes] = (uint8_t)value;
		value >>= 8;
	}
}

/* ---- one image ---- */

struct bench {
	struct mem_ns *parents; /* what stands beside each image */
	unsigned images, opened;
	char what[120];
};

/* An error must say something, and it must not be that memory ran out. */
static bool refused(struct bench *bench, enum err err, const struct err_why *why)
{
	if (!err)
		return false;
	cr_assert(why->text[0] && why->code == err, "%s: error without a text", bench->what);
	cr_assert_neq(err, ERR_NOMEM, "%s: takes more than its budget: %s", bench->what, why->text);
	return true;
}

static void look(struct bench *bench, struct vhd_open_opts *opts)
{
	struct vhd_report report = {0};
	struct vhd_info info;
	struct err_why why = {0};
	struct disk *disk;

	if (!refused(bench, vhd_inspect(PATH, opts, &info, &why), &why))
		vhd_info_free(&info);
	if (!refused(bench, vhd_check(PATH, opts, NULL, &report, &why), &why))
		vhd_report_free(&report);
	if (refused(bench, vhd_open(PATH, opts, &disk, &why), &why))
		return;
	bench->opened++;
	fuzz_walk(disk);
	cr_assert_eq(disk_close(disk, NULL), ERR_OK, "%s", bench->what);
}

static void write_to(struct bench *bench, struct vhd_open_opts *opts)
{
	static const uint8_t sector[DISK_SECTOR] = {1};
	struct err_why why = {0};
	struct disk *disk;

	opts->writable = true;
	if (refused(bench, vhd_open(PATH, opts, &disk, &why), &why))
		return;
	refused(bench, disk_write(disk, exercise_queue(), sector, 0, DISK_SECTOR, &why), &why);
	refused(bench, disk_close(disk, &why), &why);
}

static void try_image(struct bench *bench, const struct handmade *image)
{
	struct mem_ns *ns = mem_ns_clone(bench->parents);
	struct vhd_open_opts opts = {.ns = mem_ns_base(ns)};
	uint8_t *after = malloc(image->len);

	mem_ns_put(ns, PATH, image->bytes, image->len);
	look(bench, &opts);
	cr_assert(after);
	mem_ns_get(ns, PATH, 0, after, image->len);
	cr_assert(!memcmp(after, image->bytes, image->len), "%s: reading wrote", bench->what);
	write_to(bench, &opts);
	bench->images++;
	free(after);
	mem_ns_free(ns);
}

/* ---- all values of all fields ---- */

enum place { TRAILING = 1, COPY = 2, HEADER = 4 };

static void seal(struct handmade *image, unsigned places)
{
	if (places & TRAILING)
		handmade_seal_footer(image->bytes + handmade_footer_off(image));
	if (places & COPY)
		handmade_seal_footer(image->bytes);
	if (places & HEADER)
		handmade_seal_header(image->bytes + HANDMADE_FOOTER);
}

static void put_everywhere(struct handmade *image, const struct field *field, unsigned places,
			   uint64_t value)
{
	if (places & TRAILING)
		put_field(image->bytes + image->len - HANDMADE_FOOTER + field->off, field->bytes,
			  value);
	if (places & COPY)
		put_field(image->bytes + field->off, field->bytes, value);
	if (places & HEADER)
		put_field(image->bytes + HANDMADE_FOOTER + field->off, field->bytes, value);
	if (!places)
		put_field(image->bytes + field->off, field->bytes, value);
}

static void try_field(struct bench *bench, const struct handmade *base, const struct field *field,
		      unsigned places)
{
	size_t at = field->off;
	uint64_t values[MAX_VALUES];
	uint64_t before;
	size_t count;

	if (places & TRAILING)
		at += base->len - HANDMADE_FOOTER;
	else if (places & HEADER)
		at += HANDMADE_FOOTER;
	before = get_field(base->bytes + at, field->bytes);
	count = boundary_values(before, base->len, values);
	for (size_t i = 0; i < count; i++) {
		struct handmade image;

		if (field->bytes < 8 && values[i] >> (8 * field->bytes))
			continue;
		image = handmade_copy(base);
		put_everywhere(&image, field, places, values[i]);
		seal(&image, places);
		snprintf(bench->what, sizeof(bench->what), "%s (places %u) = %#llx", field->name,
			 places, (unsigned long long)values[i]);
		try_image(bench, &image);
		handmade_free(&image);
	}
}

/* Memory is bounded by the system; sanitizers reserve address space of their own. */
static void bound_memory(void)
{
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	struct rlimit limit;
	unsigned long long pages = 0;
	FILE *statm = fopen("/proc/self/statm", "r");

	exercise_queue();
	cr_assert(statm && fscanf(statm, "%llu", &pages) == 1);
	fclose(statm);
	limit.rlim_cur = limit.rlim_max =
	    pages * (unsigned long long)sysconf(_SC_PAGESIZE) + BUDGET + HARNESS;
	cr_assert_eq(setrlimit(RLIMIT_AS, &limit), 0);
#endif
}

static void start(struct bench *bench)
{
	struct handmade parent = fuzz_base_image(FUZZ_DYNAMIC);

	*bench = (struct bench){.parents = mem_ns_new()};
	mem_ns_put(bench->parents, PARENT, parent.bytes, parent.len);
	handmade_free(&parent);
	bound_memory();
}

static void finish(struct bench *bench, unsigned at_least)
{
	cr_log_info("%u images, %u opened", bench->images, bench->opened);
	cr_expect_geq(bench->images, at_least);
	cr_expect_gt(bench->opened, 0, "nothing opened: the base images are wrong");
	mem_ns_free(bench->parents);
}

static void try_footers(enum fuzz_base base)
{
	struct handmade image = fuzz_base_image(base);
	struct bench bench;

	start(&bench);
	for (size_t i = 0; i < ARRAY_LEN(footer_fields); i++) {
		try_field(&bench, &image, &footer_fields[i], TRAILING);
		if (base == FUZZ_FIXED)
			continue;
		try_field(&bench, &image, &footer_fields[i], COPY);
		try_field(&bench, &image, &footer_fields[i], TRAILING | COPY);
	}
	finish(&bench, base == FUZZ_FIXED ? 600 : 1800);
	handmade_free(&image);
}

static void try_headers(enum fuzz_base base)
{
	struct handmade image = fuzz_base_image(base);
	struct bench bench;

	start(&bench);
	for (size_t i = 0; i < ARRAY_LEN(header_fields); i++)
		try_field(&bench, &image, &header_fields[i], HEADER);
	for (size_t i = 0; i < ARRAY_LEN(bat_fields); i++)
		try_field(&bench, &image, &bat_fields[i], 0);
	finish(&bench, 700);
	handmade_free(&image);
}

Test(vhd_malformed, fixed_footer)
{
	try_footers(FUZZ_FIXED);
}

Test(vhd_malformed, dynamic_footers)
{
	try_footers(FUZZ_DYNAMIC);
}

Test(vhd_malformed, child_footers)
{
	try_footers(FUZZ_CHILD);
}

Test(vhd_malformed, dynamic_header_and_bat)
{
	try_headers(FUZZ_DYNAMIC);
}

Test(vhd_malformed, child_header_and_bat)
{
	try_headers(FUZZ_CHILD);
}

Test(vhd_malformed, locators)
{
	struct handmade image = fuzz_base_image(FUZZ_CHILD);
	struct bench bench;

	start(&bench);
	for (unsigned slot = 0; slot < 8; slot += 7) {
		for (size_t i = 0; i < ARRAY_LEN(locator_fields); i++) {
			struct field field = locator_fields[i];

			field.off += HEADER_LOCATOR + 24 * (size_t)slot;
			memcpy(image.bytes + HANDMADE_FOOTER + HEADER_LOCATOR + 24 * (size_t)slot,
			       "W2ru", 4);
			try_field(&bench, &image, &field, HEADER);
		}
	}
	finish(&bench, 400);
	handmade_free(&image);
}

Test(vhd_malformed, cut_off_anywhere)
{
	struct bench bench;

	start(&bench);
	for (enum fuzz_base base = FUZZ_FIXED; base <= FUZZ_CHILD; base++) {
		struct handmade image = fuzz_base_image(base);
		size_t whole = image.len;

		for (image.len = 0; image.len < whole; image.len += image.len < 4608 ? 127 : 4093) {
			snprintf(bench.what, sizeof(bench.what), "base %d cut to %zu bytes",
				 (int)base, image.len);
			try_image(&bench, &image);
		}
		image.len = whole;
		try_image(&bench, &image);
		handmade_free(&image);
	}
	finish(&bench, 200);
}

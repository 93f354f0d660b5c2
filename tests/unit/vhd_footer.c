/* SPDX-License-Identifier: MIT */
/* The footer: its codec, every rule of its validation, and which of the two counts. */
#include <criterion/criterion.h>
#include <string.h>

#include "tests/lib/random.h"
#include "tests/unit/vhd_lab.h"
#include "vhd/footer.h"

#define F_CHECKSUM 64

static struct vlab lab;

static void start(void)
{
	vlab_start(&lab);
}

static void stop(void)
{
	vlab_stop(&lab);
}

TestSuite(vhd_footer, .init = start, .fini = stop);

static void valid(uint8_t bytes[FOOTER_BYTES])
{
	struct vhd_footer footer;

	footer_init(&footer, VHD_DYNAMIC, 64 * MIB);
	footer_encode(&footer, bytes);
}

static enum err decode_with(unsigned at, unsigned width, uint64_t value, struct err_why *why)
{
	uint8_t bytes[FOOTER_BYTES], be[8];
	struct vhd_footer footer;

	valid(bytes);
	put_be64(be, value);
	memcpy(bytes + at, be + 8 - width, width);
	put_be32(bytes + F_CHECKSUM, vhd_checksum(bytes, FOOTER_BYTES, F_CHECKSUM));
	return footer_decode(bytes, 0x1200, &footer, why);
}

/* ---- the codec ---- */

Test(vhd_footer, decoded_bytes_encode_to_themselves)
{
	static const enum vhd_type types[] = {VHD_FIXED, VHD_DYNAMIC, VHD_DIFFERENCING};
	struct rng rng = rng_seed(1);

	for (unsigned round = 0; round < 500; round++) {
		uint8_t in[FOOTER_BYTES], out[FOOTER_BYTES];
		struct vhd_footer footer;
		struct err_why why = {0};

		rng_fill(&rng, in, sizeof(in));
		memcpy(in, "conectix", 8);
		put_be32(in + 12, 0x00010000 | (uint32_t)rng_below(&rng, 16));
		put_be64(in + 48, rng_between(&rng, 1, VHD_MAX_SIZE / 512) * 512);
		put_be32(in + 60, types[rng_below(&rng, 3)]);
		in[84] &= 1;
		put_be32(in + F_CHECKSUM, vhd_checksum(in, FOOTER_BYTES, F_CHECKSUM));
		cr_assert_eq(footer_decode(in, 0, &footer, &why), ERR_OK, "%s", why.text);
		footer_encode(&footer, out);
		cr_assert_arr_eq(in, out, sizeof(in), "reserved bytes are kept, too");
	}
}

Test(vhd_footer, encoded_fields_decode_to_themselves)
{
	struct vhd_footer in, out;
	uint8_t bytes[FOOTER_BYTES];

	footer_init(&in, VHD_FIXED, 5 * GIB);
	in.features = 3;
	in.version = 0x00010002;
	in.timestamp = 0x12345678;
	in.creator_version = 0x00060003;
	memcpy(in.creator_app, "tap\0", 4);
	memcpy(in.creator_host, "Mac ", 4);
	in.original_bytes = 4 * GIB;
	in.saved_state = 1;
	footer_encode(&in, bytes);
	cr_assert_eq(footer_decode(bytes, 0, &out, NULL), ERR_OK);
	cr_expect_eq(out.features, in.features);
	cr_expect_eq(out.version, in.version);
	cr_expect_eq(out.data_off, UINT64_MAX);
	cr_expect_eq(out.timestamp, in.timestamp);
	cr_expect_arr_eq(out.creator_app, "tap\0", 4);
	cr_expect_eq(out.creator_version, in.creator_version);
	cr_expect_arr_eq(out.creator_host, "Mac ", 4);
	cr_expect_eq(out.original_bytes, in.original_bytes);
	cr_expect_eq(out.current_bytes, 5 * GIB);
	cr_expect_eq(out.cylinders, in.cylinders);
	cr_expect_eq(out.heads, in.heads);
	cr_expect_eq(out.sectors, in.sectors);
	cr_expect_eq(out.type, VHD_FIXED);
	cr_expect(guid_equal(&out.uuid, &in.uuid));
	cr_expect_eq(out.saved_state, 1);
}

Test(vhd_footer, checksum_is_the_complement_of_the_sum_without_its_own_field)
{
	uint8_t bytes[FOOTER_BYTES] = {0};

	cr_expect_eq(vhd_checksum(bytes, sizeof(bytes), 64), 0xffffffffu);
	bytes[0] = 1;
	bytes[511] = 2;
	memset(bytes + 64, 0xff, 4);
	cr_expect_eq(vhd_checksum(bytes, sizeof(bytes), 64), ~3u);
	bytes[63] = 1;
	bytes[68] = 1;
	cr_expect_eq(vhd_checksum(bytes, sizeof(bytes), 64), ~5u);
}

Test(vhd_footer, two_new_footers_have_different_uuids)
{
	struct vhd_footer a, b;

	footer_init(&a, VHD_FIXED, MIB);
	footer_init(&b, VHD_FIXED, MIB);
	cr_expect(!guid_equal(&a.uuid, &b.uuid));
	cr_expect(!guid_is_zero(&a.uuid));
}

/* ---- geometry ---- */

Test(vhd_footer, geometry_is_what_windows_and_the_others_store)
{
	/* sizes and values from footers made by Windows, Virtual PC, VirtualBox, QEMU, XenServer */
	static const struct {
		uint64_t size;
		unsigned cylinders, heads, sectors;
	} known[] = {
	    {104448, 3, 4, 17},
	    {1079296, 31, 4, 17},
	    {2123776, 61, 4, 17},
	    {3145728, 90, 4, 17},
	    {4212736, 121, 4, 17},
	    {10485760, 301, 4, 17},
	    {41943040, 963, 5, 17},
	    {41953280, 964, 5, 17},
	    {209715200, 825, 16, 31},
	    {536870912, 1040, 16, 63},
	    {1073741824, 2080, 16, 63},
	    {136365211648, 65278, 16, 255},
	    /* the ends: no whole track, and the largest there is */
	    {512, 0, 4, 17},
	    {VHD_MAX_SIZE, 65535, 16, 255},
	    {65535ull * 16 * 255 * 512, 65535, 16, 255},
	};

	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		uint16_t cylinders;
		uint8_t heads, sectors;

		vhd_geometry(known[i].size, &cylinders, &heads, &sectors);
		cr_expect(cylinders == known[i].cylinders && heads == known[i].heads &&
			      sectors == known[i].sectors,
			  "%llu bytes: %u/%u/%u", (unsigned long long)known[i].size, cylinders,
			  heads, sectors);
	}
}

Test(vhd_footer, geometry_never_passes_the_size)
{
	struct rng rng = rng_seed(2);

	for (unsigned round = 0; round < 20000; round++) {
		uint64_t size =
		    rng_between(&rng, 1, VHD_MAX_SIZE >> rng_below(&rng, 24)) / 512 * 512;
		uint16_t cylinders;
		uint8_t heads, sectors;

		vhd_geometry(size, &cylinders, &heads, &sectors);
		uint64_t product = (uint64_t)cylinders * heads * sectors * 512;
		cr_assert_leq(product, size);
		cr_assert_leq(heads, 16);
		/* less than a cylinder is lost, unless the format's end was met */
		if (size < 65535ull * 16 * 255 * 512)
			cr_assert_lt(size - product, 512ull * heads * sectors);
	}
}

/* ---- rules (robustness.md section 4, Footer) ---- */

Test(vhd_footer, refuses_another_cookie)
{
	struct err_why why = {0};

	cr_expect_eq(decode_with(0, 1, 'C', &why), ERR_CORRUPT);
	cr_expect(strstr(why.text, "cookie") && strstr(why.text, "0x1200"), "%s", why.text);
}

Test(vhd_footer, refuses_a_bad_checksum)
{
	uint8_t bytes[FOOTER_BYTES];
	struct vhd_footer footer;

	for (unsigned at = 0; at < FOOTER_BYTES; at++) {
		struct err_why why = {0};

		valid(bytes);
		bytes[at] ^= 0x10;
		cr_assert_eq(footer_decode(bytes, 0, &footer, &why), ERR_CORRUPT, "byte %u", at);
		cr_assert(strstr(why.text, at < 8 ? "cookie" : "checksum at +64"), "%s", why.text);
	}
}

Test(vhd_footer, knows_version_1_only)
{
	struct err_why why = {0};

	cr_expect_eq(decode_with(12, 4, 0x00010005, NULL), ERR_OK);
	cr_expect_eq(decode_with(12, 4, 0x00020000, &why), ERR_UNSUPPORTED);
	cr_expect(strstr(why.text, "version 2.0"), "%s", why.text);
	cr_expect_eq(decode_with(12, 4, 0, NULL), ERR_UNSUPPORTED);
}

Test(vhd_footer, knows_three_types)
{
	for (uint32_t type = 0; type < 9; type++) {
		struct err_why why = {0};
		enum err err = decode_with(60, 4, type, &why);

		cr_expect_eq(err, type >= 2 && type <= 4 ? ERR_OK : ERR_UNSUPPORTED, "type %u",
			     type);
		cr_expect(!err || strstr(why.text, "disk type"), "%s", why.text);
	}
	cr_expect_eq(decode_with(60, 4, 0x80000003u, NULL), ERR_UNSUPPORTED);
}

Test(vhd_footer, size_is_whole_sectors_up_to_2040_gib)
{
	struct err_why why = {0};

	cr_expect_eq(decode_with(48, 8, 512, NULL), ERR_OK);
	cr_expect_eq(decode_with(48, 8, VHD_MAX_SIZE, NULL), ERR_OK);
	cr_expect_eq(decode_with(48, 8, 0, &why), ERR_CORRUPT);
	cr_expect(strstr(why.text, "current size 0 at +48"), "%s", why.text);
	cr_expect_eq(decode_with(48, 8, 511, NULL), ERR_CORRUPT);
	cr_expect_eq(decode_with(48, 8, 513, NULL), ERR_CORRUPT);
	cr_expect_eq(decode_with(48, 8, VHD_MAX_SIZE + 512, NULL), ERR_CORRUPT);
	cr_expect_eq(decode_with(48, 8, UINT64_MAX, NULL), ERR_CORRUPT);
	cr_expect_eq(decode_with(48, 8, UINT64_MAX - 511, NULL), ERR_CORRUPT);
}

Test(vhd_footer, original_size_and_geometry_are_not_asked)
{
	cr_expect_eq(decode_with(40, 8, 12345, NULL), ERR_OK);
	cr_expect_eq(decode_with(56, 4, 0xffff10ff, NULL), ERR_OK);
	cr_expect_eq(decode_with(56, 4, 0, NULL), ERR_OK);
}

Test(vhd_footer, saved_state_is_0_or_1)
{
	struct err_why why = {0};

	cr_expect_eq(decode_with(84, 1, 1, NULL), ERR_OK);
	cr_expect_eq(decode_with(84, 1, 2, &why), ERR_CORRUPT);
	cr_expect(strstr(why.text, "saved state 2 at +84"), "%s", why.text);
}

/* ---- the footer and the file ---- */

Test(vhd_footer, fixed_size_must_fit_before_the_footer)
{
	vlab_create(&lab, "f", VHD_FIXED, MIB, NULL);
	vlab_set_footers(&lab, "f", 48, 8, MIB - 512);
	cr_expect_eq(vlab_probe(&lab, "f", false), ERR_OK, "%s", lab.why.text);
	vlab_set_footers(&lab, "f", 48, 8, MIB + 512);
	cr_expect_eq(vlab_probe(&lab, "f", false), ERR_CORRUPT);
	cr_expect(vlab_said(&lab, "current size") && vlab_said(&lab, "fixed"), "%s", lab.why.text);
	vlab_set_footers(&lab, "f", 48, 8, VHD_MAX_SIZE);
	cr_expect_eq(vlab_probe(&lab, "f", true), ERR_CORRUPT);
}

Test(vhd_footer, data_offset_is_a_sector_clear_of_the_footers)
{
	static const uint64_t bad[] = {
	    0, 511, 513, 0xffffffffull, UINT64_MAX, UINT64_MAX - 511, INT64_MAX, 1ull << 40};
	vlab_create(&lab, "d", VHD_DYNAMIC, MIB, NULL);

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		vlab_set_footers(&lab, "d", 16, 8, bad[i]);
		cr_expect_eq(vlab_probe(&lab, "d", false), ERR_CORRUPT, "data offset %llx",
			     (unsigned long long)bad[i]);
		cr_expect(vlab_said(&lab, "data offset") && vlab_said(&lab, "+16"), "%s",
			  lab.why.text);
	}
	/* the header would reach into the trailing footer */
	vlab_set_footers(&lab, "d", 16, 8, vlab_size(&lab, "d") - FOOTER_BYTES - 512);
	cr_expect_eq(vlab_probe(&lab, "d", false), ERR_CORRUPT);
	vlab_set_footers(&lab, "d", 16, 8, 512);
	cr_expect_eq(vlab_probe(&lab, "d", false), ERR_OK);
}

Test(vhd_footer, a_fixed_disks_32_bit_all_ones_pointer_is_a_legacy_quirk)
{
	vlab_create(&lab, "f", VHD_FIXED, MIB, NULL);
	vlab_set_footers(&lab, "f", 16, 8, 0xffffffff);
	cr_expect_eq(vlab_probe(&lab, "f", true), ERR_OK, "%s", lab.why.text);
}

Test(vhd_footer, a_fixed_disks_first_sector_is_never_parsed)
{
	struct vhd_footer forged;
	uint8_t bytes[FOOTER_BYTES];
	struct disk_info info;

	vlab_create(&lab, "f", VHD_FIXED, MIB, NULL);
	footer_init(&forged, VHD_DYNAMIC, 2 * MIB);
	footer_encode(&forged, bytes);
	vlab_put(&lab, "f", 0, bytes, sizeof(bytes));
	struct disk *disk = vlab_open(&lab, "f", true);
	disk_get_info(disk, &info);
	cr_expect_eq(info.size_bytes, MIB);
	vlab_close(disk);
	uint8_t after[FOOTER_BYTES];
	vlab_get(&lab, "f", 0, after, sizeof(after));
	cr_expect_arr_eq(after, bytes, sizeof(bytes), "a guest's data stays as it was");
}

Test(vhd_footer, the_trailing_one_counts_when_both_are_valid)
{
	vlab_create(&lab, "d", VHD_DYNAMIC, MIB, NULL);
	uint64_t end = vlab_size(&lab, "d") - FOOTER_BYTES;
	vlab_put64(&lab, "d", end + 48, MIB / 2);
	vlab_mend(&lab, "d", end, false);
	struct vhd_layer *layer = vlab_layer(&lab, "d");
	cr_expect_eq(layer->size_bytes, MIB / 2);
	cr_expect(layer->trailing_ok);
	layer_close(layer, NULL);
}

Test(vhd_footer, the_copy_counts_when_the_trailing_one_is_damaged)
{
	vlab_create(&lab, "d", VHD_DYNAMIC, MIB, NULL);
	vlab_put32(&lab, "d", vlab_size(&lab, "d") - FOOTER_BYTES + 100, 0xdeadbeef);
	struct vhd_layer *layer = vlab_layer(&lab, "d");
	cr_expect_eq(layer->size_bytes, MIB);
	cr_expect(!layer->trailing_ok);
	layer_close(layer, NULL);
	cr_expect_eq(vlab_probe(&lab, "d", false), ERR_OK);
}

Test(vhd_footer, a_damaged_copy_does_not_matter_to_readers)
{
	vlab_create(&lab, "d", VHD_DYNAMIC, MIB, NULL);
	vlab_put32(&lab, "d", 100, 0xdeadbeef);
	cr_expect_eq(vlab_probe(&lab, "d", false), ERR_OK, "%s", lab.why.text);
}

Test(vhd_footer, both_damaged_is_refused_with_both_reasons)
{
	vlab_create(&lab, "d", VHD_DYNAMIC, MIB, NULL);
	vlab_put32(&lab, "d", vlab_size(&lab, "d") - FOOTER_BYTES + 100, 1);
	vlab_put32(&lab, "d", 100, 1);
	cr_expect_eq(vlab_probe(&lab, "d", true), ERR_CORRUPT);
	cr_expect(vlab_said(&lab, "checksum") && vlab_said(&lab, "0x0"), "%s", lab.why.text);
}

Test(vhd_footer, two_valid_footers_of_different_disks_are_refused)
{
	vlab_create(&lab, "d", VHD_DYNAMIC, MIB, NULL);
	vlab_put32(&lab, "d", 68, 0x12345678);
	vlab_mend(&lab, "d", 0, false);
	cr_expect_eq(vlab_probe(&lab, "d", false), ERR_CORRUPT);
	cr_expect(vlab_said(&lab, "differ in type or UUID"), "%s", lab.why.text);

	vlab_create(&lab, "e", VHD_DYNAMIC, MIB, NULL);
	vlab_put32(&lab, "e", 60, VHD_DIFFERENCING);
	vlab_mend(&lab, "e", 0, false);
	cr_expect_eq(vlab_probe(&lab, "e", true), ERR_CORRUPT);
}

Test(vhd_footer, a_copy_that_says_fixed_is_not_one)
{
	vlab_create(&lab, "d", VHD_DYNAMIC, MIB, NULL);
	vlab_set_footers(&lab, "d", 60, 4, VHD_FIXED);
	vlab_truncate(&lab, "d", vlab_size(&lab, "d") - FOOTER_BYTES);
	cr_expect_eq(vlab_probe(&lab, "d", false), ERR_CORRUPT);
	cr_expect(vlab_said(&lab, "fixed"), "%s", lab.why.text);
}

Test(vhd_footer, vhdx_is_refused_by_name)
{
	uint8_t bytes[4096] = "vhdxfile";

	mem_ns_put(lab.mem, "x.vhdx", bytes, sizeof(bytes));
	cr_expect_eq(vlab_probe(&lab, "x.vhdx", false), ERR_UNSUPPORTED);
	cr_expect(vlab_said(&lab, "VHDX"), "%s", lab.why.text);
	cr_expect_eq(err_exit_code(ERR_UNSUPPORTED), 63);
}

/* Whatever the length: an error with a text, and no byte written. */
Test(vhd_footer, short_files_of_any_length_are_refused)
{
	uint8_t bytes[2100];

	vlab_create(&lab, "d", VHD_DYNAMIC, MIB, NULL);
	vlab_get(&lab, "d", 0, bytes, sizeof(bytes));
	for (size_t len = 0; len <= sizeof(bytes); len++) {
		mem_ns_put(lab.mem, "s", bytes, len);
		enum err err = vlab_probe(&lab, "s", true);

		if (len >= 512 + 1024 + 512)
			continue; /* header and table are there: that opens by the copy */
		cr_assert_eq(err, ERR_CORRUPT, "%zu bytes", len);
		cr_assert(*lab.why.text, "%zu bytes: no text", len);
		cr_assert_eq(vlab_size(&lab, "s"), len);
	}
}

/* ---- footers of 511 bytes ---- */

/* Cut the last byte, as writers did before Virtual PC 2004. */
static void make_legacy(const char *path)
{
	vlab_truncate(&lab, path, vlab_size(&lab, path) - 1);
}

Test(vhd_footer, a_511_byte_footer_is_read)
{
	vlab_create(&lab, "f", VHD_FIXED, MIB, NULL);
	make_legacy("f");
	struct vhd_layer *layer = vlab_layer(&lab, "f");
	cr_expect(layer->legacy_footer);
	cr_expect_eq(layer->footer_off, MIB);
	cr_expect_eq(layer->size_bytes, MIB);
	layer_close(layer, NULL);
	cr_expect_eq(vlab_probe(&lab, "f", false), ERR_OK);
	cr_expect_eq(vlab_size(&lab, "f"), MIB + FOOTER_LEGACY_BYTES, "reading changes nothing");
}

Test(vhd_footer, a_511_byte_footer_is_widened_by_a_writer)
{
	static const enum vhd_type types[] = {VHD_FIXED, VHD_DYNAMIC};

	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		vlab_create(&lab, i ? "d" : "f", types[i], MIB, NULL);
		uint64_t size = vlab_size(&lab, i ? "d" : "f");
		make_legacy(i ? "d" : "f");
		struct disk *disk = vlab_open(&lab, i ? "d" : "f", true);
		vlab_write(disk, 4096, 4096, 5);
		vlab_close(disk);
		struct vhd_layer *layer = vlab_layer(&lab, i ? "d" : "f");
		cr_expect(!layer->legacy_footer);
		cr_expect(layer->trailing_ok);
		if (types[i] == VHD_FIXED)
			cr_expect_eq(vlab_size(&lab, "f"), size);
		layer_close(layer, NULL);
		cr_expect_eq(vlab_tag_of(&lab, i ? "d" : "f", 4096), 5);
	}
}

/* ---- fixtures ---- */

static void check_fixture(const char *fixture)
{
	uint8_t bytes[FOOTER_BYTES], again[FOOTER_BYTES];
	struct vhd_footer footer;
	struct err_why why = {0};
	uint16_t cylinders;
	uint8_t heads, sectors;

	vlab_fixture(&lab, fixture, "fixture");
	vlab_get(&lab, "fixture", vlab_size(&lab, "fixture") - FOOTER_BYTES, bytes, sizeof(bytes));
	cr_assert_eq(footer_decode(bytes, 0, &footer, &why), ERR_OK, "%s: %s", fixture, why.text);
	footer_encode(&footer, again);
	cr_expect_arr_eq(bytes, again, sizeof(bytes), "%s", fixture);
	vhd_geometry(footer.current_bytes, &cylinders, &heads, &sectors);
	cr_expect(cylinders == footer.cylinders && heads == footer.heads &&
		      sectors == footer.sectors,
		  "%s: %u/%u/%u", fixture, cylinders, heads, sectors);
}

Test(vhd_footer, footers_of_other_products_are_read_and_written_back)
{
	check_fixture("footers/libvhdi-file-footer.bin");
	check_fixture("footers/nodevhd-footer.bin");
	check_fixture("footers/vhdruby-fixed-footer.bin");
	check_fixture("govhd-vbox.vhd");
	check_fixture("govhd-xapi.vhd");
	check_fixture("govhd-qemu.vhd");
	check_fixture("govhd-win8-chain/win8-child.vhd");
	check_fixture("qemu-virtualpc-dynamic.vhd");
	check_fixture("vhdforensic-original-size-mismatch.vhd");
}

Test(vhd_footer, a_truncated_image_found_by_a_fuzzer_is_refused)
{
	vlab_fixture(&lab, "qemu-afl5.img", "afl5");
	cr_expect_eq(vlab_probe(&lab, "afl5", true), ERR_CORRUPT);
	cr_expect(*lab.why.text);
}

Test(vhd_footer, a_tar_archive_that_starts_with_the_cookie_is_refused)
{
	vlab_fixture(&lab, "not-vhd/conectix.txt_ustar.tar", "tar");
	cr_expect_eq(vlab_probe(&lab, "tar", true), ERR_CORRUPT);
	cr_expect(vlab_said(&lab, "checksum"), "%s", lab.why.text);
}

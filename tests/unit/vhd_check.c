/* SPDX-License-Identifier: MIT */
/* Check and repair: what is found, what is mended, and that nothing else is touched. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/vhd_lab.h"
#include "vhd/header.h"
#include "vhd/intent.h"

#define F_CREATOR   28u /* offsets in the footer */
#define F_ORIGINAL  40u
#define F_CURRENT   48u
#define F_GEOMETRY  56u
#define F_CHECKSUM  64u
#define F_UUID      68u
#define F_SAVED     84u
#define H_TABLE_OFF 16u /* in the header */
#define H_ENTRIES   28u
#define H_BLOCK     32u
#define H_CHECKSUM  36u
#define H_LOCATORS  576u

#define BLOCKS 8u
#define SIZE   (BLOCKS * VHD_MIN_BLOCK)

static struct vlab lab;
static struct vhd_report report;

static void start(void)
{
	vlab_start(&lab);
	vlab_create(&lab, "disk", VHD_DYNAMIC, SIZE, NULL);
	struct disk *disk = vlab_open(&lab, "disk", true);
	for (uint64_t i = 0; i < 4; i++)
		vlab_write(disk, i * VHD_MIN_BLOCK, 4096, i + 1);
	vlab_close(disk);
}

static void stop(void)
{
	vhd_report_free(&report);
	vlab_stop(&lab);
}

TestSuite(vhd_check, .init = start, .fini = stop);

/* ---- asking ---- */

static uint8_t *content(const char *path, uint64_t *len)
{
	*len = vlab_size(&lab, path);
	uint8_t *bytes = malloc(*len + 1);

	cr_assert_not_null(bytes);
	vlab_get(&lab, path, 0, bytes, *len);
	return bytes;
}

/* The verdict; checks that checking writes nothing. */
static enum err check(const char *path)
{
	struct vhd_open_opts opts = {.ns = lab.ns};
	uint64_t len, len_after;
	uint8_t *before = content(path, &len);

	vhd_report_free(&report);
	lab.why = (struct err_why){0};
	enum err err = vhd_check(path, &opts, NULL, &report, &lab.why);
	uint8_t *after = content(path, &len_after);
	cr_assert(len == len_after && memcmp(before, after, len) == 0, "check wrote to the file");
	free(before);
	free(after);
	return err ? err : vhd_report_result(&report);
}

static void repair(const char *path)
{
	struct vhd_open_opts opts = {.ns = lab.ns};

	vhd_report_free(&report);
	lab.why = (struct err_why){0};
	cr_assert_eq(vhd_repair(path, &opts, &report, &lab.why), ERR_OK, "%s", lab.why.text);
}

static const struct vhd_finding *find(const char *field)
{
	for (size_t i = 0; i < report.count; i++) {
		if (strcmp(report.finding[i].field, field) == 0)
			return &report.finding[i];
	}
	return NULL;
}

static void expect(const char *field, enum vhd_finding_kind kind, uint64_t off_bytes)
{
	const struct vhd_finding *finding = find(field);

	cr_assert_not_null(finding, "no finding about %s", field);
	cr_assert_eq(finding->kind, kind, "%s: kind %d", field, finding->kind);
	cr_assert_eq(finding->off_bytes, off_bytes, "%s: at %#llx", field,
		     (unsigned long long)finding->off_bytes);
	cr_assert(*finding->rule);
	cr_assert_eq(*finding->action != 0, kind == FINDING_REPAIRABLE);
}

static void expect_data(void)
{
	for (uint64_t i = 0; i < 4; i++)
		cr_assert_eq(vlab_tag_of(&lab, "disk", i * VHD_MIN_BLOCK), i + 1);
}

static uint64_t footer_off(void)
{
	return vlab_size(&lab, "disk") - FOOTER_BYTES;
}

static uint64_t bat_off(uint32_t idx)
{
	struct vhd_layer *layer = vlab_layer(&lab, "disk");
	uint64_t off = layer_bat_entry_off(layer, idx);

	layer_close(layer, NULL);
	return off;
}

/* ---- nothing wrong ---- */

Test(vhd_check, is_content_with_images_of_our_own)
{
	vlab_create(&lab, "fixed", VHD_FIXED, MIB, NULL);
	vlab_create(&lab, "child", VHD_DIFFERENCING, 0, "disk");
	const char *const path[] = {"disk", "fixed", "child"};

	for (unsigned i = 0; i < ARRAY_LEN(path); i++) {
		cr_assert_eq(check(path[i]), ERR_OK, "%s", path[i]);
		cr_assert_eq(report.count, 0, "%s: %s", path[i], report.finding[0].rule);
	}
}

ParameterizedTestParameters(vhd_check, is_content_with_real_images)
{
	static char names[][48] = {"dissect-dynamic.vhd",
				   "dissect-fixed.vhd",
				   "govhd-qemu.vhd",
				   "govhd-vbox.vhd",
				   "govhd-xapi.vhd",
				   "dfvfs-ext2.vhd",
				   "govhd-win8-chain/win8.vhd",
				   "nodevhd-dynamic-512M.vhd",
				   "qemu-virtualpc-dynamic.vhd",
				   "vhdforensic-original-size-mismatch.vhd"};

	return cr_make_param_array(char[48], names, ARRAY_LEN(names));
}

ParameterizedTest(char name[48], vhd_check, is_content_with_real_images)
{
	vlab_fixture(&lab, name, "real");
	cr_assert_eq(check("real"), ERR_OK, "%s: %s", name, report.finding[0].rule);
}

Test(vhd_check, finds_a_real_child_with_its_parent)
{
	vlab_fixture(&lab, "govhd-win8-chain/win8.vhd", "win8.vhd");
	vlab_fixture(&lab, "govhd-win8-chain/win8-child.vhd", "win8-child.vhd");
	cr_assert_eq(check("win8-child.vhd"), ERR_OK);
	cr_assert_eq(report.count, 0);
}

Test(vhd_check, never_parses_the_first_sector_of_a_fixed_disk)
{
	uint8_t foreign[FOOTER_BYTES];

	vlab_create(&lab, "fixed", VHD_FIXED, MIB, NULL);
	vlab_get(&lab, "disk", 0, foreign, sizeof(foreign));
	vlab_put(&lab, "fixed", 0, foreign, sizeof(foreign));
	cr_assert_eq(check("fixed"), ERR_OK);
	cr_assert_eq(report.count, 0);
}

Test(vhd_check, notes_are_no_verdict)
{
	vlab_set_footers(&lab, "disk", F_ORIGINAL, 8, SIZE * 2);
	vlab_set_footers(&lab, "disk", F_GEOMETRY, 2, 1);
	vlab_set_footers(&lab, "disk", F_SAVED, 1, 1);
	cr_assert_eq(check("disk"), ERR_OK);
	expect("footer.original_size", FINDING_NOTE, footer_off() + F_ORIGINAL);
	expect("footer.geometry", FINDING_NOTE, footer_off() + F_GEOMETRY);
	expect("footer.saved_state", FINDING_NOTE, footer_off() + F_SAVED);
}

Test(vhd_check, notes_clear_bits_unaligned_data_and_a_long_tail)
{
	uint8_t footer[FOOTER_BYTES], block[VHD_MIN_BLOCK + DISK_SECTOR];
	uint32_t entry = vlab_bat_entry(&lab, "disk", 0), last = vlab_bat_entry(&lab, "disk", 3);
	uint64_t far = footer_off() + 10 * VHD_MIN_BLOCK;

	/* block 3 to a place behind the footer that is not aligned, and far behind it the footer */
	vlab_get(&lab, "disk", last * 512ull, block, sizeof(block));
	vlab_put(&lab, "disk", footer_off() + 512, block, sizeof(block));
	vlab_put32(&lab, "disk", bat_off(3), (uint32_t)(footer_off() / 512) + 1);
	vlab_get(&lab, "disk", 0, footer, sizeof(footer));
	vlab_put(&lab, "disk", far, footer, sizeof(footer));
	vlab_put(&lab, "disk", entry * 512ull, "\xff\x0f", 2);
	cr_assert_eq(check("disk"), ERR_OK);
	expect("bitmap[0]", FINDING_NOTE, entry * 512ull);
	expect("bat[3]", FINDING_NOTE, bat_off(3));
	cr_assert_not_null(find("tail"));
}

/* ---- footers ---- */

Test(vhd_check, mends_a_spoiled_trailing_footer)
{
	vlab_put(&lab, "disk", footer_off() + F_CREATOR, "\x01", 1);
	uint64_t at = footer_off() + F_CHECKSUM;
	cr_assert_eq(check("disk"), ERR_REPAIRABLE);
	expect("footer.checksum", FINDING_REPAIRABLE, at);
	repair("disk");
	expect("footer.checksum", FINDING_REPAIRABLE, at);
	cr_assert_eq(check("disk"), ERR_OK);
	cr_assert_eq(report.count, 0);
	expect_data();
}

Test(vhd_check, mends_a_missing_trailing_footer)
{
	vlab_truncate(&lab, "disk", footer_off() + 100);
	cr_assert_eq(check("disk"), ERR_REPAIRABLE);
	repair("disk");
	cr_assert_eq(check("disk"), ERR_OK);
	expect_data();
}

Test(vhd_check, mends_a_spoiled_copy)
{
	uint8_t copy[FOOTER_BYTES], trailing[FOOTER_BYTES];

	vlab_put(&lab, "disk", 0, "x", 1);
	cr_assert_eq(check("disk"), ERR_REPAIRABLE);
	expect("footer_copy.cookie", FINDING_REPAIRABLE, 0);
	repair("disk");
	vlab_get(&lab, "disk", 0, copy, sizeof(copy));
	vlab_get(&lab, "disk", footer_off(), trailing, sizeof(trailing));
	cr_assert_arr_eq(copy, trailing, sizeof(copy));
	cr_assert_eq(check("disk"), ERR_OK);
	expect_data();
}

Test(vhd_check, mends_a_copy_that_differs)
{
	vlab_put(&lab, "disk", F_CREATOR, "abcd", 4);
	vlab_mend(&lab, "disk", 0, false);
	cr_assert_eq(check("disk"), ERR_REPAIRABLE);
	expect("footer_copy", FINDING_REPAIRABLE, F_CREATOR);
	repair("disk");
	cr_assert_eq(check("disk"), ERR_OK);
}

Test(vhd_check, does_not_choose_between_footers_of_two_disks)
{
	uint64_t len, len_after;

	vlab_put(&lab, "disk", F_UUID, "another disk's", 14);
	vlab_mend(&lab, "disk", 0, false);
	cr_assert_eq(check("disk"), ERR_CORRUPT);
	expect("footer_copy.uuid", FINDING_CORRUPT, F_UUID);
	uint8_t *before = content("disk", &len);
	repair("disk");
	uint8_t *after = content("disk", &len_after);
	cr_assert(len == len_after && memcmp(before, after, len) == 0);
	free(before);
	free(after);
}

Test(vhd_check, goes_on_behind_two_bad_footers)
{
	uint64_t entry = bat_off(1);

	vlab_put32(&lab, "disk", entry, 0);
	vlab_put(&lab, "disk", footer_off() + F_CREATOR, "\x01", 1);
	vlab_put(&lab, "disk", F_CREATOR, "\x01", 1);
	cr_assert_eq(check("disk"), ERR_CORRUPT);
	expect("footer.checksum", FINDING_CORRUPT, footer_off() + F_CHECKSUM);
	expect("footer_copy.checksum", FINDING_CORRUPT, F_CHECKSUM);
	expect("bat[1]", FINDING_CORRUPT, entry);
}

Test(vhd_check, wants_a_fixed_disk_to_be_all_there)
{
	vlab_create(&lab, "fixed", VHD_FIXED, MIB, NULL);
	vlab_set_footers(&lab, "fixed", F_CURRENT, 8, 2 * MIB);
	cr_assert_eq(check("fixed"), ERR_CORRUPT);
	expect("footer.current_size", FINDING_CORRUPT, MIB + F_CURRENT);
}

Test(vhd_check, refuses_vhdx_by_name_and_calls_other_files_corrupt)
{
	mem_ns_put(lab.mem, "x", "vhdxfile", 8);
	cr_assert_eq(check("x"), ERR_UNSUPPORTED);
	cr_assert(vlab_said(&lab, "VHDX"));
	mem_ns_put(lab.mem, "y", "", 0);
	cr_assert_eq(check("y"), ERR_CORRUPT);
	expect("footer.cookie", FINDING_CORRUPT, 0);
}

/* ---- the header ---- */

static void expect_bad_header(unsigned at, unsigned width, uint64_t value, const char *field)
{
	vlab_set_header(&lab, "disk", at, width, value);
	cr_assert_eq(check("disk"), ERR_CORRUPT);
	expect(field, FINDING_CORRUPT, FOOTER_BYTES + at);
}

Test(vhd_check, names_a_bad_block_size)
{
	expect_bad_header(H_BLOCK, 4, 3 << 20, "header.block_size");
}

Test(vhd_check, names_a_short_table)
{
	expect_bad_header(H_ENTRIES, 4, BLOCKS - 1, "header.max_table_entries");
}

Test(vhd_check, names_a_table_over_the_header)
{
	expect_bad_header(H_TABLE_OFF, 8, 512, "header.table_offset");
}

Test(vhd_check, names_a_table_outside_the_file)
{
	vlab_set_header(&lab, "disk", H_TABLE_OFF, 8, 1ull << 40);
	cr_assert_eq(check("disk"), ERR_CORRUPT);
	expect("header.table_offset", FINDING_CORRUPT, FOOTER_BYTES + H_TABLE_OFF);
}

Test(vhd_check, goes_on_behind_a_bad_header_checksum)
{
	uint64_t entry = bat_off(1);

	vlab_put32(&lab, "disk", entry, 0x00ffffff);
	vlab_put(&lab, "disk", FOOTER_BYTES + H_CHECKSUM, "\0\0\0\1", 4);
	cr_assert_eq(check("disk"), ERR_CORRUPT);
	expect("header.checksum", FINDING_CORRUPT, FOOTER_BYTES + H_CHECKSUM);
	expect("bat[1]", FINDING_CORRUPT, entry);
}

/* ---- the BAT ---- */

Test(vhd_check, finds_every_entry_that_leads_astray)
{
	vlab_put32(&lab, "disk", bat_off(1), 0);          /* over the footer's copy */
	vlab_put32(&lab, "disk", bat_off(5), 0x7fffffff); /* past the end */
	cr_assert_eq(check("disk"), ERR_CORRUPT);
	expect("bat[1]", FINDING_CORRUPT, bat_off(1));
	expect("bat[5]", FINDING_CORRUPT, bat_off(5));
}

Test(vhd_check, finds_blocks_that_overlap)
{
	uint64_t len, len_after;

	vlab_put32(&lab, "disk", bat_off(6), vlab_bat_entry(&lab, "disk", 1) + 3);
	vlab_put32(&lab, "disk", bat_off(7), vlab_bat_entry(&lab, "disk", 2));
	cr_assert_eq(check("disk"), ERR_CORRUPT);
	expect("bat[6]", FINDING_CORRUPT, bat_off(6));
	cr_assert(find("bat[2]") || find("bat[7]"));
	uint8_t *before = content("disk", &len);
	repair("disk");
	uint8_t *after = content("disk", &len_after);
	cr_assert(len == len_after && memcmp(before, after, len) == 0, "repair left nothing alone");
	free(before);
	free(after);
}

Test(vhd_check, does_not_place_a_footer_when_an_entry_leads_astray)
{
	uint64_t at = footer_off(), entry = bat_off(1);

	vlab_put(&lab, "disk", at, "x", 1);
	vlab_put32(&lab, "disk", entry, 0x7fffffff);
	cr_assert_eq(check("disk"), ERR_CORRUPT);
	expect("footer.cookie", FINDING_CORRUPT, at);
	expect("bat[1]", FINDING_CORRUPT, entry);
}

Test(vhd_check, clears_entries_past_the_end_of_the_disk)
{
	uint32_t entry = vlab_bat_entry(&lab, "disk", 3);

	/* a smaller disk, so that the table has entries to spare */
	vlab_set_footers(&lab, "disk", F_CURRENT, 8, 3 * VHD_MIN_BLOCK);
	cr_assert_neq(entry, BAT_UNUSED);
	cr_assert_eq(check("disk"), ERR_REPAIRABLE);
	expect("bat[3]", FINDING_REPAIRABLE, bat_off(3));
	repair("disk");
	cr_assert_eq(check("disk"), ERR_OK);
	cr_assert_eq(vlab_bat_entry(&lab, "disk", 3), BAT_UNUSED);
	for (uint64_t i = 0; i < 3; i++)
		cr_assert_eq(vlab_tag_of(&lab, "disk", i * VHD_MIN_BLOCK), i + 1);
}

Test(vhd_check, keeps_a_report_short)
{
	vlab_create(&lab, "many", VHD_DYNAMIC, 3000ull * VHD_MIN_BLOCK, NULL);
	struct vhd_layer *layer = vlab_layer(&lab, "many");
	uint64_t bat = layer_bat_entry_off(layer, 0);
	static uint8_t zeros[3000 * 4];

	layer_close(layer, NULL);
	vlab_put(&lab, "many", bat, zeros, sizeof(zeros));
	cr_assert_eq(check("many"), ERR_CORRUPT);
	cr_assert_eq(report.count, 1000);
	cr_assert_eq(report.suppressed, 2000);
}

/* ---- batmap ---- */

static void start_with_batmap(void)
{
	vlab_fixture(&lab, "govhd-xapi.vhd", "xapi");
	cr_assert_eq(check("xapi"), ERR_OK);
}

Test(vhd_check, drops_a_batmap_whose_checksum_is_wrong)
{
	start_with_batmap();
	vlab_put(&lab, "xapi", 0xa00, "\x80", 1);
	cr_assert_eq(check("xapi"), ERR_REPAIRABLE);
	expect("batmap", FINDING_REPAIRABLE, 0x800);
	repair("xapi");
	cr_assert_eq(check("xapi"), ERR_OK);
}

Test(vhd_check, drops_a_batmap_that_knows_full_blocks_better)
{
	start_with_batmap();
	vlab_put(&lab, "xapi", 0xa00, "\x80", 1); /* block 0 is full, though it is not there */
	vlab_put32(&lab, "xapi", 0x800 + 24, ~0x80u);
	cr_assert_eq(check("xapi"), ERR_REPAIRABLE);
	expect("batmap", FINDING_REPAIRABLE, 0x800);
	repair("xapi");
	cr_assert_eq(check("xapi"), ERR_OK);
}

/* ---- intent record (W19) ---- */

Test(vhd_check, removes_a_stale_intent_record)
{
	mem_ns_put(lab.mem, "disk" INTENT_SUFFIX, "rubbish", 7);
	cr_assert_eq(check("disk"), ERR_REPAIRABLE);
	expect("intent", FINDING_REPAIRABLE, 0);
	repair("disk");
	expect("intent", FINDING_REPAIRABLE, 0);
	cr_assert_eq(check("disk"), ERR_OK);
	cr_assert_eq(vlab_size(&lab, "disk" INTENT_SUFFIX), UINT64_MAX);
}

Test(vhd_check, finishes_what_a_pending_intent_record_says)
{
	/* the record is written, then the first of the changes fails */
	struct fault_rule rule = {.op = FILE_WRITE, .event = EV_INTENT, .nth = 2, .sys_errno = EIO};
	struct vhd_layer *layer = vlab_layer(&lab, "disk");
	struct file *file = NULL;
	uint8_t header[HEADER_BYTES];

	layer->header.parent_timestamp = 0x12345678;
	header_encode(&layer->header, header);
	struct intent intent = {.uuid = layer->footer.uuid,
				.count = 1,
				.write = {{FOOTER_BYTES, HEADER_BYTES, header}}};
	layer_close(layer, NULL);
	cr_assert_eq(file_ns_open(lab.ns, "disk", FILE_OPEN_RDWR, &file, NULL), ERR_OK);
	fault_ns_set(lab.fault, &rule);
	cr_assert_neq(intent_commit(lab.ns, "disk", file, &intent, NULL), ERR_OK);
	cr_assert(fault_ns_fired(lab.fault));
	fault_ns_set(lab.fault, NULL);
	file_close(file, NULL);

	cr_assert_eq(check("disk"), ERR_REPAIRABLE);
	expect("intent", FINDING_REPAIRABLE, 0);
	repair("disk");
	cr_assert_eq(check("disk"), ERR_OK);
	layer = vlab_layer(&lab, "disk");
	cr_assert_eq(layer->header.parent_timestamp, 0x12345678);
	layer_close(layer, NULL);
}

/* ---- differencing ---- */

Test(vhd_check, misses_a_parent)
{
	vlab_create(&lab, "child", VHD_DIFFERENCING, 0, "disk");
	cr_assert_eq(file_ns_unlink(lab.ns, "disk", NULL), ERR_OK);
	cr_assert_eq(check("child"), ERR_OK); /* the child itself is sound */
	cr_assert_not_null(find("parent"));
}

Test(vhd_check, notices_another_disk_in_the_place_of_the_parent)
{
	vlab_create(&lab, "child", VHD_DIFFERENCING, 0, "disk");
	vlab_set_footers(&lab, "disk", F_UUID, 4, 0xdeadbeef);
	cr_assert_eq(check("child"), ERR_OK); /* the child itself is sound */
	cr_assert_not_null(find("parent"));
}

Test(vhd_check, finds_locators_that_lead_out_of_the_file_or_over_a_block)
{
	vlab_create(&lab, "child", VHD_DIFFERENCING, 0, "disk");
	struct disk *disk = vlab_open(&lab, "child", true);
	vlab_write(disk, 0, 4096, 9);
	vlab_close(disk);
	uint32_t entry = vlab_bat_entry(&lab, "child", 0);

	vlab_set_header(&lab, "child", H_LOCATORS + 16, 8, 1ull << 50);
	vlab_set_header(&lab, "child", H_LOCATORS + 24 + 16, 8, entry * 512ull + 4096);
	cr_assert_eq(check("child"), ERR_CORRUPT);
	expect("locator[0]", FINDING_CORRUPT, FOOTER_BYTES + H_LOCATORS);
	expect("locator[1]", FINDING_CORRUPT, FOOTER_BYTES + H_LOCATORS + 24);
}

/* ---- locks and errors ---- */

Test(vhd_check, respects_a_writer)
{
	struct vhd_open_opts opts = {.ns = lab.ns, .no_lock = true};
	struct disk *disk = vlab_open(&lab, "disk", true);

	cr_assert_eq(check("disk"), ERR_LOCKED);
	vhd_report_free(&report);
	cr_assert_eq(vhd_check("disk", &opts, NULL, &report, NULL), ERR_OK);
	vlab_close(disk);
}

static bool stop_at_once(struct progress *progress, uint64_t done, uint64_t total)
{
	(void)progress;
	(void)done;
	(void)total;
	return false;
}

Test(vhd_check, can_be_stopped)
{
	struct progress progress = {stop_at_once};
	struct vhd_open_opts opts = {.ns = lab.ns};

	cr_assert_eq(vhd_check("disk", &opts, &progress, &report, NULL), ERR_CANCELLED);
	cr_assert_null(report.finding);
}

Test(vhd_check, tells_a_read_error_from_a_finding)
{
	struct fault_rule rule = {.op = FILE_READ, .event = FAULT_ANY, .sys_errno = EIO};

	for (rule.nth = 1;; rule.nth++) {
		fault_ns_set(lab.fault, &rule);
		enum err err = check("disk");
		if (!fault_ns_fired(lab.fault)) {
			cr_assert_eq(err, ERR_OK);
			break;
		}
		cr_assert_eq(err, ERR_IO, "read %llu: %s", (unsigned long long)rule.nth,
			     err_name(err));
	}
	cr_assert_gt(rule.nth, 5);
}

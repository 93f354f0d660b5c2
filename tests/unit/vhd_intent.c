/* SPDX-License-Identifier: MIT */
/* The intent record (W19): all or nothing, for writers and readers, and hostile records (P6). */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "tests/lib/random.h"
#include "tests/unit/vhd_lab.h"
#include "vhd/intent.h"

#define RECORD "f" INTENT_SUFFIX
#define SIZE   8192u

static struct vlab lab;

static void start(void)
{
	vlab_start(&lab);
}

static void stop(void)
{
	vlab_stop(&lab);
}

TestSuite(vhd_intent, .init = start, .fini = stop);

static uint8_t new_head[1024], new_tail[512];

/* Two places get new bytes and the file gets longer. */
static struct intent intent_of_three(void)
{
	memset(new_head, 0xaa, sizeof(new_head));
	memset(new_tail, 0xbb, sizeof(new_tail));
	return (struct intent){
	    .uuid = guid_new(),
	    .size_bytes = SIZE + 4096,
	    .count = 2,
	    .write = {{512, sizeof(new_head), new_head}, {SIZE, sizeof(new_tail), new_tail}}};
}

static void put_old(void)
{
	uint8_t old[SIZE];

	memset(old, 0x11, sizeof(old));
	mem_ns_put(lab.mem, "f", old, sizeof(old));
}

static bool is_old(struct vlab *at)
{
	uint8_t bytes[SIZE];

	vlab_get(at, "f", 0, bytes, sizeof(bytes));
	for (size_t i = 0; i < sizeof(bytes); i++) {
		if (bytes[i] != 0x11)
			return false;
	}
	return vlab_size(at, "f") == SIZE;
}

static bool is_new(struct vlab *at)
{
	uint8_t bytes[SIZE + 512];

	vlab_get(at, "f", 0, bytes, sizeof(bytes));
	return vlab_size(at, "f") == SIZE + 4096 && bytes[511] == 0x11 && bytes[1536] == 0x11 &&
	       memcmp(bytes + 512, new_head, sizeof(new_head)) == 0 &&
	       memcmp(bytes + SIZE, new_tail, sizeof(new_tail)) == 0;
}

static bool has_record(struct vlab *at)
{
	return vlab_size(at, RECORD) != UINT64_MAX;
}

static enum err commit(const struct intent *intent)
{
	struct file *file;

	lab.why = (struct err_why){0};
	cr_assert_eq(file_ns_open(lab.ns, "f", FILE_OPEN_RDWR, &file, NULL), ERR_OK);
	enum err err = intent_commit(lab.ns, "f", file, intent, &lab.why);
	file_close(file, NULL);
	return err;
}

static enum err replay(struct vlab *at)
{
	at->why = (struct err_why){0};
	return intent_replay(at->ns, "f", &at->why);
}

/* The record as it is on the disk in the middle of a commit. */
static void leave_record(void)
{
	/* the first write to the image itself fails */
	struct fault_rule rule = {
	    .op = FILE_TRUNCATE, .event = FAULT_ANY, .nth = 1, .sys_errno = EIO};
	struct intent intent = intent_of_three();

	put_old();
	fault_ns_set(lab.fault, &rule);
	cr_assert_neq(commit(&intent), ERR_OK);
	fault_ns_set(lab.fault, NULL);
	cr_assert(has_record(&lab) && is_old(&lab));
}

/* ---- all or nothing ---- */

Test(vhd_intent, carries_out_its_changes_and_is_gone)
{
	struct intent intent = intent_of_three();

	put_old();
	cr_expect_eq(commit(&intent), ERR_OK, "%s", lab.why.text);
	cr_expect(is_new(&lab));
	cr_expect(!has_record(&lab));
	cr_expect_eq(replay(&lab), ERR_OK, "no record is fine");
	cr_expect(is_new(&lab));
}

Test(vhd_intent, a_record_that_was_left_is_carried_out)
{
	leave_record();
	cr_expect_eq(replay(&lab), ERR_OK, "%s", lab.why.text);
	cr_expect(is_new(&lab));
	cr_expect(!has_record(&lab));
}

Test(vhd_intent, replay_is_idempotent)
{
	uint8_t record[8192];

	leave_record();
	size_t len = vlab_size(&lab, RECORD);
	cr_assert_leq(len, sizeof(record));
	vlab_get(&lab, RECORD, 0, record, len);
	for (unsigned i = 0; i < 3; i++) {
		cr_expect_eq(replay(&lab), ERR_OK, "%s", lab.why.text);
		cr_expect(is_new(&lab));
		mem_ns_put(lab.mem, RECORD, record, len);
	}
}

/* Whatever fails, old or new, never a mixture, once it has been replayed. */
Test(vhd_intent, a_failure_anywhere_leaves_old_or_new)
{
	unsigned old = 0, fresh = 0;

	for (uint64_t nth = 1;; nth++) {
		struct fault_rule rule = {.op = FAULT_ANY,
					  .event = FAULT_ANY,
					  .nth = nth,
					  .partial = nth % 2,
					  .sys_errno = EIO};
		struct intent intent = intent_of_three();

		put_old();
		fault_ns_set(lab.fault, &rule);
		enum err err = commit(&intent);
		bool fired = fault_ns_fired(lab.fault);
		fault_ns_set(lab.fault, NULL);
		if (!fired)
			break;
		cr_expect_neq(err, ERR_OK, "request %u", (unsigned)nth);
		cr_expect(*lab.why.text);
		cr_expect_eq(replay(&lab), ERR_OK, "%s", lab.why.text);
		cr_expect(is_old(&lab) || is_new(&lab), "request %u", (unsigned)nth);
		cr_expect(!has_record(&lab));
		old += is_old(&lab);
		fresh += is_new(&lab);
	}
	cr_expect(old > 1 && fresh > 1, "%u old, %u new", old, fresh);
}

Test(vhd_intent, an_interrupted_replay_is_done_again)
{
	for (uint64_t nth = 1;; nth++) {
		struct fault_rule rule = {.op = FAULT_ANY,
					  .event = FAULT_ANY,
					  .nth = nth,
					  .partial = true,
					  .sys_errno = EIO};

		leave_record();
		fault_ns_set(lab.fault, &rule);
		enum err err = replay(&lab);
		bool fired = fault_ns_fired(lab.fault);
		fault_ns_set(lab.fault, NULL);
		if (!fired)
			break;
		cr_expect_neq(err, ERR_OK, "request %u", (unsigned)nth);
		cr_expect_eq(replay(&lab), ERR_OK, "%s", lab.why.text);
		cr_expect(is_new(&lab), "request %u", (unsigned)nth);
	}
}

/* The record, B and its name, before the image is touched; the image, B, before it goes. */
Test(vhd_intent, barriers_are_where_they_should_be)
{
	struct intent intent = intent_of_three();
	size_t count, image_touched = 0, record_sync = 0, name = 0, image_sync = 0, gone = 0;

	put_old();
	mem_ns_log_start(lab.mem);
	cr_assert_eq(commit(&intent), ERR_OK);
	const struct mem_event *event = mem_ns_log(lab.mem, &count);
	uint32_t record_id = UINT32_MAX;
	for (size_t i = 1; i <= count; i++) {
		const struct mem_event *e = &event[i - 1];

		if (e->kind == MEM_CREATE)
			record_id = e->file_id;
		else if (e->kind == MEM_SYNC && e->file_id == record_id)
			record_sync = i;
		else if (e->kind == MEM_SYNC_DIR && !name)
			name = i;
		else if (e->kind == MEM_SYNC)
			image_sync = i;
		else if (e->kind == MEM_UNLINK)
			gone = i;
		else if (e->kind != MEM_SYNC_DIR && e->file_id != record_id && !image_touched)
			image_touched = i;
	}
	cr_expect(record_sync && record_sync < name && name < image_touched &&
		  image_touched < image_sync && image_sync < gone);
	cr_expect_eq(event[count - 1].kind, MEM_SYNC_DIR);
	mem_ns_log_stop(lab.mem);
}

/* ---- records that must not be carried out ---- */

Test(vhd_intent, a_stale_record_changes_nothing_and_is_removed)
{
	static const uint64_t places[] = {512, 1535, SIZE - 1};

	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		uint8_t before[SIZE], after[SIZE];

		leave_record();
		vlab_put(&lab, "f", places[i], "\x22", 1);
		vlab_get(&lab, "f", 0, before, SIZE);
		cr_expect_eq(replay(&lab), ERR_OK, "%s", lab.why.text);
		vlab_get(&lab, "f", 0, after, SIZE);
		cr_expect(!has_record(&lab));
		/* what the record does not cover may change meanwhile */
		if (places[i] == SIZE - 1)
			cr_expect_eq(after[512], 0xaa);
		else
			cr_expect_arr_eq(before, after, SIZE);
	}
}

Test(vhd_intent, a_torn_record_changes_nothing_and_is_removed)
{
	leave_record();
	size_t len = vlab_size(&lab, RECORD);
	uint8_t *record = malloc(len);
	vlab_get(&lab, RECORD, 0, record, len);
	for (size_t at = 0; at < len; at += 1 + at / 16) {
		record[at] ^= 1;
		mem_ns_put(lab.mem, RECORD, record, len);
		record[at] ^= 1;
		cr_expect_eq(replay(&lab), ERR_OK, "byte %zu: %s", at, lab.why.text);
		cr_assert(is_old(&lab), "byte %zu", at);
		cr_assert(!has_record(&lab), "byte %zu", at);
		mem_ns_put(lab.mem, RECORD, record, at);
		cr_expect_eq(replay(&lab), ERR_OK);
		cr_assert(is_old(&lab) && !has_record(&lab), "the first %zu bytes", at);
	}
	free(record);
}

static void put_record(uint8_t *record, size_t len)
{
	put_le64(record + len - 8, XXH64(record, len - 8, 0));
	mem_ns_put(lab.mem, RECORD, record, len);
}

/* Records with a right checksum and any content: refused or stale, in bounds (P6). */
Test(vhd_intent, hostile_records_are_refused)
{
	struct rng rng = rng_seed(3);
	size_t len;
	uint8_t *valid;

	leave_record();
	len = vlab_size(&lab, RECORD);
	valid = malloc(len);
	vlab_get(&lab, RECORD, 0, valid, len);
	/* many writes promised in a short record */
	for (size_t cut = 48; cut < 48 + 17 * 16; cut += 8) {
		uint8_t *record = malloc(cut);

		memcpy(record, valid, cut);
		put_le32(record + 12, INTENT_MAX_WRITES);
		put_record(record, cut);
		cr_expect_eq(replay(&lab), ERR_OK, "%s", lab.why.text);
		cr_assert(is_old(&lab));
		free(record);
	}
	for (unsigned round = 0; round < 2000; round++) {
		uint8_t *record = malloc(len);
		unsigned at = 12 + (unsigned)rng_below(&rng, 60);

		memcpy(record, valid, len);
		put_le32(record + at, (uint32_t)(rng_next(&rng) >> rng_below(&rng, 33)));
		put_record(record, len);
		put_old();
		cr_assert_eq(replay(&lab), ERR_OK, "%s", lab.why.text);
		cr_assert(!has_record(&lab));
		free(record);
	}
	free(valid);
}

Test(vhd_intent, a_record_of_another_kind_or_size_is_removed)
{
	static const size_t sizes[] = {0, 1, 47, 48, 4096, 6u << 20};

	put_old();
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		uint8_t *noise = calloc(1, sizes[i] + 1);

		mem_ns_put(lab.mem, RECORD, noise, sizes[i]);
		cr_expect_eq(replay(&lab), ERR_OK, "%s", lab.why.text);
		cr_expect(!has_record(&lab), "%zu bytes", sizes[i]);
		cr_expect(is_old(&lab));
		free(noise);
	}
}

/* An error is not "no record": the image must not be used meanwhile. */
Test(vhd_intent, a_record_that_cannot_be_read_is_an_error)
{
	struct fault_rule rule = {
	    .op = FILE_READ, .event = EV_INTENT, .nth = 1, .sticky = true, .sys_errno = EIO};

	leave_record();
	fault_ns_set(lab.fault, &rule);
	cr_expect_eq(replay(&lab), ERR_IO);
	cr_expect(*lab.why.text);
	fault_ns_set(lab.fault, NULL);
	cr_expect(has_record(&lab));
}

/* ---- readers ---- */

static enum err load(struct intent *out)
{
	struct file *file;

	cr_assert_eq(file_ns_open(lab.ns, "f", 0, &file, NULL), ERR_OK);
	enum err err = intent_load(lab.ns, "f", file, out, &lab.why);
	file_close(file, NULL);
	return err;
}

Test(vhd_intent, readers_see_what_is_to_be_and_change_nothing)
{
	struct intent intent;
	uint8_t buf[2048], want[2048];

	leave_record();
	cr_assert_eq(load(&intent), ERR_OK, "%s", lab.why.text);
	cr_expect_eq(intent.size_bytes, SIZE + 4096);
	memset(buf, 0x11, sizeof(buf));
	memset(want, 0x11, sizeof(want));
	memset(want + 512, 0xaa, 1024);
	intent_overlay(&intent, 0, buf, sizeof(buf));
	cr_expect_arr_eq(buf, want, sizeof(buf));
	/* any window */
	for (unsigned from = 0; from < 1800; from += 100) {
		memset(buf, 0x11, 200);
		intent_overlay(&intent, from, buf, 200);
		cr_expect_arr_eq(buf, want + from, 200);
	}
	intent_free(&intent);
	cr_expect(has_record(&lab) && is_old(&lab));
}

Test(vhd_intent, readers_pass_over_stale_and_damaged_records)
{
	struct intent intent;

	put_old();
	cr_expect_eq(load(&intent), ERR_NOENT);
	leave_record();
	vlab_put(&lab, "f", 600, "\x22", 1);
	cr_expect_eq(load(&intent), ERR_NOENT);
	leave_record();
	vlab_put(&lab, RECORD, 8, "\x22", 1); /* the version, which is 1 */
	cr_expect_eq(load(&intent), ERR_NOENT);
	cr_expect(has_record(&lab), "a reader removes nothing");
}

/* ---- with an image ---- */

/* Moving the only footer of a fixed disk (W13), cut right after the record. */
Test(vhd_intent, an_image_with_a_record_opens_for_reading_and_writing)
{
	struct fault_rule rule = {
	    .op = FILE_TRUNCATE, .event = FAULT_ANY, .nth = 1, .sys_errno = EIO};
	uint8_t footer[FOOTER_BYTES], zero[FOOTER_BYTES] = {0};
	struct vhd_footer grown;
	struct disk_info info;
	struct file *file;

	vlab_create(&lab, "v", VHD_FIXED, MIB, NULL);
	vlab_get(&lab, "v", MIB, footer, sizeof(footer));
	cr_assert_eq(footer_decode(footer, 0, &grown, NULL), ERR_OK);
	footer_set_size(&grown, 2 * MIB);
	footer_encode(&grown, footer);
	struct intent intent = {.uuid = grown.uuid,
				.size_bytes = 2 * MIB + 512,
				.count = 2,
				.write = {{2 * MIB, 512, footer}, {MIB, 512, zero}}};
	cr_assert_eq(file_ns_open(lab.ns, "v", FILE_OPEN_RDWR, &file, NULL), ERR_OK);
	fault_ns_set(lab.fault, &rule);
	cr_assert_neq(intent_commit(lab.ns, "v", file, &intent, NULL), ERR_OK);
	fault_ns_set(lab.fault, NULL);
	file_close(file, NULL);
	cr_assert_eq(vlab_size(&lab, "v"), MIB + 512);

	struct disk *disk = vlab_open(&lab, "v", false);
	disk_get_info(disk, &info);
	cr_expect_eq(info.size_bytes, 2 * MIB);
	cr_expect(vlab_holds(&lab, disk, 0, MIB, 0), "%s", lab.why.text);
	cr_expect_eq(vlab_size(&lab, "v"), MIB + 512, "reading changes nothing");
	cr_expect(vlab_holds(&lab, disk, MIB, MIB, 0), "not the old footer: %s", lab.why.text);
	vlab_close(disk);
	disk = vlab_open(&lab, "v", true);
	cr_expect(vlab_holds(&lab, disk, 0, 2 * MIB, 0), "%s", lab.why.text);
	vlab_write(disk, MIB, 512, 4);
	vlab_close(disk);
	cr_expect_eq(vlab_size(&lab, "v"), 2 * MIB + 512);
	cr_expect_eq(vlab_size(&lab, "v" INTENT_SUFFIX), UINT64_MAX);
	cr_expect_eq(vlab_tag_of(&lab, "v", MIB), 4);
}

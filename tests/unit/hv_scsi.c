/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <string.h>

#include "hv/scsi.h"
#include "util/bytes.h"

#define BLOCKS UINT64_C(0x1000)

static const struct scsi_unit unit = {
    .id = {{0x10, 0x21, 0x32, 0x43, 0x54, 0x65, 0x76, 0x87, 0x98, 0xa9, 0xba, 0xcb, 0xdc, 0xed,
	    0xfe, 0x0f}},
    .blocks = BLOCKS,
    .optimal_bytes = 2u << 20,
    .max_transfer_bytes = 256u << 10,
    .can_trim = true,
};

static struct scsi_command command;
static struct scsi_sense sense;

#define CDB(...) ((const uint8_t[SCSI_CDB_MAX]){__VA_ARGS__})

static bool decode(const uint8_t *cdb)
{
	sense = SCSI_NO_SENSE;
	return scsi_decode(cdb, SCSI_CDB_MAX, BLOCKS, &command, &sense);
}

static bool is(struct scsi_sense a, struct scsi_sense b)
{
	return a.key == b.key && a.asc == b.asc && a.ascq == b.ascq;
}

static bool refuses(const uint8_t *cdb, struct scsi_sense with)
{
	return !decode(cdb) && is(sense, with);
}

static struct scsi_answer answer_of(const struct scsi_unit *to, const uint8_t *cdb)
{
	struct scsi_answer answer;

	cr_assert(decode(cdb));
	cr_assert_not(scsi_is_io(&command));
	memset(&answer, 0xEE, sizeof(answer));
	scsi_execute(to, 0x8000000000000005, &command, &answer);
	return answer;
}

static struct scsi_answer answer(const uint8_t *cdb)
{
	return answer_of(&unit, cdb);
}

/* ---- decoding ---- */

Test(hv_scsi, reads_and_writes_of_all_lengths)
{
	static const struct {
		const uint8_t cdb[16];
		enum scsi_action action;
		uint64_t lba, blocks;
		bool fua;
	} cases[] = {
	    {{0x08, 0x00, 0x01, 0x02, 3}, SCSI_READ, 0x102, 3, false},
	    {{0x08, 0xE0, 0x01, 0x02, 0}, SCSI_READ, 0x102, 256, false},
	    {{0x0A, 0x00, 0x0F, 0xFF, 1}, SCSI_WRITE, 0xFFF, 1, false},
	    {{0x28, 0x00, 0, 0, 0, 9, 0, 0x01, 0x02}, SCSI_READ, 9, 0x102, false},
	    {{0x28, 0x10, 0, 0, 0, 9, 0, 0, 0}, SCSI_READ, 9, 0, false},
	    {{0x2A, 0x08, 0, 0, 0, 9, 0, 0, 1}, SCSI_WRITE, 9, 1, true},
	    {{0xA8, 0x00, 0, 0, 0, 9, 0, 0, 0x03, 0x02}, SCSI_READ, 9, 0x302, false},
	    {{0xAA, 0x08, 0, 0, 0, 9, 0, 0, 0, 2}, SCSI_WRITE, 9, 2, true},
	    {{0x88, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0x04, 0x05}, SCSI_READ, 7, 0x405, false},
	    {{0x8A, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0}, SCSI_WRITE, 0, 0x1000, true},
	};

	for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
		cr_assert(decode(cases[i].cdb), "case %u", i);
		cr_assert_eq(command.action, cases[i].action, "case %u", i);
		cr_assert_eq(command.lba, cases[i].lba, "case %u", i);
		cr_assert_eq(command.blocks, cases[i].blocks, "case %u", i);
		cr_assert_eq(command.fua, cases[i].fua, "case %u", i);
		cr_assert_eq(command.data_bytes, cases[i].blocks * 512, "case %u", i);
		cr_assert_eq(command.data_out, cases[i].action == SCSI_WRITE);
	}
}

Test(hv_scsi, what_goes_beyond_the_end_is_refused)
{
	/* the end, one beyond, and sums that overflow */
	cr_assert(decode(CDB(0x28, 0, 0, 0, 0x0F, 0xFF, 0, 0, 1)));
	cr_assert(refuses(CDB(0x28, 0, 0, 0, 0x0F, 0xFF, 0, 0, 2), SCSI_OUT_OF_RANGE));
	cr_assert(refuses(CDB(0x28, 0, 0, 0, 0x10, 0x00, 0, 0, 0), SCSI_OUT_OF_RANGE));
	cr_assert(refuses(CDB(0x0A, 0x1F, 0xFF, 0xFF, 0), SCSI_OUT_OF_RANGE));
	cr_assert(refuses(CDB(0xA8, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF),
			  SCSI_OUT_OF_RANGE));
	cr_assert(refuses(CDB(0x88, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 1),
			  SCSI_OUT_OF_RANGE));
	cr_assert(refuses(CDB(0x8A, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF),
			  SCSI_OUT_OF_RANGE));
	cr_assert(refuses(CDB(0x35, 0, 0, 0, 0x0F, 0xFF, 0, 0, 2), SCSI_OUT_OF_RANGE));
	cr_assert(refuses(CDB(0x2F, 0, 0, 0, 0x0F, 0xFF, 0, 0, 2), SCSI_OUT_OF_RANGE));
	cr_assert(refuses(CDB(0x41, 0, 0, 0, 0x0F, 0xFF, 0, 0, 2), SCSI_OUT_OF_RANGE));
}

Test(hv_scsi, a_transfer_whose_bytes_do_not_fit_is_refused)
{
	uint8_t cdb[SCSI_CDB_MAX] = {0x88};

	put_be32(cdb + 10, 0x800000); /* 4 GiB */
	cr_assert_not(scsi_decode(cdb, 16, UINT64_MAX, &command, &sense));
	cr_assert(is(sense, SCSI_INVALID_FIELD));
	put_be32(cdb + 10, 0x7FFFFF);
	cr_assert(scsi_decode(cdb, 16, UINT64_MAX, &command, &sense));
	cr_assert_eq(command.data_bytes, 0xFFFFFE00);
}

Test(hv_scsi, fields_we_do_not_support_are_refused)
{
	cr_assert(refuses(CDB(0x28, 0x20, 0, 0, 0, 0, 0, 0, 1), SCSI_INVALID_FIELD));
	cr_assert(refuses(CDB(0x8A, 0x80, [13] = 1), SCSI_INVALID_FIELD));
	cr_assert(refuses(CDB(0x2F, 0x02, [8] = 1), SCSI_INVALID_FIELD));
	cr_assert(refuses(CDB(0x8F, 0x20, [13] = 1), SCSI_INVALID_FIELD));
	cr_assert(refuses(CDB(0x42, 0x01, [8] = 24), SCSI_INVALID_FIELD));
	cr_assert(refuses(CDB(0x41, 0x10, [8] = 1), SCSI_INVALID_FIELD));
	cr_assert(refuses(CDB(0x41, 0x01, [8] = 1), SCSI_INVALID_FIELD));
	cr_assert(refuses(CDB(0x41, 0x04, [8] = 1), SCSI_INVALID_FIELD));
	cr_assert(refuses(CDB(0x41, [8] = 0), SCSI_INVALID_FIELD));
	cr_assert(refuses(CDB(0x93, [10] = 1), SCSI_INVALID_FIELD)); /* too many */
	cr_assert(refuses(CDB(0x12, 0x02, 0, 0, 36), SCSI_INVALID_FIELD));
	cr_assert(refuses(CDB(0x12, 0x00, 0x80, 0, 36), SCSI_INVALID_FIELD));
	cr_assert(refuses(CDB(0x1A, 0, 0x3F, 1, 36), SCSI_INVALID_FIELD));
	cr_assert(refuses(CDB(0x03, 1, 0, 0, 18), SCSI_INVALID_FIELD));
	cr_assert(refuses(CDB(0x9E, 0x12, [13] = 32), SCSI_INVALID_FIELD));
}

Test(hv_scsi, every_other_operation_is_refused)
{
	static const uint8_t known[] = {0x00, 0x03, 0x08, 0x0A, 0x12, 0x1A, 0x1B, 0x1E, 0x25,
					0x28, 0x2A, 0x2F, 0x35, 0x41, 0x42, 0x5A, 0x88, 0x8A,
					0x8F, 0x91, 0x93, 0x9E, 0xA0, 0xA8, 0xAA, 0xAF};

	for (unsigned op = 0; op < 256; op++) {
		uint8_t cdb[SCSI_CDB_MAX] = {(uint8_t)op};

		if (!memchr(known, (int)op, sizeof(known)))
			cr_assert(refuses(cdb, SCSI_INVALID_OPCODE), "operation %#x", op);
		else if (!decode(cdb))
			cr_assert(is(sense, SCSI_INVALID_FIELD), "operation %#x", op);
	}
}

Test(hv_scsi, a_block_that_is_too_short_is_refused)
{
	static const struct {
		uint8_t op, len;
	} cases[] = {{0x00, 6}, {0x28, 10}, {0x5A, 10}, {0x88, 16}, {0xA0, 12}};

	for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
		const uint8_t cdb[17] = {cases[i].op};

		for (unsigned len = 0; len < cases[i].len; len++) {
			cr_assert_not(scsi_decode(cdb, len, BLOCKS, &command, &sense));
			cr_assert(is(sense, SCSI_INVALID_FIELD));
		}
		cr_assert(scsi_decode(cdb, cases[i].len, BLOCKS, &command, &sense));
		cr_assert_not(scsi_decode(cdb, 17, BLOCKS, &command, &sense));
	}
}

Test(hv_scsi, what_comes_behind_a_block_is_not_looked_at)
{
	uint8_t cdb[SCSI_CDB_MAX];

	memset(cdb, 0xFF, sizeof(cdb));
	memset(cdb, 0, 6);
	cdb[0] = 0x08;
	cr_assert(decode(cdb));
	cr_assert_eq(command.lba, 0);
	cr_assert_eq(command.blocks, 256);
}

Test(hv_scsi, flushing_zero_blocks_means_all)
{
	cr_assert(decode(CDB(0x35)));
	cr_assert_eq(command.action, SCSI_FLUSH);
	cr_assert_eq(command.data_bytes, 0);
	cr_assert(decode(CDB(0x91, 0x02, [9] = 8, [13] = 8)));
	cr_assert_eq(command.action, SCSI_FLUSH);
}

Test(hv_scsi, kinds_of_commands)
{
	cr_assert(decode(CDB(0x00)));
	cr_assert_not(scsi_is_io(&command));
	cr_assert(scsi_reports_attention(&command));
	cr_assert(decode(CDB(0x12, 0, 0, 0, 36)));
	cr_assert_not(scsi_reports_attention(&command));
	cr_assert(decode(CDB(0x03, 0, 0, 0, 18)));
	cr_assert_not(scsi_reports_attention(&command));
	cr_assert(decode(CDB(0xA0)));
	cr_assert_not(scsi_reports_attention(&command));
	cr_assert(decode(CDB(0x28, [8] = 1)));
	cr_assert(scsi_is_io(&command) && !scsi_changes(&command) && !scsi_wants_params(&command));
	cr_assert(decode(CDB(0x2A, [8] = 1)));
	cr_assert(scsi_is_io(&command) && scsi_changes(&command) && !scsi_wants_params(&command));
	cr_assert(decode(CDB(0x35)));
	cr_assert(scsi_is_io(&command) && !scsi_changes(&command) && !scsi_wants_params(&command));
	cr_assert(decode(CDB(0x42, [8] = 24)));
	cr_assert(scsi_is_io(&command) && scsi_changes(&command) && scsi_wants_params(&command));
	cr_assert(decode(CDB(0x93, 0x09, [13] = 24)));
	cr_assert(command.unmap && command.no_data && !command.data_bytes);
}

Test(hv_scsi, what_a_unit_does_not_take)
{
	struct scsi_unit plain = unit;

	plain.can_trim = false;
	cr_assert(decode(CDB(0x42, [8] = 24)));
	cr_assert(scsi_admit(&unit, &command, &sense));
	cr_assert_not(scsi_admit(&plain, &command, &sense));
	cr_assert(is(sense, SCSI_INVALID_OPCODE));
	plain.readonly = true;
	for (unsigned i = 0; i < 3; i++) {
		static const uint8_t ops[] = {0x2A, 0x41, 0x42};

		cr_assert(decode(CDB(ops[i], [8] = 1)));
		cr_assert_not(scsi_admit(&plain, &command, &sense));
		cr_assert(is(sense, SCSI_WRITE_PROTECTED));
	}
	cr_assert(decode(CDB(0x28, [8] = 1)));
	cr_assert(scsi_admit(&plain, &command, &sense));
	cr_assert(decode(CDB(0x35)));
	cr_assert(scsi_admit(&plain, &command, &sense));
}

/* ---- answers ---- */

Test(hv_scsi, inquiry)
{
	struct scsi_answer a = answer(CDB(0x12, 0, 0, 0, 255));

	cr_assert_eq(a.status, SCSI_GOOD);
	cr_assert_eq(a.len, 36);
	cr_assert_arr_eq(a.data, ((uint8_t[]){0, 0, 5, 2, 31, 0, 0, 2}), 8);
	cr_assert_arr_eq(a.data + 8, "Msft    Virtual Disk    1.0 ", 28);
	cr_assert_eq(answer(CDB(0x12, 0, 0, 0, 5)).len, 5);
	cr_assert_eq(answer(CDB(0x12, 0, 0, 0, 0)).len, 0);
	cr_assert_eq(answer(CDB(0x12, 0, 0, 1, 0)).len, 36);
}

Test(hv_scsi, vital_pages_tell_their_true_length)
{
	static const uint8_t expected[] = {0x00, 0x80, 0x83, 0xB0, 0xB1, 0xB2};
	struct scsi_answer list = answer(CDB(0x12, 1, 0, 1, 0));

	cr_assert_eq(get_be16(list.data + 2), sizeof(expected));
	cr_assert_arr_eq(list.data + 4, expected, sizeof(expected));
	for (unsigned i = 0; i < sizeof(expected); i++) {
		struct scsi_answer page = answer(CDB(0x12, 1, expected[i], 1, 0));
		struct scsi_answer head = answer(CDB(0x12, 1, expected[i], 0, 4));

		cr_assert_eq(page.data[0], 0);
		cr_assert_eq(page.data[1], expected[i]);
		cr_assert_eq(page.len, 4u + get_be16(page.data + 2));
		cr_assert_eq(head.len, 4);
		cr_assert_arr_eq(head.data, page.data, 4);
	}
	cr_assert_eq(answer(CDB(0x12, 1, 0x81, 1, 0)).status, SCSI_CHECK_CONDITION);
	cr_assert(is(answer(CDB(0x12, 1, 0x81, 1, 0)).sense, SCSI_INVALID_FIELD));
}

Test(hv_scsi, the_unit_is_named)
{
	struct scsi_answer serial = answer(CDB(0x12, 1, 0x80, 1, 0));
	struct scsi_answer id = answer(CDB(0x12, 1, 0x83, 1, 0));
	const uint8_t *text = id.data + 4 + 20;

	cr_assert_arr_eq(serial.data + 4, "102132435465768798a9bacbdcedfe0f", 32);
	cr_assert_arr_eq(id.data + 4, ((uint8_t[]){1, 3, 0, 16}), 4);
	cr_assert_arr_eq(id.data + 8,
			 ((uint8_t[]){0x60, 0x02, 0x24, 0x83, 0x54, 0x65, 0x76, 0x87, 0x98, 0xa9,
				      0xba, 0xcb, 0xdc, 0xed, 0xfe, 0x0f}),
			 16);
	cr_assert_arr_eq(text, ((uint8_t[]){2, 1, 0, 40}), 4);
	cr_assert_arr_eq(text + 4, "Msft    102132435465768798a9bacbdcedfe0f", 40);
	cr_assert_eq(id.len, 4 + 20 + 44);
}

Test(hv_scsi, limits_and_provisioning)
{
	struct scsi_unit plain = unit;
	struct scsi_answer a = answer(CDB(0x12, 1, 0xB0, 1, 0));

	cr_assert_eq(a.len, 64);
	cr_assert_eq(a.data[4], 1);
	cr_assert_eq(get_be32(a.data + 8), 512);
	cr_assert_eq(get_be32(a.data + 20), SCSI_ZERO_BLOCKS);
	cr_assert_eq(get_be32(a.data + 24), SCSI_UNMAP_RANGES);
	cr_assert_eq(get_be32(a.data + 28), 4096);
	cr_assert_eq(get_be32(a.data + 32), 0x80000000);
	cr_assert_eq(get_be64(a.data + 36), SCSI_ZERO_BLOCKS);
	cr_assert_eq(get_be16(answer(CDB(0x12, 1, 0xB1, 1, 0)).data + 4), 1);
	a = answer(CDB(0x12, 1, 0xB2, 1, 0));
	cr_assert_eq(a.data[5], 0xE0);
	cr_assert_eq(a.data[6], 2);

	plain.can_trim = false;
	a = answer_of(&plain, CDB(0x12, 1, 0xB0, 1, 0));
	cr_assert_eq(get_be32(a.data + 20), 0);
	cr_assert_eq(get_be32(a.data + 24), 0);
	a = answer_of(&plain, CDB(0x12, 1, 0xB2, 1, 0));
	cr_assert_eq(a.data[5], 0);
}

Test(hv_scsi, capacity)
{
	struct scsi_unit huge = unit;
	struct scsi_answer a = answer(CDB(0x25));

	cr_assert_eq(a.len, 8);
	cr_assert_eq(get_be32(a.data), BLOCKS - 1);
	cr_assert_eq(get_be32(a.data + 4), 512);
	a = answer(CDB(0x9E, 0x10, [13] = 32));
	cr_assert_eq(a.len, 32);
	cr_assert_eq(get_be64(a.data), BLOCKS - 1);
	cr_assert_eq(get_be32(a.data + 8), 512);
	cr_assert_eq(a.data[13], 0);
	cr_assert_eq(a.data[14], 0x80);

	huge.blocks = UINT64_C(1) << 33;
	huge.readonly = true;
	cr_assert_eq(get_be32(answer_of(&huge, CDB(0x25)).data), UINT32_MAX);
	a = answer_of(&huge, CDB(0x9E, 0x10, [13] = 12));
	cr_assert_eq(a.len, 12);
	cr_assert_eq(get_be64(a.data), huge.blocks - 1);
	cr_assert_eq(answer_of(&huge, CDB(0x9E, 0x10, [13] = 32)).data[14], 0);
}

Test(hv_scsi, mode_pages)
{
	struct scsi_unit locked = unit;
	struct scsi_answer a = answer(CDB(0x1A, 0, 0x08, 0, 255));

	cr_assert_arr_eq(a.data, ((uint8_t[]){23, 0, 0x10, 0, 0x08, 18, 0x04}), 7);
	cr_assert_eq(a.len, 24);
	a = answer(CDB(0x5A, 0, 0x3F, 0, 0, 0, 0, 1, 0));
	cr_assert_eq(a.len, 40);
	cr_assert_eq(get_be16(a.data), 38);
	cr_assert_eq(a.data[3], 0x10);
	cr_assert_eq(get_be16(a.data + 6), 0);
	cr_assert_eq(a.data[8], 0x08);
	cr_assert_eq(a.data[28], 0x0A);
	cr_assert_eq(answer(CDB(0x1A, 0, 0x3F, 0xFF, 4)).len, 4);

	/* nothing can be changed, nothing is saved */
	a = answer(CDB(0x1A, 0, 0x48, 0, 255));
	cr_assert_eq(a.data[6], 0);
	cr_assert(is(answer(CDB(0x1A, 0, 0xC8, 0, 255)).sense, SCSI_NOT_SAVED));
	cr_assert(is(answer(CDB(0x1A, 0, 0x01, 0, 255)).sense, SCSI_INVALID_FIELD));

	locked.readonly = true;
	cr_assert_eq(answer_of(&locked, CDB(0x1A, 0, 0x08, 0, 255)).data[2], 0x90);
}

Test(hv_scsi, units_are_listed)
{
	struct scsi_answer a = answer(CDB(0xA0, [8] = 16));

	cr_assert_eq(a.len, 8 + 3 * 8);
	cr_assert_eq(get_be32(a.data), 24);
	cr_assert_eq(a.data[8 + 1], 0);
	cr_assert_eq(a.data[16 + 1], 2);
	cr_assert_eq(a.data[24 + 1], 63);
	cr_assert_eq(answer(CDB(0xA0, [9] = 12)).len, 12);
	cr_assert_eq(get_be32(answer(CDB(0xA0, 0, 1, [8] = 16)).data), 0);
	cr_assert(is(answer(CDB(0xA0, 0, 3, [8] = 16)).sense, SCSI_INVALID_FIELD));
}

Test(hv_scsi, commands_without_an_effect_are_good)
{
	cr_assert_eq(answer(CDB(0x00)).status, SCSI_GOOD);
	cr_assert_eq(answer(CDB(0x1B, 0, 0, 0, 1)).status, SCSI_GOOD);
	cr_assert_eq(answer(CDB(0x1E, 0, 0, 0, 1)).status, SCSI_GOOD);
	cr_assert_eq(answer(CDB(0x2F, [8] = 1)).status, SCSI_GOOD);
	cr_assert_eq(answer(CDB(0x03, [4] = 18)).data[0], 0x70);
	cr_assert_eq(answer(CDB(0x03, [4] = 18)).data[2], 0);
}

Test(hv_scsi, where_there_is_no_unit)
{
	struct scsi_answer a;

	cr_assert(scsi_execute_absent(CDB(0x12, 0, 0, 0, 36), 6, 1, &a));
	cr_assert_eq(a.len, 36);
	cr_assert_eq(a.data[0], 0x7F);
	cr_assert(scsi_execute_absent(CDB(0x12, 1, 0x83, 1, 0), 6, 1, &a));
	cr_assert_arr_eq(a.data, ((uint8_t[]){0x7F, 0x83, 0, 0}), 4);
	cr_assert_eq(a.len, 4);
	cr_assert(scsi_execute_absent(CDB(0xA0, [8] = 16), 12, 0, &a));
	cr_assert_eq(a.len, 8);
	cr_assert_eq(get_be32(a.data), 0);
	cr_assert(scsi_execute_absent(CDB(0xA0, [8] = 16), 12, 6, &a));
	cr_assert_eq(get_be32(a.data), 16);
	cr_assert(scsi_execute_absent(CDB(0x03, [4] = 18), 6, 6, &a));
	cr_assert_eq(a.data[12], 0x25);
	cr_assert_not(scsi_execute_absent(CDB(0x00), 6, 6, &a));
	cr_assert_not(scsi_execute_absent(CDB(0x28, [8] = 1), 10, 6, &a));
	cr_assert_not(scsi_execute_absent(CDB(0xFF), 16, 6, &a));
}

/* ---- parameters ---- */

static struct scsi_range range[SCSI_UNMAP_RANGES];
static unsigned count;

static size_t put_unmap(uint8_t *params, unsigned descriptors, uint64_t lba, uint32_t blocks)
{
	size_t len = 8 + 16 * (size_t)descriptors;

	memset(params, 0, len);
	put_be16(params, (uint16_t)(len - 2));
	put_be16(params + 2, (uint16_t)(len - 8));
	for (unsigned i = 0; i < descriptors; i++) {
		put_be64(params + 8 + 16 * (size_t)i, lba + i);
		put_be32(params + 16 + 16 * (size_t)i, blocks);
	}
	return len;
}

static bool take(const uint8_t *params, size_t len)
{
	return scsi_take_params(&command, BLOCKS, params, len, range, &count, &sense);
}

Test(hv_scsi, unmap_lists)
{
	uint8_t params[SCSI_PARAMS_MAX + 16];
	size_t len;

	cr_assert(decode(CDB(0x42, [7] = 0xFF)));
	len = put_unmap(params, 3, 10, 5);
	put_be32(params + 16 + 16, 0); /* the second is empty */
	cr_assert(take(params, len));
	cr_assert_eq(count, 2);
	cr_assert(range[0].lba == 10 && range[0].blocks == 5);
	cr_assert(range[1].lba == 12 && range[1].blocks == 5);

	len = put_unmap(params, SCSI_UNMAP_RANGES, 0, 1);
	cr_assert(take(params, len));
	cr_assert_eq(count, SCSI_UNMAP_RANGES);
	/* less came than the header says; what is cut off does not count */
	cr_assert(take(params, 8 + 16 + 15));
	cr_assert_eq(count, 1);
	cr_assert(take(params, 0));
	cr_assert_eq(count, 0);
	cr_assert(take(params, 8));
	cr_assert_eq(count, 0);
	cr_assert_not(take(params, 7));
	cr_assert(is(sense, SCSI_PARAMS_LENGTH));
}

Test(hv_scsi, unmap_lists_that_are_refused)
{
	uint8_t params[SCSI_PARAMS_MAX + 16];
	size_t len;

	cr_assert(decode(CDB(0x42, [7] = 0xFF)));
	len = put_unmap(params, SCSI_UNMAP_RANGES + 1, 0, 1);
	cr_assert(!take(params, len) && is(sense, SCSI_INVALID_PARAMS));
	len = put_unmap(params, 1, 0, SCSI_ZERO_BLOCKS + 1);
	cr_assert(!take(params, len) && is(sense, SCSI_INVALID_PARAMS));
	len = put_unmap(params, 2, BLOCKS - 1, 1);
	cr_assert(!take(params, len) && is(sense, SCSI_OUT_OF_RANGE));
	len = put_unmap(params, 1, UINT64_MAX, 2);
	cr_assert(!take(params, len) && is(sense, SCSI_OUT_OF_RANGE));
}

Test(hv_scsi, write_same_takes_nothing_but_zeros)
{
	uint8_t block[SCSI_BLOCK] = {0};

	cr_assert(decode(CDB(0x41, 0x08, 0, 0, 0, 3, 0, 0, 9)));
	cr_assert(take(block, sizeof(block)));
	cr_assert(count == 1 && range[0].lba == 3 && range[0].blocks == 9);
	cr_assert(!take(block, sizeof(block) - 1) && is(sense, SCSI_INVALID_FIELD));
	block[SCSI_BLOCK - 1] = 1;
	cr_assert(!take(block, sizeof(block)) && is(sense, SCSI_INVALID_FIELD));
	cr_assert(decode(CDB(0x93, 0x01, [13] = 2)));
	cr_assert(take(block, 0));
}

/* ---- to the disk and back ---- */

Test(hv_scsi, requests_to_the_disk)
{
	static const struct {
		uint8_t cdb[16];
		enum disk_op op;
		unsigned flags;
		uint64_t off, len;
	} cases[] = {
	    {{0x28, 0x08}, DISK_READ, 0, 3 * 512, 4 * 512},
	    {{0x2A}, DISK_WRITE, 0, 3 * 512, 4 * 512},
	    {{0x2A, 0x08}, DISK_WRITE, DISK_FUA, 3 * 512, 4 * 512},
	    {{0x35}, DISK_FLUSH, 0, 0, 0},
	    {{0x42, [7] = 1}, DISK_TRIM, 0, 3 * 512, 4 * 512},
	    {{0x41, 0x08, [8] = 1}, DISK_ZERO, 0, 3 * 512, 4 * 512},
	    {{0x41, 0x00, [8] = 1}, DISK_ZERO, DISK_KEEP_SPACE, 3 * 512, 4 * 512},
	};

	for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
		struct disk_req req = {.flags = 99};

		cr_assert(decode(cases[i].cdb), "case %u", i);
		scsi_disk_req(&command, (struct scsi_range){3, 4}, &req);
		cr_assert_eq(req.op, cases[i].op, "case %u", i);
		cr_assert_eq(req.flags, cases[i].flags, "case %u", i);
		cr_assert_eq(req.off_bytes, cases[i].off, "case %u", i);
		cr_assert_eq(req.len_bytes, cases[i].len, "case %u", i);
	}
}

Test(hv_scsi, failures_have_their_sense)
{
	cr_assert(is(scsi_failure(DISK_READ, ERR_IO), SCSI_READ_FAILED));
	cr_assert(is(scsi_failure(DISK_WRITE, ERR_IO), SCSI_WRITE_FAILED));
	cr_assert(is(scsi_failure(DISK_FLUSH, ERR_IO), SCSI_WRITE_FAILED));
	cr_assert(is(scsi_failure(DISK_READ, ERR_CORRUPT), SCSI_READ_FAILED));
	cr_assert(is(scsi_failure(DISK_WRITE, ERR_POISONED), SCSI_INTERNAL_FAILURE));
	cr_assert(is(scsi_failure(DISK_WRITE, ERR_NOSPC), SCSI_NO_SPACE));
	cr_assert(is(scsi_failure(DISK_WRITE, ERR_READONLY), SCSI_WRITE_PROTECTED));
	cr_assert(is(scsi_failure(DISK_READ, ERR_RANGE), SCSI_OUT_OF_RANGE));
	cr_assert(is(scsi_failure(DISK_READ, ERR_NOMEM), SCSI_NO_RESOURCES));
	for (int err = ERR_IO; err <= ERR_CANCELLED; err++)
		cr_assert_neq(scsi_failure(DISK_WRITE, (enum err)err).key, 0, "error %d", err);
}

Test(hv_scsi, sense_data_has_the_fixed_format)
{
	uint8_t data[SCSI_SENSE_BYTES];

	memset(data, 0xFF, sizeof(data));
	scsi_put_sense(data, SCSI_CAPACITY_CHANGED);
	cr_assert_arr_eq(
	    data, ((uint8_t[]){0x70, 0, 6, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x2A, 0x09, 0, 0, 0, 0}),
	    SCSI_SENSE_BYTES);
}

/* SPDX-License-Identifier: MIT */

/*
 * A guest that breaks the rules of storage in every way we could think of, one at a time: packets,
 * commands, command blocks, buffers, states. After each the host has said no in the way it is
 * documented, has not touched what is not its business, and goes on serving.
 */

#include <criterion/criterion.h>
#include <string.h>

#include "tests/unit/hv_hostile_storage.h"

TestSuite(hv_hostile_storage, .init = hostile_start, .fini = slab_stop, .timeout = 240);

/* ---- packets ---- */

static const struct {
	const char *name;
	uint16_t type, flags;
	unsigned len;
	uint32_t operation;
	struct end end;
} packets[] = {
    {"type 0", 0, OK_FLAG, 64, 3, {STOP}},
    {"type 1", 1, OK_FLAG, 64, 3, {STOP}},
    {"type 5", 5, OK_FLAG, 64, 3, {STOP}},
    {"transfer pages", PACKET_XFER_PAGES, OK_FLAG, 64, 3, {STOP}},
    {"GPADL", PACKET_GPADL, OK_FLAG, 64, 3, {STOP}},
    {"cancel", 10, OK_FLAG, 64, 3, {STOP}},
    {"completion of nothing", PACKET_COMPLETION, 0, 64, 1, {STOP}},
    {"completion that wants one", PACKET_COMPLETION, OK_FLAG, 64, 1, {STOP}},
    {"type 12", 12, OK_FLAG, 64, 3, {STOP}},
    {"largest type", 0xFFFF, OK_FLAG, 64, 3, {STOP}},
    {"in-band without completion", PACKET_INBAND, 0, 64, 3, {STOP}},
    {"direct without completion", PACKET_GPA_DIRECT, 0, 64, 3, {STOP}},
    {"other flags only", PACKET_INBAND, 0xFFFE, 64, 3, {STOP}},
    {"all flags", PACKET_INBAND, 0xFFFF, 64, 3, {MOVED(0)}},
    {"no payload", PACKET_INBAND, OK_FLAG, 0, 0, {REFUSED(VSTOR_INVALID_PARAMETER)}},
    {"payload of 8", PACKET_INBAND, OK_FLAG, 8, 3, {REFUSED(VSTOR_INVALID_PARAMETER)}},
    {"an old version's size", PACKET_INBAND, OK_FLAG, 48, 3, {REFUSED(VSTOR_INVALID_PARAMETER)}},
    {"payload of 56", PACKET_INBAND, OK_FLAG, 56, 3, {REFUSED(VSTOR_INVALID_PARAMETER)}},
    {"payload of 72", PACKET_INBAND, OK_FLAG, 72, 3, {MOVED(0)}},
    {"payload of 4080", PACKET_INBAND, OK_FLAG, 4080, 3, {MOVED(0)}},
    {"payload of 4088", PACKET_INBAND, OK_FLAG, 4088, 3, {STOP}},
    {"payload of 64 KiB", PACKET_INBAND, OK_FLAG, 65536, 3, {STOP}},
    {"operation 0", PACKET_INBAND, OK_FLAG, 64, 0, {REFUSED(VSTOR_NOT_SUPPORTED)}},
    {"COMPLETE_IO", PACKET_INBAND, OK_FLAG, 64, 1, {REFUSED(VSTOR_NOT_SUPPORTED)}},
    {"REMOVE_DEVICE", PACKET_INBAND, OK_FLAG, 64, 2, {REFUSED(VSTOR_NOT_SUPPORTED)}},
    {"ENUMERATE_BUS", PACKET_INBAND, OK_FLAG, 64, 11, {REFUSED(VSTOR_NOT_SUPPORTED)}},
    {"FCHBA_DATA", PACKET_INBAND, OK_FLAG, 64, 12, {REFUSED(VSTOR_NOT_SUPPORTED)}},
    {"operation 14", PACKET_INBAND, OK_FLAG, 64, 14, {REFUSED(VSTOR_NOT_SUPPORTED)}},
    {"operation 0x80000003",
     PACKET_INBAND,
     OK_FLAG,
     64,
     0x80000003,
     {REFUSED(VSTOR_NOT_SUPPORTED)}},
    {"largest operation", PACKET_INBAND, OK_FLAG, 64, UINT32_MAX, {REFUSED(VSTOR_NOT_SUPPORTED)}},
};

Test(hv_hostile_storage, packets)
{
	static uint8_t payload[65536];

	for (unsigned i = 0; i < ARRAY_LEN(packets); i++) {
		struct vstor_srb srb = {.cdb_len = 6, .data_in = VSTOR_DATA_NONE};

		memset(payload, 0, sizeof(payload));
		vstor_put_srb(payload, &srb);
		put_le32(payload, packets[i].operation);
		cr_assert(guest_send(&slab.ch, packets[i].type, packets[i].flags, 100 + i, NULL, 0,
				     payload, packets[i].len),
			  "%s", packets[i].name);
		hostile_ends(packets[i].name, 100 + i, &packets[i].end);
		hostile_serves(packets[i].name);
	}
}

/* ---- commands ---- */

#define READ_1  0x28, [8] = 1
#define READ_8  0x28, [8] = 8
#define WRITE_8 0x2A, [8] = 8
#define NO_UNIT .outcome = SENSE, .a = 5, .b = 0x25
#define GONE    .outcome = SRB, .a = SRB_INVALID_LUN

static const struct {
	const char *name;
	struct vstor_srb srb;
	uint32_t buffer; /* bytes of the range; 0: in-band */
	struct end end;
} srbs[] = {
    {"block length 0", {.cdb_len = 0}, 0, {INVALID}},
    {"block length 17", {.cdb_len = 17}, 0, {INVALID}},
    {"block length 255", {.cdb_len = 255}, 0, {INVALID}},
    {"block of 1", {.cdb_len = 1}, 0, {SENSE, 5, 0x24, 0}},
    {"block of 9 for 10", {.cdb_len = 9, .cdb = {READ_1}}, 0, {SENSE, 5, 0x24, 0}},
    {"block of 10 for 16", {.cdb_len = 10, .cdb = {0x88}}, 0, {SENSE, 5, 0x24, 0}},
    {"block of 16 for 6", {.cdb_len = 16, .cdb = {0}}, 0, {MOVED(0)}},
    {"unit 1", {.lun = 1, .cdb_len = 6}, 0, {GONE}},
    {"unit 63", {.lun = 63, .cdb_len = 6}, 0, {GONE}},
    {"unit 64", {.lun = 64, .cdb_len = 6}, 0, {GONE}},
    {"unit 255", {.lun = 255, .cdb_len = 6}, 0, {GONE}},
    {"target 1", {.target = 1, .cdb_len = 6}, 0, {NO_UNIT}},
    {"target 255", {.target = 255, .cdb_len = 6}, 0, {NO_UNIT}},
    {"path 1", {.path = 1, .cdb_len = 6}, 0, {NO_UNIT}},
    {"path 255", {.path = 255, .lun = 255, .target = 255, .cdb_len = 6}, 0, {NO_UNIT}},
    {"port 255 is not looked at", {.port = 255, .cdb_len = 6}, 0, {MOVED(0)}},
    {"path 1, block length 0", {.path = 1, .cdb_len = 0}, 0, {INVALID}},
    {"unit 1, a bad operation", {.lun = 1, .cdb_len = 16, .cdb = {0xFF}}, 0, {GONE}},
    {"path 1, a bad operation", {.path = 1, .cdb_len = 16, .cdb = {0xFF}}, 0, {NO_UNIT}},
    {"unit 1, read with a buffer",
     {.lun = 1, .cdb_len = 10, .data_in = 1, .transfer_bytes = 512, .cdb = {READ_1}},
     512,
     {GONE}},
    {"read in-band",
     {.cdb_len = 10, .data_in = 1, .transfer_bytes = 512, .cdb = {READ_1}},
     0,
     {INVALID}},
    {"write in-band",
     {.cdb_len = 10, .data_in = 0, .transfer_bytes = 4096, .cdb = {WRITE_8}},
     0,
     {INVALID}},
    {"read, length 0",
     {.cdb_len = 10, .data_in = 1, .transfer_bytes = 0, .cdb = {READ_1}},
     512,
     {INVALID}},
    {"read as if it wrote",
     {.cdb_len = 10, .data_in = 0, .transfer_bytes = 512, .cdb = {READ_1}},
     512,
     {INVALID}},
    {"read as if without data",
     {.cdb_len = 10, .data_in = 2, .transfer_bytes = 512, .cdb = {READ_1}},
     512,
     {INVALID}},
    {"read with direction 255",
     {.cdb_len = 10, .data_in = 255, .transfer_bytes = 512, .cdb = {READ_1}},
     512,
     {INVALID}},
    {"write as if it read",
     {.cdb_len = 10, .data_in = 1, .transfer_bytes = 4096, .cdb = {WRITE_8}},
     4096,
     {INVALID}},
    {"write as if without data",
     {.cdb_len = 10, .data_in = 2, .transfer_bytes = 4096, .cdb = {WRITE_8}},
     4096,
     {INVALID}},
    {"length 1",
     {.cdb_len = 10, .data_in = 1, .transfer_bytes = 1, .cdb = {READ_1}},
     512,
     {INVALID}},
    {"length 511",
     {.cdb_len = 10, .data_in = 1, .transfer_bytes = 511, .cdb = {READ_1}},
     512,
     {INVALID}},
    {"length 513 of 8 blocks",
     {.cdb_len = 10, .data_in = 1, .transfer_bytes = 513, .cdb = {READ_8}},
     4096,
     {INVALID}},
    {"length 512 of 8 blocks",
     {.cdb_len = 10, .data_in = 1, .transfer_bytes = 512, .cdb = {READ_8}},
     4096,
     {ONLY(512)}},
    {"buffer of 1024 for 8 blocks",
     {.cdb_len = 10, .data_in = 1, .transfer_bytes = 4096, .cdb = {READ_8}},
     1024,
     {ONLY(1024)}},
    {"buffer of 1000 for 8 blocks",
     {.cdb_len = 10, .data_in = 1, .transfer_bytes = 4096, .cdb = {READ_8}},
     1000,
     {INVALID}},
    {"length larger than the buffer",
     {.cdb_len = 10, .data_in = 1, .transfer_bytes = UINT32_MAX, .cdb = {READ_1}},
     512,
     {MOVED(512)}},
    {"largest length, small buffer",
     {.cdb_len = 10, .data_in = 1, .transfer_bytes = UINT32_MAX, .cdb = {READ_8}},
     512,
     {ONLY(512)}},
    {"buffer larger than the command",
     {.cdb_len = 10, .data_in = 1, .transfer_bytes = 65536, .cdb = {READ_1}},
     65536,
     {MOVED(512)}},
    {"more than may be moved",
     {.cdb_len = 10, .data_in = 1, .transfer_bytes = 262656, .cdb = {0x28, [7] = 2, [8] = 1}},
     262656,
     {INVALID}},
    {"more than may be moved, short buffer",
     {.cdb_len = 10, .data_in = 1, .transfer_bytes = 524288, .cdb = {0x28, [7] = 4}},
     512,
     {INVALID}},
    {"INQUIRY in-band",
     {.cdb_len = 6, .data_in = 1, .transfer_bytes = 36, .cdb = {0x12, [4] = 36}},
     0,
     {MOVED(0)}},
    {"INQUIRY into 1 byte",
     {.cdb_len = 6, .data_in = 1, .transfer_bytes = 36, .cdb = {0x12, [4] = 36}},
     1,
     {MOVED(1)}},
    {"INQUIRY of length 0",
     {.cdb_len = 6, .data_in = 1, .transfer_bytes = 0, .cdb = {0x12, [4] = 36}},
     36,
     {MOVED(0)}},
    {"UNMAP in-band", {.cdb_len = 10, .transfer_bytes = 24, .cdb = {0x42, [8] = 24}}, 0, {INVALID}},
    {"UNMAP as if it read",
     {.cdb_len = 10, .data_in = 1, .transfer_bytes = 24, .cdb = {0x42, [8] = 24}},
     24,
     {INVALID}},
    {"UNMAP of nothing", {.cdb_len = 10, .data_in = 2, .cdb = {0x42}}, 0, {MOVED(0)}},
    {"UNMAP list of 4 bytes",
     {.cdb_len = 10, .transfer_bytes = 4, .cdb = {0x42, [8] = 4}},
     4,
     {SENSE, 5, 0x1A, 0}},
    {"UNMAP list of 64 KiB",
     {.cdb_len = 10, .transfer_bytes = 65535, .cdb = {0x42, [7] = 0xFF, 0xFF}},
     65535,
     {SENSE, 5, 0x1A, 0}},
    {"WRITE SAME in-band",
     {.cdb_len = 10, .transfer_bytes = 512, .cdb = {0x41, [8] = 1}},
     0,
     {INVALID}},
    {"WRITE SAME of 100 bytes",
     {.cdb_len = 10, .transfer_bytes = 100, .cdb = {0x41, [8] = 1}},
     512,
     {SENSE, 5, 0x24, 0}},
};

Test(hv_hostile_storage, commands)
{
	uint8_t packet[VSTOR_BYTES];

	for (unsigned i = 0; i < ARRAY_LEN(srbs); i++) {
		uint64_t id = 1000 + i;

		vstor_put_srb(packet, &srbs[i].srb);
		memset(slab_at(0), 0, 128 * KIB);
		if (srbs[i].buffer)
			cr_assert(guest_send_direct(&slab.ch, id, slab.buffer, srbs[i].buffer,
						    packet, sizeof(packet)));
		else
			cr_assert(guest_send(&slab.ch, PACKET_INBAND, OK_FLAG, id, NULL, 0, packet,
					     sizeof(packet)));
		hostile_ends(srbs[i].name, id, &srbs[i].end);
		hostile_serves(srbs[i].name);
	}
}

/* ---- command blocks ---- */

#define OUT_OF_RANGE .outcome = SENSE, .a = 5, .b = 0x21
#define BAD_FIELD    .outcome = SENSE, .a = 5, .b = 0x24
#define BAD_OPCODE   .outcome = SENSE, .a = 5, .b = 0x20

/* The unit has 0x8000 blocks. The buffer is a page of zeros. */
static const struct {
	const char *name;
	uint8_t cdb[16];
	struct end end;
} blocks[] = {
    {"READ(6) over the end", {0x08, 0, 0x7F, 0xFF, 2}, {OUT_OF_RANGE}},
    {"READ(6) of 256 over the end", {0x08, 0, 0x7F, 0x01, 0}, {OUT_OF_RANGE}},
    {"READ(6) at its last address", {0x08, 0x1F, 0xFF, 0xFF, 1}, {OUT_OF_RANGE}},
    {"READ(10) over the end", {0x28, 0, 0, 0, 0x7F, 0xFF, 0, 0, 2}, {OUT_OF_RANGE}},
    {"READ(10) at the end", {0x28, 0, 0, 0, 0x80, 0, 0, 0, 1}, {OUT_OF_RANGE}},
    {"READ(10) of nothing at the end", {0x28, 0, 0, 0, 0x80, 0, 0, 0, 0}, {OUT_OF_RANGE}},
    {"READ(10) at its last address", {0x28, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 1}, {OUT_OF_RANGE}},
    {"READ(10) of all there may be", {0x28, 0, 0, 0, 0, 1, 0, 0xFF, 0xFF}, {OUT_OF_RANGE}},
    {"READ(10) of nothing", {0x28, 0, 0, 0, 0, 1, 0, 0, 0}, {MOVED(0)}},
    {"READ(10) with protection", {0x28, 0xE0, [8] = 1}, {BAD_FIELD}},
    {"READ(12) of 2^32-1", {0xA8, [6] = 0xFF, 0xFF, 0xFF, 0xFF}, {OUT_OF_RANGE}},
    {"READ(12) over the end",
     {0xA8, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF},
     {OUT_OF_RANGE}},
    {"READ(16) at the last address of all",
     {0x88, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 1},
     {OUT_OF_RANGE}},
    {"READ(16) whose end is 2^64",
     {0x88, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 2},
     {OUT_OF_RANGE}},
    {"READ(16) at 2^55, in bytes 2^64", {0x88, 0, 0, 0x80, [13] = 1}, {OUT_OF_RANGE}},
    {"READ(16) of 2^32-1", {0x88, [10] = 0xFF, 0xFF, 0xFF, 0xFF}, {OUT_OF_RANGE}},
    {"READ(16) in the middle of nothing", {0x88, 0, 0, 0, 1, [13] = 1}, {OUT_OF_RANGE}},
    {"VERIFY(10) that compares", {0x2F, 0x02, [8] = 1}, {BAD_FIELD}},
    {"VERIFY(10) over the end", {0x2F, 0, 0, 0, 0x7F, 0xFF, 0, 0, 2}, {OUT_OF_RANGE}},
    {"VERIFY(12) of 2^32-1", {0xAF, [6] = 0xFF, 0xFF, 0xFF, 0xFF}, {OUT_OF_RANGE}},
    {"VERIFY(16) at the last address of all",
     {0x8F, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 1},
     {OUT_OF_RANGE}},
    {"SYNCHRONIZE CACHE(10) over the end", {0x35, 0, 0, 0, 0x7F, 0xFF, 0, 0, 2}, {OUT_OF_RANGE}},
    {"SYNCHRONIZE CACHE(16) beyond the end", {0x91, 0, 0xFF, [13] = 1}, {OUT_OF_RANGE}},
    {"WRITE SAME(10) of 0 blocks", {0x41}, {BAD_FIELD}},
    {"WRITE SAME(16) of too many", {0x93, [10] = 0xFF}, {BAD_FIELD}},
    {"WRITE SAME(16) of nothing sent, over the end",
     {0x93, 1, [8] = 0x7F, 0xFF, 0, 0, 0, 2},
     {OUT_OF_RANGE}},
    {"WRITE SAME(10) with the bit of (16)", {0x41, 1, [8] = 1}, {BAD_FIELD}},
    {"WRITE SAME(10) anchored", {0x41, 0x10, [8] = 1}, {BAD_FIELD}},
    {"UNMAP anchored", {0x42, 1}, {BAD_FIELD}},
    {"INQUIRY with the obsolete bit", {0x12, 2, 0, 0, 36}, {BAD_FIELD}},
    {"INQUIRY of a page without saying so", {0x12, 0, 0x83, 0, 36}, {BAD_FIELD}},
    {"INQUIRY of page 01", {0x12, 1, 0x01, 0, 36}, {BAD_FIELD}},
    {"INQUIRY of page FF", {0x12, 1, 0xFF, 0, 36}, {BAD_FIELD}},
    {"MODE SENSE of page 1C", {0x1A, 0, 0x1C, 0, 36}, {BAD_FIELD}},
    {"MODE SENSE of saved values", {0x1A, 0, 0xFF, 0, 36}, {SENSE, 5, 0x39, 0}},
    {"MODE SENSE of subpage 1", {0x5A, 0, 0x3F, 1, [8] = 36}, {BAD_FIELD}},
    {"REPORT LUNS of kind 3", {0xA0, 0, 3, [9] = 16}, {BAD_FIELD}},
    {"REPORT LUNS of kind 255", {0xA0, 0, 255, [9] = 16}, {BAD_FIELD}},
    {"REQUEST SENSE with descriptors", {0x03, 1, 0, 0, 18}, {BAD_FIELD}},
    {"SERVICE ACTION IN 0", {0x9E, 0, [13] = 32}, {BAD_FIELD}},
    {"SERVICE ACTION IN 1F", {0x9E, 0x1F, [13] = 32}, {BAD_FIELD}},
    {"FORMAT UNIT", {0x04}, {BAD_OPCODE}},
    {"REASSIGN BLOCKS", {0x07}, {BAD_OPCODE}},
    {"MODE SELECT(6)", {0x15}, {BAD_OPCODE}},
    {"RESERVE(6)", {0x16}, {BAD_OPCODE}},
    {"SEND DIAGNOSTIC", {0x1D}, {BAD_OPCODE}},
    {"WRITE AND VERIFY(10)", {0x2E, [8] = 1}, {BAD_OPCODE}},
    {"WRITE BUFFER", {0x3B}, {BAD_OPCODE}},
    {"WRITE LONG(10)", {0x3F}, {BAD_OPCODE}},
    {"SANITIZE", {0x48}, {BAD_OPCODE}},
    {"PERSISTENT RESERVE OUT", {0x5F}, {BAD_OPCODE}},
    {"variable length", {0x7F, [7] = 0xFF}, {BAD_OPCODE}},
    {"EXTENDED COPY", {0x83}, {BAD_OPCODE}},
    {"ATA PASS-THROUGH(16)", {0x85}, {BAD_OPCODE}},
    {"COMPARE AND WRITE", {0x89}, {BAD_OPCODE}},
    {"MAINTENANCE IN", {0xA3}, {BAD_OPCODE}},
    {"vendor's C0", {0xC0}, {BAD_OPCODE}},
    {"FF", {0xFF}, {BAD_OPCODE}},
};

Test(hv_hostile_storage, command_blocks)
{
	for (unsigned i = 0; i < ARRAY_LEN(blocks); i++) {
		struct guest_scsi what = {
		    .cdb_len = 16, .data = VSTOR_DATA_IN, .gpa = slab.buffer, .len = 4096};

		memcpy(what.cdb, blocks[i].cdb, 16);
		cr_assert(guest_scsi_send(&slab.ch, 2000 + i, &what));
		hostile_ends(blocks[i].name, 2000 + i, &blocks[i].end);
		hostile_serves(blocks[i].name);
	}
}

/* ---- parameter lists ---- */

/* Header of 8 bytes and two descriptors, as 64-bit words in the byte order of SCSI. */
static const struct {
	const char *name;
	uint64_t word[5];
	unsigned len;
	struct end end;
} lists[] = {
    {"one that is right",
     {UINT64_C(38) << 48 | UINT64_C(32) << 32, 1024, UINT64_C(8) << 32, 2048, UINT64_C(8) << 32},
     40,
     {MOVED(40)}},
    {"lengths of nothing", {0}, 40, {MOVED(40)}},
    {"a length that is too long",
     {UINT64_MAX, 1024, UINT64_C(8) << 32, 2048, UINT64_C(8) << 32},
     40,
     {MOVED(40)}},
    {"half a descriptor", {UINT64_C(38) << 48 | UINT64_C(32) << 32, UINT64_MAX}, 16, {MOVED(16)}},
    {"beyond the end",
     {UINT64_C(38) << 48 | UINT64_C(32) << 32, 0x8000, UINT64_C(8) << 32},
     40,
     {OUT_OF_RANGE}},
    {"over the end",
     {UINT64_C(38) << 48 | UINT64_C(32) << 32, 0x7FFF, UINT64_C(2) << 32},
     40,
     {OUT_OF_RANGE}},
    {"the second over the end",
     {UINT64_C(38) << 48 | UINT64_C(32) << 32, 0, UINT64_C(8) << 32, 0x7FFF, UINT64_C(2) << 32},
     40,
     {OUT_OF_RANGE}},
    {"a sum that overflows",
     {UINT64_C(38) << 48 | UINT64_C(32) << 32, UINT64_MAX, UINT64_C(8) << 32},
     40,
     {OUT_OF_RANGE}},
    {"bytes that overflow",
     {UINT64_C(38) << 48 | UINT64_C(32) << 32, UINT64_C(1) << 55, UINT64_C(8) << 32},
     40,
     {OUT_OF_RANGE}},
    {"more blocks than one may name",
     {UINT64_C(38) << 48 | UINT64_C(32) << 32, 0, UINT64_MAX},
     40,
     {SENSE, 5, 0x26, 0}},
    {"nothing far away",
     {UINT64_C(38) << 48 | UINT64_C(32) << 32, UINT64_MAX, 0},
     40,
     {OUT_OF_RANGE}},
};

Test(hv_hostile_storage, parameter_lists)
{
	for (unsigned i = 0; i < ARRAY_LEN(lists); i++) {
		struct guest_scsi what = {.cdb = {0x42, [8] = (uint8_t)lists[i].len},
					  .data = VSTOR_DATA_OUT,
					  .gpa = slab.buffer,
					  .len = lists[i].len};

		for (unsigned w = 0; w < 5; w++)
			put_be64(slab_at(8 * w), lists[i].word[w]);
		cr_assert(guest_scsi_send(&slab.ch, 3000 + i, &what));
		hostile_ends(lists[i].name, 3000 + i, &lists[i].end);
		hostile_serves(lists[i].name);
	}
}

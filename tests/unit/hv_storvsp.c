/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/hv_storage_lab.h"

static void start(void)
{
	slab_start(0);
}

TestSuite(hv_storvsp, .init = start, .fini = slab_stop, .timeout = 120);

static struct vstor_result run(struct guest_scsi what)
{
	return guest_scsi(&slab.ch, &what);
}

/* ---- reading and writing ---- */

Test(hv_storvsp, what_is_written_is_read)
{
	slab_fill(0, 8192, 1);
	cr_assert(guest_write(&slab.ch, 100, 16, slab.buffer));
	cr_assert(guest_read(&slab.ch, 100, 16, slab.buffer + 65536));
	cr_assert(slab_holds(65536, 8192, 1));
	cr_assert(guest_read(&slab.ch, 0, 16, slab.buffer + 65536));
	cr_assert_eq(*slab_at(65536), 0);

	cr_assert_eq(slab_stats(0).write_ops, 1);
	cr_assert_eq(slab_stats(0).write_bytes, 8192);
	cr_assert_eq(slab_stats(0).read_ops, 2);
	cr_assert_eq(slab_stats(0).read_bytes, 16384);
	cr_assert_eq(slab_stats(0).errors, 0);
}

Test(hv_storvsp, buffers_may_begin_anywhere)
{
	static const uint32_t offsets[] = {0, 512, 4095, 1, 3584, 2048};

	for (unsigned i = 0; i < ARRAY_LEN(offsets); i++) {
		uint64_t at = 8192 + offsets[i];

		slab_fill(at, 24 * 512, i);
		cr_assert(guest_write(&slab.ch, i * 64, 24, slab.buffer + at));
		memset(slab_at(at), 0, 24 * 512);
		cr_assert(guest_read(&slab.ch, i * 64, 24, slab.buffer + at));
		cr_assert(slab_holds(at, 24 * 512, i), "offset %u", offsets[i]);
	}
}

Test(hv_storvsp, the_largest_transfer)
{
	uint64_t at = 512;

	slab_fill(at, STORVSP_MAX_TRANSFER, 7);
	cr_assert(guest_write(&slab.ch, 8, STORVSP_MAX_TRANSFER / 512, slab.buffer + at));
	memset(slab_at(at), 0, STORVSP_MAX_TRANSFER);
	cr_assert(guest_read(&slab.ch, 8, STORVSP_MAX_TRANSFER / 512, slab.buffer + at));
	cr_assert(slab_holds(at, STORVSP_MAX_TRANSFER, 7));
}

/* A real file past the page cache wants aligned memory; guests need not know of that. */
Test(hv_storvsp, buffers_may_begin_anywhere_with_direct_io)
{
	static const uint32_t offsets[] = {0, 512, 3584, 1, 4095};
	struct vhd_create_opts create = {.type = VHD_DYNAMIC, .size_bytes = SLAB_BYTES};
	struct vhd_open_opts open = {.writable = true, .direct = true};
	struct storvsp_unit unit = {.id = {{3}}};
	char path[] = "/tmp/strata-storvsp-XXXXXX";
	struct err_why why;

	close(mkstemp(path));
	unlink(path);
	cr_assert_eq(vhd_create(path, &create, &why), ERR_OK, "%s", why.text);
	cr_assert_eq(vhd_open(path, &open, &unit.disk, &why), ERR_OK, "%s", why.text);
	unlink(path);
	cr_assert_eq(storvsp_attach(slab.adapter, 2, &unit, NULL), ERR_OK);
	for (unsigned i = 0; i < ARRAY_LEN(offsets); i++) {
		uint64_t at = 8192 + offsets[i];
		struct guest_scsi what = guest_scsi_rw(true, i * 64, 24, slab.buffer + at);
		struct vstor_result result;

		what.lun = 2;
		slab_fill(at, 24 * 512, i);
		result = run(what);
		cr_assert(guest_scsi_good(&result, 24 * 512), "offset %u", offsets[i]);
		memset(slab_at(at), 0, 24 * 512);
		what.cdb[0] = 0x88;
		what.data = VSTOR_DATA_IN;
		result = run(what);
		cr_assert(guest_scsi_good(&result, 24 * 512), "offset %u", offsets[i]);
		cr_assert(slab_holds(at, 24 * 512, i), "offset %u", offsets[i]);
	}
	cr_assert_eq(storvsp_detach(slab.adapter, 2, NULL), ERR_OK);
	cr_assert_eq(disk_close(unit.disk, &why), ERR_OK, "%s", why.text);
}

/* A buffer whose pages are in no order, and one of several ranges. */
Test(hv_storvsp, scattered_buffers)
{
	struct guest_scsi what = guest_scsi_rw(true, 0, 16, 0);
	struct vstor_srb srb = {.cdb_len = 16, .transfer_bytes = what.len};
	uint64_t pfn = slab.buffer / GUEST_PAGE;
	uint8_t packet[VSTOR_BYTES], head[8 + 16 + 24] = {0};
	struct vstor_result result;

	memcpy(srb.cdb, what.cdb, 16);
	vstor_put_srb(packet, &srb);
	put_le32(head + 4, 2);
	put_le32(head + 8, 512); /* the end of page 9 */
	put_le32(head + 12, 3584);
	put_le64(head + 16, pfn + 9);
	put_le32(head + 24, 7680); /* all but the beginning of page 3, then page 1 */
	put_le32(head + 28, 512);
	put_le64(head + 32, pfn + 3);
	put_le64(head + 40, pfn + 1);
	slab_fill(9 * 4096 + 3584, 512, 1);
	slab_fill(3 * 4096 + 512, 3584, 2);
	slab_fill(1 * 4096, 4096, 3);
	cr_assert(guest_send(&slab.ch, PACKET_GPA_DIRECT, 1, 5, head, sizeof(head), packet, 64));
	result = guest_scsi_wait(&slab.ch, NULL);
	cr_assert(guest_scsi_good(&result, 8192));
	cr_assert(guest_read(&slab.ch, 0, 16, slab.buffer + 65536));
	cr_assert(slab_holds(65536, 512, 1));
	cr_assert(slab_holds(65536 + 512, 3584, 2));
	cr_assert(slab_holds(65536 + 4096, 4096, 3));
}

/* G5: the smallest of the three counts. */
Test(hv_storvsp, no_more_is_moved_than_all_allow)
{
	struct guest_scsi what = guest_scsi_rw(false, 0, 8, slab.buffer);
	struct vstor_result result;

	memset(slab_at(0), 0xAA, 8192);
	what.len = 1024; /* buffer and packet */
	result = run(what);
	cr_assert_eq(result.srb_status, SRB_DATA_OVERRUN);
	cr_assert_eq(result.transfer_bytes, 1024);
	cr_assert_eq(*slab_at(1023), 0);
	cr_assert_eq(*slab_at(1024), 0xAA);

	what.len = 8192; /* more than the command says */
	result = run(what);
	cr_assert(guest_scsi_good(&result, 4096));
	cr_assert_eq(*slab_at(4095), 0);
	cr_assert_eq(*slab_at(4096), 0xAA);
}

Test(hv_storvsp, many_at_once_each_completes_once)
{
	enum { COUNT = 200 };
	bool seen[COUNT] = {false};
	unsigned sent = 0, got = 0;

	slab_fill(0, 4096, 1);
	while (got < COUNT) {
		struct guest_scsi what = guest_scsi_rw(sent % 2, sent * 8, 8, slab.buffer);
		struct vstor_result result;
		uint64_t id;

		if (sent < COUNT && guest_scsi_send(&slab.ch, 1000 + sent, &what)) {
			sent++;
			continue;
		}
		result = guest_scsi_wait(&slab.ch, &id);
		cr_assert(guest_scsi_good(&result, 4096));
		cr_assert(id >= 1000 && id < 1000 + COUNT && !seen[id - 1000]);
		seen[id - 1000] = true;
		got++;
	}
}

Test(hv_storvsp, flush_fua_zero_and_trim)
{
	struct guest_scsi what = guest_scsi_rw(true, 0, 8, slab.buffer);
	struct vhd_usage before, after;
	struct vstor_result result;
	uint8_t *params = slab_at(65536);

	slab_fill(0, 4096, 1);
	vhd_get_usage(slab.vhd, &before);
	what.cdb[1] = 8;
	result = run(what);
	cr_assert(guest_scsi_good(&result, 4096));
	vhd_get_usage(slab.vhd, &after);
	cr_assert_gt(after.syncs, before.syncs, "FUA is durable");
	cr_assert(guest_flush(&slab.ch));
	cr_assert_eq(slab_stats(0).flush_ops, 1);
	vhd_get_usage(slab.vhd, &before);
	cr_assert_gt(before.flushes, 0);

	/* WRITE SAME (16) of zeros over half of it */
	memset(params, 0, 512);
	result = run((struct guest_scsi){.cdb = {0x93, [13] = 4},
					 .data = VSTOR_DATA_OUT,
					 .gpa = slab.buffer + 65536,
					 .len = 512});
	cr_assert(guest_scsi_good(&result, 512));
	cr_assert(guest_read(&slab.ch, 0, 8, slab.buffer + 8192));
	cr_assert_eq(*slab_at(8192 + 2047), 0);
	cr_assert_arr_eq(slab_at(8192 + 2048), slab_at(2048), 2048);

	/* UNMAP of two ranges */
	memset(params, 0, 40);
	put_be16(params, 38);
	put_be16(params + 2, 32);
	put_be64(params + 8, 0);
	put_be32(params + 16, 128);
	put_be64(params + 24, 256);
	put_be32(params + 32, 128);
	result = run((struct guest_scsi){.cdb = {0x42, [8] = 40},
					 .data = VSTOR_DATA_OUT,
					 .gpa = slab.buffer + 65536,
					 .len = 40});
	cr_assert(guest_scsi_good(&result, 40));
	cr_assert_eq(slab_stats(0).unmap_ops, 2);
	cr_assert(guest_read(&slab.ch, 0, 8, slab.buffer + 8192));
}

/* ---- what a unit says of itself, and where there is none ---- */

Test(hv_storvsp, questions_are_answered)
{
	struct vstor_result result = run((struct guest_scsi){
	    .cdb = {0x12, 0, 0, 0, 36}, .data = VSTOR_DATA_IN, .gpa = slab.buffer, .len = 36});

	cr_assert(guest_scsi_good(&result, 36));
	cr_assert_arr_eq(slab_at(8), "Msft    Virtual Disk    1.0 ", 28);
	result = run((struct guest_scsi){
	    .cdb = {0x9E, 0x10, [13] = 32}, .data = VSTOR_DATA_IN, .gpa = slab.buffer, .len = 32});
	cr_assert(guest_scsi_good(&result, 32));
	cr_assert_eq(get_be64(slab_at(0)), SLAB_BLOCKS - 1);
	result = run((struct guest_scsi){
	    .cdb = {0xA0, [8] = 16}, .data = VSTOR_DATA_IN, .gpa = slab.buffer, .len = 4096});
	cr_assert(guest_scsi_good(&result, 16));
	result = run((struct guest_scsi){.cdb = {0x00}});
	cr_assert(guest_scsi_good(&result, 0));
	result = run((struct guest_scsi){.cdb = {0xFE}});
	cr_assert(guest_scsi_sense(&result, 5, 0x20, 0));
}

/* The two ways to say no: only one of them may make the guest remove a unit. */
Test(hv_storvsp, absent_units_by_path)
{
	static const struct {
		uint8_t path, target, lun;
		bool ours;
	} cases[] = {{0, 0, 1, true},  {0, 0, 63, true}, {0, 0, 200, true},
		     {1, 0, 0, false}, {7, 0, 0, false}, {0, 1, 0, false}};

	for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
		struct guest_scsi what = {.path = cases[i].path,
					  .target = cases[i].target,
					  .lun = cases[i].lun,
					  .data = VSTOR_DATA_IN};
		struct vstor_result result = run(what);

		if (cases[i].ours)
			cr_assert_eq(result.srb_status, SRB_INVALID_LUN, "case %u", i);
		else
			cr_assert(guest_scsi_sense(&result, 5, 0x25, 0), "case %u", i);
		what.gpa = slab.buffer;
		what.len = what.cdb[4] = 36;
		what.cdb[0] = 0x12;
		result = run(what);
		cr_assert(guest_scsi_good(&result, 36), "case %u", i);
		cr_assert_eq(*slab_at(0), 0x7F, "case %u", i);
		what.cdb[0] = 0xA0;
		what.cdb[4] = 0;
		what.cdb[8] = 16;
		result = run(what);
		cr_assert(guest_scsi_good(&result, cases[i].ours ? 16 : 8), "case %u", i);
		cr_assert_eq(get_be32(slab_at(0)), cases[i].ours ? 8 : 0, "case %u", i);
	}
}

Test(hv_storvsp, units_come_and_go)
{
	struct storvsp_unit unit = {.disk = slab.vhd, .id = {{9}}, .readonly = true};
	struct storvsp_stats stats;
	struct vstor_result result;
	struct err_why why;

	cr_assert_eq(storvsp_attach(slab.adapter, 0, &unit, &why), ERR_EXIST);
	cr_assert_eq(storvsp_attach(slab.adapter, STORVSP_MAX_LUNS, &unit, &why), ERR_RANGE);
	cr_assert_eq(storvsp_detach(slab.adapter, 5, &why), ERR_NOENT);
	cr_assert_eq(storvsp_detach(slab.adapter, 64, &why), ERR_RANGE);
	cr_assert_not(storvsp_get_stats(slab.adapter, 5, &stats));
	cr_assert_not(storvsp_get_stats(slab.adapter, 64, &stats));

	cr_assert_eq(storvsp_attach(slab.adapter, 5, &unit, &why), ERR_OK);
	cr_assert(slab_notice(GUEST_PATIENCE_MS));
	result = run((struct guest_scsi){.lun = 5});
	cr_assert(guest_scsi_good(&result, 0));
	result = run((struct guest_scsi){.lun = 5,
					 .cdb = {0x2A, [8] = 1},
					 .data = VSTOR_DATA_OUT,
					 .gpa = slab.buffer,
					 .len = 512});
	cr_assert(guest_scsi_sense(&result, 7, 0x27, 0));
	result = run((struct guest_scsi){.lun = 5,
					 .cdb = {0x1A, 0, 0x08, 0, 24},
					 .data = VSTOR_DATA_IN,
					 .gpa = slab.buffer,
					 .len = 24});
	cr_assert(guest_scsi_good(&result, 24));
	cr_assert_eq(*slab_at(2) & 0x80, 0x80);

	cr_assert_eq(storvsp_detach(slab.adapter, 5, &why), ERR_OK);
	cr_assert(slab_notice(GUEST_PATIENCE_MS));
	result = run((struct guest_scsi){.lun = 5});
	cr_assert_eq(result.srb_status, SRB_INVALID_LUN);
}

Test(hv_storvsp, another_size_is_reported_once)
{
	struct guest_scsi read = guest_scsi_rw(false, 0, 1, slab.buffer);
	struct guest_scsi ask = {
	    .cdb = {0x12, 0, 0, 0, 36}, .data = VSTOR_DATA_IN, .gpa = slab.buffer, .len = 36};
	struct vstor_result result;

	cr_assert_eq(storvsp_resized(slab.adapter, 0, NULL), ERR_OK);
	cr_assert(slab_notice(GUEST_PATIENCE_MS));
	result = run(ask);
	cr_assert(guest_scsi_good(&result, 36), "not a command that reports it");
	result = run(read);
	cr_assert(guest_scsi_sense(&result, 6, 0x2A, 9));
	result = run(read);
	cr_assert(guest_scsi_good(&result, 512));
	cr_assert_eq(storvsp_resized(slab.adapter, 1, NULL), ERR_NOENT);
}

/* ---- failing disks ---- */

Test(hv_storvsp, failures_reach_the_guest)
{
	static const struct {
		enum err err;
		uint8_t key, asc, ascq;
		bool counts;
	} cases[] = {
	    {ERR_IO, 3, 0x0C, 0, true},
	    {ERR_NOSPC, 7, 0x27, 7, false},
	    {ERR_POISONED, 4, 0x44, 0, true},
	    {ERR_READONLY, 7, 0x27, 0, false},
	};
	unsigned errors = 0;

	for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
		struct vstor_result result;

		gate_fail(slab.disk, cases[i].err);
		result = run(guest_scsi_rw(true, 0, 8, slab.buffer));
		cr_assert(guest_scsi_sense(&result, cases[i].key, cases[i].asc, cases[i].ascq));
		cr_assert_eq(result.transfer_bytes, 0);
		errors += cases[i].counts;
		cr_assert_eq(slab_stats(0).errors, errors);
	}
	gate_fail(slab.disk, ERR_IO);
	cr_assert_not(guest_flush(&slab.ch));
	cr_assert_not(guest_read(&slab.ch, 0, 1, slab.buffer));
	gate_fail(slab.disk, ERR_OK);
	cr_assert(guest_read(&slab.ch, 0, 1, slab.buffer));
	cr_assert_eq(slab_stats(0).write_ops, 0);
}

/* ---- the handshake ---- */

Test(hv_storvsp, handshake)
{
	struct vstor_properties properties;

	guest_close(&slab.ch);
	cr_assert_eq(
	    guest_open(&slab.g, guest_offer_of(&slab.g, &slab.instance, 0), 32, 0, &slab.ch), 0);
	cr_assert_eq(guest_storage_do(&slab.ch, VSTOR_EXECUTE_SRB, 0), VSTOR_INVALID_STATE);
	cr_assert_eq(guest_storage_do(&slab.ch, VSTOR_RESET_BUS, 0), VSTOR_INVALID_STATE);
	cr_assert_eq(guest_storage_do(&slab.ch, VSTOR_QUERY_PROTOCOL_VERSION, 0x602),
		     VSTOR_INVALID_STATE);
	cr_assert_eq(guest_storage_do(&slab.ch, VSTOR_BEGIN_INITIALIZATION, 0), 0);
	cr_assert_eq(guest_storage_do(&slab.ch, VSTOR_BEGIN_INITIALIZATION, 0),
		     VSTOR_INVALID_STATE);
	cr_assert_eq(guest_storage_do(&slab.ch, VSTOR_QUERY_PROTOCOL_VERSION, 0x0700),
		     VSTOR_REVISION_MISMATCH);
	cr_assert_eq(guest_storage_do(&slab.ch, VSTOR_QUERY_PROTOCOL_VERSION, 0x0501),
		     VSTOR_REVISION_MISMATCH);
	cr_assert_eq(guest_storage_do(&slab.ch, VSTOR_END_INITIALIZATION, 0), VSTOR_INVALID_STATE);
	cr_assert_eq(guest_storage_do(&slab.ch, VSTOR_QUERY_PROTOCOL_VERSION, 0x0600), 0);
	cr_assert_eq(guest_storage_do(&slab.ch, VSTOR_QUERY_PROPERTIES, 0), 0);
	cr_assert_eq(guest_storage_do(&slab.ch, VSTOR_END_INITIALIZATION, 0), 0);
	cr_assert_eq(guest_storage_do(&slab.ch, VSTOR_CREATE_SUB_CHANNELS, 1),
		     VSTOR_INVALID_PARAMETER, "none were offered");
	cr_assert_eq(guest_storage_do(&slab.ch, VSTOR_FCHBA_DATA, 0), VSTOR_NOT_SUPPORTED);
	cr_assert(guest_read(&slab.ch, 0, 1, slab.buffer));

	guest_close(&slab.ch);
	guest_open(&slab.g, guest_offer_of(&slab.g, &slab.instance, 0), 32, 0, &slab.ch);
	properties = guest_storage_handshake(&slab.ch);
	cr_assert_eq(properties.max_transfer_bytes, STORVSP_MAX_TRANSFER);
	cr_assert_eq(properties.flags, 0);
	cr_assert_eq(properties.max_channels, 0);
}

Test(hv_storvsp, a_unit_attached_before_the_guest_looks_is_not_announced)
{
	struct storvsp_unit unit = {.disk = slab.vhd};

	guest_close(&slab.ch);
	guest_open(&slab.g, guest_offer_of(&slab.g, &slab.instance, 0), 32, 0, &slab.ch);
	cr_assert_eq(storvsp_attach(slab.adapter, 3, &unit, NULL), ERR_OK);
	guest_storage_handshake(&slab.ch);
	cr_assert_not(slab_notice(20));
	cr_assert_eq(storvsp_detach(slab.adapter, 3, NULL), ERR_OK);
	cr_assert(slab_notice(GUEST_PATIENCE_MS));
}

/* What stops a channel: that one, until it is opened anew. */
Test(hv_storvsp, a_broken_channel_is_left_alone)
{
	uint8_t packet[VSTOR_BYTES] = {0};
	struct guest_packet got;

	cr_assert_null(storvsp_fault(slab.adapter));
	cr_assert(guest_send(&slab.ch, PACKET_XFER_PAGES, 1, 9, NULL, 0, packet, 64));
	cr_assert_not(guest_receive(&slab.ch, &got, 50));
	cr_assert_not_null(storvsp_fault(slab.adapter));
	cr_assert_eq(storvsp_fault_count(slab.adapter), 1);
	guest_send(&slab.ch, PACKET_INBAND, 1, 10, NULL, 0, packet, 64);
	cr_assert_not(guest_receive(&slab.ch, &got, 20));
	guest_close(&slab.ch);
	guest_storage_open(&slab.g, &slab.instance, 0, &slab.ch);
	cr_assert(guest_read(&slab.ch, 0, 1, slab.buffer));
}

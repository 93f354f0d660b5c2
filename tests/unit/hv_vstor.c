/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <string.h>

#include "hv/vstor.h"
#include "util/bytes.h"

/* Offsets here are those of the protocol, written down again. */

static void count_up(uint8_t packet[VSTOR_BYTES])
{
	for (unsigned i = 0; i < VSTOR_BYTES; i++)
		packet[i] = (uint8_t)(0x80 + i);
}

Test(hv_vstor, reads_each_field_from_its_place)
{
	uint8_t packet[VSTOR_BYTES];
	struct vstor_header header;
	struct vstor_srb srb;

	count_up(packet);
	header = vstor_header(packet);
	srb = vstor_srb(packet);
	cr_assert_eq(header.operation, 0x83828180);
	cr_assert_eq(header.flags, 0x87868584);
	cr_assert_eq(header.status, 0x8b8a8988);
	cr_assert_eq(srb.port, 0x90);
	cr_assert_eq(srb.path, 0x91);
	cr_assert_eq(srb.target, 0x92);
	cr_assert_eq(srb.lun, 0x93);
	cr_assert_eq(srb.cdb_len, 0x94);
	cr_assert_eq(srb.data_in, 0x96);
	cr_assert_eq(srb.transfer_bytes, 0x9b9a9998);
	cr_assert_arr_eq(srb.cdb, packet + 28, 16);
	cr_assert_eq(vstor_version(packet), 0x8d8c);
	cr_assert_eq(vstor_sub_channels(packet), 0x8d8c);
}

Test(hv_vstor, takes_only_whole_packets)
{
	uint8_t in[VSTOR_BYTES + 8], out[VSTOR_BYTES] = {0};

	memset(in, 7, sizeof(in));
	cr_assert_not(vstor_take(in, 0, out));
	cr_assert_not(vstor_take(in, VSTOR_BYTES - 1, out));
	cr_assert_eq(out[0], 0);
	cr_assert(vstor_take(in, VSTOR_BYTES, out));
	cr_assert(vstor_take(in, sizeof(in), out));
	cr_assert_eq(out[VSTOR_BYTES - 1], 7);
}

Test(hv_vstor, an_answer_echoes_what_it_does_not_say)
{
	uint8_t packet[VSTOR_BYTES], before[VSTOR_BYTES];
	struct vstor_result result = {
	    .srb_status = 0x84,
	    .scsi_status = 2,
	    .sense_len = 18,
	    .transfer_bytes = 0x01020304,
	    .sense = {0x70, 0, 5},
	};

	count_up(packet);
	memcpy(before, packet, sizeof(before));
	vstor_answer_srb(packet, &result);
	cr_assert_eq(get_le32(packet), VSTOR_COMPLETE_IO);
	cr_assert_eq(get_le32(packet + 8), 0);
	cr_assert_eq(packet[14], 0x84);
	cr_assert_eq(packet[15], 2);
	cr_assert_eq(packet[21], 18);
	cr_assert_eq(get_le32(packet + 24), 0x01020304);
	cr_assert_arr_eq(packet + 28, result.sense, VSTOR_SENSE_BYTES);
	cr_assert_arr_eq(packet + 4, before + 4, 4);
	cr_assert_arr_eq(packet + 16, before + 16, 5);
	cr_assert_arr_eq(packet + 48, before + 48, 16);
}

Test(hv_vstor, properties_are_where_guests_look)
{
	uint8_t packet[VSTOR_BYTES];
	struct vstor_properties what = {0x1234, 1, 0x40000}, back;

	count_up(packet);
	vstor_answer_properties(packet, &what);
	cr_assert_eq(get_le32(packet + 12), 0);
	cr_assert_eq(get_le16(packet + 16), 0x1234);
	cr_assert_eq(get_le16(packet + 18), 0);
	cr_assert_eq(get_le32(packet + 20), 1);
	cr_assert_eq(get_le32(packet + 24), 0x40000);
	cr_assert_eq(get_le64(packet + 28), 0);
	back = vstor_properties(packet);
	cr_assert_eq(back.max_channels, what.max_channels);
	cr_assert_eq(back.max_transfer_bytes, what.max_transfer_bytes);
}

Test(hv_vstor, what_is_put_is_read_again)
{
	struct vstor_srb srb = {
	    .port = 1,
	    .path = 2,
	    .target = 3,
	    .lun = 4,
	    .cdb_len = 16,
	    .data_in = VSTOR_DATA_IN,
	    .transfer_bytes = 0x12345678,
	    .cdb = {0x88, 1, 2, 3},
	};
	uint8_t packet[VSTOR_BYTES];
	struct vstor_srb back;

	vstor_put_srb(packet, &srb);
	back = vstor_srb(packet);
	cr_assert_eq(vstor_header(packet).operation, VSTOR_EXECUTE_SRB);
	cr_assert_eq(get_le16(packet + 12), 52);
	cr_assert_eq(back.lun, 4);
	cr_assert_eq(back.cdb_len, 16);
	cr_assert_eq(back.data_in, VSTOR_DATA_IN);
	cr_assert_eq(back.transfer_bytes, 0x12345678);
	cr_assert_arr_eq(back.cdb, srb.cdb, 16);
}

Test(hv_vstor, a_notice_is_empty_but_for_its_operation)
{
	static const uint8_t zero[VSTOR_BYTES];
	uint8_t packet[VSTOR_BYTES];

	count_up(packet);
	vstor_notice(packet, VSTOR_ENUMERATE_BUS);
	cr_assert_eq(get_le32(packet), 11);
	cr_assert_arr_eq(packet + 4, zero, VSTOR_BYTES - 4);
}

Test(hv_vstor, the_type_is_stored_in_mixed_order)
{
	char text[GUID_TEXT_BYTES];

	/* ba6163d9-04a1-4d29-b605-72e2ffb1dc7f */
	cr_assert_str_eq(guid_text(&vstor_scsi_type, text), "d96361ba-a104-294d-b605-72e2ffb1dc7f");
}

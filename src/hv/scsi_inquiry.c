/* SPDX-License-Identifier: MIT */

/* INQUIRY: the standard data and the pages of vital product data. */

#include <string.h>

#include "hv/scsi.h"
#include "util/bytes.h"

/* Each fills the page behind its header of 4 bytes and returns the length of that. */
typedef uint32_t page_fn(const struct scsi_unit *unit, uint8_t *body);

static const uint8_t vendor[8] = "Msft    ";

static page_fn page_supported, page_serial, page_identification, page_limits, page_characteristics,
    page_provisioning;

static const struct {
	uint8_t code;
	page_fn *fill;
} pages[] = {
    /* ascending, as page 0x00 has to list them */
    {0x00, page_supported}, {0x80, page_serial},          {0x83, page_identification},
    {0xB0, page_limits},    {0xB1, page_characteristics}, {0xB2, page_provisioning},
};

static uint32_t page_supported(const struct scsi_unit *unit, uint8_t *body)
{
	(void)unit;
	for (unsigned i = 0; i < ARRAY_LEN(pages); i++)
		body[i] = pages[i].code;
	return ARRAY_LEN(pages);
}

/* 32 hexadecimal digits. */
static uint32_t put_id(const struct guid *id, uint8_t *out)
{
	static const char digits[] = "0123456789abcdef";

	for (unsigned i = 0; i < sizeof(id->b); i++) {
		*out++ = (uint8_t)digits[id->b[i] >> 4];
		*out++ = (uint8_t)digits[id->b[i] & 15];
	}
	return 2 * sizeof(id->b);
}

static uint32_t page_serial(const struct scsi_unit *unit, uint8_t *body)
{
	return put_id(&unit->id, body);
}

/*
 * Two names: NAA 6 with the identifier of the vendor of such disks (00-22-48), which becomes the
 * world wide name, and as many bits of ours as have room; and the whole of ours as text.
 */
static uint32_t page_identification(const struct scsi_unit *unit, uint8_t *body)
{
	uint8_t *naa = body + 4, *text = naa + 16;
	uint32_t text_len;

	body[0] = 1; /* binary */
	body[1] = 3; /* NAA, of the unit */
	body[3] = 16;
	memcpy(naa, (const uint8_t[]){0x60, 0x02, 0x24, 0x80}, 4);
	memcpy(naa + 4, unit->id.b + 4, 12);
	naa[3] |= unit->id.b[3] & 15;

	text_len = sizeof(vendor) + put_id(&unit->id, text + 4 + sizeof(vendor));
	text[0] = 2; /* ASCII */
	text[1] = 1; /* T10 vendor, of the unit */
	text[3] = (uint8_t)text_len;
	memcpy(text + 4, vendor, sizeof(vendor));
	return 4 + 16 + 4 + text_len;
}

static uint32_t page_limits(const struct scsi_unit *unit, uint8_t *body)
{
	uint8_t *page = body - 4; /* offsets as in SBC-3 */
	uint32_t granularity = unit->optimal_bytes / SCSI_BLOCK;

	page[4] = 1; /* WSNZ: WRITE SAME of 0 blocks is refused */
	put_be16(page + 6, 4096 / SCSI_BLOCK);
	put_be32(page + 8, unit->max_transfer_bytes / SCSI_BLOCK);
	put_be32(page + 12, unit->max_transfer_bytes / SCSI_BLOCK);
	if (unit->can_trim && !unit->readonly) {
		put_be32(page + 20, SCSI_ZERO_BLOCKS);
		put_be32(page + 24, SCSI_UNMAP_RANGES);
		put_be32(page + 28, granularity ? granularity : 4096 / SCSI_BLOCK);
		put_be32(page + 32, 0x80000000); /* alignment 0, and that is meant */
	}
	put_be64(page + 36, SCSI_ZERO_BLOCKS);
	return 0x3C;
}

static uint32_t page_characteristics(const struct scsi_unit *unit, uint8_t *body)
{
	(void)unit;
	put_be16(body, 1); /* does not rotate */
	return 0x3C;
}

static uint32_t page_provisioning(const struct scsi_unit *unit, uint8_t *body)
{
	if (unit->can_trim && !unit->readonly) {
		body[1] = 0xE0; /* UNMAP, WRITE SAME (16) and (10) with the UNMAP bit */
		body[2] = 2;    /* thin */
	}
	return 4;
}

static void vital(const struct scsi_unit *unit, uint8_t code, struct scsi_answer *out)
{
	for (unsigned i = 0; i < ARRAY_LEN(pages); i++) {
		uint32_t len;

		if (pages[i].code != code)
			continue;
		memset(out->data, 0, 256);
		len = pages[i].fill(unit, out->data + 4);
		out->data[1] = code;
		put_be16(out->data + 2, (uint16_t)len);
		out->len = 4 + len;
		return;
	}
	scsi_refuse(out, SCSI_INVALID_FIELD);
}

void scsi_inquiry(const struct scsi_unit *unit, const struct scsi_command *command,
		  struct scsi_answer *out)
{
	uint8_t *data = out->data;

	if (command->vital) {
		vital(unit, command->page, out);
		return;
	}
	memset(data, 0, 36);
	data[2] = 5; /* SPC-3 */
	data[3] = 2; /* the format of this data */
	data[4] = 36 - 5;
	data[7] = 2; /* command queueing */
	memcpy(data + 8, vendor, sizeof(vendor));
	memcpy(data + 16, "Virtual Disk    1.0 ", 20);
	out->len = 36;
}

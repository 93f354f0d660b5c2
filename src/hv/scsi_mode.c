/* SPDX-License-Identifier: MIT */

/* MODE SENSE: the pages "caching" and "control", without block descriptors. */

#include <string.h>

#include "hv/scsi.h"
#include "util/bytes.h"

#define PAGE_CACHING 0x08u
#define PAGE_CONTROL 0x0Au
#define PAGE_ALL     0x3Fu

enum page_control { CURRENT, CHANGEABLE, DEFAULT, SAVED };

#define WRITE_PROTECTED 0x80u /* device-specific parameter */
#define DPO_FUA         0x10u
#define WRITE_CACHE     0x04u
#define REORDER_ANY     0x10u

/* Nothing can be changed: those pages are all zeros behind their header. */
static uint32_t put_page(uint8_t *at, uint8_t page, enum page_control control)
{
	uint8_t len = page == PAGE_CACHING ? 20 : 12;

	memset(at, 0, len);
	at[0] = page;
	at[1] = len - 2;
	if (control != CHANGEABLE && page == PAGE_CACHING)
		at[2] = WRITE_CACHE;
	if (control != CHANGEABLE && page == PAGE_CONTROL)
		at[3] = REORDER_ANY;
	return len;
}

void scsi_mode_sense(const struct scsi_unit *unit, const struct scsi_command *command,
		     struct scsi_answer *out)
{
	uint32_t at = command->ten ? 8 : 4, start = at;
	uint8_t device = DPO_FUA | (unit->readonly ? WRITE_PROTECTED : 0);

	if (command->select == SAVED) {
		scsi_refuse(out, SCSI_NOT_SAVED);
		return;
	}
	memset(out->data, 0, start);
	if (command->page == PAGE_CACHING || command->page == PAGE_ALL)
		at += put_page(out->data + at, PAGE_CACHING, command->select);
	if (command->page == PAGE_CONTROL || command->page == PAGE_ALL)
		at += put_page(out->data + at, PAGE_CONTROL, command->select);
	if (at == start) {
		scsi_refuse(out, SCSI_INVALID_FIELD);
		return;
	}
	if (command->ten) {
		put_be16(out->data, (uint16_t)(at - 2));
		out->data[3] = device;
	} else {
		out->data[0] = (uint8_t)(at - 1);
		out->data[2] = device;
	}
	out->len = at;
}
